//! Writes to standard output and standard error without ever holding the program up.
//!
//! Whoever started the program may read its first events and then no more. A full pipe must not stop the tunnels, so one
//! thread writes, and what it cannot keep up with is dropped and counted.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::surface;
use crate::standard_streams::StandardSink;

/// Entries that may wait for the writer.
const CAPACITY: usize = 4096;
/// How long the end of the program waits for what has not been written, and in how many steps: a machine that stood still,
/// or had no time for the thread that writes, takes no more than one of them.
const FLUSH_STEP: Duration = Duration::from_millis(500);
const FLUSH_STEPS: usize = 6;

static QUEUE: OnceLock<Queue> = OnceLock::new();

enum Entry {
    Text(StandardSink, Vec<u8>),
    /// Answered once everything before it is written.
    Flush(SyncSender<()>),
}

struct Queue {
    entries: SyncSender<Entry>,
    dropped_count: AtomicU64,
}

/// Queues text. Returns how many texts before it had to be dropped, if it is the first that was not.
pub(super) fn write(sink: StandardSink, text: Vec<u8>) -> u64 {
    let queue = QUEUE.get_or_init(Queue::start);
    if queue.entries.try_send(Entry::Text(sink, text)).is_ok() {
        return queue.dropped_count.swap(0, Ordering::Relaxed);
    }
    queue.dropped_count.fetch_add(1, Ordering::Relaxed);
    0
}

/// Waits until everything queued is written, unless nobody reads it.
pub fn flush() {
    let Some(queue) = QUEUE.get() else {
        return;
    };
    let (written, is_written) = sync_channel(1);
    if queue.entries.try_send(Entry::Flush(written)).is_ok() {
        // Past the time, what is left is lost with the process.
        let has_ended = |_| is_written.recv_timeout(FLUSH_STEP) != Err(RecvTimeoutError::Timeout);
        let _: bool = (0..FLUSH_STEPS).any(has_ended);
    }
}

impl Queue {
    fn start() -> Self {
        let (entries, queued) = sync_channel(CAPACITY);
        // Without a thread every text counts as dropped: there is nowhere to say that there is none.
        drop(
            thread::Builder::new()
                .name("output".to_owned())
                .spawn(move || run(&queued)),
        );
        Self {
            entries,
            dropped_count: AtomicU64::new(0),
        }
    }
}

fn run(queued: &Receiver<Entry>) {
    for entry in queued {
        // What cannot be written is dropped: nobody reads it any more.
        match entry {
            Entry::Text(sink, text) => {
                let text = match sink {
                    StandardSink::Output => text,
                    StandardSink::Error => surface::fit(text),
                };
                let _: io::Result<()> = sink.write_all(&text);
            }
            Entry::Flush(written) => {
                let _: Result<(), _> = written.try_send(());
            }
        }
    }
}

/// Standard error for logs: each write is one entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        write(StandardSink::Error, text.to_vec());
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
