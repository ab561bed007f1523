//! The ways a user, a terminal or a service manager asks the process to end.

use std::io;

#[cfg(unix)]
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};

/// Installs the handlers; the token is cancelled by the first signal. Must be called within a runtime.
///
/// They are installed whatever was inherited, since the AWS CLI starts its children with SIGINT ignored, except that
/// `nohup` is respected.
///
/// # Errors
///
/// When the system refuses a handler.
pub fn cancelled_by_signals() -> Result<CancellationToken, Failure> {
    let (token, mut interrupts) = cancelled_but_by_interrupts()?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        interrupts.next().await;
        cancelled.cancel();
    });
    Ok(token)
}

/// The same, but for Ctrl-C, which is for the caller to act on.
///
/// # Errors
///
/// As [`cancelled_by_signals`].
pub fn cancelled_but_by_interrupts() -> Result<(CancellationToken, Interrupts), Failure> {
    let token = CancellationToken::new();
    let interrupts = Interrupts::new().map_err(refused)?;
    let signal = signals().map_err(refused)?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        signal.await;
        cancelled.cancel();
    });
    Ok((token, interrupts))
}

/// Ctrl-C, each time it is typed.
#[derive(Debug)]
pub struct Interrupts(Interrupt);

#[cfg(unix)]
type Interrupt = tokio::signal::unix::Signal;
#[cfg(windows)]
type Interrupt = tokio::signal::windows::CtrlC;

impl Interrupts {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        signal(SignalKind::interrupt()).map(Self)
    }

    #[cfg(windows)]
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        // The handlers last as long as the process.
        let _: Option<()> = self.0.recv().await;
    }
}

/// Waits for the signal of Ctrl-Z: what holds ports for others is of no use while it is suspended. From the call on, the
/// signal does nothing else.
///
/// # Errors
///
/// When the system refuses a handler.
#[cfg(unix)]
pub fn suspended() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};

    let kind = SignalKind::from_raw(Signal::TSTP.as_raw());
    let mut suspension = signal(kind).map_err(refused)?;
    Ok(async move {
        // The handlers last as long as the process.
        let _: Option<()> = suspension.recv().await;
    })
}

/// There is no such signal.
#[cfg(not(unix))]
pub fn suspended() -> Result<impl Future<Output = ()>, Failure> {
    Ok(std::future::pending())
}

fn refused(error: io::Error) -> Failure {
    Failure::new(Exit::Failure, format!("cannot handle signals: {error}"))
}

#[cfg(unix)]
fn signals() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut quit = signal(SignalKind::quit())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // As `nohup` starts what is to outlive its terminal.
    let mut hangup = match is_ignored(Signal::HUP) {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    Ok(async move {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = quit.recv() => {}
            _ = terminate.recv() => {}
            _ = hung_up => {}
        }
    })
}

/// Whether a signal was ignored when this process was started, or is now. Only Linux tells.
#[cfg(unix)]
pub(crate) fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Bit 0 is signal 1.
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

#[cfg(windows)]
fn signals() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::windows;

    let mut break_ = windows::ctrl_break()?;
    let mut close = windows::ctrl_close()?;
    let mut shutdown = windows::ctrl_shutdown()?;
    Ok(async move {
        tokio::select! {
            _ = break_.recv() => {}
            _ = close.recv() => {}
            _ = shutdown.recv() => {}
        }
    })
}
