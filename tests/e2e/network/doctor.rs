//! What `ssmfwd doctor` says of networks.

use tokio::process::Command;

use super::namespace::{PASSWORD, PROXY, USER, dns, entered, proxy};
use super::paths::{API, GATEWAY, Service};
use super::trust::expect_no_password;
use crate::support::{Client, TARGET};

impl Service {
    fn doctor(&self) -> Command {
        let mut command = self.fixture.command(&["doctor", TARGET]);
        self.adapt(&mut command);
        command
    }
}

/// Expects the doctor to end with this code and say these lines, given by what they begin with.
async fn expect_findings(command: Command, code: i32, lines: &[&str]) {
    let exit = Client::spawn(command).exit().await;
    assert_eq!(exit.code(), Some(code), "{}{}", exit.stdout, exit.stderr);
    for line in lines {
        let mut said = exit.stdout.lines();
        assert!(
            said.any(|said| said.starts_with(line)),
            "{line:?} is not in:\n{}",
            exit.stdout
        );
    }
    expect_no_password(&exit);
}

#[tokio::test]
async fn private_dns_and_inspection_are_recognised() {
    if !entered("network::doctor::private_dns_and_inspection_are_recognised").await {
        return;
    }
    let service = Service::new().await;
    let _dns = dns(&[(API, "10.20.0.10"), (GATEWAY, "10.20.0.10")]).await;
    let private =
        format!("ok    DNS: {API} is 10.20.0.10 (private); {GATEWAY} is 10.20.0.10 (private)");
    let inspected = format!(
        "warn  connection ssm, ssmmessages: {API}:443 answers; its certificate is signed by CN=Corp Inspection CA, O=Corp: TLS is inspected"
    );
    expect_findings(
        service.doctor(),
        0,
        &[
            &private,
            &inspected,
            "ok    clock: ",
            "warn  identity: not known, which sessions do without: ",
            "ok    target: ",
        ],
    )
    .await;
    let mut untrusting = service.doctor();
    untrusting.env_remove("AWS_CA_BUNDLE");
    let untrusted = format!(
        "FAIL  connection ssm, ssmmessages: the TLS certificate of {API} is not trusted: it is signed by CN=Corp Inspection CA"
    );
    expect_findings(
        untrusting,
        1,
        &[
            &private,
            &untrusted,
            "skip  clock, identity, target, agent, start session, own sessions, preferences, encryption: not checked, need connection",
        ],
    )
    .await;
}

#[tokio::test]
async fn split_dns_and_blocked_paths_are_recognised() {
    if !entered("network::doctor::split_dns_and_blocked_paths_are_recognised").await {
        return;
    }
    let service = Service::new().await;
    let _dns = dns(&[(API, "10.99.0.5"), (GATEWAY, "198.51.100.7")]).await;
    expect_findings(
        service.doctor(),
        1,
        &[
            &format!(
                "warn  DNS: split: {API} is 10.99.0.5 (private); {GATEWAY} is 198.51.100.7 (public)"
            ),
            &format!("FAIL  connection ssm: no connection to {API}:443 (10.99.0.5) within"),
            "      fix: that is a private address, such as a VPC endpoint's",
            &format!(
                "FAIL  connection ssmmessages: no connection to {GATEWAY}:443 (198.51.100.7) within"
            ),
            "      fix: a firewall or a missing route swallows the packets",
        ],
    )
    .await;
}

#[tokio::test]
async fn the_way_through_a_proxy_is_told() {
    if !entered("network::doctor::the_way_through_a_proxy_is_told").await {
        return;
    }
    let service = Service::new().await;
    let _dns = dns(&[]).await;
    let names = format!("10.20.0.10 {API} {GATEWAY}\n");
    let _proxy = proxy(service.fixture.directory(), &names).await;
    let mut through = service.doctor();
    through.env("HTTPS_PROXY", format!("http://{USER}:{PASSWORD}@{PROXY}"));
    let looked_up = format!("ok    DNS: {API} is looked up by the proxy {PROXY} (HTTPS_PROXY); ");
    let reached = format!(
        "warn  connection ssm, ssmmessages: {API}:443 answers through the proxy {PROXY} (HTTPS_PROXY); "
    );
    expect_findings(through, 0, &[&looked_up, &reached, "ok    target: "]).await;
    let mut stranger = service.doctor();
    stranger.env("HTTPS_PROXY", format!("http://{PROXY}"));
    expect_findings(
        stranger,
        1,
        &["FAIL  connection ssm, ssmmessages: the proxy "],
    )
    .await;
    let direct = format!("FAIL  DNS ssm, ssmmessages: cannot resolve {API}");
    expect_findings(
        service.doctor(),
        1,
        &[
            &direct,
            "skip  connection, clock, identity, target, agent, start session, own sessions, preferences, encryption: not \
             checked, need DNS",
        ],
    )
    .await;
}
