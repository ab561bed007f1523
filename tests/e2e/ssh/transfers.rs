//! Files, both ways, with every program that carries them over `ssh`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::server::{Server, succeed};
use crate::support::{Fixture, Random, TARGET};

const BULK_LEN: usize = 100_000_000;

fn make_file(path: PathBuf, len: usize) -> PathBuf {
    fs::write(&path, Random::new(len as u64).bytes(len)).unwrap();
    path
}

fn sha256(path: &Path) -> [u8; 32] {
    Sha256::digest(fs::read(path).unwrap()).into()
}

/// Carries a file of `len` bytes there and back again with scp, and the same with sftp.
async fn there_and_back(fixture: &Fixture, len: usize) {
    let server = Server::with_stanza(fixture).await;
    let file = make_file(server.path("file"), len);
    let remote = |name: &str| format!("{TARGET}:{}", server.path(name).display());

    for (source, destination) in [
        (file.display().to_string(), remote("there")),
        (remote("there"), server.path("back").display().to_string()),
    ] {
        let mut command = server.command(fixture, "scp");
        command.args(["-q", &source, &destination]);
        succeed(command).await;
    }
    assert_eq!(sha256(&file), sha256(&server.path("there")));
    assert_eq!(sha256(&file), sha256(&server.path("back")));

    let batch = server.path("batch");
    let [put, get] = ["sftp-there", "sftp-back"].map(|name| server.path(name));
    let lines = format!(
        "put {} {}\nget {} {}\n",
        file.display(),
        put.display(),
        put.display(),
        get.display()
    );
    fs::write(&batch, lines).unwrap();
    let mut command = server.command(fixture, "sftp");
    command.arg("-q").arg("-b").arg(&batch).arg(TARGET);
    succeed(command).await;
    assert_eq!(sha256(&file), sha256(&put));
    assert_eq!(sha256(&file), sha256(&get));
    fixture.no_session_left().await;
}

#[tokio::test]
async fn long_files_arrive_unchanged() {
    there_and_back(&Fixture::new().await, BULK_LEN).await;
}

#[tokio::test]
async fn files_arrive_unchanged_over_a_bad_network() {
    let chaos = "delay=5ms,jitter=5ms,drop=5%,duplicate=2%,reorder=3%,seed=11";
    there_and_back(&Fixture::with_chaos(chaos).await, 400_000).await;
}

#[tokio::test]
async fn rsync_works() {
    let fixture = Fixture::new().await;
    let server = Server::with_stanza(&fixture).await;
    let tree = server.path("tree");
    fs::create_dir_all(tree.join("inner")).unwrap();
    for number in 0..40_usize {
        make_file(tree.join(format!("inner/{number}")), number * 1000);
    }
    make_file(tree.join("big"), 5_000_000);
    let shell = format!("ssh -F {}", server.config().display());
    let sync = async |source: String, destination: String| {
        let mut command = fixture.isolate(Command::new("rsync"));
        command.envs(fixture.lab.environment());
        command.args(["-a", "--checksum", "-e", &shell, &source, &destination]);
        succeed(command).await;
    };
    let local = |name: &str| format!("{}/", server.path(name).display());
    let remote = |name: &str| format!("{TARGET}:{}", local(name));
    sync(local("tree"), remote("there")).await;
    // Some of it has changed when it comes back.
    make_file(server.path("there/inner/7"), 70_000);
    sync(remote("there"), local("tree")).await;
    let compared = Command::new("diff")
        .arg("-r")
        .args([tree, server.path("there")])
        .stdin(Stdio::null())
        .status();
    assert!(compared.await.unwrap().success());
    fixture.no_session_left().await;
}
