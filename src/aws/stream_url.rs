//! The URL of a data channel, and which hosts it may name.

use std::fmt;

use http::Uri;
use url::Url;

use super::dns_suffixes;
use crate::failure::{Exit, Failure, SEE_DOCTOR};
use crate::net::address::is_loopback;

/// The URL of a data channel, checked to lead to Session Manager.
///
/// The text is kept byte for byte: the query carries unescaped base64 that no URL library leaves
/// alone. The query is a credential of its own, so neither `Debug` nor `Display` shows it.
#[derive(Clone)]
pub struct StreamUrl {
    raw: String,
    uri: Uri,
    is_presigned: bool,
}

impl StreamUrl {
    /// Checks the stream URL of a session in `region`.
    ///
    /// Signed requests and the session's token are sent to this host. It must therefore be a
    /// Session Manager host of the region, or the host of the endpoint the user gave; plain `ws`
    /// is for that endpoint on loopback only.
    ///
    /// # Errors
    ///
    /// [`Exit::Failure`] if the URL cannot be parsed or leads elsewhere.
    pub fn parse(raw: &str, region: &str, user_endpoint: Option<&Url>) -> Result<Self, Failure> {
        Self::well_formed(raw)?.checked(region, user_endpoint)
    }

    /// Leads the stream URL of a session in `region` to the host and port of `gateway`, which the user gave. Path and query stay
    /// as they are, byte for byte. A presigned URL stays where it is, because its signature covers the host.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub(crate) fn at(gateway: &Url, raw: &str, region: &str) -> Result<Self, Failure> {
        let url = Self::well_formed(raw)?;
        if url.is_presigned {
            return url.checked(region, Some(gateway));
        }
        let scheme = match gateway.scheme() {
            "https" => "wss",
            _ => "ws",
        };
        let host = gateway.host_str().unwrap_or_default();
        let port = gateway.port().map(|port| format!(":{port}"));
        let port = port.unwrap_or_default();
        let behind = raw
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'));
        let (_, rest) = behind.ok_or_else(malformed)?;
        Self::well_formed(&format!("{scheme}://{host}{port}/{rest}"))?
            .checked(region, Some(gateway))
    }

    fn well_formed(raw: &str) -> Result<Self, Failure> {
        // A fragment is never sent, and the parser below would drop it silently.
        if raw.contains('#') {
            return Err(malformed());
        }
        let uri: Uri = raw.parse().map_err(|_| malformed())?;
        let is_presigned = uri.query().is_some_and(|query| {
            let mut names = query.split('&').filter_map(|pair| pair.split('=').next());
            names.any(|name| {
                PRESIGNED
                    .iter()
                    .any(|known| name.eq_ignore_ascii_case(known))
            })
        });
        let url = Self {
            raw: raw.to_owned(),
            uri,
            is_presigned,
        };
        let is_websocket = matches!(url.uri.scheme_str(), Some("ws" | "wss"));
        let has_user = url.authority().contains('@');
        let has_path = url.uri.path().starts_with('/');
        if !is_websocket || has_user || !has_path || url.host().is_empty() {
            return Err(malformed());
        }
        Ok(url)
    }

    fn checked(self, region: &str, user_endpoint: Option<&Url>) -> Result<Self, Failure> {
        if !self.is_tls() {
            return match is_loopback(self.host()) && is_given(self.host(), user_endpoint) {
                true => Ok(self),
                false => Err(refused(self.host(), "is not encrypted")),
            };
        }
        let is_service = is_service_host(self.host(), region) && self.port() == HTTPS_PORT;
        if is_service || is_given(self.host(), user_endpoint) {
            return Ok(self);
        }
        let why = format!("is not a Session Manager endpoint of {region}");
        Err(refused(self.host(), &why))
    }

    /// Returns the URL byte for byte. It must not be shown.
    pub fn expose(&self) -> &str {
        &self.raw
    }

    /// Returns the URL as the upgrade request needs it; path and query are unchanged.
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the host, with brackets if it is an IPv6 address.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// Returns the port, the scheme's own if the URL has none.
    pub fn port(&self) -> u16 {
        let default = if self.is_tls() { HTTPS_PORT } else { HTTP_PORT };
        self.uri.port_u16().unwrap_or(default)
    }

    /// Returns host and port as the URL spells them, which is the value of the `Host` header.
    pub(crate) fn authority(&self) -> &str {
        self.uri
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    /// Tells whether the channel is encrypted (`wss`).
    pub fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("wss")
    }

    /// Tells whether the query already carries a signature. Such an upgrade must not be signed
    /// again, and the session cannot be resumed.
    pub fn is_presigned(&self) -> bool {
        self.is_presigned
    }
}

impl fmt::Display for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}{}", self.authority(), self.uri.path())
    }
}

impl fmt::Debug for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamUrl({self}?..)")
    }
}

