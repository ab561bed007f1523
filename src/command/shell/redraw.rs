//! After text of this program was written across the screen of another one.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use ssmfwd_protocol::Size;
use tokio::sync::watch;
use tokio::time::sleep;

use super::terminal_size;
use crate::output;
use crate::session::Console;

/// How long what is written across a full screen stays there once the connection is back.
const READING_TIME: Duration = Duration::from_secs(2);
/// Between two changes of the size, so that a program which is told of both at once does not find it unchanged.
const RESIZE_PAUSE: Duration = Duration::from_millis(100);

/// Has a program that has the whole screen draw it anew once the connection is back, if something was written across it.
pub(super) async fn clear_after_outages(
    console: &Console,
    mut connection: watch::Receiver<bool>,
) -> Infallible {
    loop {
        for is_connected in [false, true] {
            if connection.wait_for(|is| *is == is_connected).await.is_err() {
                // The session is over, which shows elsewhere.
                pending::<()>().await;
            }
        }
        sleep(READING_TIME).await;
        if output::take_overwritten() {
            let size = terminal_size();
            let rows = size.rows.saturating_sub(1).max(1);
            console.resize(Size { rows, ..size });
            sleep(RESIZE_PAUSE).await;
            console.resize(terminal_size());
        }
    }
}
