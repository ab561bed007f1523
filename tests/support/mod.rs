//! What every test needs: a lab, clients as processes, and waits that name what they wait for.

mod client;
mod data;
mod terminal;

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use ssmfwd::lab::{Chaos, Config, Fault, Lab, SessionState, Target};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

pub(crate) use self::client::{Client, Exit};
pub(crate) use self::data::{Digest, Random, receive, receive_to_end, send};
pub(crate) use self::terminal::{Terminal, wrapped};

/// How long any one wait may take. Far above what is needed on a loaded machine: it ends a test
/// that hangs, and measures nothing.
const PATIENCE: Duration = Duration::from_secs(180);

/// The target every lab of these tests has.
pub(crate) const TARGET: &str = "i-0abc";

/// The name of the file with a client's keys.
const KEYS: &str = "keys";

/// Waits for `future`, and fails with what was waited for if it does not come.
#[track_caller]
pub(crate) fn bounded<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match timeout(PATIENCE, future).await {
            Ok(output) => output,
            Err(_) => panic!("{caller}: no {what} after {PATIENCE:?}"),
        }
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    bounded(what, async move {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    })
}

/// A lab, and a home directory without AWS configuration for its clients.
pub(crate) struct Fixture {
    pub(crate) lab: Lab,
    home: TempDir,
}

impl Fixture {
    /// Starts a lab with one target and nothing going wrong.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// Starts a lab with faults, written as for `--chaos`.
    pub(crate) async fn with_chaos(chaos: &str) -> Self {
        let chaos: Chaos = chaos.parse().unwrap();
        Self::with(|config| config.chaos = chaos).await
    }

    /// Starts a lab whose agent has this version.
    pub(crate) async fn with_agent(version: &str) -> Self {
        Self::with(|config| config.targets[0].agent_version = version.to_owned()).await
    }

    /// Starts a lab that `adjust` has changed.
    pub(crate) async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            targets: vec![Target::new(TARGET)],
            ..Config::default()
        };
        adjust(&mut config);
        Self {
            lab: Lab::start(config).await.unwrap(),
            home: TempDir::new().unwrap(),
        }
    }

    /// A directory for sockets and files of the test.
    pub(crate) fn directory(&self) -> &Path {
        self.home.path()
    }

    /// The binary with an environment of its own, in which nothing points to AWS or the lab.
    pub(crate) fn bare_command(&self) -> Command {
        self.isolate(program())
    }

    /// The binary with the lab's environment.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = self.bare_command();
        command.envs(self.lab.environment()).args(arguments);
        command
    }

    /// The same with the keys in a file of their own, as those of many tools are that renew them.
    pub(crate) fn command_with_keys_in_a_file<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        self.write_keys();
        let mut command = self.command(arguments);
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
        ] {
            command.env_remove(name);
        }
        let path = self.directory().join(KEYS);
        command.env("AWS_SHARED_CREDENTIALS_FILE", path);
        command
    }

    /// Writes the keys that are good now to that file.
    pub(crate) fn write_keys(&self) {
        let credentials = self.lab.credentials();
        let token = credentials.session_token();
        let token = token.map(|token| format!("aws_session_token = {token}\n"));
        let text = format!(
            "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n{}",
            credentials.access_key_id(),
            credentials.secret_access_key(),
            token.unwrap_or_default(),
        );
        std::fs::write(self.directory().join(KEYS), text).unwrap();
    }

    /// Takes from `command` what it would inherit of AWS settings, whoever runs these tests.
    pub(crate) fn isolate(&self, mut command: Command) -> Command {
        let inherited = std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            name.starts_with("AWS_") || name.to_ascii_lowercase().ends_with("_proxy")
        });
        for (name, _) in inherited {
            command.env_remove(name);
        }
        command
            .current_dir(self.directory())
            .env_remove("NOTIFY_SOCKET")
            .env_remove("SSMFWD_CONFIG")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env("HOME", self.directory())
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    /// Runs the binary to its end.
    pub(crate) async fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Exit {
        Client::spawn(self.command(arguments)).exit().await
    }

    /// Starts the binary with `--json` and returns at once.
    pub(crate) fn spawn<S: AsRef<str>>(&self, arguments: &[S]) -> Client {
        let arguments = arguments.iter().map(AsRef::as_ref);
        let arguments: Vec<&str> = ["--json", TARGET].into_iter().chain(arguments).collect();
        Client::spawn(self.command(&arguments))
    }

    /// Starts one forward of `port` on a free local port and waits until it works.
    pub(crate) async fn forward(&self, port: u16) -> (Client, u16) {
        let mut client = self.spawn(&[&format!("{port}:0")]);
        let local = client.connected().await;
        (client, local)
    }

    /// How often the client of the one session has connected.
    pub(crate) fn connection_count(&self) -> u64 {
        let [session] = <[_; 1]>::try_from(self.lab.sessions()).unwrap();
        session.connection_count
    }

    /// Cuts the connection of the one session, and waits until it has another one.
    #[track_caller]
    pub(crate) fn cut_and_wait(&self, fault: Fault) -> impl Future<Output = ()> {
        let count = self.connection_count();
        self.lab.inject(fault);
        eventually("another connection", move || {
            self.connection_count() > count
        })
    }

    /// Waits until a session has its data channel, and returns the id of the first one.
    #[track_caller]
    pub(crate) fn connected_session(&self) -> impl Future<Output = String> {
        let is_connected = || {
            let sessions = self.lab.sessions();
            let mut states = sessions.iter().map(|session| session.state);
            states.any(|state| state == SessionState::Connected)
        };
        let connected = eventually("a connection", is_connected);
        async {
            connected.await;
            self.lab.sessions()[0].id.clone()
        }
    }

    /// Waits until the service has no session that is not over, which proves that none was left behind.
    #[track_caller]
    pub(crate) fn no_session_left(&self) -> impl Future<Output = ()> {
        eventually("end of every session", || {
            let sessions = self.lab.sessions();
            let is_over = |state| matches!(state, SessionState::Terminated(_));
            sessions.iter().all(|session| is_over(session.state))
        })
    }
}