const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;

/// Query parameters of a presigned URL, as the official client looks for them.
const PRESIGNED: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

fn malformed() -> Failure {
    Failure::new(
        Exit::Failure,
        "the service returned a stream URL that is not a WebSocket URL",
    )
    .with_hint(SEE_DOCTOR)
}

fn refused(host: &str, why: &str) -> Failure {
    Failure::new(
        Exit::Failure,
        format!("the service returned a stream URL on `{host}`, which {why}: not connecting"),
    )
    .with_hint(
        "check the region; give the gateway's own address with --endpoint ssmmessages=https://HOST",
    )
}

/// Tells whether a host is the one of the user's endpoint; loopback has several names.
fn is_given(host: &str, user_endpoint: Option<&Url>) -> bool {
    user_endpoint.and_then(Url::host_str).is_some_and(|given| {
        given.eq_ignore_ascii_case(host) || (is_loopback(given) && is_loopback(host))
    })
}

/// Matches `ssmmessages[-fips].REGION.SUFFIX`, and the names of VPC endpoints, which are
/// `vpce-ID.ssmmessages[-fips].REGION.vpce.SUFFIX`.
fn is_service_host(host: &str, region: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let (endpoint, rest) = match host.split_once('.') {
        Some((label, rest)) if label.starts_with("vpce-") => (true, rest),
        _ => (false, host.as_str()),
    };
    let rest = rest
        .strip_prefix("ssmmessages.")
        .or_else(|| rest.strip_prefix("ssmmessages-fips."));
    let suffix = rest
        .and_then(|rest| rest.strip_prefix(region))
        .and_then(|rest| rest.strip_prefix(if endpoint { ".vpce." } else { "." }));
    suffix.is_some_and(|suffix| dns_suffixes(region).contains(&suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str, region: &str, endpoint: Option<&str>) -> Result<StreamUrl, Failure> {
        let endpoint = endpoint.map(|url| Url::parse(url).unwrap());
        StreamUrl::parse(raw, region, endpoint.as_ref())
    }

    #[test]
    fn query_is_kept_and_not_shown() {
        let raw = "wss://ssmmessages.us-east-1.amazonaws.com/v1/data-channel/u@e.com-0abc\
                   ?role=publish_subscribe&cell-number=AA+b/c==";
        let url = parse(raw, "us-east-1", None).unwrap();
        assert_eq!(url.expose(), raw);
        assert_eq!(
            url.uri().path_and_query().unwrap().as_str(),
            "/v1/data-channel/u@e.com-0abc?role=publish_subscribe&cell-number=AA+b/c=="
        );
        assert_eq!(
            (url.host(), url.port()),
            ("ssmmessages.us-east-1.amazonaws.com", 443)
        );
        assert!(!url.is_presigned());
        for shown in [format!("{url}"), format!("{url:?}")] {
            assert!(!shown.contains("cell-number"), "{shown}");
        }
    }

    #[test]
    fn service_hosts_of_every_partition() {
        let table = [
            ("us-east-1", "amazonaws.com", "api.aws"),
            ("us-gov-west-1", "amazonaws.com", "api.aws"),
            (
                "cn-north-1",
                "amazonaws.com.cn",
                "api.amazonwebservices.com.cn",
            ),
            ("us-iso-east-1", "c2s.ic.gov", "api.aws.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov", "api.aws.scloud"),
            ("us-isof-south-1", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
            ("eu-isoe-west-1", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
            ("eusc-de-east-1", "amazonaws.eu", "api.amazonwebservices.eu"),
        ];
        for (region, suffix, dual_stack) in table {
            for host in [
                format!("ssmmessages.{region}.{suffix}"),
                format!("SSMMESSAGES.{region}.{suffix}:443"),
                format!("ssmmessages-fips.{region}.{suffix}"),
                format!("ssmmessages.{region}.{dual_stack}"),
                format!("ssmmessages-fips.{region}.{dual_stack}"),
                format!("vpce-0a1-b2.ssmmessages.{region}.vpce.{suffix}"),
                format!("vpce-0a1-b2-{region}a.ssmmessages.{region}.vpce.{suffix}"),
                format!("vpce-0a1-b2.ssmmessages-fips.{region}.vpce.{suffix}"),
            ] {
                let raw = format!("wss://{host}/v1/data-channel/s?role=publish_subscribe");
                assert!(parse(&raw, region, None).is_ok(), "{host}");
                for (other, ..) in table.iter().filter(|(other, ..)| *other != region) {
                    assert!(parse(&raw, other, None).is_err(), "{host} in {other}");
                }
            }
        }
    }

    #[test]
    fn the_gateway_the_user_gave_takes_the_place_of_host_and_port_alone() {
        let rest = "/v1/data-channel/u@e.com-0abc?role=publish_subscribe&cell-number=AA+b/c==";
        let table = [
            (
                "https://vpce-1.ssmmessages.us-east-1.vpce.amazonaws.com",
                "wss://vpce-1.ssmmessages.us-east-1.vpce.amazonaws.com",
            ),
            (
                "https://Gateway.corp.example:8443/",
                "wss://gateway.corp.example:8443",
            ),
            ("https://[fd00::5]:443", "wss://[fd00::5]"),
            ("http://127.0.0.1:4566", "ws://127.0.0.1:4566"),
        ];
        for (gateway, expected) in table {
            let gateway = Url::parse(gateway).unwrap();
            for host in ["ssmmessages.us-east-1.amazonaws.com", "other.example:1"] {
                let url = StreamUrl::at(&gateway, &format!("wss://{host}{rest}"), "us-east-1");
                let url = url.unwrap();
                assert_eq!(url.expose(), format!("{expected}{rest}"));
                assert_eq!(url.authority(), expected.split_once("://").unwrap().1);
            }
        }
    }

    #[test]
    fn a_presigned_url_stays_where_its_signature_leads() {
        let gateway = Url::parse("https://gateway.corp.example").unwrap();
        let raw = "wss://ssmmessages.us-east-1.amazonaws.com/s?X-Amz-Signature=00";
        let url = StreamUrl::at(&gateway, raw, "us-east-1").unwrap();
        assert_eq!(url.expose(), raw);
        let elsewhere = "wss://other.example/s?X-Amz-Signature=00";
        assert!(StreamUrl::at(&gateway, elsewhere, "us-east-1").is_err());
    }

    #[test]
    fn other_hosts_are_refused() {
        for host in [
            "example.com",
            "ssmmessages.us-east-1.amazonaws.com.example.com",
            "ssmmessages.us-east-1.amazonaws.com.cn",
            "ssmmessages.us-west-2.amazonaws.com",
            "evil.ssmmessages.us-east-1.amazonaws.com",
            "vpce-0a1.evil.ssmmessages.us-east-1.vpce.amazonaws.com",
            "ssm.us-east-1.amazonaws.com",
            "ssmmessages.us-east-1.amazonaws.com:8443",
            "127.0.0.1",
            "user@ssmmessages.us-east-1.amazonaws.com",
            "ssmmessages.us-east-1.amazonaws.com@example.com",
            "example.com#ssmmessages.us-east-1.amazonaws.com",
        ] {
            let raw = format!("wss://{host}/v1/data-channel/s");
            assert!(parse(&raw, "us-east-1", None).is_err(), "{host}");
        }
    }

    #[test]
    fn the_users_endpoint_is_accepted() {
        let raw = "wss://ssm.corp.example:8443/v1/data-channel/s";
        let endpoint = Some("https://SSM.corp.example");
        assert_eq!(parse(raw, "us-east-1", endpoint).unwrap().port(), 8443);
        let raw = "wss://other.corp.example/v1/data-channel/s";
        assert!(parse(raw, "us-east-1", endpoint).is_err());
    }

    #[test]
    fn plain_websocket_only_on_loopback_and_only_if_given() {
        let loopback = "ws://127.0.0.1:4566/v1/data-channel/s";
        assert!(parse(loopback, "us-east-1", Some("http://127.0.0.1:4566")).is_ok());
        assert!(parse(loopback, "us-east-1", Some("http://localhost:4566")).is_ok());
        assert!(parse("ws://[::1]:1/x", "us-east-1", Some("http://[::1]:2")).is_ok());
        assert!(parse(loopback, "us-east-1", None).is_err());
        assert!(parse(loopback, "us-east-1", Some("https://ssm.corp.example")).is_err());
        let remote = "ws://ssm.corp.example/v1/data-channel/s";
        assert!(parse(remote, "us-east-1", Some("http://ssm.corp.example")).is_err());
        let service = "ws://ssmmessages.us-east-1.amazonaws.com/v1/data-channel/s";
        assert!(parse(service, "us-east-1", None).is_err());
    }

    #[test]
    fn malformed_urls_are_refused() {
        for raw in [
            "",
            "wss://",
            "https://ssmmessages.us-east-1.amazonaws.com/",
            "/v1",
            "wss:///x",
            "wss://a b/",
        ] {
            assert!(
                parse(raw, "us-east-1", Some("https://a")).is_err(),
                "{raw:?}"
            );
        }
    }

    #[test]
    fn presigned_urls_are_recognised() {
        let base = "wss://ssmmessages.us-east-1.amazonaws.com/v1/data-channel/s";
        let presigned = format!("{base}?role=x&X-Amz-Signature=00");
        assert!(parse(&presigned, "us-east-1", None).unwrap().is_presigned());
        let plain = format!("{base}?role=X-Amz-Signature");
        assert!(!parse(&plain, "us-east-1", None).unwrap().is_presigned());
    }
}
