//! What the AWS CLI, or whoever stands in for it, has to say on the command line.
//!
//! Source: AWS CLI `customizations/sessionmanager.py` and `customizations/ecs/executecommand.py`; plugin `session.go`,
//! `ValidateInputAndStartSession`.

use std::fmt;

use serde_json::{Map, Value};
use ssmfwd_protocol::config::Beginning;
use url::Url;

use crate::aws::{PREFERENCES_DOCUMENT, Token, dns_suffixes};

/// Where the response to StartSession is when it is not in the first argument itself: in the environment variable of
/// this name, or of one that begins with it.
pub(super) const RESPONSE_VARIABLE: &str = "AWS_SSM_START_SESSION_RESPONSE";
/// Where inherited descriptors are; the response may be read from one.
pub(super) const DESCRIPTORS: &str = "/dev/fd/";

/// The only operation there is.
const START_SESSION: &str = "StartSession";

/// What the arguments ask for.
#[derive(Debug)]
pub(super) enum Invocation {
    /// Nothing: is the plugin there?
    Presence,
    /// Its version.
    Version,
    /// Something that it does not have.
    Unknown(String),
    /// An operation other than StartSession.
    InvalidOperation,
    /// To carry a session that has been started.
    Session(Arguments),
}

/// The arguments of a session, as they are.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// The response to StartSession, or where it is.
    pub(super) response: String,
    pub(super) region: String,
    /// Empty if none was chosen. Releases of the CLI before encryption leave out this one and what follows.
    pub(super) profile: String,
    /// The request for StartSession, as JSON.
    pub(super) request: Option<String>,
    /// The endpoint that was called; not always that of Systems Manager.
    pub(super) endpoint: String,
}

impl Invocation {
    pub(super) fn parse(arguments: Vec<String>) -> Self {
        let count = arguments.len();
        let mut arguments = arguments.into_iter();
        let Some(response) = arguments.next() else {
            return Self::Presence;
        };
        let (Some(region), Some(operation)) = (arguments.next(), arguments.next()) else {
            return match response.as_str() {
                "--version" if count == 1 => Self::Version,
                _ => Self::Unknown(response),
            };
        };
        if operation != START_SESSION {
            return Self::InvalidOperation;
        }
        Self::Session(Arguments {
            response,
            region,
            profile: arguments.next().unwrap_or_default(),
            request: arguments.next(),
            endpoint: arguments.next().unwrap_or_default(),
        })
    }
}

/// The response to StartSession.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) session_id: String,
    pub(super) token: Token,
    /// Not yet checked.
    pub(super) stream_url: String,
    /// Whether it is spelled as Amazon ECS spells its own, which the CLI passes on as they are.
    pub(super) is_from_ecs: bool,
}

impl Response {
    /// Takes the response apart. Its names are found in any case, as the official decoder does.
    ///
    /// # Errors
    ///
    /// What is wrong with it. None of it is quoted: it holds secrets.
    pub(super) fn parse(json: &str) -> Result<Self, Malformed> {
        let object = object(json).ok_or(Malformed::Response)?;
        let text = |name: &'static str| {
            let value = field(&object, name).map(|(_, value)| value);
            let value = value
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty());
            value.map(str::to_owned).ok_or(Malformed::Field(name))
        };
        Ok(Self {
            session_id: text("SessionId")?,
            token: Token::new(text("TokenValue")?),
            stream_url: text("StreamUrl")?,
            is_from_ecs: field(&object, "SessionId").is_some_and(|(name, _)| name == "sessionId"),
        })
    }
}

/// What of the request for StartSession matters after it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// The target; empty if a release of the CLI does not say.
    pub(super) target: String,
    /// The document; none is the account's shell.
    pub(super) document: Option<String>,
}

impl Request {
    /// Whether the session is known to have a terminal: that of the account's shell, of an interactive command or, with ECS, of a
    /// container.
    pub(super) fn has_terminal(&self) -> bool {
        let is_interactive = self.document_name() == Some("AWS-StartInteractiveCommand");
        let is_container = self.document.is_none() && self.target.starts_with("ecs:");
        is_interactive || is_container || self.beginning() == Beginning::Prompt
    }

    /// Takes the request apart.
    ///
    /// # Errors
    ///
    /// If it is there and names no target.
    pub(super) fn parse(json: Option<&str>) -> Result<Self, Malformed> {
        let Some(json) = json else {
            return Ok(Self::default());
        };
        let object = object(json).ok_or(Malformed::Request)?;
        let text = |name| object.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            target: text("Target").ok_or(Malformed::Request)?,
            document: text("DocumentName"),
        })
    }
}

