//! Ed25519 keys in the form OpenSSH stores them.

use std::fmt;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

/// What the keys of this program are called, where keys have a comment.
const COMMENT: &str = "ssmfwd";
const ALGORITHM: &str = "ssh-ed25519";
const HEADER: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const FOOTER: &str = "-----END OPENSSH PRIVATE KEY-----";
/// Characters in a line, as `ssh-keygen` breaks them.
const LINE_LEN: usize = 70;
/// What unencrypted private parts are padded to a multiple of.
const BLOCK_LEN: usize = 8;

/// A public key as a line of `authorized_keys`, without the line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(String);

impl PublicKey {
    /// Accepts a line of a `.pub` file, if EC2 Instance Connect takes its kind of key.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        let (algorithm, rest) = line.split_once(' ')?;
        let blob = rest.split(' ').next()?;
        let is_taken = matches!(algorithm, ALGORITHM | "ssh-rsa");
        (is_taken && BASE64.decode(blob).is_ok()).then(|| Self(line.to_owned()))
    }

    fn from_blob(blob: &[u8]) -> Self {
        Self(format!("{ALGORITHM} {} {COMMENT}", BASE64.encode(blob)))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes a key and returns it as the text of an unencrypted private-key file, which includes the public key.
///
/// Source: OpenSSH `PROTOCOL.key`.
///
/// # Errors
///
/// When the system has no randomness.
pub fn generate() -> Result<Zeroizing<String>, Unspecified> {
    let mut seed = Zeroizing::new([0; 32]);
    rand::fill(&mut seed[..])?;
    let mut check = [0; 4];
    rand::fill(&mut check)?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed[..]).map_err(|_| Unspecified)?;
    let public: &[u8] = pair.public_key().as_ref();

    // Sized so that no part of the secret stays behind in memory that was outgrown.
    let mut private = Zeroizing::new(Vec::with_capacity(256));
    private.extend_from_slice(&check);
    private.extend_from_slice(&check);
    put_string(&mut private, ALGORITHM.as_bytes());
    put_string(&mut private, public);
    let secret = Zeroizing::new([&seed[..], public].concat());
    put_string(&mut private, &secret);
    put_string(&mut private, COMMENT.as_bytes());
    for padding in 1.. {
        if private.len().is_multiple_of(BLOCK_LEN) {
            break;
        }
        private.push(padding);
    }

    let mut file = Zeroizing::new(Vec::with_capacity(512));
    file.extend_from_slice(&preamble());
    put_string(&mut file, &public_blob(public));
    put_string(&mut file, &private);
    Ok(armor(&file))
}

/// Returns the public key of a file that [`generate`] has made.
pub fn public_key(file: &str) -> Option<PublicKey> {
    let body = file.trim().strip_prefix(HEADER)?.strip_suffix(FOOTER)?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    let bytes = Zeroizing::new(BASE64.decode(body.as_bytes()).ok()?);
    let (len, rest) = bytes
        .strip_prefix(preamble().as_slice())?
        .split_first_chunk()?;
    let blob = rest.get(..usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    let key = blob.strip_prefix(public_blob(&[0; 32]).get(..blob.len().checked_sub(32)?)?)?;
    (key.len() == 32).then(|| PublicKey::from_blob(blob))
}

/// What precedes the public key: neither cipher nor key derivation, and one key.
fn preamble() -> Vec<u8> {
    let mut bytes = b"openssh-key-v1\0".to_vec();
    put_string(&mut bytes, b"none");
    put_string(&mut bytes, b"none");
    put_string(&mut bytes, b"");
    bytes.extend_from_slice(&1_u32.to_be_bytes());
    bytes
}

fn public_blob(public: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    put_string(&mut blob, ALGORITHM.as_bytes());
    put_string(&mut blob, public);
    blob
}

/// Appends a `string` of RFC 4251: length, big-endian, and bytes.
fn put_string(bytes: &mut Vec<u8>, string: &[u8]) {
    let len = u32::try_from(string.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(string);
}

fn armor(bytes: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(BASE64.encode(bytes));
    let mut text = Zeroizing::new(String::with_capacity(2 * body.len() + 128));
    text.push_str(HEADER);
    for (index, char) in body.chars().enumerate() {
        if index.is_multiple_of(LINE_LEN) {
            text.push('\n');
        }
        text.push(char);
    }
    text.push('\n');
    text.push_str(FOOTER);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_has_its_public_key_within() {
        let file = generate().unwrap();
        let public = public_key(&file).unwrap();
        assert!(public.to_string().starts_with("ssh-ed25519 AAAAC3Nz"));
        assert!(public.to_string().ends_with(" ssmfwd"));
        assert_eq!(PublicKey::parse(&format!("{public}\n")), Some(public));
        assert_ne!(*generate().unwrap(), *file);
    }

    #[test]
    fn other_files_have_no_public_key() {
        let file = generate().unwrap();
        let cut = format!("{}\n{FOOTER}", &file[..120]);
        for text in ["", "ssh-ed25519 AAAA", &cut, &file.replace(FOOTER, "")] {
            assert_eq!(public_key(text), None, "{text}");
        }
    }

    #[test]
    fn only_keys_that_can_be_pushed_are_accepted() {
        assert!(PublicKey::parse("ssh-rsa AAAAB3NzaC1yc2E= me@here today").is_some());
        assert!(PublicKey::parse("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5").is_some());
        for line in [
            "",
            "ssh-rsa",
            "ssh-rsa not*base64",
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
        ] {
            assert_eq!(PublicKey::parse(line), None, "{line}");
        }
    }
}
