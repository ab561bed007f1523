//! From standard input to the far side.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;

use crate::failure::{Exit, Failure};
use crate::local::stdio::Input;
use crate::output::{Event, Printer};
use crate::session::Console;
use crate::stream::End;
use crate::terminal::RawMode;
use crate::terminal::escape::{EscapeChar, Escapes, Typed};

/// Bytes that are typed while the far side does not take what was, and searched for escapes.
const MAX_AHEAD_LEN: usize = 1024 * 1024;
/// How long the first Ctrl-D is waited on at the end of the input; each time twice as long.
const END_PAUSE: Duration = Duration::from_secs(1);
/// The longest of these waits.
const MAX_END_PAUSE: Duration = Duration::from_secs(60);
/// What Ctrl-D types.
const END_OF_TRANSMISSION: u8 = 0x04;

/// What is typed, or piped in.
pub(super) struct Keyboard<'a> {
    input: Input,
    escapes: Escapes,
    printer: &'a Printer,
}

impl<'a> Keyboard<'a> {
    /// Takes standard input over.
    ///
    /// # Errors
    ///
    /// When the system refuses what that takes.
    pub(super) fn new(escape_char: EscapeChar, printer: &'a Printer) -> Result<Self, Failure> {
        let input = Input::open().map_err(|error| {
            let message = format!("cannot read standard input: {error}");
            Failure::new(Exit::Failure, message)
        })?;
        Ok(Self {
            input,
            escapes: Escapes::new(escape_char),
            printer,
        })
    }

    /// Passes everything typed on, until the user ends the session with an escape.
    ///
    /// While the far side does not take what was typed, as in an outage, escapes work nevertheless, up to [`MAX_AHEAD_LEN`]. A session
    /// that has ended is not noticed here.
    pub(super) async fn type_into(&mut self, console: &Console, raw: Option<&RawMode>) {
        match self.pass(console, raw).await {
            Ok(()) => {}
            Err(_session_is_over) => std::future::pending().await,
        }
    }

    async fn pass(&mut self, console: &Console, raw: Option<&RawMode>) -> Result<(), End> {
        let mut last = b'\n';
        let mut written = Bytes::new();
        let mut ahead = BytesMut::new();
        loop {
            if written.is_empty() {
                written = ahead.split().freeze();
            }
            let input = tokio::select! {
                input = self.input.read(), if ahead.len() < MAX_AHEAD_LEN => input,
                outcome = console.write(&mut written), if !written.is_empty() => {
                    outcome?;
                    continue;
                }
            };
            // A terminal that has gone away has no more input either.
            let Some(Ok(input)) = input else {
                break;
            };
            last = input.last().copied().unwrap_or(last);
            for typed in self.escapes.parse(input) {
                match typed {
                    Typed::Data(data) => ahead.extend_from_slice(&data),
                    Typed::End => {
                        // As far as it is taken at once.
                        let last = async {
                            console.write(&mut written).await?;
                            console.write(&mut ahead.split().freeze()).await
                        };
                        let _: Option<Result<(), End>> = last.now_or_never();
                        return Ok(());
                    }
                    Typed::Help => self.printer.event(&Event::Notice {
                        message: self.escapes.help(),
                    }),
                    Typed::Suspend => self.suspend(raw),
                }
            }
        }
        console.write(&mut written).await?;
        console.write(&mut ahead.freeze()).await?;
        end_input(console, last).await
    }

    fn suspend(&self, raw: Option<&RawMode>) {
        if raw.is_some_and(|raw| !raw.suspend()) {
            self.printer.event(&Event::Notice {
                message: "not stopped: nobody could continue it".to_owned(),
            });
        }
    }
}

/// Types the end of the input until the session is over.
///
/// A program that reads lines takes Ctrl-D for the end only at the start of one. One that is switching the terminal from
/// lines to keys may miss it, and every program that reads is to find the end, as it would in a pipe: hence again and
/// again.
async fn end_input(console: &Console, last: u8) -> Result<(), End> {
    if !matches!(last, b'\r' | b'\n') {
        console.write(&mut Bytes::from_static(b"\n")).await?;
    }
    let mut pause = END_PAUSE;
    loop {
        let mut end = Bytes::copy_from_slice(&[END_OF_TRANSMISSION]);
        console.write(&mut end).await?;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_END_PAUSE);
    }
}
