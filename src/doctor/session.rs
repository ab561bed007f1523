//! A real session, and the port at its end.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Check, Finding};
use crate::aws::{Aws, StartSession, Target};
use crate::failure::{Exit, Failure};
use crate::session::{Options, Session, StartError};
use crate::settings::ForwardSettings;
use crate::stream::End;

/// How long the remote side gets to refuse a connection, or to say something.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(5);

/// Starts a session for a forward, opens one connection in it, and ends both. The second half is there if the session was
/// started.
pub async fn session(
    aws: Arc<Aws>,
    target: &Target,
    forward: &ForwardSettings,
    shutdown: &CancellationToken,
) -> (Finding, Option<Finding>) {
    let subject = forward.spec.to_string();
    let request = StartSession {
        target: target.clone(),
        document: Some(forward.document.clone()),
        parameters: forward.parameters.clone(),
        reason: Some("ssmfwd doctor".to_owned()),
    };
    let mut session = match Session::start(aws, request, Options::default(), shutdown).await {
        Ok(session) => session,
        Err(StartError::Failed(failure)) => {
            return (Finding::fail(Check::Session, &failure).of(subject), None);
        }
        Err(StartError::Interrupted { .. }) => {
            return (
                Finding::skip(Check::Session, "interrupted").of(subject),
                None,
            );
        }
    };
    let agent = session.established().agent_version;
    let agent = agent.map(|version| format!(" with agent {version}"));
    let message = format!(
        "{} is established{}",
        session.id(),
        agent.unwrap_or_default()
    );
    let finding = Finding::pass(Check::Session, message).of(subject.clone());
    let remote = tokio::select! {
        remote = remote_port(&mut session, target, forward) => remote,
        () = shutdown.cancelled() => Finding::skip(Check::RemotePort, "interrupted"),
    };
    let finding = match session.close().await {
        Ok(()) => finding,
        Err(failure) => Finding::warn(
            Check::Session,
            format!("{}; it may go on: {}", finding.message, failure.message),
        )
        .of(subject.clone()),
    };
    (finding, Some(remote.of(subject)))
}

async fn remote_port(session: &mut Session, target: &Target, forward: &ForwardSettings) -> Finding {
    let check = Check::RemotePort;
    let place = match &forward.spec.host {
        Some(host) if !forward.spec.is_to_target() => {
            format!("{host}:{}", forward.spec.remote_port)
        }
        _ => format!("port {} of {target}", forward.spec.remote_port),
    };
    let fail = |message: String, hint: &str| {
        Finding::fail(check, &Failure::new(Exit::Failure, message).with_hint(hint))
    };
    let stream = match session.opener().open().await {
        Ok(stream) => stream,
        Err(error) => {
            return fail(
                format!("no connection can be opened: {error}"),
                "start it with -vv, and report that",
            );
        }
    };
    let read = timeout(REFUSAL_DEADLINE, poll_fn(|cx| stream.poll_read(cx))).await;
    match read {
        Ok(Ok(_)) => Finding::pass(check, format!("{place} answers")),
        // The agent tells nothing of a connection that was made, and neither does a server that waits for its client.
        Err(_) => Finding::pass(
            check,
            format!(
                "{place} has not refused a connection within {} s",
                REFUSAL_DEADLINE.as_secs()
            ),
        ),
        // The agent ends the whole session if it refuses the destination, and says why.
        Ok(Err(End::Lost)) => {
            let exit = Exit::Failure;
            let ended = session.ended().await;
            Finding::fail(check, &Failure { exit, ..ended })
        }
        Ok(Err(End::Refused | End::Finished | End::Cut)) => fail(
            format!("{place} does not accept connections"),
            match forward.spec.is_to_host_by_name() {
                true => {
                    "check that the service runs and listens there, its firewall or security group, and that the target resolves \
                     the name"
                }
                false => {
                    "check that the service runs and listens there, and its firewall or security group"
                }
            },
        ),
    }
}
