//! Other ways to use a proxy: in TLS, for requests that are not encrypted, for credentials, and as the AWS CLI's plugin.

use tokio::net::TcpListener;

use super::namespace::{PASSWORD, PROXY, USER, dns, entered, proxy, proxy_with};
use super::paths::{API, GATEWAY, PLAIN, Service, expect_failure};
use super::trust::{expect_forward, expect_no_password, greeter};
use crate::plugin::cli::{PORT_DOCUMENT, start_session};
use crate::support::{Client, Fixture, TARGET, connect, read_to_end, serve, unused_port};

/// The proxy's name, of which its own certificate is.
const NAME: &str = "proxy.corp.example";

#[tokio::test]
async fn a_proxy_may_be_spoken_to_in_tls() {
    if !entered("network::proxies::a_proxy_may_be_spoken_to_in_tls").await {
        return;
    }
    let service = Service::new().await;
    let _dns = dns(&[(NAME, "10.20.0.81")]).await;
    let names = format!("10.20.0.10 {API} {GATEWAY}\n");
    let _proxy = proxy(service.fixture.directory(), &names).await;
    let listener = TcpListener::bind("10.20.0.81:3129").await.unwrap();
    service
        .authority
        .front(listener, &[NAME], PROXY.parse().unwrap());

    let url = format!("https://{USER}:{PASSWORD}@{NAME}:3129");
    let mut trusted = service.forward(greeter().await);
    trusted.env("HTTPS_PROXY", &url);
    expect_forward(trusted).await;

    let mut untrusted = service.forward(80);
    untrusted
        .env("HTTPS_PROXY", &url)
        .env_remove("AWS_CA_BUNDLE");
    let why = "the TLS certificate of proxy.corp.example is not trusted: it is signed by CN=Corp Inspection CA";
    expect_failure(untrusted, 1, &["cannot be reached", why]).await;
    service.fixture.no_session_left().await;
}

/// Each attempt with a password that is refused brings the user's account nearer to being locked.
#[tokio::test]
async fn a_password_that_is_refused_is_not_repeated() {
    if !entered("network::proxies::a_password_that_is_refused_is_not_repeated").await {
        return;
    }
    let service = Service::new().await;
    let _dns = dns(&[]).await;
    let names = format!("10.20.0.10 {API} {GATEWAY}\n");
    let mut proxy = proxy(service.fixture.directory(), &names).await;
    let mut command = service.forward(greeter().await);
    command.env("HTTPS_PROXY", format!("http://{USER}:{PASSWORD}@{PROXY}"));
    let mut client = Client::spawn(command);
    let port = client.connected().await;
    let (said, _) = read_to_end(&mut connect(port).await).await;
    assert_eq!(said, b"hello");

    proxy.kill().await.unwrap();
    let _proxy = proxy_with(service.fixture.directory(), &names, "another").await;
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(1), "{}{}", exit.stdout, exit.stderr);
    let why = "does not accept the user and password";
    assert!(exit.stdout.contains(why), "{}", exit.stdout);
    expect_no_password(&exit);
}

#[tokio::test]
async fn requests_without_tls_are_forwarded() {
    if !entered("network::proxies::requests_without_tls_are_forwarded").await {
        return;
    }
    let service = Service::new().await;
    let _dns = dns(&[]).await;
    let names = format!("10.20.0.10 {API} {GATEWAY}\n127.0.0.1 {PLAIN}\n");
    let _proxy = proxy(service.fixture.directory(), &names).await;
    let endpoint = format!("http://{PLAIN}:{}", service.fixture.lab.address().port());
    let url = format!("http://{USER}:{PASSWORD}@{PROXY}");

    let mut command = service.forward(greeter().await);
    command.args(["--endpoint-url", &endpoint]);
    command.env("HTTP_PROXY", &url).env("HTTPS_PROXY", &url);
    expect_forward(command).await;

    let mut anonymous = service.forward(80);
    anonymous.args(["--endpoint-url", &endpoint]);
    anonymous.env("HTTP_PROXY", format!("http://{PROXY}"));
    expect_failure(anonymous, 1, &["wants a user and password (HTTP 407)"]).await;
    service.fixture.no_session_left().await;
}

#[tokio::test]
async fn the_aws_cli_and_its_plugin_share_the_proxy() {
    if !entered("network::proxies::the_aws_cli_and_its_plugin_share_the_proxy").await {
        return;
    }
    let service = Service::new().await;
    let _dns = dns(&[]).await;
    let names = format!("10.20.0.10 {API} {GATEWAY}\n");
    let _proxy = proxy(service.fixture.directory(), &names).await;
    let port = greeter().await;
    let parameters = format!("portNumber={port},localPortNumber=5999");
    let mut command = start_session(&service.fixture, PORT_DOCUMENT, &parameters);
    service.adapt(&mut command);
    command.env("HTTPS_PROXY", format!("http://{USER}:{PASSWORD}@{PROXY}"));
    let mut client = Client::spawn(command);
    client.stdout_line("Waiting for connections").await;
    let (said, _) = read_to_end(&mut connect(5999).await).await;
    assert_eq!(said, b"hello");
}

/// The search for credentials has clients of its own.
#[tokio::test]
async fn credentials_come_through_the_proxy_too() {
    let fixture = Fixture::new().await;
    let config = fixture.directory().join("config");
    let role = "[profile role]\nrole_arn = arn:aws:iam::111122223333:role/r\nsource_profile = keys\n\
                [profile keys]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = SECRETEXAMPLE\n";
    std::fs::write(&config, role).unwrap();
    let (_guard, port) = unused_port();
    for profile in [&["--profile", "role"][..], &[]] {
        let mut command = fixture.bare_command();
        command
            .args(["--json", TARGET, "80:0", "--region", "us-east-1"])
            .args(profile);
        command
            .env("AWS_CONFIG_FILE", &config)
            .env("AWS_PROFILE", "role");
        command.env(
            "HTTPS_PROXY",
            format!("http://u:{PASSWORD}@127.0.0.1:{port}"),
        );
        let why = format!(
            "the AWS credentials cannot be loaded: the proxy 127.0.0.1:{port} (HTTPS_PROXY) cannot be reached"
        );
        expect_failure(command, 1, &[&why]).await;
    }
}

#[tokio::test]
async fn a_proxy_that_hangs_up_or_is_none_is_named() {
    let fixture = Fixture::new().await;
    let mute = serve(|socket| async move { drop(socket) }).await;
    let other = serve(|mut socket| async move {
        // Whatever the client sends, as an SSH server does.
        let _: Result<_, _> =
            tokio::io::AsyncWriteExt::write_all(&mut socket, b"SSH-2.0-other\r\n").await;
        let _: Result<_, _> = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
    })
    .await;
    for (port, why) in [
        (mute, "the connection"),
        (other, "answered something that is not HTTP"),
    ] {
        let mut command = fixture.command(&["--json", TARGET, "80:0"]);
        command
            .env_remove("AWS_ENDPOINT_URL_SSM")
            .args(["--proxy", &format!("http://127.0.0.1:{port}")]);
        let proxy = format!("the proxy 127.0.0.1:{port} (--proxy)");
        expect_failure(command, 1, &[&proxy, why]).await;
    }
}
