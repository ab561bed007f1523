//! What is commonly wrong, one thing at a time.

use std::net::TcpListener;
use std::time::Duration;

use socket2::SockRef;
use ssmfwd::lab::{Config, KeyState, KmsKey, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::network::Authority;
use crate::support::{Fixture, TARGET, read_to_end, serve, unused_port};

/// One thing that is wrong.
pub(super) struct Case {
    /// What is wrong, in a few words.
    pub(super) name: &'static str,
    /// The check that finds it.
    pub(super) check: &'static str,
    fixture: Fixture,
    arguments: Vec<String>,
    variables: Vec<(&'static str, String)>,
    /// What differs from one run to the next, and what stands for it.
    replaced: Vec<(String, &'static str)>,
    /// Ports that have to stay as they are.
    _guards: Vec<Box<dyn Send>>,
}

/// The forward most cases have.
const FORWARD: &str = "5432:0";

const KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

impl Case {
    async fn new(name: &'static str, check: &'static str) -> Self {
        Self::in_lab(name, check, |_| {}).await
    }

    async fn with_chaos(name: &'static str, check: &'static str, chaos: &str) -> Self {
        Self::in_lab(name, check, |config| config.chaos = chaos.parse().unwrap()).await
    }

    async fn in_lab(
        name: &'static str,
        check: &'static str,
        adjust: impl FnOnce(&mut Config),
    ) -> Self {
        let fixture = Fixture::with(adjust).await;
        let home = fixture.directory().display().to_string();
        let replaced = vec![
            (fixture.lab.address().to_string(), "127.0.0.1:4566"),
            (home, "~"),
        ];
        Self {
            name,
            check,
            fixture,
            arguments: vec![TARGET.to_owned(), FORWARD.to_owned()],
            variables: Vec::new(),
            replaced,
            _guards: Vec::new(),
        }
    }

    fn given(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect();
        self
    }

    /// An empty value takes the variable away.
    fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn without_keys(self) -> Self {
        KEYS.into_iter().fold(self, |case, name| case.env(name, ""))
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.fixture.directory().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn replacing(mut self, text: impl ToString, by: &'static str) -> Self {
        self.replaced.push((text.to_string(), by));
        self
    }

    fn guarding(mut self, guard: impl Send + 'static) -> Self {
        self._guards.push(Box::new(guard));
        self
    }

    pub(super) fn command(&self) -> Command {
        let mut arguments = vec!["doctor".to_owned(), "--json".to_owned()];
        arguments.extend(self.arguments.iter().cloned());
        let mut command = self.fixture.command(&arguments);
        for (name, value) in &self.variables {
            match value.is_empty() {
                true => command.env_remove(name),
                false => command.env(name, value),
            };
        }
        command
    }

    /// Replaces what differs from one run, or one machine, to the next.
    pub(super) fn normalized(&self, row: &str) -> String {
        let mut row = row.to_owned();
        for (text, by) in &self.replaced {
            row = row.replace(text, by);
        }
        // What the resolver says, and when, is the machine's business.
        for (before, after) in [
            ("cannot resolve ssm.eu-west-1.corp.invalid: ", "<br>"),
            ("last heard of at ", "<br>"),
            ("session lab-user-", " was"),
            ("it is in use", "<br>"),
            ("this machine's clock is ", " behind"),
        ] {
            if let Some(start) = row.find(before).map(|at| at + before.len())
                && let Some(len) = row[start..].find(after)
            {
                row.replace_range(start..start + len, "…");
            }
        }
        row
    }
}

/// Everything that is commonly wrong, in the order of the checks.
pub(super) async fn cases() -> Vec<Case> {
    let mut cases = configuration().await;
    cases.extend(network().await);
    cases.extend(identity().await);
    cases.extend(target().await);
    cases.extend(permissions().await);
    cases.extend(forward().await);
    cases
}

async fn configuration() -> Vec<Case> {
    vec![
        Case::new(
            "`AWS_PROFILE` names a profile that does not exist",
            "configuration",
        )
        .await
        .env("AWS_PROFILE", "prod"),
        Case::new("there is no region", "configuration")
            .await
            .env("AWS_REGION", "")
            .env("AWS_DEFAULT_REGION", ""),
        Case::new("the region is mistyped", "configuration")
            .await
            .env("AWS_REGION", "us-esat-1")
            .env("AWS_ENDPOINT_URL_SSM", ""),
        Case::new(
            "the file of `AWS_CA_BUNDLE` does not exist",
            "configuration",
        )
        .await
        .env("AWS_CA_BUNDLE", "corp.pem"),
        Case::new(
            "keys in the environment hide the profile's",
            "configuration",
        )
        .await
        .file(".aws/config", "[profile prod]\nregion = us-east-1\n")
        .env("AWS_PROFILE", "prod"),
    ]
}

async fn network() -> Vec<Case> {
    let (guard, closed) = unused_port();
    let unreachable = Case::new("nothing listens at the endpoint", "connection")
        .await
        .env("AWS_ENDPOINT_URL_SSM", format!("http://127.0.0.1:{closed}"))
        .replacing(closed, "4567")
        .guarding(guard);
    let unknown = Case::new("DNS does not know the endpoint", "dns")
        .await
        .env("AWS_ENDPOINT_URL_SSM", "https://ssm.eu-west-1.corp.invalid");
    let (guard, closed) = unused_port();
    let no_proxy = Case::new("the proxy does not run", "connection")
        .await
        .env("AWS_ENDPOINT_URL_SSM", "https://ssm.corp.invalid")
        .env("HTTPS_PROXY", format!("http://127.0.0.1:{closed}"))
        .replacing(closed, "3128")
        .guarding(guard);
    let plain = Case::new(
        "the endpoint's URL says https, and its port http",
        "connection",
    )
    .await;
    let url = plain.fixture.lab.endpoint_url().replace("http:", "https:");
    let plain = plain.env("AWS_ENDPOINT_URL_SSM", url);
    let ssh = serve(|mut socket| async move {
        let _: Result<(), _> = socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await;
        let (_request, _ended) = read_to_end(&mut socket).await;
    });
    let ssh = ssh.await;
    let other = Case::new("something else than AWS is at the endpoint", "connection")
        .await
        .env("AWS_ENDPOINT_URL_SSM", format!("http://127.0.0.1:{ssh}"));
    let resetting = serve(|mut socket| async move {
        socket.read_exact(&mut [0]).await.unwrap();
        // Closed like this, it is reset.
        SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    });
    let resetting = resetting.await;
    let reset = Case::new("a firewall resets connections", "connection")
        .await
        .env(
            "AWS_ENDPOINT_URL_SSM",
            format!("http://127.0.0.1:{resetting}"),
        );
    vec![
        unknown,
        unreachable,
        no_proxy,
        plain,
        other,
        reset,
        inspected().await,
    ]
}

async fn inspected() -> Case {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    let authority = Authority::new("Corp Inspection CA");
    let case = Case::new("TLS is inspected, and the CA is not trusted", "connection").await;
    authority.front(listener, &["localhost"], case.fixture.lab.address());
    case.env("AWS_ENDPOINT_URL_SSM", format!("https://localhost:{port}"))
        .guarding(authority)
}

async fn identity() -> Vec<Case> {
    vec![
        Case::with_chaos(
            "the clock is twenty minutes slow",
            "clock",
            "clock-ahead=1200s",
        )
        .await,
        Case::new("there are no credentials", "credentials")
            .await
            .without_keys(),
        Case::new("the `credential_process` fails", "credentials")
            .await
            .without_keys()
            .file(".aws/config", "[default]\ncredential_process = false\n"),
        Case::new("the secret access key is wrong", "identity")
            .await
            .env("AWS_SECRET_ACCESS_KEY", "wrong"),
        Case::new("the access key has been deleted", "identity")
            .await
            .env("AWS_ACCESS_KEY_ID", "AKIA0000000000000000"),
        Case::with_chaos(
            "the session token has expired",
            "identity",
            "expire-credentials=3600s",
        )
        .await,
    ]
}

async fn target() -> Vec<Case> {
    let offline = |config: &mut Config| config.targets[0].online = false;
    let twice = |config: &mut Config| {
        config.targets = ["i-0a,Name=web", "i-0b,Name=web"]
            .map(|text| Target::parse(text).unwrap())
            .to_vec();
    };
    let agent = |version: &'static str| {
        move |config: &mut Config| config.targets[0].agent_version = version.to_owned()
    };
    vec![
        Case::new("the target is of another account or region", "target")
            .await
            .given(&["i-0dead", FORWARD]),
        Case::new("no target has the name", "target")
            .await
            .given(&["web", FORWARD]),
        Case::in_lab("two targets have the name", "target", twice)
            .await
            .given(&["web", FORWARD]),
        Case::in_lab("the target is off, or its agent is", "target", offline).await,
        Case::in_lab(
            "the agent is too old for remote hosts",
            "agent",
            agent("3.1.1000.0"),
        )
        .await
        .given(&[TARGET, "db.internal:5432:0"]),
        Case::in_lab(
            "the agent is too old for many connections at once",
            "agent",
            agent("2.3.714.0"),
        )
        .await,
    ]
}

async fn permissions() -> Vec<Case> {
    let key = |state: KeyState| {
        move |config: &mut Config| {
            config.kms_key = Some("alias/sessions".to_owned());
            config.kms_keys = vec![KmsKey {
                state,
                ..KmsKey::new("alias/sessions")
            }];
        }
    };
    vec![
        Case::with_chaos(
            "no policy allows `ssm:StartSession`",
            "start_session",
            "deny=StartSession",
        )
        .await,
        Case::with_chaos(
            "a service control policy forbids `ssm:StartSession`",
            "start_session",
            "forbid=StartSession",
        )
        .await,
        Case::with_chaos(
            "no policy allows `ssm:ResumeSession`",
            "own_sessions",
            "deny=ResumeSession",
        )
        .await,
        Case::with_chaos(
            "the session document does not exist",
            "document",
            "missing-document=AWS-StartPortForwardingSession",
        )
        .await,
        Case::new("the session document has no such parameter", "document")
            .await
            .given(&[TARGET, FORWARD, "--document", "AWS-StartSSHSession"]),
        Case::in_lab(
            "no policy allows `kms:GenerateDataKey`",
            "encryption",
            key(KeyState::Denied),
        )
        .await
        .given(&[TARGET]),
        Case::in_lab(
            "the key of the preferences is disabled",
            "encryption",
            key(KeyState::Disabled),
        )
        .await,
    ]
}

async fn forward() -> Vec<Case> {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let (guard, closed) = unused_port();
    vec![
        Case::new("the local port is taken", "local_port")
            .await
            .given(&[TARGET, &format!("5432:127.0.0.1:{port}")])
            .replacing(port, "5432")
            .guarding(taken),
        Case::with_chaos(
            "no policy allows `ssmmessages:OpenDataChannel`",
            "session",
            "refuse-upgrade",
        )
        .await
        .given(&[TARGET, FORWARD, "--connect"]),
        Case::new("nothing listens on the remote port", "remote_port")
            .await
            .given(&[TARGET, &format!("{closed}:0"), "--connect"])
            .replacing(closed, "5432")
            .guarding(guard),
        Case::new("the target cannot resolve the remote host", "remote_port")
            .await
            .given(&[TARGET, "db.invalid:5432:0", "--connect"]),
    ]
}
