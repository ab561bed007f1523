//! The signature of the WebSocket upgrade.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::StreamUrl;
use crate::failure::{Exit, Failure};

/// Signs the upgrade request to `url` and returns the headers to add: `authorization`,
/// `x-amz-date` and, with temporary credentials, `x-amz-security-token`.
///
/// The `Host` header must be sent as [`StreamUrl::authority`] says.
///
/// # Errors
///
/// [`Exit::Failure`] if the request or the credentials hold something that cannot be signed.
pub(crate) fn sign_upgrade(
    url: &StreamUrl,
    credentials: &Credentials,
    region: &str,
    time: SystemTime,
) -> Result<HeaderMap, Failure> {
    // The defaults are what the official client's signer does. The path is escaped once more than
    // it is on the wire. The query is decoded as a form first: a `+` of the cell number counts as
    // a space and is signed as `%20`, although the request line keeps the `+`.
    let mut settings = SigningSettings::default();
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(time)
        .settings(settings)
        .build()
        .map_err(|_| unsignable())?
        .into();
    let request = SignableRequest::new(
        "GET",
        url.expose(),
        [("host", url.authority())].into_iter(),
        SignableBody::Bytes(&[]),
    )
    .map_err(|_| unsignable())?;
    let (instructions, _signature) = sign(request, &params)
        .map_err(|_| unsignable())?
        .into_parts();

    let mut headers = HeaderMap::new();
    let (signed, _query) = instructions.into_parts();
    for header in signed {
        let name = HeaderName::try_from(header.name()).map_err(|_| unsignable())?;
        let mut value = HeaderValue::try_from(header.value()).map_err(|_| unsignable())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Name of the message gateway in signatures.
const SERVICE: &str = "ssmmessages";

/// The cause is left out because it may quote the token.
fn unsignable() -> Failure {
    Failure::new(Exit::Failure, "the WebSocket upgrade cannot be signed")
        .with_hint("the credentials or the stream URL hold characters that are not allowed there")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// 2026-01-02T03:04:05Z.
    const TIME: Duration = Duration::from_secs(1_767_323_045);

    fn sign(raw: &str, token: Option<&str>) -> HeaderMap {
        let url = StreamUrl::parse(raw, "us-east-1", None).unwrap();
        let token = token.map(str::to_owned);
        let credentials = Credentials::new("AKIDEXAMPLE", "SECRETEXAMPLE", token, None, "test");
        sign_upgrade(&url, &credentials, "us-east-1", UNIX_EPOCH + TIME).unwrap()
    }

    /// Made with the official client's signer.
    #[test]
    fn matches_the_official_clients_signature() {
        let headers = sign(
            "wss://ssmmessages.us-east-1.amazonaws.com/v1/data-channel/user@example.com-0abc\
             ?role=publish_subscribe&cell-number=AA+b/c==",
            Some("TOKENEXAMPLE"),
        );
        assert_eq!(
            headers["authorization"],
            "AWS4-HMAC-SHA256 \
             Credential=AKIDEXAMPLE/20260102/us-east-1/ssmmessages/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-security-token, \
             Signature=82cdf542e81b5d566dbeccac7d9099b1ae33db46c7d08093016263925a222dab"
        );
        assert_eq!(headers["x-amz-date"], "20260102T030405Z");
        assert_eq!(headers["x-amz-security-token"], "TOKENEXAMPLE");
    }

    #[test]
    fn a_plus_is_signed_as_a_space() {
        let base = "wss://ssmmessages.us-east-1.amazonaws.com/v1/data-channel/s?cell-number=";
        let plus = sign(&format!("{base}a+b"), None);
        assert_eq!(
            plus["authorization"],
            sign(&format!("{base}a%20b"), None)["authorization"]
        );
        assert_ne!(
            plus["authorization"],
            sign(&format!("{base}a%2Bb"), None)["authorization"]
        );
    }

    #[test]
    fn permanent_credentials_send_no_token_and_nothing_is_shown() {
        let headers = sign(
            "wss://ssmmessages.us-east-1.amazonaws.com/v1/data-channel/s",
            None,
        );
        assert!(!headers.contains_key("x-amz-security-token"));
        assert!(headers.values().all(HeaderValue::is_sensitive));
    }
}
