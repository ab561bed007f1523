//! `ssmfwd doctor` against everything that is commonly wrong: it names the cause of each, and docs/doctor.md repeats what
//! it says.

mod misconfigurations;

use std::fmt::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use ssmfwd::lab::{KmsKey, Target};
use tokio::process::Command;

use crate::support::{
    Client, Exit, Fixture, TARGET, Terminal, bounded, read_to_end, serve, unused_port,
};
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

/// Fails unless the one thing that is wrong is the only one that is not in order.
fn row(case: &Case, exit: &Exit) -> String {
    let report = format!("{}\n{}{}", case.name, exit.stdout, exit.stderr);
    let (findings, summary) = findings(exit);
    let troubles = findings
        .iter()
        .filter(|finding| ["warn", "fail"].contains(&finding["outcome"].as_str().unwrap()));
    let mut troubles: Vec<_> = troubles.collect();
    troubles.sort_by_key(|finding| CHECKS.iter().position(|check| finding["check"] == *check));
    let [trouble, others @ ..] = &troubles[..] else {
        panic!("nothing is found: {report}");
    };
    assert_eq!(trouble["check"], case.check, "{report}");
    assert!(others.is_empty(), "{report}");
    let code = trouble["exit_code"].as_i64().unwrap_or(0);
    assert_eq!(exit.code().map(i64::from), Some(code), "{report}");
    assert_eq!(summary["exit_code"], code, "{report}");
    assert_eq!(summary["outcome"], trouble["outcome"], "{report}");
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

/// The findings, and the summary behind them.
fn findings(exit: &Exit) -> (Vec<Value>, Value) {
    let mut events = exit.events();
    let summary = events.pop().unwrap_or_default();
    assert_eq!(summary["event"], "summary", "{}", exit.stdout);
    let is_check = |event: &Value| event["event"] == "check";
    assert!(events.iter().all(is_check), "{}", exit.stdout);
    (events, summary)
}

/// What everything that is looked at is called, in the order in which a session needs it.
const CHECKS: [&str; 16] = [
    "configuration",
    "dns",
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
];

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
        "nothing is wrong in 16 checks\n",
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
    let exit = fixture.run(&["doctor", TARGET, "80:0", "db:5432:0"]).await;
    exit.expect(0, &[]);
    let start = "ok    start session AWS-StartPortForwardingSession, AWS-StartPortForwardingSessionToRemoteHost: ";
    assert!(exit.stdout.contains(start), "{}", exit.stdout);
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
    let (findings, summary) = findings(&exit);
    for check in CHECKS {
        let count = findings.iter().filter(|finding| finding["check"] == check);
        assert_eq!(count.count(), 1, "{check}: {}", exit.stdout);
    }
    let connection = findings.iter().find(|one| one["check"] == "connection");
    assert_eq!(connection.unwrap()["subject"], "ssm, ssmmessages");
    let last = findings.last().unwrap();
    assert_eq!(last["outcome"], "fail");
    assert_eq!(last["subject"], forward);
    let expected = json!({"event": "summary", "outcome": "fail", "passed": 15, "warned": 0, "failed": 1, "skipped": 0,
                          "not_tried": [], "exit_code": 1});
    assert_eq!(summary, expected);
    fixture.no_session_left().await;
}

#[tokio::test]
async fn the_summary_says_what_was_not_looked_at_and_why() {
    let fixture = Fixture::new().await;
    let (_guard, closed) = unused_port();
    let url = format!("http://127.0.0.1:{closed}");
    let mut command = fixture.command(&["doctor", TARGET, "80:0"]);
    command.env("AWS_ENDPOINT_URL_SSM", &url);
    let exit = Client::spawn(command).exit().await;
    assert_eq!(exit.code(), Some(1), "{}", exit.stdout);
    let end = "skip  clock, target, agent, start session, own sessions, document, preferences, encryption: not checked, need \
               connection\n1 failure in 6 checks; 8 skipped; not tried: session, remote port\n";
    assert!(exit.stdout.ends_with(end), "{}", exit.stdout);

    for (arguments, not_tried, next) in [
        (
            &["doctor"][..],
            &["target", "agent", "start_session", "session", "remote_port"][..],
            "name them: ssmfwd doctor TARGET FORWARD",
        ),
        (
            &["doctor", TARGET],
            &["session", "remote_port"],
            "add a FORWARD and --connect",
        ),
        (
            &["doctor", TARGET, "80:0"],
            &["session", "remote_port"],
            "add --connect",
        ),
    ] {
        let exit = fixture.run(arguments).await;
        let end = format!("({next})\n");
        assert!(exit.stdout.ends_with(&end), "{}", exit.stdout);
        let exit = fixture.run(&[arguments, &["--json"]].concat()).await;
        let (_, summary) = findings(&exit);
        assert_eq!(summary["not_tried"], json!(not_tried), "{summary}");
        assert_eq!(summary["next"], next, "{summary}");
    }
}

#[tokio::test]
async fn findings_come_as_they_are_and_what_takes_its_time_is_named() {
    let fixture = Fixture::new().await;
    let silent = serve(|mut socket| async move {
        let (_request, _ended) = read_to_end(&mut socket).await;
    })
    .await;
    let mut command = fixture.command(&["doctor"]);
    command.env("AWS_ENDPOINT_URL_SSM", format!("http://127.0.0.1:{silent}"));
    let mut client = Client::spawn(command);
    client.stdout_line("ok    identity: ").await;
    let waiting = client.stderr_line("trying: ").await;
    assert_eq!(waiting, "...   trying: connection (127.0.0.1)\n");
    let mut said = String::new();
    while !said.starts_with("FAIL") {
        said = client.stdout_line("connection").await;
    }
    assert!(said.contains("says nothing within 10 s"), "{said}");
    assert_eq!(client.exit().await.code(), Some(1));
}

