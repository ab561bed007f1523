//! The way to a host: directly or through a proxy, with TLS or without.

use super::connection::Connection;
use super::dial;
use super::proxy::{self, Proxies, Proxy};
use super::service_clock::ServiceClock;
use super::tls::{NoTls, Trust};
use crate::failure::Failure;

/// Reaches hosts as the user's network wants it. API calls and data channels share one.
#[derive(Debug, Default)]
pub struct Connector {
    proxies: Proxies,
    trust: Trust,
    clock: ServiceClock,
}

impl Connector {
    /// Takes the proxies, and whose certificates are trusted.
    pub fn new(proxies: Proxies, trust: Trust) -> Self {
        Self {
            proxies,
            trust,
            clock: ServiceClock::default(),
        }
    }

    /// The time the services have it, as their answers over these connections tell.
    pub(crate) fn clock(&self) -> &ServiceClock {
        &self.clock
    }

    /// Connects to `host`, a DNS name or an address (IPv6 with brackets): TCP, the proxy's CONNECT if there is one on the way,
    /// and TLS if `is_tls`. Each of these steps has a deadline of its own.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`](crate::failure::Exit::Usage) if the proxy that is configured cannot be one,
    /// [`Exit::Failure`](crate::failure::Exit::Failure) that tells which step failed.
    pub(crate) async fn connect(
        &self,
        host: &str,
        port: u16,
        is_tls: bool,
    ) -> Result<Connection, Failure> {
        let stream = match self.proxy_to(host, port, is_tls)? {
            Some(proxy) => {
                let mut stream = self.reach(proxy).await?;
                proxy::open(&mut stream, proxy, host, port).await?;
                stream
            }
            None => Connection::Plain(dial::connect(host, port).await?),
        };
        Ok(self.secured(host, stream, is_tls).await?)
    }

    /// Connects to a proxy itself.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub(crate) async fn reach(&self, proxy: &Proxy) -> Result<Connection, Failure> {
        let unreachable = |failure: Failure| Failure {
            message: format!("the proxy {proxy} cannot be reached: {}", failure.message),
            ..failure
        };
        let stream = dial::connect(proxy.host(), proxy.port()).await;
        let stream = stream.map_err(|failure| {
            unreachable(failure)
                .with_hint("check its address, and that this machine is in the network where it is")
        })?;
        let stream = Connection::Plain(stream);
        let secured = self.secured(proxy.host(), stream, proxy.is_tls());
        secured.await.map_err(|error| match error {
            NoTls::Untrusted(failure) | NoTls::Refused(failure) => unreachable(failure),
            NoTls::Unspoken(failure) => unreachable(failure).with_hint(
                "most proxies are spoken to without TLS, wherever they lead: write http:// in front of its name, not https://",
            ),
        })
    }

    /// Returns the proxy on the way to a host, if there is one.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`](crate::failure::Exit::Usage) if what is configured cannot be a proxy.
    pub(crate) fn proxy_to(
        &self,
        host: &str,
        port: u16,
        is_tls: bool,
    ) -> Result<Option<&Proxy>, Failure> {
        self.proxies.to(host, port, is_tls)
    }

    async fn secured(
        &self,
        host: &str,
        stream: Connection,
        is_tls: bool,
    ) -> Result<Connection, NoTls> {
        match is_tls {
            true => Ok(Connection::Tls(Box::new(
                self.trust.handshake(host, stream).await?,
            ))),
            false => Ok(stream),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_proxy_without_tls_is_not_to_be_called_https() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.0 400 Bad Request\r\n\r\n";
            socket.write_all(answer).await.unwrap();
            socket
        });
        let url = format!("https://{address}").parse().unwrap();
        let proxies = Proxies::configured(Some(&url), |_| None);
        let connector = Connector::new(proxies, Trust::default());
        let failure = connector.connect("ssm.example", 443, true).await;
        let failure = failure.unwrap_err();
        let message = format!("the proxy {address} (--proxy) cannot be reached: ");
        assert!(failure.message.starts_with(&message), "{failure}");
        assert!(failure.hint.unwrap().contains("http://"));
        answering.await.unwrap();
    }
}
