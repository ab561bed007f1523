//! Which proxy leads to a host: the one decision, for API calls and data channels alike.

mod tunnel;

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

use super::address::{is_link_local, is_loopback, without_brackets};
use crate::failure::{Exit, Failure};

pub(crate) use tunnel::{Answer, open, unauthenticated};

/// The URL of a proxy, which may hold a password: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(String);

impl ProxyUrl {
    /// Returns the URL, which must not be shown.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Tells whether it holds a user, and so perhaps a password.
    pub fn has_user(&self) -> bool {
        self.0.contains('@')
    }
}

impl FromStr for ProxyUrl {
    type Err = Infallible;

    /// Takes anything: an error of the command line would repeat the password. [`Proxies::configured`] checks it.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyUrl(..)")
    }
}

/// What the user has configured: one proxy for each scheme, and the hosts that need none.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Configured>,
    https: Option<Configured>,
    exceptions: Vec<Exception>,
}

/// A proxy, or why what the user has written is none, which only matters to whoever needs it.
type Configured = Result<Proxy, Failure>;

impl Proxies {
    /// Puts `flag` before the environment, which `variable` reads: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, and
    /// each of them in lower case.
    pub fn configured(flag: Option<&ProxyUrl>, variable: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| {
            let names = [name.to_owned(), name.to_ascii_lowercase()];
            names
                .into_iter()
                .find_map(|name| Some((variable(&name)?, name)))
        };
        let proxy = |name: &str| match flag {
            Some(url) => Some(Proxy::parse(url.expose(), "--proxy")),
            None => {
                let (url, name) = read(name).or_else(|| read("ALL_PROXY"))?;
                Some(Proxy::parse(&url, &name))
            }
        };
        let exceptions = read("NO_PROXY").map(|(list, _)| Exception::parse_list(&list));
        Self {
            http: proxy("HTTP_PROXY"),
            https: proxy("HTTPS_PROXY"),
            exceptions: exceptions.unwrap_or_default(),
        }
    }

    /// Returns the proxy through which `host` is reached, if any: a DNS name or an address, IPv6 with or without brackets.
    /// Data channels count as `https` when they are encrypted.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] if the proxy the user has given cannot be one.
    pub(crate) fn to(
        &self,
        host: &str,
        port: u16,
        is_tls: bool,
    ) -> Result<Option<&Proxy>, Failure> {
        let configured = match is_tls {
            true => &self.https,
            false => &self.http,
        };
        match configured {
            Some(proxy) if self.goes_through(host, port) => {
                Ok(Some(proxy.as_ref().map_err(Failure::clone)?))
            }
            _ => Ok(None),
        }
    }

    fn goes_through(&self, host: &str, port: u16) -> bool {
        if is_loopback(host) || is_link_local(host) {
            return false;
        }
        let exceptions = self.exceptions.iter();
        let exceptions =
            exceptions.filter(|exception| exception.port.is_none_or(|only| only == port));
        let list: Vec<&str> = exceptions
            .map(|exception| exception.host.as_str())
            .collect();
        // The library takes `*` for every name, but for no address.
        if list.contains(&"*") {
            return false;
        }
        let matcher = Matcher::builder().all(ANY_PROXY).no(list.join(",")).build();
        let authority = match without_brackets(host) {
            address if address.contains(':') => format!("[{address}]"),
            name => name.to_owned(),
        };
        // What is no authority is no host either, and fails wherever it is sent.
        let uri = Uri::builder()
            .scheme("https")
            .authority(authority)
            .path_and_query("/");
        uri.build()
            .is_ok_and(|uri| matcher.intercept(&uri).is_some())
    }
}

/// Stands for whichever proxy is exempted from.
const ANY_PROXY: &str = "http://proxy";

/// An entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exception {
    /// A domain, an address, a network, or `*`.
    host: String,
    /// The only port it is for.
    port: Option<u16>,
}

impl Exception {
    /// Takes a list apart. Entries are as for Go and curl: `example.com` and `.example.com` mean the domain and all below it,
    /// `10.0.0.0/8` a network, `*` everything; a port may follow. `*.example.com`, which neither knows, means `.example.com`.
    fn parse_list(list: &str) -> Vec<Self> {
        let entries = list.split([',', ' ']).filter(|entry| !entry.is_empty());
        entries.filter_map(Self::parse).collect()
    }

    /// Returns `None` for what has no port behind its colon, such as a URL: it must not exempt from every port.
    fn parse(entry: &str) -> Option<Self> {
        let (host, port) = match entry.rsplit_once(':') {
            // More colons are an IPv6 address, whose port is behind a bracket.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().ok()?))
            }
            _ => (entry, None),
        };
        let host = without_brackets(host);
        Some(Self {
            host: host
                .strip_prefix('*')
                .filter(|rest| rest.starts_with('.'))
                .unwrap_or(host)
                .to_owned(),
            port,
        })
    }
}

const NO_URL: &str = "it is not a URL; in a user or a password, write %40 for @, %3A for :, %2F for /, %3F for ?, %23 for #";

/// Tells whether an `@` comes behind what a URL has for its host: in a password, `/`, `?` and `#` end the authority, and what
/// stands before them would be looked up and shown as host and port.
fn has_unescaped_user(text: &str) -> bool {
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
    let rest = authority.split_once(['/', '?', '#']);
    rest.is_some_and(|(_, rest)| rest.contains('@'))
}

/// A proxy that speaks HTTP.
#[derive(Clone)]
pub(crate) struct Proxy {
    host: String,
    port: u16,
    is_tls: bool,
    authorization: Option<HeaderValue>,
    /// The option or the variable it is from.
    origin: String,
}

impl Proxy {
    fn parse(text: &str, origin: &str) -> Result<Self, Failure> {
        let refuse = |why: &str| {
            let message = format!("the proxy of {origin} cannot be used: {why}");
            Failure::new(Exit::Usage, message)
                .with_hint("write http://PROXY:PORT or http://USER:PASSWORD@PROXY:PORT")
                .permanent()
        };
        if has_unescaped_user(text) {
            return Err(refuse(NO_URL));
        }
        let matcher = Matcher::builder().all(text).build();
        let found = matcher.intercept(&Uri::from_static("https://any.example/"));
        let found = found.ok_or_else(|| refuse(NO_URL))?;
        let uri = found.uri();
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => {
                return Err(refuse(
                    "ssmfwd speaks to proxies over http and https, not SOCKS",
                ));
            }
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| refuse("it has no host"))?;
        let port = uri.port_u16();
        // The library takes the first `@` for the one before the host, and passes over a port that is none.
        let spelled = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        if uri
            .authority()
            .is_none_or(|authority| authority.as_str() != spelled)
        {
            return Err(refuse(NO_URL));
        }
        Ok(Self {
            host: host.to_owned(),
            port: port.unwrap_or(if is_tls { 443 } else { 80 }),
            is_tls,
            authorization: found.basic_auth().cloned(),
            origin: origin.to_owned(),
        })
    }

    /// The host, with brackets if it is an IPv6 address.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether the proxy itself is spoken to in TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The value of `Proxy-Authorization`, which is marked as sensitive.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.host, self.port, self.origin)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

#[cfg(test)]
mod tests;
