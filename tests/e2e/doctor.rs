//! `ssmfwd doctor` against everything that is commonly wrong: it names the cause of each, and docs/doctor.md repeats what
//! it says.

mod misconfigurations;

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;
use ssmfwd::lab::KmsKey;

use crate::support::{Client, Exit, Fixture, TARGET, serve, unused_port};
use misconfigurations::{Case, cases};

/// What the document begins with.
const PREFACE: &str = "\
# What doctor says

One misconfiguration at a time, and the line with which `ssmfwd doctor` names it. Addresses, ports, times and ids are replaced. The
test `doctor::every_misconfiguration_is_named` makes each of them in the lab, and compares this file:

    SSMFWD_REGENERATE=1 cargo test --test e2e doctor::every

writes it.

| what is wrong | what `ssmfwd doctor` says, and the fix | exit code |
|---|---|---|
";

#[tokio::test]
async fn every_misconfiguration_is_named() {
    let mut table = PREFACE.to_owned();
    for case in cases().await {
        let exit = Client::spawn(case.command()).exit().await;
        let row = row(&case, &exit);
        table.push_str(&row);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md");
    if std::env::var_os("SSMFWD_REGENERATE").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == table,
        "docs/doctor.md is out of date: run this test with SSMFWD_REGENERATE=1. It would be\n{table}"
    );
}

/// Fails unless the first thing that is not in order is the one that is wrong, and nothing else but what depends on it.
fn row(case: &Case, exit: &Exit) -> String {
    let report = format!("{}\n{}{}", case.name, exit.stdout, exit.stderr);
    let findings = findings(exit);
    let mut troubles = findings
        .iter()
        .filter(|finding| ["warn", "fail"].contains(&finding["outcome"].as_str().unwrap()));
    let trouble = troubles
        .next()
        .unwrap_or_else(|| panic!("nothing is found: {report}"));
    assert_eq!(trouble["check"], case.check, "{report}");
    // The same cause may show at both endpoints, or on both sides of a session.
    for other in troubles {
        assert!(
            case.also.contains(&other["check"].as_str().unwrap()),
            "{other}\n{report}"
        );
    }
    let code = trouble["exit_code"].as_i64().unwrap_or(0);
    assert_eq!(exit.code().map(i64::from), Some(code), "{report}");
    let fix = trouble["fix"]
        .as_str()
        .unwrap_or_else(|| panic!("no fix: {report}"));
    let subject = trouble["subject"]
        .as_str()
        .map(|subject| format!(" {subject}"));
    let mut row = format!("| {} | ", case.name);
    writeln!(
        row,
        "**{}**{}: {}<br>*fix:* {} | {code} |",
        trouble["check"].as_str().unwrap().replace('_', " "),
        subject.unwrap_or_default(),
        trouble["message"].as_str().unwrap(),
        fix,
    )
    .unwrap();
    case.normalized(&row)
}

fn findings(exit: &Exit) -> Vec<Value> {
    let findings = exit.events();
    assert!(
        findings.iter().all(|finding| finding["event"] == "check"),
        "{}",
        exit.stdout
    );
    findings
}

#[tokio::test]
async fn nothing_is_wrong_where_nothing_is() {
    let fixture = Fixture::with(|config| config.kms_key = Some("alias/sessions".to_owned())).await;
    let greeter = serve(|mut socket| async move {
        let _: Result<(), _> = tokio::io::AsyncWriteExt::write_all(&mut socket, b"hello").await;
    })
    .await;
    let forward = format!("{greeter}:0");
    let exit = fixture
        .run(&["doctor", TARGET, &forward, "--connect"])
        .await;
    exit.expect(0, &[]);
    assert!(
        !exit.stdout.contains("FAIL") && !exit.stdout.contains("warn"),
        "{}",
        exit.stdout
    );
    assert!(!exit.stdout.contains("skip"), "{}", exit.stdout);
    for line in [
        "ok    identity: arn:aws:iam::000000000000:user/lab-user in account 000000000000\n",
        &format!("ok    remote port {forward}: port {greeter} of i-0abc answers\n"),
        "nothing is wrong\n",
    ] {
        assert!(
            exit.stdout.contains(line),
            "{line:?} is not in:\n{}",
            exit.stdout
        );
    }
    fixture.no_session_left().await;
}

#[tokio::test]
async fn nothing_is_started_without_being_asked_for() {
    let fixture = Fixture::with(|config| config.kms_keys.push(KmsKey::new("alias/other"))).await;
    fixture
        .run(&["doctor", TARGET, "80:0", "db:5432:0"])
        .await
        .expect(0, &[]);
    fixture.run(&["doctor", TARGET]).await.expect(0, &[]);
    fixture.run(&["doctor"]).await.expect(0, &[]);
    assert_eq!(fixture.lab.sessions(), []);
}

#[tokio::test]
async fn findings_are_objects_with_stable_names() {
    let fixture = Fixture::new().await;
    let (_guard, port) = unused_port();
    let forward = format!("{port}:0");
    let exit = fixture
        .run(&["doctor", "--json", TARGET, &forward, "--connect"])
        .await;
    assert_eq!(exit.code(), Some(1), "{}", exit.stdout);
    let findings = findings(&exit);
    let names: Vec<_> = findings
        .iter()
        .map(|finding| finding["check"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "configuration",
            "dns",
            "connection",
            "connection",
            "clock",
            "credentials",
            "identity",
            "target",
            "agent",
            "start_session",
            "own_sessions",
            "document",
            "preferences",
            "encryption",
            "local_port",
            "session",
            "remote_port",
        ]
    );
    let last = findings.last().unwrap();
    assert_eq!(last["outcome"], "fail");
    assert_eq!(last["subject"], forward);
    fixture.no_session_left().await;
}

#[tokio::test]
async fn quiet_is_silent_about_what_is_in_order() {
    let fixture = Fixture::with_chaos("deny=ResumeSession").await;
    let exit = fixture.run(&["doctor", "-q", TARGET]).await;
    exit.expect(0, &[]);
    let lines: Vec<_> = exit.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", exit.stdout);
    assert!(lines[0].starts_with("warn  own sessions: ssm:ResumeSession was denied"));
}

#[tokio::test]
async fn failures_of_unknown_cause_lead_to_the_doctor() {
    let fixture = Fixture::new().await;
    let odd = serve(|mut socket| async move {
        let _: Result<(), _> = tokio::io::AsyncWriteExt::write_all(
            &mut socket,
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        )
        .await;
    })
    .await;
    let mut command = fixture.command(&[TARGET, "80:0"]);
    command.env("AWS_ENDPOINT_URL_SSM", format!("http://127.0.0.1:{odd}"));
    let exit = Client::spawn(command).exit().await;
    exit.expect(1, &["`ssmfwd doctor TARGET` looks for the cause"]);
}
