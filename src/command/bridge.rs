//! One connection of a session, which standard input and output are the other side of: those of `ssh`.

use std::io;
use std::time::Duration;

use ssmfwd_protocol::SessionKind;
use ssmfwd_protocol::error::OpenError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::failure::{Exit, Failure};
use crate::local::stdio::{self, Carried, Input, Output, carry};
use crate::output;
use crate::session::Session;
use crate::standard_streams::StandardSink;
use crate::stream::End;

/// What the connection leads to.
pub(super) struct Remote {
    /// The port, for people.
    pub(super) name: String,
    /// How long it may be silent after the end of standard input.
    pub(super) patience: Duration,
    /// The option that sets this, if there is one.
    pub(super) patience_option: Option<&'static str>,
}

/// Standard input and output, until they are the other side.
pub(super) struct Bridge {
    input: Input,
    output: Output,
    /// Whether anybody can read the output.
    _watcher: AbortOnDropHandle<()>,
}

impl Bridge {
    /// Takes standard input and output over; nothing else may use them from here on.
    ///
    /// `abandoned` is cancelled when nobody can read standard output any more, where the system tells.
    ///
    /// # Errors
    ///
    /// When the system refuses what that takes.
    pub(super) fn open(abandoned: CancellationToken) -> Result<Self, Failure> {
        let open = || Ok((Input::open()?, Output::open(StandardSink::Output)?));
        let (input, output) = open().map_err(|error: io::Error| {
            let message = format!("cannot use standard input and output: {error}");
            Failure::new(Exit::Failure, message)
        })?;
        let watcher = tokio::spawn(async move {
            stdio::abandoned().await;
            abandoned.cancel();
        });
        Ok(Self {
            input,
            output,
            _watcher: AbortOnDropHandle::new(watcher),
        })
    }

    /// Carries the connection until either side is done; `shutdown` means that nobody reads standard output any more.
    ///
    /// # Errors
    ///
    /// When the session has no connection to carry, or what it carried may not be whole.
    pub(super) async fn carry(
        &mut self,
        session: &mut Session,
        remote: &Remote,
        shutdown: &CancellationToken,
    ) -> Result<(), Failure> {
        let opener = session.opener();
        let (input, output) = (&mut self.input, &mut self.output);
        let carrying = async {
            let opened = match opener.open().await {
                Err(OpenError::Ended) => opener.open_remains(),
                Err(error) => {
                    let message = format!("cannot open a connection: {error}");
                    return Err(Failure::new(Exit::Failure, message));
                }
                Ok(stream) => Some(stream),
            };
            Ok(match opened {
                Some(stream) => carry(stream, input, output, remote.patience).await,
                None => Carried::Ended(End::Lost),
            })
        };
        let carried = tokio::select! {
            carried = carrying => carried?,
            () = shutdown.cancelled() => return Ok(()),
        };
        judge(carried, session, remote).await
    }

    /// Has the reader see the end of the data, who then need not wait for the end of the session.
    pub(super) fn close(self) {
        drop(self);
        stdio::close_output();
    }
}

/// Tells whether the connection has ended as it should.
async fn judge(carried: Carried, session: &mut Session, remote: &Remote) -> Result<(), Failure> {
    let Remote { name, patience, .. } = remote;
    let failed = |message: String| Failure::new(Exit::Failure, message);
    match carried {
        Carried::Ended(End::Finished) => Ok(()),
        Carried::InputBroke(error) => Err(failed(format!("cannot read standard input: {error}"))),
        // A reader who has seen enough is no failure.
        Carried::OutputBroke(error) => output::sink_failed(StandardSink::Output, &error).map(drop),
        Carried::Silent => {
            let failure = failed(format!(
                "standard input ended, and nothing came from {name} for {} s",
                patience.as_secs()
            ));
            Err(match remote.patience_option {
                Some(option) => failure.with_hint(format!("raise {option} if more is to come")),
                None => failure,
            })
        }
        Carried::Ended(End::Cut) => Err(failed(format!(
            "{name} did not take everything that was sent"
        ))),
        Carried::Ended(End::Refused) => {
            Err(failed(format!("nothing accepts connections on {name}"))
                .with_hint("check that the service runs there, and the port"))
        }
        Carried::Ended(End::Lost) => {
            let failure = session.ended().await;
            match is_end_of_connection(session) {
                true => Ok(()),
                false => Err(failure),
            }
        }
    }
}

/// Whether the end of the session is that of its connection: an agent that carries one connection ends the session with
/// it, and has no other word for it.
fn is_end_of_connection(session: &Session) -> bool {
    let one_at_a_time = SessionKind::Port {
        is_multiplexed: false,
    };
    session.established().kind == one_at_a_time && session.is_in_order()
}