/// The binary, with SIGHUP as it is by default: whoever runs these tests may have started them with `nohup`, which the
/// binary respects.
fn program() -> Command {
    let binary = env!("CARGO_BIN_EXE_ssmfwd");
    if cfg!(target_os = "linux") {
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", binary]);
        command
    } else {
        Command::new(binary)
    }
}

/// A port on which nobody listens, and which the system gives to nobody who asks for any: other tests on the machine stay off it.
pub(crate) fn unassigned_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(20_000..30_000));
    let free = ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.unwrap()
}

/// Connects to a local port on 127.0.0.1.
pub(crate) async fn connect(port: u16) -> TcpStream {
    let connecting = TcpStream::connect(("127.0.0.1", port));
    bounded("local connection", connecting).await.unwrap()
}

/// Serves every connection to a new port of this machine with `handler`; returns the port.
pub(crate) async fn serve<H, F>(handler: H) -> u16
where
    H: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(handler(socket));
        }
    });
    port
}

/// A port of 127.0.0.1 nobody listens on, as long as the guard is kept.
pub(crate) fn unused_port() -> (socket2::Socket, u16) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

/// This machine's own address towards others, if it has one. Nothing is sent.
pub(crate) fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("203.0.113.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Reads until the connection ends; how it ended is the second half.
pub(crate) async fn read_to_end(socket: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut received = Vec::new();
    let reading = socket.read_to_end(&mut received);
    let ended = bounded("end of a connection", reading).await;
    (received, ended.map(|_| ()))
}

/// Reads until the connection ends and fails unless it was reset.
#[track_caller]
pub(crate) fn expect_reset(socket: &mut TcpStream) -> impl Future<Output = ()> + '_ {
    let caller = std::panic::Location::caller();
    async move {
        match read_to_end(socket).await {
            (_, Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {}
            (data, ended) => panic!(
                "{caller}: not a reset but {ended:?} after {} bytes",
                data.len()
            ),
        }
    }
}

/// Makes sure a test that opens hundreds of connections may.
pub(crate) fn allow_many_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}
