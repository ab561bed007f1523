//! TLS: the one place that chooses provider, roots and versions.

mod issuer;

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, OtherError,
    RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::debug;

use super::address::without_brackets;
use crate::failure::{Exit, Failure};

/// Whose certificates are trusted: those the system trusts, and what the user has added.
#[derive(Debug, Default)]
pub struct Trust {
    added: Vec<CertificateDer<'static>>,
    /// Built when first needed: parsing the system's roots takes several milliseconds.
    config: OnceLock<Arc<ClientConfig>>,
}

impl Trust {
    /// Adds the certificates of a PEM file to the system's. `origin` is the option or the variable that names it.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] if the file cannot be read, or has no certificate.
    pub fn with_bundle(file: &Path, origin: &str) -> Result<Self, Failure> {
        let refuse = |why: &dyn std::fmt::Display| {
            let message = format!(
                "the CA bundle {} of {origin} cannot be used: {why}",
                file.display()
            );
            Failure::new(Exit::Usage, message)
                .with_hint("it has to be a file of certificates in PEM format")
        };
        let pem = std::fs::read(file).map_err(|error| refuse(&error))?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let added = found.map_err(|error| refuse(&error))?;
        // Whoever gives a file wants all of it to be trusted, and one that cannot be parsed never would be.
        let mut roots = RootCertStore::empty();
        for certificate in &added {
            roots
                .add(certificate.clone())
                .map_err(|error| refuse(&error))?;
        }
        match added.is_empty() {
            true => Err(refuse(&"it has no certificate")),
            false => Ok(Self {
                added,
                config: OnceLock::new(),
            }),
        }
    }

    /// Performs the TLS handshake on `stream` and verifies that the peer is `host`.
    ///
    /// # Errors
    ///
    /// If there are no trusted roots, if the peer's certificate is not trusted, or if the handshake fails or does not end in
    /// time.
    pub(crate) async fn handshake<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, NoTls>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(without_brackets(host).to_owned()).map_err(|_| {
            NoTls::Untrusted(Failure::new(
                Exit::Failure,
                format!("`{host}` is no name a certificate can have"),
            ))
        })?;
        let config = self.client_config().map_err(NoTls::Untrusted)?;
        let connector = TlsConnector::from(config);
        match timeout(HANDSHAKE_DEADLINE, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(explain(&error, host)),
            Err(_) => Err(NoTls::Unspoken(
                Failure::new(
                    Exit::Failure,
                    format!(
                        "{host} did not finish the TLS handshake within {} s",
                        HANDSHAKE_DEADLINE.as_secs()
                    ),
                )
                .with_hint("something in between accepts the connection and stays silent"),
            )),
        }
    }

    fn client_config(&self) -> Result<Arc<ClientConfig>, Failure> {
        if let Some(config) = self.config.get() {
            return Ok(config.clone());
        }
        let config = Arc::new(build_config(self.roots()?)?);
        Ok(self.config.get_or_init(|| config).clone())
    }

    fn roots(&self) -> Result<RootCertStore, Failure> {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            debug!(%error, "some trusted root certificates cannot be read");
        }
        let mut roots = RootCertStore::empty();
        let (trusted, ignored) = roots.add_parsable_certificates(found.certs);
        let (added, _) = roots.add_parsable_certificates(self.added.iter().cloned());
        debug!(
            trusted,
            ignored, added, "loaded the trusted root certificates"
        );
        if roots.is_empty() {
            return Err(
                Failure::new(Exit::Failure, "the system has no trusted root certificates")
                    .with_hint("install the package ca-certificates, or give a file of them with --ca-bundle"),
            );
        }
        Ok(roots)
    }
}

/// Why there is no TLS connection. Each failure is an [`Exit::Failure`].
#[derive(Debug)]
pub(crate) enum NoTls {
    /// The peer is not whom it should be, as far as this machine can tell.
    Untrusted(Failure),
    /// The peer speaks TLS, and has refused to.
    Refused(Failure),
    /// The peer may not speak TLS at all.
    Unspoken(Failure),
}

