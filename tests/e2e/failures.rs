//! What cannot work is said clearly, with its exit code, and leaves nothing behind.

use std::net::TcpListener;

use ssmfwd::lab::Target;
use tokio::io::AsyncWriteExt;

use crate::support::{Client, Exit, Fixture, TARGET, connect, expect_reset, serve, unused_port};

/// Fails unless no session was ever started.
#[track_caller]
fn expect_no_session(fixture: &Fixture) {
    assert_eq!(fixture.lab.sessions(), []);
}

#[tokio::test]
async fn a_busy_port_is_named_with_its_holder_and_costs_no_session() {
    let fixture = Fixture::new().await;
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    // The other forward could have been bound.
    let exit = fixture.run(&[TARGET, "7:0", &format!("80:{port}")]).await;
    exit.expect(
        5,
        &[
            &format!("cannot listen on port {port} of localhost"),
            "hint: ",
        ],
    );
    #[cfg(target_os = "linux")]
    exit.expect(5, &[&format!("(process {})", std::process::id())]);
    expect_no_session(&fixture);
}

#[tokio::test]
async fn an_unknown_target_is_named() {
    let fixture = Fixture::new().await;
    let exit = fixture.run(&["i-0123456789abcdef0", "80:0"]).await;
    exit.expect(4, &["i-0123456789abcdef0", "hint: "]);
    expect_no_session(&fixture);
}

#[tokio::test]
async fn an_offline_target_is_told_from_an_unknown_one() {
    let fixture = Fixture::with(|config| {
        config.targets.push(Target {
            online: false,
            ..Target::new("i-0fff")
        });
    });
    let fixture = fixture.await;
    let exit = fixture.run(&["i-0fff", "80:0"]).await;
    exit.expect(4, &["i-0fff", "not connected", "hint: "]);
    let unknown = fixture.run(&["i-0123456789abcdef0", "80:0"]).await;
    assert_ne!(
        unknown.stderr.replace("i-0123456789abcdef0", "i-0fff"),
        exit.stderr
    );
    expect_no_session(&fixture);
}

/// Runs the binary without some variables of the lab's environment.
async fn run_without(fixture: &Fixture, missing: &[&str]) -> Exit {
    let mut command = fixture.command(&[TARGET, "80:0"]);
    for name in missing {
        command.env_remove(name);
    }
    Client::spawn(command).exit().await
}

#[tokio::test]
async fn missing_credentials_say_how_to_supply_them() {
    let fixture = Fixture::new().await;
    let missing = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let exit = run_without(&fixture, &missing).await;
    exit.expect(3, &["no AWS credentials were found", "AWS_ACCESS_KEY_ID"]);
    expect_no_session(&fixture);
}

#[tokio::test]
async fn wrong_credentials_are_refused() {
    let fixture = Fixture::new().await;
    let mut command = fixture.command(&[TARGET, "80:0"]);
    command.env("AWS_SECRET_ACCESS_KEY", "wrong");
    let exit = Client::spawn(command).exit().await;
    let causes = ["clock", "secret access key", "--region and --endpoint-url"];
    exit.expect(3, &["does not accept the signature", "hint: "]);
    exit.expect(3, &causes);
    expect_no_session(&fixture);
}

#[tokio::test]
async fn a_missing_region_is_a_usage_error() {
    let fixture = Fixture::new().await;
    let exit = run_without(&fixture, &["AWS_REGION", "AWS_DEFAULT_REGION"]).await;
    exit.expect(2, &["region", "hint: ", "--region"]);
    expect_no_session(&fixture);
}

