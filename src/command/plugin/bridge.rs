//! Sessions of one connection, which standard input and output are the other side of: those of `ssh`.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::command::bridge::Bridge;
use crate::failure::{Exit, Failure};
use crate::local::stdio::Carried;
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
    let mut bridge = Bridge::open(shutdown.clone())?;
    // `ssh` ends what carries its connection with a signal.
    let carried = bridge.carry(session, HALF_CLOSE, shutdown).await;
    let end = judge(carried?, session).await;
    if end.is_ok() {
        // What went wrong is said before the reader sees the end.
        bridge.close();
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
