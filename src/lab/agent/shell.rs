//! Sessions with a terminal: a shell, or an interactive command.

use std::future::{pending, poll_fn};
use std::io;
use std::time::Duration;

use ssmfwd_protocol::agent::{Agent, AgentEvent, output};
use tokio::time::sleep;

use super::output::Output;
use super::pty::{self, Keyboard, Screen};
use super::{Assignment, Events, Outcome, Shared, start_error};
use crate::lab::pacer::Pacer;
use crate::stream::Stream;

/// Runs `program` in a terminal until it ends.
pub(super) async fn run(
    shared: &Shared,
    events: &mut Events,
    program: &[String],
    assignment: &Assignment,
    pacer: Option<Pacer>,
) -> Outcome {
    let opened = pty::open(program, &assignment.session_id, &assignment.tracker);
    let (screen, keyboard) = match opened {
        Ok(terminal) => terminal,
        Err(error) => {
            if pacer.is_some() {
                sleep(START_FAILURE_WAIT).await;
            }
            let reason = format!("Failed to start pty: {}\n\n", start_error(program, &error));
            return Outcome::Failed(output::start_failed(&reason));
        }
    };
    let Some(stream) = shared.accept().await else {
        return Outcome::exited(0);
    };
    tokio::select! {
        // In this order: what is typed after a change of size is typed into a terminal of that size.
        biased;
        () = follow_sizes(events, &keyboard) => {}
        () = type_in(&stream, &keyboard) => {}
        shown = show(screen, &stream, pacer) => {
            if let Err(error) = shown {
                tracing::debug!(%error, "the terminal broke");
            }
        }
    }
    // Dropping it would take back what is still to be sent.
    stream.finish();
    Outcome::exited(0)
}

async fn follow_sizes(events: &mut Events, keyboard: &Keyboard) {
    while let Some(event) = events.recv().await {
        if let AgentEvent::Resized(size) = event {
            keyboard.resize(size);
        }
    }
    pending().await
}

/// Types what the client sends, for as long as somebody takes it.
async fn type_in(stream: &Stream<Agent>, keyboard: &Keyboard) {
    while let Ok(keys) = poll_fn(|cx| stream.poll_read(cx)).await {
        if let Err(error) = keyboard.write_all(&keys).await {
            tracing::debug!(%error, "nobody reads what is typed");
        }
    }
    pending().await
}

/// Sends what appears on the screen, until nothing can appear any more.
async fn show(mut screen: Screen, stream: &Stream<Agent>, pacer: Option<Pacer>) -> io::Result<()> {
    if pacer.is_some() {
        sleep(FIRST_READ_WAIT).await;
    }
    let mut output = Output::new(stream, pacer, "");
    while screen.read(&mut output.room()).await? > 0 {
        if !output.send().await {
            return Ok(());
        }
    }
    output.finish().await;
    Ok(())
}

/// How long the agent waits before it reports that a program cannot be started.
const START_FAILURE_WAIT: Duration = Duration::from_secs(2);

/// How long the agent waits before it reads a terminal for the first time.
const FIRST_READ_WAIT: Duration = Duration::from_secs(1);
