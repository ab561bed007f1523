//! What the user is told when a session ends by itself.

use ssmfwd_protocol::channel::CloseReason;
use ssmfwd_protocol::error::{ProtocolError, Unsupported};

use super::Ended;
use crate::failure::{Exit, Failure, SEE_DOCTOR};

/// Texts of agent and service, and what to do about them.
///
/// Source: `protocol/README.md`, "Texts of an end"; each is part of a longer text.
const KNOWN_OUTPUTS: [(&str, &str); 13] = [
    (
        "timed out due to inactivity",
        "the account's idle timeout ended it; raise idleSessionTimeout in the session preferences, \
         or start it again",
    ),
    (
        "maximum duration",
        "the account's maximum duration ended it; raise maxSessionDuration in the session preferences, \
         or start it again",
    ),
    (
        "maximum session duration",
        "the account's maximum duration ended it; raise maxSessionDuration in the session preferences, \
         or start it again",
    ),
    (
        "is forbidden",
        "the agent refuses to forward to addresses of the instance's own network services; without \
         a host, the port is the target's own",
    ),
    (
        "no such host",
        "the target cannot resolve this name; check it from the target, or use an address",
    ),
    (
        "Setting up data channel",
        "the agent cannot reach ssmmessages: check the instance's route, security group (443) and \
         role (ssmmessages:OpenDataChannel)",
    ),
    (
        "not supported by this version of ssm agent",
        "update the SSM agent on the target",
    ),
    (
        "Plugin with name",
        "update the SSM agent on the target: it does not know port forwarding",
    ),
    (
        "Unable to retrieve data key",
        "the agent cannot decrypt the session's data key: allow kms:Decrypt on the KMS key for the \
         instance's role",
    ),
    (
        "Timed out waiting for encryption challenge",
        "the agent did not get the proof that both ends have the same data key; try again",
    ),
    (
        "Handshake timed out",
        "the path between here and the target is very slow; try again",
    ),
    (
        "connection refused",
        "nothing listens on that port of the target",
    ),
    (
        "Unable to connect to specified port",
        "check that the service runs on that port of the target",
    ),
];

/// Explains how the session with this id ended.
pub(super) fn explain(ended: &Ended, session_id: &str) -> Failure {
    match ended {
        Ended::Closed(reason) => explain_close(reason, session_id),
        Ended::Disconnected(disconnect) => Failure::new(
            Exit::SessionEnded,
            format!("session {session_id} was lost: {disconnect}"),
        )
        .with_hint("check the network and start it again"),
        Ended::Gone { lost } => Failure::new(
            Exit::SessionEnded,
            format!("session {session_id} was over when it was to be resumed: {lost}"),
        )
        .with_hint(
            "it was idle for too long without a connection, or someone has terminated it; start it \
             again",
        ),
        Ended::Refused { lost, failure } => Failure {
            message: format!(
                "session {session_id} was lost ({lost}) and not resumed: {}",
                failure.message
            ),
            ..failure.clone()
        },
        Ended::Unreachable { lost } => Failure::new(
            Exit::SessionEnded,
            format!("session {session_id} was lost and could not be resumed in a day: {lost}"),
        )
        .with_hint("check the network and start it again"),
        Ended::Aborted => Failure::new(
            Exit::Failure,
            format!("session {session_id} was dropped by a fault in ssmfwd"),
        )
        .with_hint("please report this, with the output of -vv"),
    }
}

fn explain_close(reason: &CloseReason, session_id: &str) -> Failure {
    match reason {
        CloseReason::Terminated => {
            Failure::new(Exit::Failure, format!("session {session_id} was ended"))
        }
        CloseReason::Peer {
            output,
            is_whole: true,
        } => explain_output(output, session_id),
        CloseReason::Peer { output, .. } => explain_gap(output, session_id),
        CloseReason::HandshakeTimedOut {
            is_started,
            undecodable_count,
        } => explain_silence(*is_started, *undecodable_count),
        CloseReason::Protocol(
            error @ (ProtocolError::Cipher(_) | ProtocolError::Proof(_) | ProtocolError::NoProof),
        ) => Failure::new(
            Exit::SessionEnded,
            format!("session {session_id} was ended, because it is not safe: {error}"),
        )
        .with_hint("start it again; if it happens again, someone between here and the target alters it"),
        CloseReason::Protocol(error @ ProtocolError::LateHandshake) => Failure::new(
            Exit::Failure,
            format!("session {session_id} was ended: {error}"),
        )
        .with_hint("what was typed so far may have gone unencrypted; start it again, and if it happens again, update the SSM agent on the target"),
        CloseReason::NoDataKey { reason } => Failure::new(
            Exit::Credentials,
            format!("the session has to be encrypted, and there is no data key: {reason}"),
        )
        .with_hint("check that your role may call kms:GenerateDataKey with the key of the session preferences"),
        CloseReason::Protocol(error) => Failure::new(
            Exit::Failure,
            format!("the service does not speak the session protocol: {error}"),
        )
        .with_hint("check --endpoint-url and what stands between here and the service"),
        CloseReason::Unsupported(unsupported) => explain_unsupported(unsupported),
        unknown => Failure::new(
            Exit::SessionEnded,
            format!("session {session_id} ended: {unknown:?}"),
        )
        .with_hint(SEE_DOCTOR),
    }
}