#[tokio::test]
async fn a_wrong_clock_stops_nothing() {
    for chaos in ["clock-ahead=250s", "clock-ahead=86400s"] {
        let fixture = Fixture::with_chaos(chaos).await;
        let greeter = serve(|mut socket| async move {
            let _: Result<(), _> = tokio::io::AsyncWriteExt::write_all(&mut socket, b"hello").await;
        })
        .await;
        let forward = format!("{greeter}:0");
        let exit = fixture
            .run(&["doctor", "--json", TARGET, &forward, "--connect"])
            .await;
        let (findings, summary) = findings(&exit);
        let clock = findings.iter().find(|one| one["check"] == "clock").unwrap();
        assert_eq!(clock["outcome"], "warn");
        let expected = json!({"event": "summary", "outcome": "warn", "passed": 15, "warned": 1, "failed": 0,
                              "skipped": 0, "not_tried": [], "exit_code": 0});
        assert_eq!(summary, expected, "{}", exit.stdout);
    }
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_for_containers_too() {
    const TASK: &str = "9f9e2c5d1c6a4b0f8f4bd0c54d7a9b11";
    let fixture = Fixture::with(|config| {
        config.chaos = "clock-ahead=1200s".parse().unwrap();
        let container = format!("ecs:prod_{TASK}_{TASK}-1,service=front");
        config.targets = vec![Target::parse(&container).unwrap()];
    })
    .await;
    let exit = fixture.run(&["targets", "ecs:prod/front", "--json"]).await;
    exit.expect(0, &[]);
    assert_eq!(exit.events().len(), 1, "{}", exit.stdout);
}

#[tokio::test]
async fn a_denial_is_told_once() {
    let fixture = Fixture::with_chaos("deny=StartSession").await;
    let arguments = ["doctor", "--json", TARGET, "80:0", "db:5432:0", "--connect"];
    let exit = fixture.run(&arguments).await;
    let (findings, summary) = findings(&exit);
    assert_eq!(summary["failed"], 1, "{}", exit.stdout);
    let needy = findings
        .iter()
        .filter(|one| one["needs"] == "start_session" || one["needs"] == "session");
    let needy: Vec<_> = needy.map(|one| one["check"].as_str().unwrap()).collect();
    assert_eq!(needy.len(), 4, "{}", exit.stdout);
    assert_eq!(exit.code(), Some(3));
}

#[tokio::test]
async fn nothing_is_claimed_of_a_target_that_cannot_be_looked_up() {
    let fixture =
        Fixture::with_chaos("deny=DescribeInstanceInformation,deny=GetConnectionStatus").await;
    let exit = fixture.run(&["doctor", "--json", TARGET]).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stdout);
    let (findings, _) = findings(&exit);
    let outcome = |check: &str| {
        let finding = findings.iter().find(|one| one["check"] == check);
        finding.unwrap()["outcome"].clone()
    };
    assert_eq!(
        (outcome("target"), outcome("agent")),
        (json!("skip"), json!("skip"))
    );
    // The id is enough for these.
    assert_eq!(outcome("start_session"), "pass");
}

#[tokio::test]
async fn words_stay_whole_in_a_terminal() {
    let fixture = Fixture::with_chaos("deny=StartSession").await;
    let mut command = fixture.bare_command();
    command
        .args(["doctor", TARGET, "80:0"])
        .envs(fixture.lab.environment());
    let shown = Terminal::spawn(command).exits(3).await;
    let lines: Vec<_> = shown.lines().collect();
    for line in &lines {
        let text = line.trim_start();
        assert!(line.chars().count() <= 80 || !text.contains(' '), "{shown}");
    }
    let denial = lines.iter().position(|line| line.starts_with("FAIL"));
    let below = lines[denial.unwrap() + 1];
    assert!(
        below.starts_with("      ") && !below.starts_with("       "),
        "{shown}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("           ")),
        "{shown}"
    );
}

#[tokio::test]
async fn output_that_cannot_be_written_is_an_error() {
    let fixture = Fixture::new().await;
    for arguments in ["doctor", "doctor --json"] {
        let mut command = fixture.isolate(Command::new("sh"));
        let program = env!("CARGO_BIN_EXE_ssmfwd");
        let script = format!("exec {program} {arguments} >/dev/full");
        command
            .args(["-c", &script])
            .envs(fixture.lab.environment());
        let exit = Client::spawn(command).exit().await;
        exit.expect(1, &["error: cannot write to standard output: "]);
    }
    // A reader who has seen enough is none.
    let mut command = fixture.command(&["doctor"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = bounded("end of the process", child.wait_with_output())
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[tokio::test]
async fn a_mistyped_command_line_is_answered_with_the_right_one() {
    let fixture = Fixture::new().await;
    for (arguments, hint) in [
        (
            &["doctor", "80:9090"][..],
            "write: ssmfwd doctor TARGET 80:9090",
        ),
        (
            &["doctor", "80:9090", TARGET],
            "the target comes first: ssmfwd doctor i-0abc 80:9090",
        ),
    ] {
        fixture.run(arguments).await.expect(2, &[hint]);
        let exit = fixture.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(exit.code(), Some(2), "{}", exit.stdout);
        let [error] = exit.events().try_into().unwrap();
        assert_eq!(
            (&error["event"], &error["hint"]),
            (&json!("error"), &json!(hint))
        );
        assert_eq!(exit.stderr, "");
    }
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