/// Documents whose sessions always begin with a handshake.
const WITH_HANDSHAKE: [&str; 4] = [
    "AWS-StartPortForwardingSession",
    "AWS-StartPortForwardingSessionToRemoteHost",
    "AWS-StartSSHSession",
    "AWS-StartNonInteractiveCommand",
];

impl Request {
    /// How the session may begin: any that is not known to begin with a handshake, or with the prompt of a shell, may be an
    /// interactive command's.
    pub(super) fn beginning(&self) -> Beginning {
        match self.document_name() {
            Some(name) if WITH_HANDSHAKE.contains(&name) => Beginning::Handshake,
            // The account's shell.
            Some(PREFERENCES_DOCUMENT) => Beginning::Prompt,
            Some(_) => Beginning::Silence,
            // Of a container, ECS chooses the document.
            None if self.target.is_empty() || self.target.starts_with("ecs:") => Beginning::Silence,
            None => Beginning::Prompt,
        }
    }

    /// The name of the document, with which an ARN ends.
    fn document_name(&self) -> Option<&str> {
        self.document.as_deref()?.rsplit('/').next()
    }
}

/// Why arguments cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The response is no JSON object.
    Response,
    /// The response lacks this field.
    Field(&'static str),
    /// The request is no JSON object with a target.
    Request,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response => f.write_str("the session response is not a JSON object"),
            Self::Field(name) => write!(f, "the session response has no {name}"),
            Self::Request => f.write_str("the session request is not a JSON object with a Target"),
        }
    }
}

/// The endpoint of Systems Manager, if `endpoint` is one.
///
/// `aws ecs execute-command` gives that of Amazon ECS, where no session can be resumed or terminated. At AWS the name
/// tells. Elsewhere it does not; but an emulator that sends its own address as that of the stream serves everything.
pub(super) fn session_endpoint(
    endpoint: &str,
    region: &str,
    response: &Response,
) -> Option<String> {
    let url = Url::parse(endpoint).ok()?;
    let host = url.host_str()?;
    let is_usable = match service_of(host, region) {
        Some(service) => service == "ssm" || service == "ssm-fips",
        None if response.is_from_ecs => {
            let stream = Url::parse(&response.stream_url).ok();
            stream.is_some_and(|stream| stream.host_str() == Some(host))
        }
        None => true,
    };
    is_usable.then(|| endpoint.to_owned())
}

/// The service a host of AWS belongs to, as in `SERVICE.REGION.amazonaws.com` and `vpce-ID.SERVICE.REGION.…`.
fn service_of<'a>(host: &'a str, region: &str) -> Option<&'a str> {
    let mut suffixes = dns_suffixes(region).iter();
    let labels = suffixes.find_map(|suffix| host.strip_suffix(suffix)?.strip_suffix('.'))?;
    let mut labels = labels.split('.');
    labels.find(|label| !label.starts_with("vpce-"))
}

