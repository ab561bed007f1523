//! A real OpenSSH server behind the lab's agent, and its clients through the stanza that the binary installs.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::{Client, Exit, Fixture, TARGET, bounded, serve};

/// A server, and the configuration with which clients find it.
pub(crate) struct Server {
    pub(crate) port: u16,
    directory: PathBuf,
    /// The groups of processes that serve, or have served, a connection each.
    serving: Arc<Mutex<Vec<Pid>>>,
}

impl Server {
    /// Starts a server that lets in whoever has the key the clients are given.
    pub(crate) async fn start(fixture: &Fixture) -> Self {
        let server = Self::start_for(fixture, None).await;
        let key = server.path("user");
        server.configure_client(&format!(
            "    IdentityFile {}\n    IdentitiesOnly yes\n",
            key.display()
        ));
        server
    }

    /// The same, and clients come to it through the stanza.
    pub(crate) async fn with_stanza(fixture: &Fixture) -> Self {
        let server = Self::start(fixture).await;
        server.install_stanza(fixture, &[]).await;
        server
    }

    /// Starts a server that lets in whoever has the user's key or one of `authorized`, and a configuration of clients
    /// that gives them no key.
    pub(crate) async fn start_for(fixture: &Fixture, authorized: Option<&Path>) -> Self {
        // Where the server, run by root, puts a process that has not logged in yet.
        if rustix::process::getuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let directory = fixture.directory().canonicalize().unwrap();
        for key in ["host", "user"] {
            make_key(&directory.join(key));
        }
        let path = |name: &str| directory.join(name).display().to_string();
        let authorized = authorized.map(|path| path.display().to_string());
        let options = [
            format!("HostKey {}", path("host")),
            format!(
                "AuthorizedKeysFile {} {}",
                path("user.pub"),
                authorized.unwrap_or_default()
            ),
            "PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes".to_owned(),
            "PasswordAuthentication no\nKbdInteractiveAuthentication no".to_owned(),
            // What the user's own shell does at its start is not the tests'.
            format!("SetEnv HOME={}", directory.display()),
            "PrintMotd no\nPrintLastLog no\nSubsystem sftp internal-sftp\n".to_owned(),
        ];
        fs::write(path("sshd_config"), options.join("\n")).unwrap();

        let serving = Arc::new(Mutex::new(Vec::new()));
        let (started, home) = (Arc::clone(&serving), directory.clone());
        let port = serve(move |socket| serve_one(socket, home.clone(), Arc::clone(&started))).await;
        let server = Self {
            port,
            directory,
            serving,
        };
        server.configure_client("");
        server
    }

    /// Writes the configuration of clients: what tests need, and `more`.
    pub(crate) fn configure_client(&self, more: &str) {
        let host_key = fs::read_to_string(self.path("host.pub")).unwrap();
        fs::write(self.path("known_hosts"), format!("lab {host_key}")).unwrap();
        let config = format!(
            "Host *\n    Port {}\n    HostKeyAlias lab\n    UserKnownHostsFile {}\n    BatchMode yes\n    \
             IdentityAgent none\n    UpdateHostKeys no\n{more}",
            self.port,
            self.path("known_hosts").display(),
        );
        fs::write(self.config(), config).unwrap();
    }

    /// Adds the stanza to the clients' configuration, with these options. Returns what is said of it.
    pub(crate) async fn install_stanza(&self, fixture: &Fixture, options: &[&str]) -> String {
        let config = self.config().display().to_string();
        let arguments = ["ssh-config", "--install", "--file", &config];
        let mut command = fixture.bare_command();
        command.args(arguments).args(options);
        let exit = Client::spawn(command).exit().await;
        exit.expect(0, &["the stanza is in "]);
        assert_eq!(exit.stdout, "");
        exit.stderr
    }

    /// The clients' configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.path("config")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A program of OpenSSH with that configuration, in the lab's environment.
    pub(crate) fn command(&self, fixture: &Fixture, program: &str) -> Command {
        let mut command = fixture.isolate(Command::new(program));
        command
            .envs(fixture.lab.environment())
            .env_remove("SSH_AUTH_SOCK")
            .env("SHELL", "/bin/sh")
            .arg("-F")
            .arg(self.config());
        command
    }

    /// Runs a command at the target.
    pub(crate) async fn ssh(&self, fixture: &Fixture, words: &[&str]) -> Exit {
        let mut command = self.command(fixture, "ssh");
        command.arg(TARGET).args(words);
        Client::spawn(command).exit().await
    }

    /// Logs in, with a terminal, whose end is the end of what runs in it.
    pub(crate) async fn login(&self, fixture: &Fixture, options: &[&str]) -> Client {
        let mut command = self.command(fixture, "ssh");
        command.arg("-tt").args(options);
        command.args([TARGET, "echo ready; exec sleep 1000"]);
        let mut client = Client::spawn(command);
        client.stdout_line("ready").await;
        client
    }

    /// Kills, without a chance to say anything, all processes that serve a connection.
    pub(crate) fn kill(&self) {
        for group in self.serving.lock().unwrap().iter() {
            kill_process_group(*group, Signal::KILL).unwrap();
        }
    }
}

/// Runs the server for one connection, as inetd would.
async fn serve_one(socket: TcpStream, directory: PathBuf, serving: Arc<Mutex<Vec<Pid>>>) {
    let socket = socket.into_std().unwrap();
    socket.set_nonblocking(false).unwrap();
    let socket = OwnedFd::from(socket);
    let mut command = Command::new("/usr/sbin/sshd");
    command
        .args(["-i", "-f"])
        .arg(directory.join("sshd_config"))
        .arg("-E")
        .arg(directory.join("sshd.log"))
        .stdin(Stdio::from(socket.try_clone().unwrap()))
        .stdout(Stdio::from(socket))
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().expect("cannot run /usr/sbin/sshd");
    // The sockets in it would keep the connection open after the server is gone.
    drop(command);
    let group = Pid::from_raw(child.id().unwrap().try_into().unwrap());
    serving.lock().unwrap().push(group.unwrap());
    child.wait().await.unwrap();
}

pub(crate) fn make_key(path: &Path) {
    let made = StdCommand::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status();
    assert!(made.expect("cannot run ssh-keygen").success());
}

/// Runs a program to its end and fails unless it succeeds.
pub(crate) async fn succeed(command: Command) -> Exit {
    let exit = bounded("end of a client", Client::spawn(command).exit()).await;
    exit.expect(0, &[]);
    exit
}
