//! One connection of a session, which standard input and output are the other side of: those of `ssh`.

use std::time::Duration;

use ssmfwd_protocol::error::OpenError;
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::local::stdio::{self, Carried, Input, Output, carry};
use crate::session::Session;
use crate::stream::End;

/// Standard input and output, until they are the other side.
pub(super) struct Bridge {
    input: Input,
    output: Output,
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
        let opened = stdio::input().and_then(|input| {
            let output = stdio::output(abandoned)?;
            Ok(Self { input, output })
        });
        opened.map_err(|error| {
            let message = format!("cannot use standard input and output: {error}");
            Failure::new(Exit::Failure, message)
        })
    }

    /// Carries the connection until either side is done, for at most `patience` of silence after the end of standard
    /// input; `shutdown` means that nobody reads standard output any more.
    ///
    /// # Errors
    ///
    /// When the session has no connection to carry. One that is over counts as lost: why, it knows itself.
    pub(super) async fn carry(
        &mut self,
        session: &Session,
        patience: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Carried, Failure> {
        let opener = session.opener();
        let carrying = async {
            match opener.open().await {
                Ok(stream) => Ok(carry(stream, &mut self.input, &mut self.output, patience).await),
                Err(OpenError::Ended) => Ok(Carried::Ended(End::Lost)),
                Err(error) => {
                    let message = format!("cannot open a connection: {error}");
                    Err(Failure::new(Exit::Failure, message))
                }
            }
        };
        tokio::select! {
            carried = carrying => carried,
            () = shutdown.cancelled() => Ok(Carried::Unread),
        }
    }

    /// Has the reader see the end of the data, who then need not wait for the end of the session.
    pub(super) fn close(self) {
        self.output.close();
    }
}
