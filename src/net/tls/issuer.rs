//! Who has signed a certificate, for messages.

/// Returns the issuer of a certificate (RFC 5280, section 4.1.2.4), such as `CN=Corp Inspection CA, O=Corp`; `None` if
/// it has no name that can be shown. For messages alone: nothing is verified.
pub(super) fn of(certificate: &[u8]) -> Option<String> {
    let (certificate, _) = take(certificate, SEQUENCE)?;
    let (mut fields, _) = take(certificate, SEQUENCE)?;
    if let Some((_version, rest)) = take(fields, VERSION) {
        fields = rest;
    }
    let (_serial, fields) = take(fields, INTEGER)?;
    let (_algorithm, fields) = take(fields, SEQUENCE)?;
    let (mut names, _) = take(fields, SEQUENCE)?;
    let mut shown = Vec::new();
    while let Some((mut set, rest)) = take(names, SET) {
        while let Some((attribute, others)) = take(set, SEQUENCE) {
            shown.extend(show(attribute));
            set = others;
        }
        names = rest;
    }
    // The most specific attribute comes last.
    shown.reverse();
    shown.truncate(MAX_ATTRIBUTES);
    (!shown.is_empty()).then(|| shown.join(", "))
}

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0] EXPLICIT`.
const VERSION: u8 = 0xa0;

/// The string types that are ASCII or UTF-8: UTF8String, PrintableString, T61String, IA5String.
const STRINGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];

/// Last byte of the attribute types `2.5.4.N` that are shown, and their names in text (RFC 4514, section 3).
const ATTRIBUTES: [(u8, &str); 3] = [(3, "CN"), (10, "O"), (11, "OU")];

/// Most attributes that are shown.
const MAX_ATTRIBUTES: usize = 4;

/// Longest value of an attribute that is shown, in characters (RFC 5280 allows 64).
const MAX_VALUE_LEN: usize = 64;

fn show(attribute: &[u8]) -> Option<String> {
    let (kind, value) = take(attribute, OBJECT_IDENTIFIER)?;
    let [0x55, 0x04, kind] = kind else {
        return None;
    };
    let (_, name) = ATTRIBUTES.iter().find(|(known, _)| known == kind)?;
    let (value, _) = STRINGS.iter().find_map(|tag| take(value, *tag))?;
    let value = String::from_utf8_lossy(value);
    let value = value
        .chars()
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .take(MAX_VALUE_LEN);
    Some(format!("{name}={}", value.collect::<String>()))
}

/// Tells whether a character is in the categories Cf, Zl or Zp of Unicode 16: it is not seen, but may change the order or the
/// lines of what is.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Takes an element of type `tag` off DER (X.690, section 8.1): its content, and what follows it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        len @ 0..=0x7f => (usize::from(*len), rest),
        // Certificates are far below 16 MiB.
        0x81..=0x83 => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                len.iter()
                    .fold(0, |len, byte| len << 8 | usize::from(*byte)),
                rest,
            )
        }
        _ => return None,
    };
    (*found == tag).then_some(())?;
    rest.split_at_checked(len)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -days 1 -utf8 -subj '/O=Corp Ünlimited/OU=Network/CN=Corp Inspection CA'
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIB5zCCAY2gAwIBAgIUZEzutRx+WKU0NwWvIweK3nfTiUIwCgYIKoZIzj0EAwIw
STEYMBYGA1UECgwPQ29ycCDDnG5saW1pdGVkMRAwDgYDVQQLDAdOZXR3b3JrMRsw
GQYDVQQDDBJDb3JwIEluc3BlY3Rpb24gQ0EwHhcNMjYxMTIxMDMyOTM3WhcNMjYx
MTIyMDMyOTM3WjBJMRgwFgYDVQQKDA9Db3JwIMOcbmxpbWl0ZWQxEDAOBgNVBAsM
B05ldHdvcmsxGzAZBgNVBAMMEkNvcnAgSW5zcGVjdGlvbiBDQTBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABNBc1mJ9cIOR+EtMy5slWfkfechVN/ez+lFWQ3Kd4l+W
bxkTOcQIJ2eHfFe7xML74hRa5Rv6+CoGwC9l5hvnnUyjUzBRMB0GA1UdDgQWBBQl
KRaG5r0fWD3hNsbhmenIWpTL1zAfBgNVHSMEGDAWgBQlKRaG5r0fWD3hNsbhmenI
WpTL1zAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIAhnexLstFyO
IHcAXekePaQMKZ1I8X+PE7tFTj1/xPPpAiEAoj4dWQCJOTG6GLDQnNGzaOYAcNmw
9KhtdOxTcnON4rc=
-----END CERTIFICATE-----";

    #[test]
    fn the_issuer_is_read() {
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        let name = of(&certificate).unwrap();
        assert_eq!(name, "CN=Corp Inspection CA, OU=Network, O=Corp Ünlimited");
    }

    /// An element of type `tag`, in which the others are.
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], &len[..], content].concat()
    }

    #[test]
    fn an_issuer_with_many_or_invisible_characters_is_tamed() {
        let attribute = |value: &str| {
            let kind = der(OBJECT_IDENTIFIER, &[0x55, 0x04, 3]);
            let pair = [kind, der(STRINGS[0], value.as_bytes())].concat();
            der(SET, &der(SEQUENCE, &pair))
        };
        let names: Vec<u8> = (0..100)
            .flat_map(|n| attribute(&format!("a\u{202e}b\u{2028}{n}")))
            .collect();
        let fields = [
            der(INTEGER, &[1]),
            der(SEQUENCE, &[]),
            der(SEQUENCE, &names),
        ]
        .concat();
        let certificate = der(SEQUENCE, &der(SEQUENCE, &fields));
        assert_eq!(
            of(&certificate).unwrap(),
            "CN=ab99, CN=ab98, CN=ab97, CN=ab96"
        );
    }

    #[test]
    fn a_broken_certificate_has_no_issuer_and_does_no_harm() {
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        assert_eq!(of(b""), None);
        for len in 0..certificate.len() {
            let _: Option<String> = of(&certificate[..len]);
            let mut changed = certificate.to_vec();
            changed[len] ^= 0x80;
            let _: Option<String> = of(&changed);
        }
    }
}
