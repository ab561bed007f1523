//! Who waits for a session to have a connection again.

use tokio::sync::watch;

/// Those who wait for a session that is offline. Clones are of the same session.
#[derive(Debug, Clone, Default)]
pub struct Waiters(watch::Sender<usize>);

/// Counts as somebody who waits, until it is dropped.
#[derive(Debug)]
pub struct Waiting(Waiters);

impl Waiters {
    /// Counts one more. As long as anybody waits, there are more attempts to get a connection.
    pub fn join(&self) -> Waiting {
        self.0.send_modify(|count| *count += 1);
        Waiting(self.clone())
    }

    /// Waits until somebody does.
    pub(crate) async fn any(&self) {
        // The sender is this one's own.
        let _ = self.0.subscribe().wait_for(|count| *count > 0).await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
