//! Ways to the service: only a proxy, only VPC endpoints, only through TLS inspection, and none.

use tokio::net::TcpListener;
use tokio::process::Command;
use url::Url;

use super::namespace::{PASSWORD, PROXY, USER, dns, entered, proxy};
use super::tls::Authority;
use super::trust::{expect_forward, expect_no_password, greeter};
use crate::support::{Client, Exit, Fixture, TARGET};

pub(super) const API: &str = "ssm.us-east-1.amazonaws.com";
pub(super) const GATEWAY: &str = "ssmmessages.us-east-1.amazonaws.com";
const VPC_API: &str = "vpce-0a1-b2.ssm.us-east-1.vpce.amazonaws.com";
const VPC_GATEWAY: &str = "vpce-0a1-b2.ssmmessages.us-east-1.vpce.amazonaws.com";

/// A name by which the lab is called without TLS.
pub(super) const PLAIN: &str = "lab.corp.example";

/// AWS as far as clients can see: a lab behind TLS at 10.20.0.10:443, under the names of AWS.
pub(super) struct Service {
    pub(super) fixture: Fixture,
    pub(super) authority: Authority,
}

impl Service {
    pub(super) async fn new() -> Self {
        Self::at(API).await
    }

    /// The API's name is `api`; stream URLs have the gateway's public one.
    pub(super) async fn at(api: &str) -> Self {
        let listener = TcpListener::bind("10.20.0.10:443").await.unwrap();
        let authority = Authority::new("Corp Inspection CA");
        let url = |host: &str| Some(Url::parse(&format!("https://{host}")).unwrap());
        let fixture = Fixture::with(|config| {
            config.public_url = url(api);
            config.gateway_url = url(GATEWAY);
            config.aliases = vec![VPC_GATEWAY.to_owned(), PLAIN.to_owned()];
        })
        .await;
        let names = [API, GATEWAY, VPC_API, VPC_GATEWAY];
        authority.front(listener, &names, fixture.lab.address());
        Self { fixture, authority }
    }

    /// A forward whose user has credentials, a region and the CA, and says nothing of endpoints.
    pub(super) fn forward(&self, port: u16) -> Command {
        let mut command = self
            .fixture
            .command(&["--json", "-vvv", TARGET, &format!("{port}:0")]);
        self.adapt(&mut command);
        command
    }

    /// Has a command find this service where AWS would be.
    pub(super) fn adapt(&self, command: &mut Command) {
        for (name, _) in self.fixture.lab.environment() {
            if name.starts_with("AWS_ENDPOINT_URL") {
                command.env_remove(name);
            }
        }
        command.env("AWS_CA_BUNDLE", self.authority.bundle());
    }
}

/// Expects a failure of this exit code with these texts.
pub(super) async fn expect_failure(command: Command, code: i32, texts: &[&str]) -> Exit {
    let exit = Client::spawn(command).exit().await;
    assert_eq!(exit.code(), Some(code), "{}{}", exit.stdout, exit.stderr);
    for text in texts {
        assert!(
            exit.stdout.contains(text),
            "{text:?} is not in:\n{}",
            exit.stdout
        );
    }
    expect_no_password(&exit);
    exit
}

#[tokio::test]
async fn a_proxy_is_the_only_way_out() {
    if !entered("network::paths::a_proxy_is_the_only_way_out").await {
        return;
    }
    let service = Service::new().await;
    let _dns = dns(&[]).await;
    let names = format!("10.20.0.10 {API} {GATEWAY}\n198.51.100.7 elsewhere.example\n");
    let _proxy = proxy(service.fixture.directory(), &names).await;
    let port = greeter().await;
    let url = format!("http://{USER}:{PASSWORD}@{PROXY}");

    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let mut command = service.forward(port);
        expect_forward({
            command.env(variable, &url);
            command
        })
        .await;
    }
    let mut flag = service.forward(port);
    flag.args(["--proxy", &url])
        .env("HTTPS_PROXY", "http://10.20.0.81:1");
    expect_forward(flag).await;

    let direct = service.forward(port);
    expect_failure(
        direct,
        1,
        &["cannot resolve ssm.us-east-1.amazonaws.com", "HTTPS_PROXY"],
    )
    .await;
    let mut exempt = service.forward(port);
    exempt
        .env("HTTPS_PROXY", &url)
        .env("NO_PROXY", ".amazonaws.com");
    expect_failure(exempt, 1, &["cannot resolve ssm.us-east-1.amazonaws.com"]).await;

    let mut anonymous = service.forward(port);
    anonymous.env("HTTPS_PROXY", format!("http://{PROXY}"));
    expect_failure(
        anonymous,
        1,
        &["wants a user and password (HTTP 407)", "USER:PASSWORD"],
    )
    .await;
    let mut wrong = service.forward(port);
    wrong.env("HTTPS_PROXY", format!("http://{USER}:{PASSWORD}x@{PROXY}"));
    expect_failure(wrong, 1, &["does not accept the user and password"]).await;
    let mut gone = service.forward(port);
    gone.env("HTTPS_PROXY", "http://10.20.0.81:3128");
    expect_failure(
        gone,
        1,
        &[
            "the proxy 10.20.0.81:3128 (HTTPS_PROXY) cannot be reached",
            "refused",
        ],
    )
    .await;
    let mut forbidden = service.forward(port);
    forbidden
        .env("HTTPS_PROXY", &url)
        .args(["--endpoint-url", &format!("https://{API}:8443")]);
    expect_failure(
        forbidden,
        1,
        &["forbids connections to ssm.us-east-1.amazonaws.com:8443"],
    )
    .await;
    service.fixture.no_session_left().await;
}

