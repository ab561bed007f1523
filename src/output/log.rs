//! Logs, for whoever looks for a fault in the program.

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::Verbosity;
use super::writer::LogWriter;

/// Starts to write logs to standard error, if `verbosity` asks for any.
///
/// Only this program's crates are heard, and no environment variable changes that: the AWS SDK logs the bodies of
/// responses, in which there are tokens.
pub fn start(verbosity: Verbosity) {
    let level = match verbosity {
        Verbosity::Quiet | Verbosity::Normal | Verbosity::Verbose => return,
        Verbosity::Debug => Level::DEBUG,
        Verbosity::Trace => Level::TRACE,
    };
    let ours = Targets::new()
        .with_target("ssmfwd", level)
        .with_target("ssmfwd_protocol", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(|| LogWriter);
    // Only a second start fails, and then logs are being written already.
    drop(
        tracing_subscriber::registry()
            .with(lines)
            .with(ours)
            .try_init(),
    );
}
