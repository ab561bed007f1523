//! What was probably meant by a command line that is wrong, where the parser cannot tell: to it, every first word that is
//! no subcommand is a TARGET.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Error, ValueEnum};

use super::{Cli, Page, order};
use crate::aws::TargetKind;
use crate::spec::Forward;

/// How similar a first word has to be to a subcommand (Jaro similarity); `exc` and `exec` have 0.92.
const SIMILARITY: f64 = 0.8;

/// The subcommand that takes a TARGET and FORWARDs as the program itself does.
const DOCTOR: &str = "doctor";

/// Adds what was probably meant by `arguments`, the program's name in front, to the `error` they led to.
pub(super) fn add(mut error: Error, arguments: &[OsString]) -> Error {
    let words: Vec<&str> = arguments
        .iter()
        .map(|word| word.to_str().unwrap_or_default())
        .collect();
    let first = order::first_word(&Cli::command(), arguments);
    let Some([first, rest @ ..]) = first.and_then(|index| words.get(index..)) else {
        return error;
    };
    let wrong = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => name.clone(),
        _ => String::new(),
    };
    if let Some(tip) = missing_dashes(error.kind(), first, &wrong) {
        suggest(&mut error, tip);
    } else if let Some(tip) = foreign(first)
        && is_no_forward(&error)
    {
        // No option of ours was meant.
        error.remove(ContextKind::SuggestedArg);
        suggest(&mut error, tip.to_owned());
    } else if let Some(subcommand) = similar_subcommand(first) {
        let subcommand = ContextValue::String(subcommand.to_owned());
        error.insert(ContextKind::SuggestedSubcommand, subcommand);
    } else if error.kind() == ErrorKind::ValueValidation
        && ["<FORWARD>", "[FORWARD]"]
            .iter()
            .any(|name| wrong.starts_with(name))
        && let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && let Some(tip) = misplaced(first, value, rest)
    {
        suggest(&mut error, tip);
    } else if error.kind() == ErrorKind::MissingRequiredArgument && is_no_forward(&error) {
        suggest(&mut error, without_forward(first));
    } else if error.kind() == ErrorKind::UnknownArgument && wrong == "-L" {
        suggest(&mut error, REMOTE_FIRST.to_owned());
    }
    error
}

const REMOTE_FIRST: &str =
    "there is no -L, and the remote side comes first: ssmfwd TARGET HOST:REMOTE_PORT:LOCAL_PORT";

/// `exec i-0abc ls`, and a shell that is to run a command.
fn missing_dashes(kind: ErrorKind, subcommand: &str, wrong: &str) -> Option<String> {
    if kind != ErrorKind::UnknownArgument || wrong.starts_with('-') {
        return None;
    }
    match subcommand {
        "exec" => Some(format!(
            "write -- before the command: ssmfwd exec TARGET -- {wrong}"
        )),
        "shell" => Some(format!(
            "exec runs a command: ssmfwd exec TARGET -- {wrong}"
        )),
        _ => None,
    }
}

/// What other tools have a first word for, and how it is said here.
fn foreign(word: &str) -> Option<&'static str> {
    Some(match word {
        "ssh" => {
            "ssmfwd shell TARGET opens a shell; ssmfwd ssh-config --install has ssh reach targets by their id"
        }
        "connect" | "login" | "start-session" => {
            "ssmfwd shell TARGET opens a shell; ssmfwd TARGET FORWARD makes a port local"
        }
        "forward" | "port-forward" | "tunnel" => {
            "no subcommand is needed: ssmfwd TARGET FORWARD, as in ssmfwd i-0abc 80:9090"
        }
        "list" | "ls" => "ssmfwd targets lists what there is",
        "run" | "send-command" => "ssmfwd exec TARGET -- COMMAND runs a command",
        "version" => "ssmfwd --version prints it",
        _ => return None,
    })
}

/// Whether the command line lacks what a forward to a target of any name would have.
fn is_no_forward(error: &Error) -> bool {
    let is_forward = |name: &String| name.starts_with("<FORWARD>");
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, _) => true,
        (_, Some(ContextValue::String(name))) => is_forward(name),
        (_, Some(ContextValue::Strings(names))) => names.iter().any(is_forward),
        _ => false,
    }
}

/// The subcommand of which `word` is a misspelling.
fn similar_subcommand(word: &str) -> Option<&'static str> {
    let names = Page::value_variants().iter().map(|page| page.name());
    let (similarity, name) = names
        .map(|name| (strsim::jaro(word, name), name))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    // A word that is one is spelt well.
    (SIMILARITY..1.0).contains(&similarity).then_some(name)
}

/// Where `value`, which is no FORWARD, belongs: in front of one, in front of the target, or behind `--`.
fn misplaced(target: &str, value: &str, rest: &[&str]) -> Option<String> {
    let is_forward = |word: &str| word.parse::<Forward>().is_ok();
    if let Some(forward) = turned(value).filter(|forward| is_forward(forward)) {
        return Some(format!(
            "if that is meant as with ssh -L, the remote side comes first here: {forward}"
        ));
    }
    if is_forward(target) {
        return Some(format!("the target comes first: ssmfwd {value} {target}"));
    }
    if target == DOCTOR {
        let target = rest.iter().find(|word| is_forward(word))?;
        return Some(format!(
            "the target comes first: ssmfwd {DOCTOR} {value} {target}"
        ));
    }
    if Page::from_str(value, false).is_ok() {
        return Some(format!(
            "the subcommand comes first: ssmfwd {value} {target}"
        ));
    }
    let mut before = rest.iter().take_while(|word| **word != value);
    let is_behind_forward = before.any(|word| is_forward(word));
    is_behind_forward.then(|| format!("write -- before a command: -- {value}"))
}

/// The FORWARD that is meant by what `ssh -L` takes, as in `9090:localhost:80`.
fn turned(value: &str) -> Option<String> {
    let (local, rest) = value.split_once(':')?;
    let (host, remote) = rest.rsplit_once(':')?;
    match host {
        "localhost" | "127.0.0.1" | "[::1]" => Some(format!("{remote}:{local}")),
        host => Some(format!("{host}:{remote}:{local}")),
    }
}

/// What may be meant by a target alone.
fn without_forward(target: &str) -> String {
    match target.split_once(':') {
        Some((id, port)) if TargetKind::of(id).is_some() && port.parse::<Forward>().is_ok() => {
            format!("write the target and the port apart: ssmfwd {id} {port}")
        }
        _ if target.parse::<Forward>().is_ok() => {
            format!("the target comes first: ssmfwd TARGET {target}")
        }
        _ => format!(
            "a port is forwarded as in ssmfwd {target} 80:9090; ssmfwd shell {target} opens a shell"
        ),
    }
}

fn suggest(error: &mut Error, tip: String) {
    let tip = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
    error.insert(ContextKind::Suggested, tip);
}