#[tokio::test]
async fn vpc_endpoints_are_the_only_way_in() {
    if !entered("network::paths::vpc_endpoints_are_the_only_way_in").await {
        return;
    }
    // The service names its public gateway, which nobody here can reach.
    let service = Service::at(VPC_API).await;
    let _dns = dns(&[
        (VPC_API, "10.20.0.10"),
        (VPC_GATEWAY, "10.20.0.10"),
        (GATEWAY, "198.51.100.7"),
    ])
    .await;
    let port = greeter().await;
    let mut flags = service.forward(port);
    flags.args(["--endpoint-url", &format!("https://{VPC_API}")]);
    flags.args(["--endpoint", &format!("ssmmessages=https://{VPC_GATEWAY}")]);
    expect_forward(flags).await;
    let mut variables = service.forward(port);
    variables.env("AWS_ENDPOINT_URL_SSM", format!("https://{VPC_API}"));
    variables.env(
        "AWS_ENDPOINT_URL_SSMMESSAGES",
        format!("https://{VPC_GATEWAY}"),
    );
    expect_forward(variables).await;
    service.fixture.no_session_left().await;
}

/// What private DNS of VPC endpoints, and TLS inspection, look like: the public names, other addresses.
#[tokio::test]
async fn public_names_lead_to_private_addresses() {
    if !entered("network::paths::public_names_lead_to_private_addresses").await {
        return;
    }
    let service = Service::new().await;
    let _dns = dns(&[(API, "10.20.0.10"), (GATEWAY, "10.20.0.10")]).await;
    let port = greeter().await;
    expect_forward(service.forward(port)).await;
    let mut inspected = service.forward(port);
    inspected.env_remove("AWS_CA_BUNDLE");
    expect_failure(
        inspected,
        1,
        &[
            "CN=Corp Inspection CA",
            "looks like TLS inspection",
            "--ca-bundle",
        ],
    )
    .await;
    service.fixture.no_session_left().await;
}

#[tokio::test]
async fn half_a_dns_is_told_from_a_blocked_path() {
    if !entered("network::paths::half_a_dns_is_told_from_a_blocked_path").await {
        return;
    }
    let service = Service::new().await;
    let names = [
        ("ssm.eu-west-1.amazonaws.com", "10.99.0.5"),
        (API, "198.51.100.7"),
        ("ssm.eu-west-2.amazonaws.com", "10.99.1.5"),
    ];
    let _dns = dns(&names).await;
    let mut split = service.forward(80);
    split.args(["--region", "eu-west-1"]);
    let texts = [
        "no connection to ssm.eu-west-1.amazonaws.com:443 (10.99.0.5)",
        "a private address, such as a VPC endpoint's",
    ];
    let blocked = [
        "no connection to ssm.us-east-1.amazonaws.com:443 (198.51.100.7)",
        "a firewall or a missing route",
    ];
    let mut unrouted = service.forward(80);
    unrouted.args(["--region", "eu-west-2"]);
    let unreachable = [
        "there is no way to ssm.eu-west-2.amazonaws.com:443 (10.99.1.5)",
        "Network is unreachable",
        "a private address",
    ];
    // Credentials come from services of their own.
    let config = service.fixture.directory().join("config");
    let role = "[profile role]\nrole_arn = arn:aws:iam::111122223333:role/r\ncredential_source = Environment\n";
    std::fs::write(&config, role).unwrap();
    let mut role = service.forward(80);
    role.env("AWS_CONFIG_FILE", config)
        .args(["--profile", "role"])
        .env("AWS_ENDPOINT_URL_STS", "https://198.51.100.7");
    let no_credentials =
        ["the AWS credentials cannot be loaded: no connection to 198.51.100.7 within"];
    tokio::join!(
        expect_failure(role, 1, &no_credentials),
        expect_failure(split, 1, &texts),
        expect_failure(service.forward(80), 1, &blocked),
        expect_failure(unrouted, 1, &unreachable),
    );
}

#[tokio::test]
async fn fips_dual_stack_and_partition_choose_the_endpoint() {
    if !entered("network::paths::fips_dual_stack_and_partition_choose_the_endpoint").await {
        return;
    }
    let service = Service::new().await;
    // No name exists, so that the one that is looked up is told.
    let _dns = dns(&[]).await;
    let config = service.fixture.directory().join("config");
    std::fs::write(&config, "[profile fips]\nuse_fips_endpoint = true\n").unwrap();
    for (variable, value, host) in [
        (
            "AWS_USE_FIPS_ENDPOINT",
            "true",
            "ssm-fips.us-east-1.amazonaws.com",
        ),
        ("AWS_PROFILE", "fips", "ssm-fips.us-east-1.amazonaws.com"),
        (
            "AWS_USE_DUALSTACK_ENDPOINT",
            "true",
            "ssm.us-east-1.api.aws",
        ),
        (
            "AWS_REGION",
            "us-gov-west-1",
            "ssm.us-gov-west-1.amazonaws.com",
        ),
        (
            "AWS_REGION",
            "cn-north-1",
            "ssm.cn-north-1.amazonaws.com.cn",
        ),
    ] {
        let mut command = service.forward(80);
        command.env("AWS_CONFIG_FILE", &config).env(variable, value);
        expect_failure(command, 1, &[&format!("cannot resolve {host}:")]).await;
    }
}
