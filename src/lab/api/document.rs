//! What the session documents make of StartSession's parameters.

use std::collections::BTreeMap;

use ssmfwd_protocol::version::Version;

use super::{ApiError, Parameters};
use crate::lab::document::{Content, Document, NonInteractiveCommand, SessionType};

/// Turns a document's name and StartSession's parameters into what the agent is told to do.
///
/// # Errors
///
/// `InvalidDocument`, `ValidationException` or `BadRequest`, as the service has it.
pub(super) fn content(
    name: &str,
    given: Parameters,
    agent_version: Version,
    custom_documents: &[Document],
) -> Result<Content, ApiError> {
    let kind = Kind::of(name, custom_documents)?;
    let values = kind.values(name, given)?;
    if kind == Kind::RemoteHost {
        needs_remote_host_support(agent_version)?;
    }
    match kind.session_type() {
        SessionType::Port => Ok(Content::Port(kind.port_properties(values))),
        SessionType::StandardStream => Ok(Content::Shell),
        SessionType::InteractiveCommands => Ok(Content::InteractiveCommand {
            command: kind.command(&values)?,
            is_in_container: false,
        }),
        SessionType::NonInteractiveCommands => Ok(Content::NonInteractiveCommand({
            let text = |name: &str| values.get(name).cloned().unwrap_or_default();
            NonInteractiveCommand {
                command: kind.command(&values)?,
                separate_output: text(SEPARATE_OUTPUT) == "true",
                stdout_prefix: text("stdOutSeparatorPrefix"),
                stderr_prefix: text("stdErrSeparatorPrefix"),
            }
        })),
    }
}