impl From<NoTls> for Failure {
    fn from(error: NoTls) -> Self {
        match error {
            NoTls::Untrusted(failure) | NoTls::Refused(failure) | NoTls::Unspoken(failure) => {
                failure
            }
        }
    }
}

/// Returns who has signed a server's certificate, for messages.
pub(crate) fn signer<S>(stream: &TlsStream<S>) -> Option<String> {
    let (_, connection) = stream.get_ref();
    issuer::of(connection.peer_certificates()?.first()?)
}

/// Longest TLS handshake: two round trips, so ten seconds is a dead peer on any link.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

fn build_config(roots: RootCertStore) -> Result<ClientConfig, Failure> {
    let fail = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failure, format!("TLS cannot be set up: {error}"))
    };
    // The provider is named, not taken from the process-wide default, which panics as soon as
    // two providers are linked.
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = NamingVerifier(verifier.build().map_err(|error| fail(&error))?);
    // TLS 1.2 and 1.3 are all that rustls has.
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fail(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

/// The usual verifier, whose every decision stands; when it does not know who has signed a certificate, the error names them.
#[derive(Debug)]
struct NamingVerifier(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for NamingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                let topmost = intermediates.last().unwrap_or(end_entity);
                let signer =
                    issuer::of(topmost).unwrap_or_else(|| "somebody without a name".to_owned());
                let error = OtherError(Arc::new(UntrustedSigner(signer)));
                rustls::Error::InvalidCertificate(CertificateError::Other(error))
            }
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Who has signed a chain that is not trusted.
#[derive(Debug, thiserror::Error)]
#[error("it is signed by {0}, whom this machine does not trust")]
struct UntrustedSigner(String);

fn explain(error: &io::Error, host: &str) -> NoTls {
    let untrusted = |why: &dyn std::fmt::Display, hint: &str| {
        let message = format!("the TLS certificate of {host} is not trusted: {why}");
        NoTls::Untrusted(Failure::new(Exit::Failure, message).with_hint(hint))
    };
    let unspoken = |message: String, hint: &str| {
        NoTls::Unspoken(Failure::new(Exit::Failure, message).with_hint(hint))
    };
    match error.get_ref().and_then(|cause| cause.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why)))) => {
            untrusted(
                why,
                match why.is::<UntrustedSigner>() {
                    true => {
                        "that looks like TLS inspection, or a CA of your own: give its certificate with --ca-bundle FILE or AWS_CA_BUNDLE"
                    }
                    false => {
                        "no CA bundle mends that, the certificate itself does not suit a server: a self-signed one must not be a CA's (CA:FALSE)"
                    }
                },
            )
        }
        Some(rustls::Error::InvalidCertificate(
            why @ (CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }),
        )) => untrusted(why, "check that this machine's clock is right"),
        Some(rustls::Error::InvalidCertificate(why)) => untrusted(
            why,
            "something else than the service answers at this address: check the endpoint and DNS",
        ),
        Some(rustls::Error::AlertReceived(alert)) => {
            let message = format!("{host} ended the TLS handshake with the alert {alert:?}");
            NoTls::Refused(Failure::new(Exit::Failure, message).with_hint(alert_hint(*alert)))
        }
        Some(error) => unspoken(
            format!("the TLS handshake with {host} failed: {error}"),
            "something that does not speak TLS may listen there: check the endpoint URL",
        ),
        None => {
            let (how, hint) = broken(error);
            let message = format!("the connection to {host} {how} in the TLS handshake: {error}");
            unspoken(message, hint)
        }
    }
}

/// What it means that the other side does not want to speak TLS with us (RFC 8446, section 6).
fn alert_hint(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::ProtocolVersion
        | AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity => {
            "it, or a TLS inspection on the way, is too old: TLS 1.2 with ECDHE is the least that AWS and ssmfwd speak"
        }
        AlertDescription::UnrecognisedName => {
            "what listens there does not serve this name: check the endpoint URL and DNS"
        }
        AlertDescription::CertificateRequired | AlertDescription::BadCertificate => {
            "it wants a certificate of the client's, which no service of AWS does: something else is there, or on the way"
        }
        AlertDescription::AccessDenied => {
            "a firewall or a TLS inspection on the way forbids this host: have it exempted"
        }
        _ => "the other side, or a TLS inspection on the way, refuses: ask whoever runs it",
    }
}

