//! What the caller may do, the account's preferences, and the session documents.

use std::time::Duration;

use futures_util::future::join_all;

use super::grouping::{Found, grouped};
use super::{Check, Finding, Outcome};
use crate::aws::{
    Aws, Caller, DataKeyRequest, DocumentDescription, PREFERENCES_DOCUMENT, Permission, Preferences,
};
use crate::failure::{Denial, Exit, Failure};
use crate::settings::ForwardSettings;
use crate::spec::{PORT_DOCUMENT, REMOTE_HOST_DOCUMENT};

/// Whether a document is one of those that refuse a port that is none: of others, only a session tells whether one may be
/// started with them.
pub fn is_refusing_no_port(document: &str) -> bool {
    [PORT_DOCUMENT, REMOTE_HOST_DOCUMENT].contains(&document)
}

/// Finds out whether sessions may be started on `target`, an id, with each of `documents`. The second half are those with which
/// they may not.
pub async fn start_session<'a>(
    aws: &Aws,
    target: &str,
    documents: &[&'a str],
) -> (Vec<Finding>, Vec<&'a str>) {
    let asking = documents
        .iter()
        .map(|document| start_with(aws, target, document));
    let (mut found, mut denied) = (Vec::new(), Vec::new());
    for (document, finding) in documents.iter().zip(join_all(asking).await) {
        if finding.outcome == Outcome::Fail {
            denied.push(*document);
        }
        found.push(Found {
            subject: document,
            host: "",
            finding,
        });
    }
    (grouped(found), denied)
}

async fn start_with(aws: &Aws, target: &str, document: &str) -> Finding {
    if !is_refusing_no_port(document) {
        let message = "not known without a session: --connect starts one";
        return Finding::skip(Check::StartSession, message);
    }
    match aws.may_start_session(target, document).await {
        Permission::Granted => Finding::pass(
            Check::StartSession,
            format!("ssm:StartSession on {target} is not denied"),
        ),
        Permission::Denied(failure) => Finding::fail(Check::StartSession, &failure),
        Permission::Unknown(failure) => {
            let message = format!("not known: {}", failure.message);
            Finding::warn(Check::StartSession, message).fixed_by(&failure)
        }
    }
}

/// Finds out whether the caller may resume and terminate its own sessions.
pub async fn own_sessions(aws: &Aws, caller: Option<&Caller>) -> Finding {
    let check = Check::OwnSessions;
    let Some(caller) = caller else {
        return Finding::skip(
            check,
            "not known: the ids of sessions begin with the caller's name",
        );
    };
    let prefix = caller.session_prefix();
    let (resume, terminate) = tokio::join!(
        aws.may_resume_session(prefix),
        aws.may_terminate_session(prefix)
    );
    let consequences = [
        (
            resume,
            "forwards then break with their connection, which the service closes every hour",
        ),
        (terminate, "sessions then stay until their idle timeout"),
    ];
    for (permission, consequence) in consequences {
        match permission {
            Permission::Granted => {}
            Permission::Denied(failure) => {
                let finding = Finding::warn(check, format!("{}; {consequence}", failure.message));
                if failure.denial == Some(Denial::Forbidden) {
                    return finding.fixed_by(&failure);
                }
                return finding.fix(
                    "allow ssm:ResumeSession, ssm:TerminateSession and ssmmessages:OpenDataChannel on \
                     arn:aws:ssm:*:*:session/${aws:userid}-* and session/${aws:username}-*",
                );
            }
            Permission::Unknown(failure) => {
                return Finding::warn(check, format!("not known: {}", failure.message))
                    .fixed_by(&failure);
            }
        }
    }
    let message =
        format!("ssm:ResumeSession and ssm:TerminateSession on {prefix}-* are not denied");
    Finding::pass(check, message)
}

/// Checks that a document exists, starts sessions, and takes the parameters of a forward.
pub async fn document(aws: &Aws, forward: &ForwardSettings) -> Finding {
    let name = &forward.document;
    let finding = match aws.describe_document(name).await {
        Ok(Some(description)) => fits(&description, forward),
        Ok(None) => {
            let message = format!(
                "there is no document {name} in this account in {}",
                aws.region()
            );
            let failure = Failure::new(Exit::Failure, message);
            Finding::fail(Check::Document, &failure.with_hint(
                "check the name and the region; a document of another account has to be shared with this one",
            ))
        }
        Err(failure) if failure.exit == Exit::Credentials => {
            Finding::skip(Check::Document, format!("not known: {}", failure.message))
        }
        Err(failure) => Finding::fail(Check::Document, &failure),
    };
    finding.of(name)
}

fn fits(description: &DocumentDescription, forward: &ForwardSettings) -> Finding {
    let name = &forward.document;
    let refuse = |message: String, hint: &str| {
        let failure = Failure::new(Exit::Failure, message).with_hint(hint);
        Finding::fail(Check::Document, &failure)
    };
    if !description.is_session {
        return refuse(
            format!("{name} is no session document"),
            "choose a document whose type is Session",
        );
    }
    let parameters = &description.parameters;
    let unknown = forward
        .parameters
        .keys()
        .find(|given| parameters.iter().all(|known| known.name != **given));
    if let Some(unknown) = unknown {
        return refuse(
            format!("{name} has no parameter {unknown}"),
            "leave it out with --parameter NAME=, or choose another document",
        );
    }
    let missing = parameters
        .iter()
        .find(|known| !known.has_default && !forward.parameters.contains_key(&known.name));
    if let Some(missing) = missing {
        return refuse(
            format!("{name} needs the parameter {}", missing.name),
            "give it with --parameter NAME=VALUE",
        );
    }
    let names: Vec<_> = parameters.iter().map(|known| known.name.as_str()).collect();
    let message = match names.is_empty() {
        true => "it exists, and has no parameters".to_owned(),
        false => format!("it exists, with the parameters {}", names.join(", ")),
    };
    Finding::pass(Check::Document, message)
}