/// The parameters of a document, with the values they have if they are left out.
///
/// # Errors
///
/// `InvalidDocument` if there is none of this name.
pub(super) fn parameters(
    name: &str,
    custom_documents: &[Document],
) -> Result<Vec<(&'static str, Option<&'static str>)>, ApiError> {
    let kind = Kind::of(name, custom_documents)?;
    let defaults = kind
        .defaults()
        .iter()
        .map(|(name, value)| (*name, Some(*value)));
    let required = kind.required().map(|name| (name, None));
    // A document of one's own takes anything; this is what it may be given without being asked.
    let is_custom_port =
        matches!(kind, Kind::Custom(_)) && kind.session_type() == SessionType::Port;
    let host = is_custom_port.then_some(("host", Some("")));
    Ok(defaults.chain(required).chain(host).collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind<'a> {
    Port,
    RemoteHost,
    Ssh,
    Shell,
    InteractiveCommand,
    NonInteractiveCommand,
    Custom(&'a Document),
}

impl<'a> Kind<'a> {
    fn of(name: &str, custom_documents: &'a [Document]) -> Result<Self, ApiError> {
        match name {
            DEFAULT_DOCUMENT => Ok(Self::Shell),
            "AWS-StartPortForwardingSession" => Ok(Self::Port),
            "AWS-StartPortForwardingSessionToRemoteHost" => Ok(Self::RemoteHost),
            "AWS-StartSSHSession" => Ok(Self::Ssh),
            "AWS-StartInteractiveCommand" => Ok(Self::InteractiveCommand),
            "AWS-StartNonInteractiveCommand" => Ok(Self::NonInteractiveCommand),
            _ => custom_documents
                .iter()
                .find(|document| document.name == name)
                .map(Self::Custom)
                .ok_or_else(|| {
                    let message = format!("Document with name {name} does not exist.");
                    ApiError::new("InvalidDocument", message)
                }),
        }
    }

    fn session_type(self) -> SessionType {
        match self {
            Self::Port | Self::RemoteHost | Self::Ssh => SessionType::Port,
            Self::Shell => SessionType::StandardStream,
            Self::InteractiveCommand => SessionType::InteractiveCommands,
            Self::NonInteractiveCommand => SessionType::NonInteractiveCommands,
            Self::Custom(document) => document.session_type,
        }
    }

    /// The parameters with a default value.
    fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Ssh => &[("portNumber", "22")],
            _ if self.session_type() == SessionType::Port => {
                &[("portNumber", "80"), ("localPortNumber", "0")]
            }
            Self::NonInteractiveCommand => &[(SEPARATE_OUTPUT, "false")],
            _ => &[],
        }
    }

    /// The parameter that has to be given.
    fn required(self) -> Option<&'static str> {
        match self {
            Self::RemoteHost => Some("host"),
            Self::InteractiveCommand | Self::NonInteractiveCommand => Some(COMMAND),
            _ => None,
        }
    }

    fn takes(self, name: &str) -> bool {
        matches!(self, Self::Custom(_))
            || self.required() == Some(name)
            || self.defaults().iter().any(|(known, _)| *known == name)
    }

    /// Checks the parameters given and adds the values of the others.
    fn values(
        self,
        document: &str,
        given: Parameters,
    ) -> Result<BTreeMap<String, String>, ApiError> {
        let defaults = self.defaults().iter();
        let mut all: BTreeMap<_, _> = defaults
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        for (name, values) in given {
            if !self.takes(&name) {
                let message =
                    format!("Parameter \"{name}\" is not defined in document {document}.");
                return Err(ApiError::new("ValidationException", message));
            }
            let Ok([value]) = <[String; 1]>::try_from(values) else {
                let message = format!("Parameter \"{name}\" takes exactly one value.");
                return Err(ApiError::new("BadRequest", message));
            };
            if !is_allowed(&name, &value) {
                let message =
                    format!("Parameter \"{name}\" does not match its allowed pattern: '{value}'.");
                return Err(ApiError::new("ValidationException", message));
            }
            all.insert(name, value);
        }
        let missing = self
            .required()
            .filter(|name| all.get(*name).is_none_or(String::is_empty));
        match missing {
            Some(name) => {
                let message = format!("Parameter \"{name}\" is required.");
                Err(ApiError::new("ValidationException", message))
            }
            None => Ok(all),
        }
    }

    /// The agent tells sessions for `ssh` from others by the missing type.
    fn port_properties(self, mut values: BTreeMap<String, String>) -> BTreeMap<String, String> {
        if self != Self::Ssh {
            values.insert("type".to_owned(), "LocalPortForwarding".to_owned());
        }
        values
    }

    fn command(self, values: &BTreeMap<String, String>) -> Result<String, ApiError> {
        match self {
            Self::Custom(Document {
                commands: Some(template),
                ..
            }) => substitute(template, values),
            _ => Ok(values.get(COMMAND).cloned().unwrap_or_default()),
        }
    }
}