/// How a connection ended in the handshake, and what to do about it.
fn broken(error: &io::Error) -> (&'static str, &'static str) {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => (
            "was reset",
            "that is how firewalls forbid a host whose name they see in the handshake: have this one exempted",
        ),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => (
            "was closed",
            "a load balancer without a backend does that, a port without TLS, and some firewalls: check the endpoint URL, and \
             that the host may be reached",
        ),
        _ => (
            "broke",
            "look at what is between this machine and the service: proxy, firewall, VPN",
        ),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Shakes hands with a peer that does not speak TLS.
    async fn fail_handshake(stream: tokio::io::DuplexStream) -> Failure {
        match Trust::default().handshake("localhost", stream).await {
            Err(NoTls::Unspoken(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn garbage_instead_of_tls_is_named() {
        let (client, mut server) = tokio::io::duplex(4096);
        server
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        let failure = fail_handshake(client).await;
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
        let failure = fail_handshake(client).await;
        assert!(
            failure.message.contains("was closed in the TLS handshake"),
            "{failure}"
        );
    }

    #[test]
    fn resets_and_alerts_are_told_apart() {
        let alert = |alert| {
            let error = rustls::Error::AlertReceived(alert);
            Failure::from(explain(&io::Error::other(error), "a.example"))
        };
        let old = alert(AlertDescription::HandshakeFailure);
        assert_eq!(
            old.message,
            "a.example ended the TLS handshake with the alert HandshakeFailure"
        );
        let ended = |kind: io::ErrorKind| Failure::from(explain(&kind.into(), "a.example"));
        let reset = ended(io::ErrorKind::ConnectionReset);
        assert!(
            reset.message.contains("was reset in the TLS handshake"),
            "{reset}"
        );
        let closed = ended(io::ErrorKind::UnexpectedEof);
        let hints = [
            old.hint,
            alert(AlertDescription::UnrecognisedName).hint,
            alert(AlertDescription::InternalError).hint,
            reset.hint,
            closed.hint,
        ];
        for (at, hint) in hints.iter().enumerate() {
            assert!(!hints[at + 1..].contains(hint), "{hint:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_given_up_on() {
        let (client, _server) = tokio::io::duplex(4096);
        let failure = fail_handshake(client).await;
        assert!(failure.message.contains("within 10 s"), "{failure}");
    }

    #[test]
    fn only_an_untrusted_signer_is_cured_by_a_bundle() {
        #[derive(Debug, thiserror::Error)]
        #[error("CaUsedAsEndEntity")]
        struct Unsuitable;
        let explained = |error: OtherError| {
            let error = CertificateError::Other(error);
            Failure::from(explain(
                &io::Error::other(rustls::Error::InvalidCertificate(error)),
                "a.example",
            ))
        };
        let unknown = explained(OtherError(Arc::new(UntrustedSigner("CN=Corp".to_owned()))));
        assert!(unknown.message.contains("signed by CN=Corp"), "{unknown}");
        assert!(unknown.hint.unwrap().contains("--ca-bundle FILE"));
        let unsuitable = explained(OtherError(Arc::new(Unsuitable)));
        assert!(
            unsuitable.message.ends_with(": CaUsedAsEndEntity"),
            "{unsuitable}"
        );
        assert!(unsuitable.hint.unwrap().contains("CA:FALSE"));
    }

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let refuse = |file: &Path, why: &str| {
            let failure = Trust::with_bundle(file, "AWS_CA_BUNDLE").unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains("of AWS_CA_BUNDLE"), "{failure}");
            assert!(failure.message.contains(why), "{failure}");
        };
        refuse(&directory.path().join("none.pem"), "No such file");
        refuse(directory.path(), "directory");
        let file = directory.path().join("file.pem");
        std::fs::write(&file, "this is no certificate").unwrap();
        refuse(&file, "it has no certificate");
        std::fs::write(
            &file,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .unwrap();
        refuse(&file, "BadEncoding");
    }
}
