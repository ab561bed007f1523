//! Completion in shells: what the scripts of `ssmfwd completions` ask this program for.
//!
//! The scripts name no option. They run the program with `SSMFWD_COMPLETE` set, which answers from the same definitions that
//! it parses its command line with, and without any call to AWS.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{self, CompleteEnv, EnvCompleter, Shells};

use crate::cli::Cli;
use crate::config_file::ConfigFile;
use crate::known_targets::{Account, KnownTargets};

/// The variable with which a shell asks for candidates; its value is the shell's name.
const VARIABLE: &str = "SSMFWD_COMPLETE";

/// The program's name, for the scripts.
const PROGRAM: &str = "ssmfwd";

/// Answers a shell that asks for candidates, and ends the program then.
pub fn answer() {
    let shells: [&dyn EnvCompleter; 5] = [&BASH, &ZSH, &env::Fish, &env::Elvish, &env::Powershell];
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .bin(PROGRAM)
        .completer(PROGRAM)
        .shells(Shells(&shells))
        .complete();
}

/// The script that has `shell` ask this program.
pub fn script(shell: Shell) -> Vec<u8> {
    let completer: &dyn EnvCompleter = match shell {
        Shell::Bash => &BASH,
        Shell::Zsh => &ZSH,
        Shell::Fish => &env::Fish,
        Shell::Elvish => &env::Elvish,
        _ => &env::Powershell,
    };
    let mut script = Vec::new();
    // Memory takes whatever is written to it.
    let _: io::Result<()> =
        completer.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script);
    // The scripts come with spaces at the ends of lines.
    let text = String::from_utf8_lossy(&script);
    let lines = text.trim().lines().map(str::trim_end);
    lines
        .flat_map(|line| [line, "\n"])
        .collect::<String>()
        .into()
}

/// Completes TARGET: aliases, and names and ids that were seen in the last minutes.
pub fn targets() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let words: Vec<_> = std::env::args_os().collect();
        let account = Account {
            profile: option(&words, "--profile"),
            region: option(&words, "--region"),
            endpoint_url: options(&words, "--endpoint")
                .find_map(|value| value.strip_prefix("ssm=").map(str::to_owned))
                .or_else(|| option(&words, "--endpoint-url")),
        };
        let config = option(&words, "--config").map(PathBuf::from);
        let mut candidates = aliases(config.as_deref());
        candidates.extend(known(&KnownTargets::of_account(&account)));
        matching(candidates, current)
    })
}

/// Completes the name of a profile.
pub fn profiles() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let mut names = BTreeMap::new();
        for (variable, file) in [
            ("AWS_CONFIG_FILE", "config"),
            ("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
        ] {
            let named = std::env::var_os(variable).map(PathBuf::from);
            let default = || Some(std::env::home_dir()?.join(".aws").join(file));
            let text = named
                .or_else(default)
                .and_then(|path| fs::read_to_string(path).ok());
            for name in profiles_in(&text.unwrap_or_default(), file == "config") {
                names.insert(name, None);
            }
        }
        matching(names, current)
    })
}

/// Candidates with what is told about each.
type Candidates = BTreeMap<String, Option<String>>;

fn aliases(config: Option<&Path>) -> Candidates {
    let Ok(file) = ConfigFile::load(config) else {
        return Candidates::new();
    };
    let told = |name: &str| {
        let selector = file.alias(name).ok()?;
        Some((format!("@{name}"), Some(selector.to_string())))
    };
    file.names().filter_map(told).collect()
}

fn known(known: &KnownTargets) -> Candidates {
    let mut candidates = Candidates::new();
    for known in known.load() {
        let has_name = known.name != known.id;
        let name = has_name.then(|| known.name.clone());
        if has_name {
            // Of several with the same name, the id says nothing.
            let told = match candidates.contains_key(&known.name) {
                true => "several targets".to_owned(),
                false => known.id.clone(),
            };
            candidates.insert(known.name, Some(told));
        }
        candidates.entry(known.id).or_insert(name);
    }
    candidates
}

/// The candidates that begin as what is typed, but for those that a shell would want quoted.
fn matching(candidates: Candidates, current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else {
        return Vec::new();
    };
    let is_plain = |c: char| c.is_alphanumeric() || "._-@:/=+,%".contains(c);
    candidates
        .into_iter()
        .filter(|(value, _)| value.starts_with(current) && value.chars().all(is_plain))
        .map(|(value, told)| CompletionCandidate::new(value).help(told.map(Into::into)))
        .collect()
}

/// The value of an option among the words of the command line.
fn option(words: &[OsString], name: &str) -> Option<String> {
    options(words, name).next().map(str::to_owned)
}

/// The values of an option that may be repeated.
fn options<'a>(words: &'a [OsString], name: &'a str) -> impl Iterator<Item = &'a str> {
    let mut words = words.iter().filter_map(|word| word.to_str());
    // The program's own arguments end with the first `--`; the rest is the line that is completed.
    words.by_ref().find(|word| *word == "--");
    std::iter::from_fn(move || {
        while let Some(word) = words.next() {
            match word.strip_prefix(name) {
                Some("") => return words.next(),
                Some(rest) if rest.starts_with('=') => return rest.get(1..),
                _ => {}
            }
        }
        None
    })
}