/// Replaces every `{{ name }}` by that parameter's value.
fn substitute(template: &str, values: &BTreeMap<String, String>) -> Result<String, ApiError> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, (name, after))) = rest
        .split_once("{{")
        .and_then(|(before, rest)| Some((before, rest.split_once("}}")?)))
    {
        let name = name.trim();
        let value = values.get(name).ok_or_else(|| {
            let message = format!("Parameter \"{name}\" is required.");
            ApiError::new("ValidationException", message)
        })?;
        text.push_str(before);
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn needs_remote_host_support(agent_version: Version) -> Result<(), ApiError> {
    if REMOTE_HOST_VERSION
        .parse()
        .is_ok_and(|first: Version| agent_version < first)
    {
        let message = format!(
            "Forwarding to a remote host needs SSM Agent {REMOTE_HOST_VERSION} or later; \
             the target has {agent_version}."
        );
        return Err(ApiError::new("BadRequest", message));
    }
    Ok(())
}

/// Whether a value matches the pattern that parameters of this name have in every document.
fn is_allowed(name: &str, value: &str) -> bool {
    match name {
        "portNumber" | "localPortNumber" => is_port(value),
        SEPARATE_OUTPUT => matches!(value, "true" | "false"),
        "stdOutSeparatorPrefix" | "stdErrSeparatorPrefix" => is_separator_prefix(value),
        _ => true,
    }
}

/// Whether AWS's pattern for ports accepts the text: 0 to 65535 without leading zeros.
fn is_port(text: &str) -> bool {
    let is_canonical = !text.starts_with('+') && (text == "0" || !text.starts_with('0'));
    is_canonical && text.parse::<u16>().is_ok()
}

/// Whether the agent accepts a prefix (`separateOutputStreamPrefixRegex`).
fn is_separator_prefix(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "\r\n_:-".contains(c);
    text.len() <= 30 && text.chars().all(is_allowed)
}

/// The document of a session that names none.
pub(super) const DEFAULT_DOCUMENT: &str = "SSM-SessionManagerRunShell";

const COMMAND: &str = "command";
const SEPARATE_OUTPUT: &str = "separateOutputStream";

/// The first agent that forwards to remote hosts.
const REMOTE_HOST_VERSION: &str = "3.1.1374.0";

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: &str = "AWS-StartPortForwardingSession";
    const REMOTE_HOST: &str = "AWS-StartPortForwardingSessionToRemoteHost";
    const INTERACTIVE: &str = "AWS-StartInteractiveCommand";
    const NON_INTERACTIVE: &str = "AWS-StartNonInteractiveCommand";

    fn resolve(
        document: &str,
        parameters: &[(&str, &str)],
        agent_version: &str,
    ) -> Result<Content, ApiError> {
        let given = parameters.iter().map(|(name, value)| {
            let values = vec![(*value).to_owned()];
            ((*name).to_owned(), values)
        });
        let custom = [
            Document::new("My-Document", SessionType::Port),
            Document {
                commands: Some("tail -n {{lines}} {{ file }} # {{".to_owned()),
                ..Document::new("My-Tail", SessionType::InteractiveCommands)
            },
            Document::new("My-Command", SessionType::NonInteractiveCommands),
        ];
        let agent_version = agent_version.parse().unwrap();
        content(document, given.collect(), agent_version, &custom)
    }

    fn current(document: &str, parameters: &[(&str, &str)]) -> Result<Content, ApiError> {
        resolve(document, parameters, "3.3.987.0")
    }

    fn properties(document: &str, parameters: &[(&str, &str)]) -> BTreeMap<String, String> {
        match current(document, parameters).unwrap() {
            Content::Port(properties) => properties,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parameters_have_default_values() {
        let defaults = properties(PORT, &[]);
        assert_eq!(defaults["portNumber"], "80");
        assert_eq!(defaults["localPortNumber"], "0");
        assert_eq!(defaults["type"], "LocalPortForwarding");
        assert_eq!(defaults.len(), 3);
        let given = properties(PORT, &[("portNumber", "5432")]);
        assert_eq!(given["portNumber"], "5432");
    }

    #[test]
    fn the_ssh_document_has_a_port_and_nothing_else() {
        let ssh = |port: &str| BTreeMap::from([("portNumber".to_owned(), port.to_owned())]);
        assert_eq!(properties("AWS-StartSSHSession", &[]), ssh("22"));
        let given = [("portNumber", "2222")];
        assert_eq!(properties("AWS-StartSSHSession", &given), ssh("2222"));
        let error = current("AWS-StartSSHSession", &[("localPortNumber", "0")]).unwrap_err();
        assert_eq!(error.code, "ValidationException");
    }

    #[test]
    fn ports_are_those_of_the_documents_pattern() {
        for port in ["0", "9", "80", "65535"] {
            assert!(current(PORT, &[("portNumber", port)]).is_ok(), "{port}");
        }
        for port in ["", "65536", "-1", "+1", "080", "http", "8 0"] {
            let error = current(PORT, &[("localPortNumber", port)]).unwrap_err();
            assert_eq!(error.code, "ValidationException", "{port}");
        }
    }

    #[test]
    fn a_remote_host_is_required_by_its_document_only() {
        let host = [("host", "db.internal")];
        assert_eq!(properties(REMOTE_HOST, &host)["host"], "db.internal");
        let error = current(REMOTE_HOST, &[]).unwrap_err();
        assert_eq!(error.code, "ValidationException");
        let error = current(PORT, &host).unwrap_err();
        assert_eq!(error.code, "ValidationException");
    }

    #[test]
    fn an_old_agent_forwards_to_no_remote_host() {
        let with = |version| resolve(REMOTE_HOST, &[("host", "db")], version);
        assert!(with("3.1.1374.0").is_ok());
        assert_eq!(with("3.1.1373.9").unwrap_err().code, "BadRequest");
        assert_eq!(with("2.3.714.0").unwrap_err().code, "BadRequest");
    }

    #[test]
    fn a_shell_takes_no_parameters() {
        assert_eq!(current(DEFAULT_DOCUMENT, &[]), Ok(Content::Shell));
        let error = current(DEFAULT_DOCUMENT, &[("command", "ls")]).unwrap_err();
        assert_eq!(error.code, "ValidationException");
    }

    #[test]
    fn commands_are_required() {
        let content = current(INTERACTIVE, &[("command", "top")]).unwrap();
        let command = "top".to_owned();
        let is_in_container = false;
        assert_eq!(
            content,
            Content::InteractiveCommand {
                command,
                is_in_container
            }
        );
        for document in [INTERACTIVE, NON_INTERACTIVE] {
            for parameters in [&[][..], &[("command", "")]] {
                let error = current(document, parameters).unwrap_err();
                assert_eq!(error.message, "Parameter \"command\" is required.");
            }
        }
    }

    #[test]
    fn output_is_separate_if_asked_for() {
        let separate = |parameters: &[(&str, &str)]| match current(NON_INTERACTIVE, parameters) {
            Ok(Content::NonInteractiveCommand(command)) => Ok(command.separate_output),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.code),
        };
        let command = ("command", "ls");
        assert_eq!(separate(&[command]), Ok(false));
        let with = |value| separate(&[command, ("separateOutputStream", value)]);
        assert_eq!((with("true"), with("false")), (Ok(true), Ok(false)));
        assert_eq!(with("yes"), Err("ValidationException"));
    }

    #[test]
    fn custom_documents_take_any_parameter() {
        assert_eq!(
            properties("My-Document", &[("team", "blue")])["team"],
            "blue"
        );
        let unknown = current("Your-Document", &[]).unwrap_err();
        assert_eq!(unknown.code, "InvalidDocument");
    }

    #[test]
    fn custom_commands_are_filled_in() {
        let tail = [("lines", "5"), ("file", "/var/log/{{lines}}")];
        let content = current("My-Tail", &tail).unwrap();
        let Content::InteractiveCommand { command, .. } = content else {
            panic!("{content:?}");
        };
        assert_eq!(command, "tail -n 5 /var/log/{{lines}} # {{");
        let error = current("My-Tail", &tail[..1]).unwrap_err();
        assert_eq!(error.message, "Parameter \"file\" is required.");
    }

    #[test]
    fn prefixes_are_checked_as_by_the_agent() {
        let with = |prefix| current("My-Command", &[("stdOutSeparatorPrefix", prefix)]);
        let content = with("OUT:\n").unwrap();
        let Content::NonInteractiveCommand(command) = content else {
            panic!("{content:?}");
        };
        assert_eq!(command.stdout_prefix, "OUT:\n");
        assert!(with(" ").is_err() && with(&"x".repeat(31)).is_err());
    }

    #[test]
    fn a_parameter_has_one_value() {
        for values in [vec![], vec!["80".to_owned(), "81".to_owned()]] {
            let given = BTreeMap::from([("portNumber".to_owned(), values)]);
            let error = content(PORT, given, "3.3.987.0".parse().unwrap(), &[]).unwrap_err();
            assert_eq!(error.code, "BadRequest");
        }
    }
}
