//! Port sessions: a listener, and a stream of the session for each of its connections.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::local::finishing::Finishing;
use crate::local::half_close::HalfClose;
use crate::local::pump::{Outcome, pump};
use crate::local::{Address, Listener, LocalStream};
use crate::session::{Opener, Session};
use crate::signals;
use crate::spec::Local;

use super::report::Report;
use super::text::Text;
use super::{End, HALF_CLOSE};

/// Carries connections until the session ends or somebody asks for the end.
pub(super) async fn serve(
    session: &mut Session,
    is_multiplexed: bool,
    report: &Report,
    shutdown: &CancellationToken,
) -> Result<End, Failure> {
    let mut suspended = pin!(signals::suspended()?);
    let listener = listen(&session.established().properties, report)?;
    announce(&listener, is_multiplexed, report);

    let half_close = HalfClose::new(HALF_CLOSE, is_multiplexed);
    let opener = session.opener();
    let mut is_first = true;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (local, _) = accepted.map_err(|error| {
                    let message = format!("cannot accept connections: {error}");
                    Failure::new(Exit::Address, message)
                })?;
                if std::mem::take(&mut is_first) {
                    report.say(match is_multiplexed {
                        true => Text::Accepted(report.session_id()),
                        false => Text::OneAccepted(report.session_id()),
                    });
                }
                connections.spawn(carry(opener.clone(), local, half_close));
            }
            Some(ended) = connections.join_next() => {
                if let Ok(Some(Outcome::Refused)) = ended {
                    report.say(Text::Refused);
                }
            }
            failure = session.ended() => return match session.is_in_order() {
                // Nobody explains why somebody ended it.
                true => Ok(End::Done(ExitCode::SUCCESS)),
                false => Err(failure),
            },
            () = &mut suspended => return Ok(End::Interrupted),
            () = shutdown.cancelled() => return Ok(End::Interrupted),
        }
    }
}

/// Tells whether the document means its connections to be accepted here, and not to be standard input and output.
pub(super) fn is_to_listen(properties: &BTreeMap<String, String>) -> bool {
    properties
        .get("type")
        .is_some_and(|kind| kind == "LocalPortForwarding")
}

/// Carries one connection; `None` if it got no stream.
async fn carry(opener: Opener, local: LocalStream, half_close: HalfClose) -> Option<Outcome> {
    let stream = opener.open().await.ok()?;
    let transferred = pump(local, stream, half_close, Finishing::default().unread()).await;
    Some(transferred.outcome)
}

/// Says what is listened on, in the words programs wait for.
fn announce(listener: &Listener, is_multiplexed: bool, report: &Report) {
    let id = report.session_id();
    match listener.address() {
        Address::Unix(path) => report.say(Text::SocketOpened(path, id)),
        address => report.say(Text::PortOpened(address.port().unwrap_or_default(), id)),
    }
    report.say(match is_multiplexed {
        true => Text::Waiting,
        false => Text::OneAtATime,
    });
}

/// Listens where the document's properties say.
///
/// Like the official plugin on 127.0.0.1, and on ::1 unless that is somebody else's.
fn listen(properties: &BTreeMap<String, String>, report: &Report) -> Result<Listener, Failure> {
    let local = local(properties)?;
    let refused = match Listener::bind(&local) {
        Ok(listener) => return Ok(listener),
        Err(failure) => failure,
    };
    if let Local::Loopback(port) = local
        && let Ok(listener) =
            Listener::bind(&Local::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    {
        report.warn(format!("{refused}: only 127.0.0.1 is listened on"));
        return Ok(listener);
    }
    Err(Failure::new(refused.exit, refused.message)
        .with_hint("give the session another localPortNumber, or none for any free port"))
}

/// Where the document's properties say to listen.
fn local(properties: &BTreeMap<String, String>) -> Result<Local, Failure> {
    let property = |name| properties.get(name).map_or("", String::as_str);
    if property("localConnectionType") == "unix" {
        return Ok(Local::Unix(PathBuf::from(property("localUnixSocket"))));
    }
    match property("localPortNumber") {
        "" => Ok(Local::Loopback(0)),
        text => text.parse().map(Local::Loopback).map_err(|_| {
            let message = format!("the session's localPortNumber `{text}` is not a port");
            Failure::new(Exit::Usage, message)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local_of(properties: &[(&str, &str)]) -> Result<Local, Failure> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        local(&properties.iter().map(owned).collect())
    }

    #[test]
    fn properties_say_where_to_listen() {
        assert_eq!(local_of(&[]).unwrap(), Local::Loopback(0));
        assert_eq!(
            local_of(&[("localPortNumber", "")]).unwrap(),
            Local::Loopback(0)
        );
        assert_eq!(
            local_of(&[("localPortNumber", "9090")]).unwrap(),
            Local::Loopback(9090)
        );
        let socket = [
            ("localPortNumber", "9090"),
            ("localConnectionType", "unix"),
            ("localUnixSocket", "/run/x.sock"),
        ];
        assert_eq!(
            local_of(&socket).unwrap(),
            Local::Unix("/run/x.sock".into())
        );
        assert_eq!(
            local_of(&[("localPortNumber", "http")]).unwrap_err().exit,
            Exit::Usage
        );
    }
}