#[tokio::test]
async fn a_denied_start_names_the_permission() {
    let fixture = Fixture::with_chaos("deny=StartSession").await;
    let exit = fixture.run(&[TARGET, "80:0"]).await;
    exit.expect(
        3,
        &[
            "ssm:StartSession was denied",
            "hint: allow ssm:StartSession",
        ],
    );
    expect_no_session(&fixture);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named() {
    let fixture = Fixture::new().await;
    let (_reserved, port) = unused_port();
    let mut command = fixture.command(&[TARGET, "80:0"]);
    command.env("AWS_ENDPOINT_URL_SSM", format!("http://127.0.0.1:{port}"));
    let exit = Client::spawn(command).exit().await;
    let refused = format!("failed: 127.0.0.1:{port} refused the connection");
    exit.expect(1, &[&refused, "check the address"]);
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_named_with_what_names_it() {
    let fixture = Fixture::new().await;
    let (_reserved, port) = unused_port();
    let url = format!("http://127.0.0.1:{port}");
    let refused = format!("127.0.0.1:{port} refused the connection; ");
    let by_option = fixture
        .run(&[TARGET, "80:0", "--endpoint", &format!("ssmmessages={url}")])
        .await;
    by_option.expect(
        1,
        &[&refused, "ssmmessages has that address from --endpoint"],
    );
    let mut command = fixture.command(&[TARGET, "80:0"]);
    command.env("AWS_ENDPOINT_URL_SSMMESSAGES", &url);
    let by_variable = Client::spawn(command).exit().await;
    let from = "ssmmessages has that address from AWS_ENDPOINT_URL_SSMMESSAGES";
    by_variable.expect(1, &[&refused, from]);
    let path = fixture.directory().join("config");
    let text = format!(
        "[default]\nservices = local\n[services local]\nssmmessages =\n  endpoint_url = {url}/x\n"
    );
    std::fs::write(&path, text).unwrap();
    let mut command = fixture.command(&[TARGET, "80:0"]);
    command
        .env_remove("AWS_ENDPOINT_URL")
        .env("AWS_CONFIG_FILE", &path);
    let by_file = Client::spawn(command).exit().await;
    by_file.expect(
        2,
        &["of ssmmessages (the AWS configuration file) has more than"],
    );
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_proxy_that_does_not_speak_tls_is_to_be_called_http() {
    let fixture = Fixture::new().await;
    let proxy = serve(async |mut socket| {
        let answer = b"HTTP/1.0 400 Bad Request\r\n\r\n";
        // Whoever wants to speak TLS hangs up.
        let _: std::io::Result<()> = socket.write_all(answer).await;
    })
    .await;
    let mut command = fixture.command(&[TARGET, "80:0", "--region", "us-east-1"]);
    command
        .env_remove("AWS_ENDPOINT_URL")
        .env_remove("AWS_ENDPOINT_URL_SSM")
        .env("HTTPS_PROXY", format!("https://127.0.0.1:{proxy}"));
    let exit = Client::spawn(command).exit().await;
    let unreachable = format!("the proxy 127.0.0.1:{proxy} (HTTPS_PROXY) cannot be reached");
    exit.expect(1, &[&unreachable, "write http:// in front of its name"]);
}

#[tokio::test]
async fn one_forward_that_cannot_start_ends_the_others() {
    let fixture = Fixture::new().await;
    let remote_host = "169.254.169.254:80:0";
    let exit = fixture.run(&[TARGET, "7:0", remote_host, "80:0"]).await;
    exit.expect(6, &["169.254.169.254"]);
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_refused_port_resets_the_local_connection_with_one_line() {
    let fixture = Fixture::new().await;
    let (_reserved, port) = unused_port();
    let mut client = Client::spawn(fixture.command(&[TARGET, &format!("{port}:0")]));
    let line = client.stderr_line(" is now ").await;
    let (_, local) = line.trim_end().rsplit_once(':').unwrap();
    expect_reset(&mut connect(local.parse().unwrap()).await).await;
    let refused = client.stderr_line("was reset").await;
    assert_eq!(
        refused,
        format!(
            "connection 1 of {port}:0 was reset: nothing accepts connections on port {port} of {TARGET}\n"
        )
    );
    let exit = client.stop().await;
    assert_eq!(exit.stderr, format!("{line}{refused}"));
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_refused_connection_does_not_disturb_the_others() {
    let fixture = Fixture::new().await;
    let (reserved, port) = unused_port();
    let (client, local) = fixture.forward(port).await;
    expect_reset(&mut connect(local).await).await;
    reserved.listen(1).unwrap();
    let _socket = connect(local).await;
    let accepting = tokio::task::spawn_blocking(move || reserved.accept().map(drop));
    crate::support::bounded("connection at the target", accepting)
        .await
        .unwrap()
        .unwrap();
    client.stop().await;
}
