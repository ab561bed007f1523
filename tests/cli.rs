//! What the command line says: help, errors and exit codes, and the files generated from it.

// The texts name the options of the lab, which not every build has.
#![cfg(feature = "lab")]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use clap::ValueEnum;
use clap_complete::{Generator, Shell};
use ssmfwd::cli::Page;
use ssmfwd::command::man;
use ssmfwd::completion;

#[test]
fn texts_and_exit_codes() {
    trycmd::TestCases::new().case("tests/cli/*.trycmd");
}

/// Run with `SSMFWD_REGENERATE=1` to write the files anew.
#[test]
fn checked_in_files_are_what_would_be_generated() {
    let mut files = Vec::new();
    for shell in Shell::value_variants() {
        files.push((shell.file_name("ssmfwd"), completion::script(*shell)));
    }
    files.push(("ssmfwd.1".to_owned(), man::text(None).unwrap()));
    for page in Page::value_variants() {
        let name = format!("ssmfwd-{}.1", page.name());
        files.push((name, man::text(Some(*page)).unwrap()));
    }

    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    for (name, expected) in &files {
        let path = directory.join(name);
        if std::env::var_os("SSMFWD_REGENERATE").is_some() {
            fs::write(&path, expected).unwrap();
        }
        let found = fs::read(&path).unwrap_or_default();
        assert!(
            found == *expected,
            "{name} is out of date: run this test with SSMFWD_REGENERATE=1"
        );
    }
    for entry in fs::read_dir(&directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            files.iter().any(|(known, _)| *known == name),
            "nothing generates {name}"
        );
    }
}

#[test]
fn the_binary_prints_the_checked_in_files() {
    let output = Command::new(env!("CARGO_BIN_EXE_ssmfwd"))
        .args(["man", "lab"])
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, fs::read("completions/ssmfwd-lab.1").unwrap());
    assert!(output.stderr.is_empty());
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ssmfwd"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Nobody reads from here on.
    drop(child.stdout.take());
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(stderr, "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ssmfwd"))
        .arg("man")
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("error: cannot write to standard output: "),
        "{stderr}"
    );
}