/// Reads the account's preferences.
pub async fn preferences(aws: &Aws) -> (Finding, Option<Preferences>) {
    match aws.preferences().await {
        Ok(Some(preferences)) => {
            let finding = Finding::pass(Check::Preferences, describe(&preferences));
            (finding, Some(preferences))
        }
        Ok(None) => {
            let message = format!(
                "none are set ({PREFERENCES_DOCUMENT}): the idle timeout is 20 min, nothing is encrypted with KMS"
            );
            (
                Finding::pass(Check::Preferences, message),
                Some(Preferences::default()),
            )
        }
        Err(failure) if failure.exit == Exit::Credentials => {
            let message = format!("not known: {}", failure.message);
            (Finding::skip(Check::Preferences, message), None)
        }
        Err(failure) => {
            let finding = Finding::warn(Check::Preferences, failure.message.clone());
            (finding.fixed_by(&failure), None)
        }
    }
}

fn describe(preferences: &Preferences) -> String {
    let minutes = |time: Duration| format!("{} min", time.as_secs() / 60);
    let idle = preferences
        .idle_timeout
        .map_or_else(|| "20 min".to_owned(), minutes);
    let mut parts = vec![format!("idle timeout {idle}")];
    parts.extend(
        preferences
            .max_duration
            .map(|time| format!("sessions end after {}", minutes(time))),
    );
    parts.extend(
        preferences
            .kms_key
            .as_ref()
            .map(|key| format!("encryption with {key}")),
    );
    parts.extend(
        preferences
            .run_as
            .as_ref()
            .map(|user| match user.is_empty() {
                true => "shells run as the user of the caller's tag SSMSessionRunAs".to_owned(),
                false => format!("shells run as {user}"),
            }),
    );
    if !preferences.logs.is_empty() {
        parts.push(format!(
            "shells are recorded in {}",
            preferences.logs.join(" and ")
        ));
    }
    parts.join(", ")
}

/// Finds out whether the caller may use the key that shells and commands are encrypted with.
pub async fn encryption(
    aws: &Aws,
    preferences: &Preferences,
    target: Option<&str>,
    is_forward: bool,
) -> Finding {
    let check = Check::Encryption;
    let Some(key) = &preferences.kms_key else {
        return Finding::pass(
            check,
            "no KMS key is set: sessions are encrypted by TLS alone",
        );
    };
    let request = DataKeyRequest {
        key_id: key.clone(),
        session_id: "ssmfwd-doctor".to_owned(),
        target: target.unwrap_or("i-00000000000000000").to_owned(),
        challenge: None,
    };
    match aws.may_generate_data_key(&request).await {
        Ok(()) => Finding::pass(
            check,
            format!("kms:GenerateDataKey with {key} is not denied"),
        ),
        Err(failure) if is_forward => {
            let message = format!(
                "{}; shells and commands fail, forwards are not concerned",
                failure.message.trim_end_matches('.')
            );
            Finding::warn(check, message).fixed_by(&failure)
        }
        Err(failure) => Finding::fail(check, &failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::DocumentParameter;

    fn forward(parameters: &[&str]) -> ForwardSettings {
        ForwardSettings {
            spec: "80".parse().unwrap(),
            document: "Custom".to_owned(),
            parameters: parameters
                .iter()
                .map(|name| ((*name).to_owned(), vec!["1".to_owned()]))
                .collect(),
        }
    }

    fn description(parameters: &[(&str, bool)]) -> DocumentDescription {
        DocumentDescription {
            is_session: true,
            parameters: parameters
                .iter()
                .map(|(name, has_default)| DocumentParameter {
                    name: (*name).to_owned(),
                    has_default: *has_default,
                })
                .collect(),
        }
    }

    #[test]
    fn parameters_have_to_fit() {
        let document = description(&[("portNumber", true), ("host", false)]);
        let message = |given: &[&str]| fits(&document, &forward(given)).message;
        assert!(message(&["portNumber", "host"]).contains("parameters portNumber, host"));
        assert_eq!(message(&["portNumber"]), "Custom needs the parameter host");
        assert_eq!(message(&["host", "other"]), "Custom has no parameter other");
        let command = DocumentDescription {
            is_session: false,
            ..document
        };
        assert_eq!(
            fits(&command, &forward(&[])).message,
            "Custom is no session document"
        );
    }

    #[test]
    fn preferences_are_told_in_a_line() {
        let preferences = Preferences {
            idle_timeout: Some(Duration::from_secs(60)),
            max_duration: Some(Duration::from_secs(3600)),
            kms_key: Some("alias/x".to_owned()),
            run_as: Some(String::new()),
            logs: vec!["S3", "CloudWatch"],
        };
        assert_eq!(
            describe(&preferences),
            "idle timeout 1 min, sessions end after 60 min, encryption with alias/x, shells run as the user of the caller's \
             tag SSMSessionRunAs, shells are recorded in S3 and CloudWatch"
        );
    }
}
