//! Sessions of a command without terminal and input.

use std::fs::File;
use std::io::{self, Read};
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use futures_util::future::join;
use ssmfwd_protocol::Signal;
use ssmfwd_protocol::agent::{Agent, AgentEvent, output};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::sleep;

use super::output::Output;
use super::process::{MARK, Process};
use super::{Events, Outcome, Shared, start_error};
use crate::lab::document::NonInteractiveCommand;
use crate::lab::pacer::Pacer;
use crate::stream::Stream;

/// The two streams of a session.
struct Streams {
    output: Stream<Agent>,
    error: Stream<Agent>,
}

/// Runs a command until it ends and everything it has written is on its way.
pub(super) async fn run(
    shared: &Shared,
    events: &mut Events,
    command: &NonInteractiveCommand,
    session_id: &str,
    pacer: Option<Pacer>,
) -> Outcome {
    let (Some(output), Some(error)) = (shared.accept().await, shared.accept().await) else {
        return Outcome::exited(0);
    };
    let streams = Streams { output, error };
    let outcome = match shlex::split(&command.command) {
        Some(program) => run_program(events, &streams, command, &program, session_id, pacer).await,
        None => unreadable(&streams, pacer).await,
    };
    // Dropping them would take back what is still to be sent.
    streams.output.finish();
    streams.error.finish();
    outcome
}

async fn run_program(
    events: &mut Events,
    streams: &Streams,
    command: &NonInteractiveCommand,
    program: &[String],
    session_id: &str,
    pacer: Option<Pacer>,
) -> Outcome {
    let ran = match command.separate_output {
        true => run_separate(events, streams, command, program, session_id).await,
        false => run_combined(events, streams, program, session_id, pacer.clone()).await,
    };
    match ran {
        Ok(code) => Outcome::exited(code),
        Err(error) => {
            let reason = start_error(program, &error);
            let text = format!("Error occurred starting the command: {reason}\n");
            report(streams, text, pacer).await;
            Outcome::exited(1)
        }
    }
}

/// The words of the command cannot be told.
async fn unreadable(streams: &Streams, pacer: Option<Pacer>) -> Outcome {
    if pacer.is_some() {
        sleep(START_FAILURE_WAIT).await;
    }
    let reason = "Failed to parse commands input: EOF found when expecting closing quote\n\n";
    report(streams, format!("Unable to start command: {reason}"), pacer).await;
    Outcome::Exited {
        code: 1,
        output: output::start_failed(reason),
    }
}

/// Has an error of the agent's own appear as the command's.
async fn report(streams: &Streams, text: String, pacer: Option<Pacer>) {
    if pacer.is_some() {
        sleep(REPORT_WAIT).await;
    }
    let mut text = Bytes::from(text);
    let _ = std::future::poll_fn(|cx| streams.error.poll_write(cx, &mut text)).await;
}

/// Runs a command whose two outputs are told apart and sent as they come, without pauses.
///
/// # Errors
///
/// When it cannot be started.
async fn run_separate(
    events: &mut Events,
    streams: &Streams,
    command: &NonInteractiveCommand,
    program: &[String],
    session_id: &str,
) -> io::Result<i32> {
    let mut child = prepare(program, session_id)?
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut process = Process::new(child, session_id);
    let stdout = copy(
        stdout,
        Output::new(&streams.output, None, &command.stdout_prefix),
    );
    let stderr = copy(
        stderr,
        Output::new(&streams.error, None, &command.stderr_prefix),
    );
    let mut copying = pin!(join(stdout, stderr));
    let mut is_copied = false;
    loop {
        tokio::select! {
            event = events.recv() => signal(&process, event),
            _ = &mut copying, if !is_copied => is_copied = true,
            code = process.exit_code(), if is_copied => return Ok(code.unwrap_or(1)),
        }
    }
}

async fn copy(pipe: Option<impl AsyncRead + Unpin>, mut output: Output<'_>) {
    let Some(mut pipe) = pipe else {
        return;
    };
    while let Ok(1..) = pipe.read_buf(&mut output.room()).await {
        if !output.send().await {
            return;
        }
    }
    output.finish().await;
}

/// Runs a command whose two outputs go to one file, which is sent when the command has ended.
///
/// # Errors
///
/// When it cannot be started, or there is no place for the file.
async fn run_combined(
    events: &mut Events,
    streams: &Streams,
    program: &[String],
    session_id: &str,
    pacer: Option<Pacer>,
) -> io::Result<i32> {
    let (writer, reader) = nameless_file()?;
    let child = prepare(program, session_id)?
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()?;
    let mut process = Process::new(child, session_id);
    let code = loop {
        tokio::select! {
            event = events.recv() => signal(&process, event),
            code = process.exit_code() => break code.unwrap_or(1),
        }
    };
    let mut output = Output::new(&streams.output, pacer, "");
    while read_file(&reader, output.room())? > 0 {
        if !output.send().await {
            break;
        }
    }
    output.finish().await;
    Ok(code)
}

fn prepare(program: &[String], session_id: &str) -> io::Result<Command> {
    let [name, arguments @ ..] = program else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut command = Command::new(name);
    command
        .args(arguments)
        .env(MARK, session_id)
        .env("TERM", "xterm-256color")
        .stdin(Stdio::null())
        .process_group(0);
    Ok(command)
}

fn signal(process: &Process, event: Option<AgentEvent>) {
    if let Some(AgentEvent::Signalled(signal)) = event {
        process.signal(match signal {
            Signal::Interrupt => rustix::process::Signal::INT,
            Signal::Quit => rustix::process::Signal::QUIT,
        });
    }
}

/// A file without a name: one handle to append to it and one to read it from its beginning.
fn nameless_file() -> io::Result<(File, File)> {
    use std::os::unix::fs::OpenOptionsExt;

    let name = format!("ssmfwd-lab-{:032x}", fastrand::u128(..));
    let path = std::env::temp_dir().join(name);
    let writer = File::options()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let reader = File::open(&path);
    std::fs::remove_file(&path)?;
    Ok((writer, reader?))
}

/// Reads as much as there is room for; 0 at the end.
fn read_file(file: &File, room: impl BufMut) -> io::Result<u64> {
    let len = u64::try_from(room.remaining_mut()).unwrap_or(u64::MAX);
    io::copy(&mut file.take(len), &mut room.writer())
}

/// How long the agent waits before it reports that the command line cannot be read.
const START_FAILURE_WAIT: Duration = Duration::from_secs(2);

/// How long the agent waits before an error of its own.
const REPORT_WAIT: Duration = Duration::from_secs(1);
