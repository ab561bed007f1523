//! Certificates of a CA of one's own, and the gateway's own address.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use url::Url;

use super::namespace::PASSWORD;
use super::tls::Authority;
use crate::support::{Client, Exit, Fixture, TARGET, connect, read_to_end, serve, unused_port};

/// A lab behind TLS at https://localhost:PORT.
struct Fronted {
    fixture: Fixture,
    authority: Authority,
    url: String,
}

impl Fronted {
    /// Starts it with stream URLs at `gateway`, or at the same address.
    async fn new(gateway: Option<&str>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let authority = Authority::new("Corp Inspection CA");
        let fixture = Fixture::with(|config| {
            config.public_url = Some(Url::parse(&url).unwrap());
            config.gateway_url = gateway.map(|gateway| Url::parse(gateway).unwrap());
        })
        .await;
        authority.front(listener, &["localhost"], fixture.lab.address());
        Self {
            fixture,
            authority,
            url,
        }
    }

    /// A forward of `port`, with the CA trusted.
    fn forward(&self, port: u16) -> Command {
        let mut command = self
            .fixture
            .command(&["--json", TARGET, &format!("{port}:0")]);
        command.env("AWS_CA_BUNDLE", self.authority.bundle());
        command
    }
}

/// Expects that a forward carries what its destination says.
pub(super) async fn expect_forward(command: Command) {
    let mut client = Client::spawn(command);
    let port = client.connected().await;
    let (said, _) = read_to_end(&mut connect(port).await).await;
    assert_eq!(said, b"hello");
    expect_no_password(&client.stop().await);
}

/// Expects that nobody was told the proxy's password, as it is or as it is sent.
pub(super) fn expect_no_password(exit: &Exit) {
    for output in [&exit.stdout, &exit.stderr] {
        assert!(!output.contains(PASSWORD), "{output}");
        assert!(!output.contains("Basic "), "{output}");
    }
}

pub(super) async fn greeter() -> u16 {
    serve(|mut socket| async move {
        socket.write_all(b"hello").await.unwrap();
    })
    .await
}

#[tokio::test]
async fn a_ca_is_trusted_by_flag_by_environment_and_by_profile() {
    let lab = Fronted::new(None).await;
    let port = greeter().await;
    let bundle = lab.authority.bundle();
    expect_forward(lab.forward(port)).await;

    let mut flag = lab.forward(port);
    // The flag comes before the variable.
    flag.env("AWS_CA_BUNDLE", "/nonexistent")
        .arg("--ca-bundle")
        .arg(&bundle);
    expect_forward(flag).await;

    let mut profile = lab.forward(port);
    let config = lab.fixture.directory().join("config");
    std::fs::write(
        &config,
        format!("[default]\nca_bundle = {}\n", bundle.display()),
    )
    .unwrap();
    profile
        .env_remove("AWS_CA_BUNDLE")
        .env("AWS_CONFIG_FILE", config);
    expect_forward(profile).await;
}

#[tokio::test]
async fn an_untrusted_certificate_names_its_signer() {
    let lab = Fronted::new(None).await;
    let mut command = lab.forward(80);
    command.env_remove("AWS_CA_BUNDLE");
    let exit = Client::spawn(command).exit().await;
    assert!(
        exit.stdout.contains("CN=Corp Inspection CA, O=Corp"),
        "{}",
        exit.stdout
    );
    assert!(exit.stdout.contains("--ca-bundle"), "{}", exit.stdout);
    assert_eq!(exit.code(), Some(1));
    // Another CA of the same name is another CA.
    let mut other = lab.forward(80);
    let authority = Authority::new("Corp Inspection CA");
    other.env("AWS_CA_BUNDLE", authority.bundle());
    let exit = Client::spawn(other).exit().await;
    assert!(exit.stdout.contains("is not trusted"), "{}", exit.stdout);
    assert_eq!(exit.code(), Some(1));
}

#[tokio::test]
async fn a_bundle_that_cannot_be_read_is_named() {
    let lab = Fronted::new(None).await;
    let mut command = lab.forward(80);
    command.env("AWS_CA_BUNDLE", "/nonexistent.pem");
    let exit = Client::spawn(command).exit().await;
    assert!(
        exit.stdout.contains("/nonexistent.pem of AWS_CA_BUNDLE"),
        "{}",
        exit.stdout
    );
    assert_eq!(exit.code(), Some(2));
}

/// The service's stream URLs lead nowhere from here.
#[tokio::test]
async fn the_gateways_own_address_replaces_that_of_stream_urls() {
    let lab = Fronted::new(Some("https://ssmmessages.us-east-1.amazonaws.com")).await;
    let port = greeter().await;
    let url = &lab.url;

    let mut flag = lab.forward(port);
    flag.args(["--endpoint", &format!("ssmmessages={url}")]);
    expect_forward(flag).await;

    let mut variable = lab.forward(port);
    variable.env("AWS_ENDPOINT_URL_SSMMESSAGES", url);
    expect_forward(variable).await;

    let mut section = lab.forward(port);
    let config = lab.fixture.directory().join("config");
    let lines = format!(
        "[default]\nservices = private\n[services private]\nssm =\n  endpoint_url = {url}\nssmmessages =\n  endpoint_url = {url}\n"
    );
    std::fs::write(&config, lines).unwrap();
    section
        .env_remove("AWS_ENDPOINT_URL_SSM")
        .env("AWS_CONFIG_FILE", &config);
    expect_forward(section).await;

    let mut ignored = lab.forward(port);
    ignored
        .env("AWS_CONFIG_FILE", config)
        .env("AWS_ENDPOINT_URL_SSMMESSAGES", url)
        .env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
        .args(["--endpoint-url", url]);
    // A proxy that refuses keeps the test from whatever network there is.
    let (_guard, unused) = unused_port();
    ignored.env("HTTPS_PROXY", format!("http://127.0.0.1:{unused}"));
    let exit = Client::spawn(ignored).exit().await;
    assert!(
        exit.stdout.contains("the proxy 127.0.0.1"),
        "{}",
        exit.stdout
    );
    assert_eq!(exit.code(), Some(1));
    lab.fixture.no_session_left().await;
}
