//! The session documents, and what they make of their parameters.

use std::collections::BTreeMap;

use ssmfwd_protocol::version::Version;

use super::{ApiError, Parameters};

/// Turns StartSession's parameters into the properties the agent sees.
///
/// # Errors
///
/// `InvalidDocument`, `ValidationException` or `BadRequest`, as the service has it.
pub(super) fn properties(
    document: &str,
    given: &Parameters,
    agent_version: Version,
    custom_documents: &[String],
) -> Result<BTreeMap<String, String>, ApiError> {
    let kind = Kind::of(document, custom_documents)?;
    let mut properties = BTreeMap::from([
        ("portNumber".to_owned(), "80".to_owned()),
        ("localPortNumber".to_owned(), "0".to_owned()),
    ]);
    for (name, values) in given {
        if !kind.takes(name) {
            let message = format!("Parameter \"{name}\" is not defined in document {document}.");
            return Err(ApiError::new("ValidationException", message));
        }
        let [value] = values.as_slice() else {
            let message = format!("Parameter \"{name}\" takes exactly one value.");
            return Err(ApiError::new("BadRequest", message));
        };
        if PORT_PARAMETERS.contains(&name.as_str()) && !is_port(value) {
            let message =
                format!("Parameter \"{name}\" does not match its allowed pattern: '{value}'.");
            return Err(ApiError::new("ValidationException", message));
        }
        properties.insert(name.clone(), value.clone());
    }
    if kind == Kind::RemoteHost {
        if properties.get("host").is_none_or(String::is_empty) {
            let message = "Parameter \"host\" is required.";
            return Err(ApiError::new("ValidationException", message));
        }
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
    }
    properties.insert("type".to_owned(), "LocalPortForwarding".to_owned());
    Ok(properties)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Port,
    RemoteHost,
    Custom,
}

impl Kind {
    fn of(document: &str, custom_documents: &[String]) -> Result<Self, ApiError> {
        match document {
            "AWS-StartPortForwardingSession" => Ok(Self::Port),
            "AWS-StartPortForwardingSessionToRemoteHost" => Ok(Self::RemoteHost),
            _ if custom_documents.iter().any(|name| name == document) => Ok(Self::Custom),
            _ => Err(ApiError::new(
                "InvalidDocument",
                format!("Document with name {document} does not exist."),
            )),
        }
    }

    fn takes(self, name: &str) -> bool {
        match name {
            _ if PORT_PARAMETERS.contains(&name) => true,
            "host" => self != Self::Port,
            _ => self == Self::Custom,
        }
    }
}

/// Whether AWS's pattern for ports accepts the text: 0 to 65535 without leading zeros.
fn is_port(text: &str) -> bool {
    let is_canonical = !text.starts_with('+') && (text == "0" || !text.starts_with('0'));
    is_canonical && text.parse::<u16>().is_ok()
}

/// Parameters that every document has, and whose values are ports.
const PORT_PARAMETERS: [&str; 2] = ["portNumber", "localPortNumber"];

/// The first agent that forwards to remote hosts.
const REMOTE_HOST_VERSION: &str = "3.1.1374.0";

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: &str = "AWS-StartPortForwardingSession";
    const REMOTE_HOST: &str = "AWS-StartPortForwardingSessionToRemoteHost";

    fn resolve(
        document: &str,
        parameters: &[(&str, &str)],
        agent_version: &str,
    ) -> Result<BTreeMap<String, String>, ApiError> {
        let given = parameters.iter().map(|(name, value)| {
            let values = vec![(*value).to_owned()];
            ((*name).to_owned(), values)
        });
        let custom = ["My-Document".to_owned()];
        let agent_version = agent_version.parse().unwrap();
        properties(document, &given.collect(), agent_version, &custom)
    }

    #[test]
    fn parameters_have_default_values() {
        let properties = resolve(PORT, &[], "3.3.987.0").unwrap();
        assert_eq!(properties["portNumber"], "80");
        assert_eq!(properties["localPortNumber"], "0");
        assert_eq!(properties["type"], "LocalPortForwarding");
        assert_eq!(properties.len(), 3);
        let properties = resolve(PORT, &[("portNumber", "5432")], "3.3.987.0").unwrap();
        assert_eq!(properties["portNumber"], "5432");
    }

    #[test]
    fn ports_are_those_of_the_documents_pattern() {
        for port in ["0", "9", "80", "65535"] {
            assert!(
                resolve(PORT, &[("portNumber", port)], "3.3.987.0").is_ok(),
                "{port}"
            );
        }
        for port in ["", "65536", "-1", "+1", "080", "http", "8 0"] {
            let error = resolve(PORT, &[("localPortNumber", port)], "3.3.987.0").unwrap_err();
            assert_eq!(error.code, "ValidationException", "{port}");
        }
    }

    #[test]
    fn a_remote_host_is_required_by_its_document_only() {
        let host = [("host", "db.internal")];
        let properties = resolve(REMOTE_HOST, &host, "3.3.987.0").unwrap();
        assert_eq!(properties["host"], "db.internal");
        let error = resolve(REMOTE_HOST, &[], "3.3.987.0").unwrap_err();
        assert_eq!(error.code, "ValidationException");
        let error = resolve(PORT, &host, "3.3.987.0").unwrap_err();
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
    fn custom_documents_take_any_parameter() {
        let properties = resolve("My-Document", &[("team", "blue")], "3.3.987.0").unwrap();
        assert_eq!(properties["team"], "blue");
        let unknown = resolve("Your-Document", &[], "3.3.987.0").unwrap_err();
        assert_eq!(unknown.code, "InvalidDocument");
    }

    #[test]
    fn a_parameter_has_one_value() {
        let given = BTreeMap::from([("portNumber".to_owned(), vec![])]);
        let error = properties(PORT, &given, "3.3.987.0".parse().unwrap(), &[]).unwrap_err();
        assert_eq!(error.code, "BadRequest");
    }
}
