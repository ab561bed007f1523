//! Sessions of one connection, which standard input and output are the other side of: those of `ssh`.

use std::process::ExitCode;

use ssmfwd_protocol::error::OpenError;
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::local::stdio::{self, Carried, carry};
use crate::session::Session;
use crate::stream::End as StreamEnd;

use super::report::Report;
use super::{End, HALF_CLOSE};

/// Carries the connection until either side is done, or nobody reads standard output any more.
///
/// The end of standard input does not cut off what the remote side has still to say, as the official plugin does.
pub(super) async fn serve(
    session: &mut Session,
    report: &Report,
    shutdown: &CancellationToken,
) -> Result<End, Failure> {
    report.leave_stdout();
    let (input, mut output) = stdio::open(shutdown.clone()).map_err(|error| {
        let message = format!("cannot use standard input and output: {error}");
        Failure::new(Exit::Failure, message)
    })?;
    let opener = session.opener();
    let carrying = async {
        match opener.open().await {
            Ok(stream) => Ok(carry(stream, input, &mut output, HALF_CLOSE).await),
            // Why it is over, the session knows.
            Err(OpenError::Ended) => Ok(Carried::Ended(StreamEnd::Lost)),
            Err(error) => {
                let message = format!("cannot open a connection: {error}");
                Err(Failure::new(Exit::Failure, message))
            }
        }
    };
    let carried = tokio::select! {
        carried = carrying => carried,
        // `ssh` ends what carries its connection with a signal.
        () = shutdown.cancelled() => Ok(Carried::Unread),
    };
    let end = judge(carried?, session).await;
    if end.is_ok() {
        // The reader need not wait for the service. What went wrong is said before it sees the end, though.
        output.close();
    }
    end
}

async fn judge(carried: Carried, session: &mut Session) -> Result<End, Failure> {
    match carried {
        Carried::Ended(StreamEnd::Finished) | Carried::Silent | Carried::Unread => {
            Ok(End::Done(ExitCode::SUCCESS))
        }
        Carried::Ended(StreamEnd::Cut) => Err(Failure::new(
            Exit::Failure,
            "the remote port did not take everything that was sent",
        )),
        Carried::Ended(StreamEnd::Refused) => Err(Failure::new(
            Exit::Failure,
            "nothing accepts connections on the remote port",
        )
        .with_hint("check that the service runs there, and the portNumber")),
        Carried::Ended(StreamEnd::Lost) => Err(session.ended().await),
    }
}
