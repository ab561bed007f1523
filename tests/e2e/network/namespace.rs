//! A network namespace for one test: addresses, routes and names that are its own.

use std::io::Write;
use std::path::Path;
use std::process::{Command as StdCommand, Stdio};
use std::sync::Once;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::{bounded, eventually};

/// The environment variable that tells a test that it is in its namespace.
const INSIDE: &str = "SSMFWD_TEST_IN_NAMESPACE";

/// What is in the namespace, run by `sh` before the test.
///
/// Addresses in 10.20.0.0/24 are this machine's. 198.51.100.0/24 is the internet and 10.99.0.0/24 a private network that is
/// not connected: what is sent there vanishes. Names come from 127.0.0.53, and nothing else is reachable.
const SETUP: &str = r#"
    ip link set lo up
    ip route add local 10.20.0.0/24 dev lo
    ip link add void type veth peer name end
    ip link set end up
    ip link set void up arp off
    ip address add 198.51.100.1/24 dev void
    ip address add 10.99.0.1/24 dev void
    mount --bind "$1/resolv.conf" /etc/resolv.conf
    mount --bind "$1/hosts" /etc/hosts
    exec "$2" --exact "$3" --nocapture
"#;

/// Runs the test of this name in a namespace of its own. The test goes on if this returns true, which it does in there; it has
/// passed, or cannot be run on this machine, if this returns false.
pub(super) async fn entered(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let Some(unshare) = unshare() else {
        return false;
    };
    let directory = TempDir::new().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write(
        "resolv.conf",
        "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n",
    );
    write("hosts", "127.0.0.1 localhost\n");
    let mut command = Command::new("unshare");
    command
        .args(unshare)
        .args(["--net", "--mount", "sh", "-euc", SETUP, "sh"]);
    command
        .arg(directory.path())
        .arg(std::env::current_exe().unwrap())
        .arg(test);
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env(INSIDE, "1")
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .kill_on_drop(true);
    let output = bounded("end of the test in its namespace", command.output())
        .await
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    // A name that no test has would be no failure.
    let has_passed = output.status.success() && stdout.contains("1 passed");
    assert!(has_passed, "in the namespace:\n{stdout}\n{stderr}");
    false
}

/// Set to `required` where being skipped is a failure.
const WANTED: &str = "SSMFWD_TEST_NAMESPACES";

/// The arguments with which `unshare` makes namespaces on this machine; the reason is told once if it makes none.
pub(crate) fn unshare() -> Option<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
    static TOLD: Once = Once::new();
    let mut reason = String::new();
    for way in WAYS {
        let probe =
            "ip link set lo up && ip link add void type veth && mount --bind /etc/hosts /etc/hosts";
        let mut command = StdCommand::new("unshare");
        command
            .args(way)
            .args(["--net", "--mount", "sh", "-c", probe])
            .stdin(Stdio::null());
        let output = command
            .output()
            .expect("the program unshare, of the package util-linux");
        if output.status.success() {
            return Some(way);
        }
        reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    }
    assert!(
        std::env::var_os(WANTED).is_none_or(|wanted| wanted != "required"),
        "no network namespaces, which {WANTED} says there have to be: {reason}"
    );
    // Not a macro, whose output would be kept to the test itself.
    let text = format!(
        "SKIPPED: tests in network namespaces, which this machine does not allow: {reason}\n"
    );
    TOLD.call_once(|| std::io::stderr().write_all(text.as_bytes()).unwrap());
    None
}

/// Answers DNS queries in the namespace: each of `names` has an address, and no other name exists.
pub(super) async fn dns(names: &[(&str, &str)]) -> Child {
    let mut command = Command::new("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--no-resolv",
        "--no-hosts",
    ]);
    command.args([
        "--listen-address=127.0.0.53",
        "--bind-interfaces",
        "--user=root",
        "--group=root",
        "--address=/#/",
    ]);
    command.args(
        names
            .iter()
            .map(|(name, address)| format!("--address=/{name}/{address}")),
    );
    command.args(["--address=/ready.test/10.20.0.1"]);
    let server = spawn(command, "dnsmasq-base");
    bounded("answer from dnsmasq", async {
        while tokio::net::lookup_host("ready.test:1").await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    server
}

/// An HTTP proxy with user and password at [`PROXY`], which knows its own `names` and allows CONNECT to port 443.
pub(super) async fn proxy(directory: &Path, names: &str) -> Child {
    proxy_with(directory, names, PASSWORD).await
}

/// As [`proxy`], with a password of its own.
pub(super) async fn proxy_with(directory: &Path, names: &str, password: &str) -> Child {
    let config = format!(
        "Listen 10.20.0.80\nPort 3128\nTimeout 60\nMaxClients 50\nConnectPort 443\nBasicAuth {USER} {password}\n"
    );
    let file = directory.join("tinyproxy.conf");
    std::fs::write(&file, config).unwrap();
    let hosts = directory.join("proxy-hosts");
    std::fs::write(&hosts, names).unwrap();
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-euc",
        "mount --bind \"$1\" /etc/hosts; exec tinyproxy -d -c \"$2\"",
        "sh",
    ]);
    command.arg(hosts).arg(file);
    let server = spawn(command, "tinyproxy-bin");
    let is_there = || std::net::TcpStream::connect(PROXY).is_ok();
    eventually("listener of tinyproxy", is_there).await;
    server
}

/// Where [`proxy`] is.
pub(super) const PROXY: &str = "10.20.0.80:3128";
pub(super) const USER: &str = "alice";
pub(super) const PASSWORD: &str = "s3cretpassword";

fn spawn(mut command: Command, package: &str) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let spawned = command.spawn();
    spawned.unwrap_or_else(|error| {
        panic!(
            "{:?}, of the package {package}: {error}",
            command.as_std().get_program()
        )
    })
}
