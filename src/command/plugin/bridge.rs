//! Sessions of one connection, which standard input and output are the other side of: those of `ssh`.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::command::bridge::{Bridge, Remote};
use crate::failure::Failure;
use crate::session::Session;

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
    let remote = Remote {
        name: "the remote port".to_owned(),
        patience: HALF_CLOSE,
        patience_option: None,
    };
    // `ssh` ends what carries its connection with a signal.
    bridge.carry(session, &remote, shutdown).await?;
    // What went wrong is said before the reader sees the end.
    bridge.close();
    Ok(End::Done(ExitCode::SUCCESS))
}
