//! What happens to the terminal from outside.

use std::io;

/// Something that happened to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It may have another size.
    Size,
    /// The program is asked to stop, as by Ctrl-Z.
    Stop,
    /// The program goes on after it was stopped.
    Continue,
}

#[cfg(not(unix))]
pub use other::Changes;
#[cfg(unix)]
pub use unix::Changes;

#[cfg(unix)]
mod unix {
    use rustix::process::Signal as Number;
    use tokio::signal::unix::{Signal, SignalKind, signal};

    use super::{Change, io};

    /// The signals that tell. Nothing else may handle them.
    #[derive(Debug)]
    pub struct Changes {
        size: Signal,
        stop: Option<Signal>,
        continuing: Signal,
    }

    impl Changes {
        /// Installs the handlers; without `is_raw` stopping is left to the system. Must be called within a runtime.
        ///
        /// # Errors
        ///
        /// When the system refuses a handler.
        pub fn new(is_raw: bool) -> io::Result<Self> {
            let install = |number: Number| signal(SignalKind::from_raw(number.as_raw()));
            Ok(Self {
                size: install(Number::WINCH)?,
                stop: is_raw.then(|| install(Number::TSTP)).transpose()?,
                continuing: install(Number::CONT)?,
            })
        }

        /// Waits for the next one.
        pub async fn next(&mut self) -> Change {
            let stopped = async {
                match &mut self.stop {
                    Some(stop) => stop.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.size.recv() => Change::Size,
                _ = stopped => Change::Stop,
                _ = self.continuing.recv() => Change::Continue,
            }
        }
    }
}

#[cfg(not(unix))]
mod other {
    use std::time::Duration;

    use tokio::time::{Interval, interval};

    use super::{Change, io};

    /// How often the size is looked at, as the official client does.
    const PERIOD: Duration = Duration::from_millis(500);

    /// Nothing tells: the size is looked at.
    #[derive(Debug)]
    pub struct Changes {
        period: Interval,
        size: Option<(u16, u16)>,
    }

    impl Changes {
        /// Starts to look.
        ///
        /// # Errors
        ///
        /// None here.
        pub fn new(_is_raw: bool) -> io::Result<Self> {
            Ok(Self {
                period: interval(PERIOD),
                size: crate::terminal::size(),
            })
        }

        /// Waits for the next one.
        pub async fn next(&mut self) -> Change {
            loop {
                self.period.tick().await;
                let size = crate::terminal::size();
                if size != self.size {
                    self.size = size;
                    return Change::Size;
                }
            }
        }
    }
}