fn object(json: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(json) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<(&'a String, &'a Value)> {
    object
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Invocation {
        Invocation::parse(arguments.iter().map(|text| (*text).to_owned()).collect())
    }

    const RESPONSE: &str = r#"{"SessionId":"u-1","TokenValue":"T0KEN","StreamUrl":"wss://host/x"}"#;
    const ECS_RESPONSE: &str =
        r#"{"sessionId":"ecs-execute-command-1","streamUrl":"wss://host/x","tokenValue":"T"}"#;

    #[test]
    fn the_number_of_arguments_decides() {
        assert!(matches!(parse(&[]), Invocation::Presence));
        assert!(matches!(parse(&["--version"]), Invocation::Version));
        assert!(matches!(parse(&["version"]), Invocation::Unknown(text) if text == "version"));
        assert!(
            matches!(parse(&["--version", "x"]), Invocation::Unknown(text) if text == "--version")
        );
        assert!(matches!(
            parse(&["{}", "r", "StopSession"]),
            Invocation::InvalidOperation
        ));
        let Invocation::Session(old) = parse(&["{}", "eu-west-1", "StartSession"]) else {
            panic!("three arguments start a session");
        };
        assert_eq!(
            (old.region.as_str(), old.profile.as_str()),
            ("eu-west-1", "")
        );
        assert_eq!(old.request, None);
        let all = parse(&[
            "R",
            "eu-west-1",
            "StartSession",
            "p",
            "{}",
            "https://e",
            "more",
        ]);
        let Invocation::Session(all) = all else {
            panic!("six arguments start a session");
        };
        assert_eq!(
            (all.profile.as_str(), all.endpoint.as_str()),
            ("p", "https://e")
        );
        assert_eq!(all.request.as_deref(), Some("{}"));
    }

    #[test]
    fn a_response_may_be_spelled_in_both_ways() {
        let ours = Response::parse(RESPONSE).unwrap();
        assert_eq!(
            (ours.session_id.as_str(), ours.token.expose()),
            ("u-1", "T0KEN")
        );
        assert!(!ours.is_from_ecs);
        let ecs = Response::parse(ECS_RESPONSE).unwrap();
        assert_eq!(ecs.session_id, "ecs-execute-command-1");
        assert_eq!(ecs.stream_url, "wss://host/x");
        assert!(ecs.is_from_ecs);
    }

    #[test]
    fn what_a_response_lacks_is_named_and_nothing_is_quoted() {
        for (json, expected) in [
            ("", Malformed::Response),
            ("[]", Malformed::Response),
            (r#"{"SessionId":"u"}"#, Malformed::Field("TokenValue")),
            (
                r#"{"SessionId":"u","TokenValue":null,"StreamUrl":"x"}"#,
                Malformed::Field("TokenValue"),
            ),
            (
                r#"{"SessionId":"u","TokenValue":"S3CR3T"}"#,
                Malformed::Field("StreamUrl"),
            ),
        ] {
            let error = Response::parse(json).unwrap_err();
            assert_eq!(error, expected, "{json}");
            assert!(!error.to_string().contains("S3CR3T"));
        }
        assert!(!format!("{:?}", Response::parse(RESPONSE)).contains("T0KEN"));
    }

    #[test]
    fn a_request_names_target_and_document() {
        let request = Request::parse(Some(r#"{"Target":"i-1","DocumentName":"D"}"#)).unwrap();
        assert_eq!(request.target, "i-1");
        assert_eq!(request.document.as_deref(), Some("D"));
        assert_eq!(Request::parse(None).unwrap(), Request::default());
        assert_eq!(Request::parse(Some("{}")), Err(Malformed::Request));
        assert_eq!(Request::parse(Some("x")), Err(Malformed::Request));
    }

    #[test]
    fn documents_tell_how_their_sessions_begin() {
        for (request, beginning) in [
            (r#"{"Target":"i-0abc"}"#, Beginning::Prompt),
            (
                r#"{"Target":"i-0abc","DocumentName":"SSM-SessionManagerRunShell"}"#,
                Beginning::Prompt,
            ),
            (
                r#"{"Target":"i-0abc","DocumentName":"AWS-StartSSHSession"}"#,
                Beginning::Handshake,
            ),
            (
                r#"{"Target":"i-0abc","DocumentName":"AWS-StartInteractiveCommand"}"#,
                Beginning::Silence,
            ),
            (
                r#"{"Target":"i-0abc","DocumentName":"arn:aws:ssm:eu-west-1:1:document/AWS-StartSSHSession"}"#,
                Beginning::Handshake,
            ),
            (r#"{"Target":"ecs:c_t_r"}"#, Beginning::Silence),
        ] {
            let parsed = Request::parse(Some(request)).unwrap();
            assert_eq!(parsed.beginning(), beginning, "{request}");
        }
        assert_eq!(
            Request::parse(None).unwrap().beginning(),
            Beginning::Silence
        );
    }

    #[test]
    fn only_an_endpoint_of_systems_manager_is_one() {
        let start = Response::parse(RESPONSE).unwrap();
        let ecs = Response::parse(ECS_RESPONSE).unwrap();
        for (endpoint, response, is_usable) in [
            ("https://ssm.eu-west-1.amazonaws.com", &start, true),
            ("https://ssm-fips.us-gov-west-1.amazonaws.com", &start, true),
            ("https://ssm.eu-west-1.api.aws", &start, true),
            (
                "https://vpce-1-2.ssm.eu-west-1.vpce.amazonaws.com",
                &start,
                true,
            ),
            ("https://ssm.cn-north-1.amazonaws.com.cn", &start, true),
            ("https://ecs.eu-west-1.amazonaws.com", &ecs, false),
            (
                "https://vpce-1.ecs.eu-west-1.vpce.amazonaws.com",
                &ecs,
                false,
            ),
            ("https://ssm.corp.example", &start, true),
            ("https://ecs.corp.example", &ecs, false),
            ("http://host:4566", &ecs, true),
            ("", &start, false),
            ("nonsense", &start, false),
        ] {
            let region = if endpoint.contains("cn-north-1") {
                "cn-north-1"
            } else {
                "eu-west-1"
            };
            let found = session_endpoint(endpoint, region, response);
            assert_eq!(found.is_some(), is_usable, "{endpoint}");
        }
    }
}