fn explain_output(output: &str, session_id: &str) -> Failure {
    let output = output
        .trim()
        .trim_start_matches("----------ERROR-------")
        .trim();
    if output.is_empty() {
        return Failure::new(
            Exit::SessionEnded,
            format!("session {session_id} was ended by the service or the agent, without a reason"),
        )
        .with_hint("someone may have terminated it, or its maximum duration has passed");
    }
    let failure = Failure::new(
        Exit::SessionEnded,
        format!("session {session_id} was ended: {output}"),
    );
    match KNOWN_OUTPUTS.iter().find(|(text, _)| output.contains(text)) {
        Some((_, hint)) => failure.with_hint(*hint),
        None => failure.with_hint(SEE_DOCTOR),
    }
}

/// What was lost with a connection is repeated by the agent as long as there is a session, ten messages a second.
fn explain_gap(output: &str, session_id: &str) -> Failure {
    let Failure { message, .. } = explain_output(output, session_id);
    Failure::new(
        Exit::SessionEnded,
        format!("{message}; data from the target is missing before the end"),
    )
    .with_hint(format!(
        "what session {session_id} brought is incomplete: transfer it again"
    ))
}

fn explain_silence(is_started: bool, undecodable_count: u32) -> Failure {
    let message = match (is_started, undecodable_count) {
        (true, _) => "the agent began the handshake and did not finish it in time".to_owned(),
        (false, 0) => "the agent did not begin the handshake in time".to_owned(),
        (false, count) => format!(
            "the service sent {count} messages that cannot be decoded, and no handshake in time"
        ),
    };
    Failure::new(Exit::Failure, message).with_hint(format!(
        "check that the target is online and its agent healthy, and try again; {SEE_DOCTOR}"
    ))
}

fn explain_unsupported(unsupported: &Unsupported) -> Failure {
    let failure = Failure::new(Exit::Failure, unsupported.to_string());
    match unsupported {
        Unsupported::SessionType(_) => {
            failure.with_hint("choose a document whose sessionType is Port")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use ssmfwd_protocol::error::CipherError;

    use super::*;

    fn peer(output: &str) -> Failure {
        let output = output.to_owned();
        explain(&ended(output, true), "s-1")
    }

    fn ended(output: String, is_whole: bool) -> Ended {
        Ended::Closed(CloseReason::Peer { output, is_whole })
    }

    #[test]
    fn an_incomplete_end_says_so() {
        let failure = explain(&ended(String::new(), false), "s-1");
        assert_eq!(failure.exit, Exit::SessionEnded);
        assert!(failure.message.contains("is missing"), "{failure}");
    }

    #[test]
    fn the_services_words_are_kept_and_explained() {
        let failure = peer("Your session timed out due to inactivity and has been terminated.");
        assert_eq!(failure.exit, Exit::SessionEnded);
        assert!(failure.message.contains("timed out due to inactivity"));
        assert!(
            failure
                .hint
                .is_some_and(|hint| hint.contains("idleSessionTimeout"))
        );
    }

    #[test]
    fn the_agents_banner_is_left_out() {
        let failure =
            peer("\n----------ERROR-------\nForwarding to IP address 127.0.0.1 is forbidden.");
        assert_eq!(
            failure.message,
            "session s-1 was ended: Forwarding to IP address 127.0.0.1 is forbidden."
        );
    }

    #[test]
    fn a_forgery_is_not_mistaken_for_a_wrong_endpoint() {
        let reason = CloseReason::Protocol(ProtocolError::Proof(CipherError::Forged));
        let failure = explain(&Ended::Closed(reason), "s-1");
        assert_eq!(failure.exit, Exit::SessionEnded);
        assert!(failure.message.contains("proof that it has the data key"));
    }

    #[test]
    fn a_missing_data_key_is_explained() {
        let reason = CloseReason::NoDataKey {
            reason: "AccessDeniedException".to_owned(),
        };
        let failure = explain(&Ended::Closed(reason), "s-1");
        assert_eq!(failure.exit, Exit::Credentials);
        assert!(failure.message.ends_with("AccessDeniedException"));
    }

    #[test]
    fn an_end_without_words_is_still_explained() {
        assert!(peer(" \n").message.contains("without a reason"));
    }
}
