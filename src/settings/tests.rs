use clap::Parser;

use super::*;
use crate::cli::{Cli, Job};

fn settings(line: &str) -> Result<Settings, Failure> {
    let cli = Cli::try_parse_from(["ssmfwd"].into_iter().chain(line.split(' '))).unwrap();
    let Job::Forward(args) = cli.into_job().unwrap() else {
        panic!("{line} is not the main job");
    };
    Settings::new(*args)
}

fn parameters_of(line: &str) -> Vec<(String, String)> {
    let settings = settings(line).unwrap();
    let [forward] = &settings.forwards[..] else {
        panic!("{settings:?}")
    };
    let pairs = forward.parameters.iter();
    pairs
        .map(|(key, values)| (key.clone(), values.join("|")))
        .collect()
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[test]
fn each_forward_gets_its_document() {
    let settings = settings("i-0abc 80:9090 db:3306:0 localhost:22:./s").unwrap();
    let documents: Vec<_> = settings
        .forwards
        .iter()
        .map(|forward| &forward.document[..])
        .collect();
    assert_eq!(
        documents,
        [
            "AWS-StartPortForwardingSession",
            "AWS-StartPortForwardingSessionToRemoteHost",
            "AWS-StartPortForwardingSession"
        ]
    );
}

#[test]
fn parameters_follow_from_the_forward() {
    let table = [
        (
            "i 80:9090",
            pairs([("localPortNumber", "9090"), ("portNumber", "80")]),
        ),
        (
            "i 80:./s",
            pairs([("localPortNumber", "0"), ("portNumber", "80")]),
        ),
        (
            "i localhost:80",
            pairs([("localPortNumber", "80"), ("portNumber", "80")]),
        ),
        (
            "i [fd00::1]:80:1",
            pairs([
                ("host", "fd00::1"),
                ("localPortNumber", "1"),
                ("portNumber", "80"),
            ]),
        ),
    ];
    for (line, expected) in table {
        assert_eq!(parameters_of(line), expected, "{line}");
    }
}

#[test]
fn typed_parameters_override_add_and_leave_out() {
    let line = "--document Mine --parameter portNumber=1 --parameter portNumber=2,3 --parameter localPortNumber= \
                --parameter x=a=b i localhost:80";
    let expected = pairs([("host", "localhost"), ("portNumber", "1|2,3"), ("x", "a=b")]);
    assert_eq!(parameters_of(line), expected);
}

#[test]
fn a_custom_document_serves_one_forward() {
    let failure = settings("--document Mine i 80 81").unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert_eq!(
        failure.message,
        "--document serves one FORWARD, and 2 are given"
    );
}

#[test]
fn one_local_address_serves_one_forward() {
    let failure = settings("i 80:9090 22:0 81:127.0.0.1:9090").unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert_eq!(
        failure.message,
        "80:9090 and 81:127.0.0.1:9090 listen on the same local address"
    );
}

#[test]
fn an_address_off_loopback_is_warned_about() {
    let settings = settings("i 80:0.0.0.0:9090 81:9091").unwrap();
    assert_eq!(
        settings.warnings,
        ["0.0.0.0:9090 is not a loopback address: whoever can reach it can use 80:0.0.0.0:9090"]
    );
}

#[test]
fn what_follows_the_dashes_is_a_command() {
    let settings = settings("i 80 -v -- psql -h --json").unwrap();
    let command = settings.command.unwrap();
    assert_eq!(command.program, "psql");
    assert_eq!(command.arguments, ["-h", "--json"]);
}

#[test]
fn defaults() {
    let settings = settings("i 80").unwrap();
    assert_eq!(settings.half_close, Duration::from_secs(10));
    assert_eq!(settings.payload_len, 1024);
    assert_eq!(settings.command, None);
    assert!(settings.warnings.is_empty());
    #[cfg(feature = "lab")]
    assert!(settings.service.lab.is_none());
}

#[cfg(feature = "lab")]
#[test]
fn the_lab_is_shaped_by_its_options() {
    let settings = settings("--lab --pace --chaos drop=5% i 80").unwrap();
    let lab = settings.service.lab.unwrap();
    assert!(lab.agent.pace);
    assert_eq!(lab.agent.chaos.as_deref(), Some("drop=5%"));
    assert_eq!(lab.agent.agent_version, "3.3.987.0");
}

#[test]
fn a_connection_is_not_dead_before_it_was_asked() {
    let liveness = settings("--ping-interval 5 --dead-after 11 i-0abc 80")
        .unwrap()
        .liveness;
    assert_eq!(liveness.ping_interval, Duration::from_secs(5));
    assert_eq!(liveness.dead_after, Duration::from_secs(11));
    let failure = settings("--ping-interval 15 --dead-after 15 i-0abc 80").unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.hint.unwrap().contains("--dead-after"));
}
