//! TLS: the one place that chooses provider, roots and versions.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::debug;

use crate::failure::{Exit, Failure};

/// Performs the TLS handshake on `stream` and verifies that the peer is `host`.
///
/// # Errors
///
/// [`Exit::Failure`] if the system has no trusted roots, if the peer's certificate is not
/// trusted, or if the handshake fails or does not end in time.
pub(crate) async fn handshake<S>(host: &str, stream: S) -> Result<TlsStream<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned()).map_err(|_| {
        Failure::new(
            Exit::Failure,
            format!("`{host}` is no name a certificate can have"),
        )
    })?;
    let connector = TlsConnector::from(client_config()?);
    match timeout(HANDSHAKE_DEADLINE, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(explain(&error, host)),
        Err(_) => Err(Failure::new(
            Exit::Failure,
            format!(
                "{host} did not finish the TLS handshake within {} s",
                HANDSHAKE_DEADLINE.as_secs()
            ),
        )
        .with_hint("something in between accepts the connection and stays silent")),
    }
}

/// Longest TLS handshake: two round trips, so ten seconds is a dead peer on any link.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Returns the configuration of every TLS connection, built when first needed: parsing the
/// system's roots takes several milliseconds.
fn client_config() -> Result<Arc<ClientConfig>, Failure> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let config = Arc::new(build_config(system_roots()?)?);
    Ok(CONFIG.get_or_init(|| config).clone())
}

fn system_roots() -> Result<RootCertStore, Failure> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        debug!(%error, "some trusted root certificates cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    debug!(added, ignored, "loaded the trusted root certificates");
    if added == 0 {
        return Err(
            Failure::new(Exit::Failure, "the system has no trusted root certificates")
                .with_hint("install the package ca-certificates, or set SSL_CERT_FILE"),
        );
    }
    Ok(roots)
}

fn build_config(roots: RootCertStore) -> Result<ClientConfig, Failure> {
    // The provider is named, not taken from the process-wide default, which panics as soon as
    // two providers are linked.
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::new(Exit::Failure, format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn explain(error: &io::Error, host: &str) -> Failure {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(rustls::Error::InvalidCertificate(why)) => Failure::new(
            Exit::Failure,
            format!("the TLS certificate of {host} is not trusted: {why}"),
        )
        .with_hint(
            "a proxy that inspects TLS needs its CA among the system's roots (or SSL_CERT_FILE)",
        ),
        Some(error) => Failure::new(
            Exit::Failure,
            format!("the TLS handshake with {host} failed: {error}"),
        ),
        None => Failure::new(
            Exit::Failure,
            format!("the connection to {host} broke in the TLS handshake: {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn garbage_instead_of_tls_is_named() {
        let (client, mut server) = tokio::io::duplex(4096);
        server
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        let failure = handshake("localhost", client).await.unwrap_err();
        assert!(
            failure
                .message
                .starts_with("the TLS handshake with localhost failed"),
            "{failure}"
        );
    }

    #[tokio::test]
    async fn a_peer_that_hangs_up_is_named() {
        let (client, server) = tokio::io::duplex(4096);
        drop(server);
        let failure = handshake("localhost", client).await.unwrap_err();
        assert!(
            failure.message.contains("broke in the TLS handshake"),
            "{failure}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_given_up_on() {
        let (client, _server) = tokio::io::duplex(4096);
        let failure = handshake("localhost", client).await.unwrap_err();
        assert!(failure.message.contains("within 10 s"), "{failure}");
    }
}
