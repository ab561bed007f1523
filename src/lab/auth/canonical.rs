//! The canonical form of a request: the text a signature is over.

use std::fmt;

use http::HeaderMap;
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// A request in canonical form; [`fmt::Display`] writes the text that is hashed and signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Canonical {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: String,
    pub(super) signed_headers: String,
    pub(super) payload_hash: String,
}

impl Canonical {
    /// Builds the form from the signed headers' names; nothing if one of those is not sent or is
    /// not text.
    pub(super) fn new(request: &Parts, signed_headers: &[&str], body: &[u8]) -> Option<Self> {
        let mut headers = String::new();
        for name in signed_headers {
            headers.push_str(&format!(
                "{name}:{}\n",
                header_value(&request.headers, name)?
            ));
        }
        Some(Self {
            method: request.method.as_str().to_owned(),
            path: canonical_path(request.uri.path())?,
            query: canonical_query(request.uri.query().unwrap_or_default())?,
            headers,
            signed_headers: signed_headers.join(";"),
            payload_hash: super::hex(&Sha256::digest(body)),
        })
    }
}

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            method,
            path,
            query,
            headers,
            signed_headers,
            payload_hash,
        } = self;
        write!(
            f,
            "{method}\n{path}\n{query}\n{headers}\n{signed_headers}\n{payload_hash}"
        )
    }
}

/// All values of a header, joined by commas, runs of spaces made one.
fn header_value(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = Vec::new();
    for value in headers.get_all(name) {
        let words: Vec<_> = value.to_str().ok()?.split_ascii_whitespace().collect();
        values.push(words.join(" "));
    }
    (!values.is_empty()).then(|| values.join(","))
}

/// Every reserved character percent-encoded once, however it was sent.
fn canonical_path(path: &str) -> Option<String> {
    let segments: Option<Vec<_>> = path.split('/').map(|s| Some(encode(&decode(s)?))).collect();
    Some(segments?.join("/"))
}

/// Parameters decoded as a form (a `+` is a space), encoded again, and sorted.
fn canonical_query(query: &str) -> Option<String> {
    let mut parameters = Vec::new();
    for parameter in query.split('&').filter(|s| !s.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let encode_form = |text: &str| Some(encode(&decode(&text.replace('+', " "))?));
        parameters.push((encode_form(name)?, encode_form(value)?));
    }
    parameters.sort();
    let pairs: Vec<_> = parameters.iter().map(|(n, v)| format!("{n}={v}")).collect();
    Some(pairs.join("&"))
}

fn decode(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// What is encoded: everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_plus_of_the_query_is_a_space() {
        assert_eq!(
            canonical_query("role=publish_subscribe&cell-number=AA+b/c==").unwrap(),
            "cell-number=AA%20b%2Fc%3D%3D&role=publish_subscribe"
        );
        assert_eq!(canonical_query("a=%2B").unwrap(), "a=%2B");
    }

    #[test]
    fn parameters_are_sorted_by_name_then_value() {
        assert_eq!(canonical_query("b=1&a=2&a=1&c").unwrap(), "a=1&a=2&b=1&c=");
        assert_eq!(canonical_query("").unwrap(), "");
    }

    #[test]
    fn a_path_is_encoded_once() {
        for path in ["/v1/user@example.com-0abc", "/v1/user%40example.com-0abc"] {
            let canonical = canonical_path(path).unwrap();
            assert_eq!(canonical, "/v1/user%40example.com-0abc");
        }
        assert_eq!(canonical_path("/").unwrap(), "/");
    }

    #[test]
    fn text_that_is_not_utf8_has_no_canonical_form() {
        assert_eq!(canonical_path("/%ff"), None);
        assert_eq!(canonical_query("a=%ff"), None);
    }

    #[test]
    fn header_values_are_trimmed_and_joined() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", " one   two ".parse().unwrap());
        headers.append("x-a", "three".parse().unwrap());
        assert_eq!(header_value(&headers, "x-a").unwrap(), "one two,three");
        assert_eq!(header_value(&headers, "x-b"), None);
    }
}
