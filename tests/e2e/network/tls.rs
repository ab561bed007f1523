//! TLS in front of a lab, with a CA made for the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A CA that nobody trusts of himself.
pub(crate) struct Authority {
    directory: TempDir,
}

impl Authority {
    /// Makes a CA that certificates name as their issuer by `name`.
    pub(crate) fn new(name: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let subject = format!("/O=Corp/CN={name}");
        let make = [
            "req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", &subject,
        ];
        openssl(directory.path(), &[&make, KEY].concat());
        Self { directory }
    }

    /// The CA's certificate.
    pub(super) fn bundle(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Takes TLS off connections to `listener`, whose names are `names`, and leads them to `lab`.
    pub(crate) fn front(&self, listener: TcpListener, names: &[&str], lab: SocketAddr) {
        let acceptor = TlsAcceptor::from(Arc::new(self.server_config(names)));
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Clients that do not trust the certificate hang up.
                    let Ok(mut client) = acceptor.accept(socket).await else {
                        return;
                    };
                    let mut server = TcpStream::connect(lab).await.unwrap();
                    let _: Result<_, _> = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
    }

    fn server_config(&self, names: &[&str]) -> ServerConfig {
        let directory = self.directory.path();
        let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let names = format!("subjectAltName={}", names.join(","));
        let request = [
            "req",
            "-new",
            "-keyout",
            "key",
            "-out",
            "csr",
            "-subj",
            "/CN=front",
            "-addext",
            &names,
        ];
        openssl(directory, &[&request, KEY].concat());
        openssl(
            directory,
            &[
                "x509",
                "-req",
                "-in",
                "csr",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-days",
                "2",
                "-copy_extensions",
                "copy",
                "-out",
                "pem",
            ],
        );
        let certificate = CertificateDer::from_pem_file(directory.join("pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(directory.join("key")).unwrap();
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap()
    }
}

const KEY: &[&str] = &[
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
];

fn openssl(directory: &Path, arguments: &[&str]) {
    let output = Command::new("openssl")
        .current_dir(directory)
        .args(arguments)
        .output();
    let output = output.expect("the program openssl, of the package openssl");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {errors}");
}