/// The names of the profiles in a configuration file, or in a file of credentials.
fn profiles_in(text: &str, is_config: bool) -> impl Iterator<Item = String> {
    let sections = text.lines().filter_map(|line| {
        let (section, _) = line.trim().strip_prefix('[')?.split_once(']')?;
        Some(section.trim())
    });
    let name = move |section: &str| match (is_config, section) {
        (false, name) | (true, name @ "default") => Some(name.to_owned()),
        (true, section) => {
            let name = section.strip_prefix("profile")?;
            let name = name.strip_prefix(char::is_whitespace)?.trim();
            Some(name.trim_matches('"').to_owned())
        }
    };
    sections.filter_map(name).collect::<Vec<_>>().into_iter()
}

/// A shell whose script is not the library's; it is answered as by that.
struct Scripted {
    shell: &'static dyn EnvCompleter,
    /// Makes the script of the variable, the program's name, how it is called, and who is asked.
    script: fn(&str, &str, &str, &str) -> io::Result<String>,
}

impl EnvCompleter for Scripted {
    fn name(&self) -> &'static str {
        self.shell.name()
    }

    fn is(&self, name: &str) -> bool {
        self.shell.is(name)
    }

    fn write_registration(
        &self,
        var: &str,
        name: &str,
        bin: &str,
        completer: &str,
        buffer: &mut dyn io::Write,
    ) -> io::Result<()> {
        let script = (self.script)(var, name, bin, completer)?;
        buffer.write_all(script.as_bytes())
    }

    fn write_complete(
        &self,
        command: &mut Command,
        arguments: Vec<OsString>,
        directory: Option<&Path>,
        buffer: &mut dyn io::Write,
    ) -> io::Result<()> {
        self.shell
            .write_complete(command, arguments, directory, buffer)
    }
}

const BASH: Scripted = Scripted {
    shell: &env::Bash,
    script: bash_script,
};

const ZSH: Scripted = Scripted {
    shell: &env::Zsh,
    script: zsh_script,
};

/// For bash, whose own splitting of the line breaks words such as `@alias` and `tag:Key=Value` apart.
fn bash_script(var: &str, name: &str, bin: &str, completer: &str) -> io::Result<String> {
    Ok(BASH_SCRIPT
        .replace("VARIABLE", var)
        .replace("NAME", name)
        .replace("PROGRAM", bin)
        .replace("COMPLETER", completer))
}

/// For zsh, also from a directory of `$fpath`: there, the first completion runs the file itself.
fn zsh_script(var: &str, name: &str, bin: &str, completer: &str) -> io::Result<String> {
    let mut script = Vec::new();
    env::Zsh.write_registration(var, name, bin, completer, &mut script)?;
    let function = format!("_clap_dynamic_completer_{name}");
    let register = format!("compdef {function} {bin}");
    let either = format!(
        "if [[ $funcstack[1] == _{name} ]]; then\n    {function} \"$@\"\nelse\n    {register}\nfi"
    );
    Ok(String::from_utf8_lossy(&script).replace(&register, &either))
}

const BASH_SCRIPT: &str = r#"
_NAME() {
    local IFS=$' \t\n'
    local line=${COMP_LINE:0:COMP_POINT}
    local -a words
    read -r -a words <<<"$line"
    if [[ $line == *[[:space:]] ]]; then
        words+=("")
    fi
    local current=${words[${#words[@]} - 1]}
    # What bash takes for the word begins after the last of these characters.
    local breaks=${COMP_WORDBREAKS//[[:space:]]/}
    local before=${current%"${current##*[$breaks]}"}
    # But this one is part of it.
    before=${before%@}
    local candidate
    COMPREPLY=()
    # The last line has no end.
    while IFS= read -r candidate || [[ -n $candidate ]]; do
        if [[ -n $candidate ]]; then
            COMPREPLY+=("${candidate#"$before"}")
        fi
    done < <(
        _CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1)) \
            VARIABLE=bash COMPLETER -- "${words[@]}" 2>/dev/null
    )
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/:] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o bashdefault -F _NAME PROGRAM
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_in_both_files() {
        let config = "[default]\nregion=x\n[profile prod]\n[ profile \"my own\" ] ; x\n\
                      [sso-session corp]\n[services s]\n#[profile no]\n[profiles]\n";
        let names: Vec<_> = profiles_in(config, true).collect();
        assert_eq!(names, ["default", "prod", "my own"]);
        let credentials = "[default]\naws_access_key_id = x\n[profile x]\n[ci]\n";
        let names: Vec<_> = profiles_in(credentials, false).collect();
        assert_eq!(names, ["default", "profile x", "ci"]);
    }

    #[test]
    fn options_of_the_line_that_is_completed_are_found() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let profile = |line: &str| option(&words(line), "--profile");
        assert_eq!(profile("ssmfwd -- ssmfwd --profile a x"), Some("a".into()));
        assert_eq!(profile("ssmfwd -- ssmfwd --profile=b"), Some("b".into()));
        assert_eq!(profile("ssmfwd -- ssmfwd --profiles x"), None);
        assert_eq!(profile("ssmfwd --profile a"), None);
        let line = words("ssmfwd -- ssmfwd --endpoint kms=a --endpoint-url b --endpoint=ssm=c x");
        let endpoints: Vec<_> = options(&line, "--endpoint").collect();
        assert_eq!(endpoints, ["kms=a", "ssm=c"]);
    }

    #[test]
    fn what_a_shell_would_want_quoted_is_left_out() {
        let candidates: Candidates = ["web", "web 1", "we$b", "wéb", "db"]
            .map(|name| (name.to_owned(), None))
            .into();
        let found = matching(candidates, OsStr::new("w"));
        let values: Vec<_> = found.iter().map(CompletionCandidate::get_value).collect();
        assert_eq!(values, ["web", "wéb"]);
    }
}
