//! A session's agent: drives its end of the data channel and does what the session is for.

mod command;
mod encryption;
mod output;
mod port;
mod process;
mod pty;
mod shell;

use std::future::pending;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ssmfwd_protocol::agent::{self, Agent, AgentEvent};
use ssmfwd_protocol::version::Version;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

pub(super) use self::encryption::Decrypter;

use super::conditions::Conditions;
use super::document::{Content, SessionType};
use super::link::AgentEnd;
use super::lock;
use super::pacer::Pacer;
use super::service::PortTable;
use crate::driver::drive;
use crate::endpoint;

type Shared = endpoint::Shared<Agent>;

/// The links to the gateway an agent gets in the course of its session, each with how long it takes
/// the agent to connect.
pub(super) type Links = mpsc::UnboundedReceiver<(Duration, AgentEnd)>;

/// What the protocol's end tells those who serve the session.
type Events = mpsc::UnboundedReceiver<AgentEvent>;

/// A session as its agent is told of it.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) session_id: String,
    pub(super) agent_version: Version,
    pub(super) content: Content,
    /// The target's built-in services.
    pub(super) services: PortTable,
    /// What goes wrong with hosts and streams.
    pub(super) conditions: Arc<Conditions>,
    /// Whether data is sent as slowly as the real agent does.
    pub(super) pace: bool,
    /// Set if the account demands encryption.
    pub(super) decrypter: Option<Decrypter>,
    /// The lab's tasks, with those that end the session's processes.
    pub(super) tracker: TaskTracker,
    /// What message ids derive from.
    pub(super) seed: u64,
}

impl Assignment {
    /// Why an agent of this age does not know what to do, in its own words.
    fn unsupported(&self) -> Option<String> {
        let session_type = self.content.session_type();
        let since = match session_type {
            SessionType::Port => PORT_VERSION,
            SessionType::NonInteractiveCommands => NON_INTERACTIVE_VERSION,
            SessionType::StandardStream | SessionType::InteractiveCommands => return None,
        };
        let is_known = since.parse().is_ok_and(|since| self.agent_version >= since);
        let name = session_type.name();
        (!is_known).then(|| {
            format!(
                "Plugin with name {name} is not supported by this version of ssm agent, please \
                 update to latest version. Step name: {name}"
            )
        })
    }

    /// Agents that do not know of separate outputs pass over the property.
    fn knows_separate_outputs(&self) -> bool {
        let since = SEPARATE_OUTPUTS_VERSION.parse();
        since.is_ok_and(|since: Version| self.agent_version >= since)
    }

    fn session(&self) -> agent::Session {
        // Port sessions are never encrypted.
        let is_port = self.content.session_type() == SessionType::Port;
        let decrypter = self.decrypter.as_ref().filter(|_| !is_port);
        agent::Session {
            id: self.session_id.clone(),
            agent_version: self.agent_version,
            session_type: match &self.content {
                Content::Port(properties) => agent::SessionType::Port {
                    properties: properties.clone(),
                },
                Content::Shell => agent::SessionType::StandardStream,
                Content::InteractiveCommand { .. } => agent::SessionType::InteractiveCommands,
                Content::NonInteractiveCommand(command) => {
                    agent::SessionType::NonInteractiveCommands {
                        separates_outputs: command.separate_output,
                    }
                }
            },
            encryption: decrypter.map(|it| it.encryption(self.agent_version)),
        }
    }
}

/// How what a session is for has ended.
#[derive(Debug)]
enum Outcome {
    /// In good order: what it has written is still to arrive.
    Exited {
        /// The exit code of a command.
        code: i32,
        /// What the agent reports afterwards; empty unless something went wrong.
        output: String,
    },
    /// It cannot go on, and this is what the agent reports.
    Failed(String),
}

impl Outcome {
    fn exited(code: i32) -> Self {
        let output = String::new();
        Self::Exited { code, output }
    }
}

/// Serves a session until it ends, and returns the text the agent reports then: empty unless
/// something went wrong.
pub(super) async fn run(mut assignment: Assignment, links: Links) -> String {
    if let Some(output) = assignment.unsupported() {
        return output;
    }
    if !assignment.knows_separate_outputs()
        && let Content::NonInteractiveCommand(command) = &mut assignment.content
    {
        command.separate_output = false;
    }
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let agent = Agent::new(assignment.session(), assignment.seed, Instant::now(), unix);
    let shared = Shared::new(agent);

    let (tell, mut events) = mpsc::unbounded_channel();
    let farewell = Mutex::new(String::new());
    let driving = drive_links(&shared, links, |event| match event {
        AgentEvent::Terminated => ControlFlow::Break(String::new()),
        AgentEvent::Exited => ControlFlow::Break(std::mem::take(&mut *lock(&farewell))),
        AgentEvent::Failed(output) => ControlFlow::Break(output),
        event => {
            let _ = tell.send(event);
            ControlFlow::Continue(())
        }
    });
    let serving = async {
        match serve(&shared, &mut events, &assignment).await {
            Outcome::Exited { code, output } => {
                *lock(&farewell) = output;
                shared.with(|agent| agent.exit(Instant::now(), code));
            }
            Outcome::Failed(output) => shared.with(|agent| agent.fail(output)),
        }
        pending().await
    };
    let output = tokio::select! {
        output = driving => output,
        output = serving => output,
    };
    shared.end();
    output
}

/// Drives the agent over one link after the other, until `on_event` breaks or no further link comes.
async fn drive_links(
    shared: &Shared,
    mut links: Links,
    mut on_event: impl FnMut(AgentEvent) -> ControlFlow<String>,
) -> String {
    while let Some((away, mut link)) = links.recv().await {
        tokio::time::sleep(away).await;
        // The gateway may have lost patience with this one, too.
        while let Ok((_, newer)) = links.try_recv() {
            link = newer;
        }
        shared.with(|agent| agent.handle_connected(Instant::now()));
        match drive(shared, link, &mut on_event).await {
            Ok(output) => return output,
            Err(error) => tracing::debug!(%error, "agent lost its link"),
        }
    }
    // Nobody is left to be told anything.
    String::new()
}

/// Waits until data may flow, and does what the session is for.
async fn serve(shared: &Shared, events: &mut Events, assignment: &Assignment) -> Outcome {
    loop {
        match events.recv().await {
            Some(AgentEvent::DataKeyReceived {
                ciphertext,
                challenge,
            }) => {
                let decrypter = assignment.decrypter.as_ref();
                let key = decrypter
                    .map(|decrypter| decrypter.decrypt(&ciphertext, challenge))
                    .unwrap_or_else(|| Err("no key was demanded".to_owned()));
                shared.with(|agent| agent.handle_data_key(Instant::now(), key));
            }
            Some(AgentEvent::Started { .. }) => break,
            Some(_) => {}
            None => return Outcome::exited(0),
        }
    }
    let pacer = assignment.pace.then(Pacer::default);
    match &assignment.content {
        Content::Port(properties) => port::serve(shared, properties, assignment, pacer).await,
        Content::Shell => {
            let program = ["sh".to_owned()];
            shell::run(shared, events, &program, assignment, pacer).await
        }
        Content::InteractiveCommand { command, .. } if command.trim().is_empty() => {
            no_command(assignment)
        }
        Content::InteractiveCommand {
            command,
            is_in_container,
        } => {
            let program = match is_in_container {
                true => shlex::split(command).unwrap_or_default(),
                false => ["sh", "-c", command].map(str::to_owned).to_vec(),
            };
            shell::run(shared, events, &program, assignment, pacer).await
        }
        Content::NonInteractiveCommand(command) if command.command.trim().is_empty() => {
            no_command(assignment)
        }
        Content::NonInteractiveCommand(command) => {
            command::run(shared, events, command, &assignment.session_id, pacer).await
        }
    }
}

fn no_command(assignment: &Assignment) -> Outcome {
    let session_type = assignment.content.session_type();
    Outcome::Failed(agent::output::no_command(session_type.name()))
}

/// Why a program cannot be started, in the words of the agent's language.
fn start_error(program: &[String], error: &io::Error) -> String {
    let name = program.first().map_or("", String::as_str);
    let reason = match error.kind() {
        io::ErrorKind::NotFound if !name.contains('/') => "executable file not found in $PATH",
        io::ErrorKind::NotFound => "no such file or directory",
        io::ErrorKind::PermissionDenied => "permission denied",
        _ => return error.to_string(),
    };
    match name.contains('/') {
        true => format!("fork/exec {name}: {reason}"),
        false => format!("exec: \"{name}\": {reason}"),
    }
}

/// The first agents with port sessions, non-interactive commands, and separate outputs of these.
const PORT_VERSION: &str = "2.3.672.0";
const NON_INTERACTIVE_VERSION: &str = "3.0.1124.0";
const SEPARATE_OUTPUTS_VERSION: &str = "3.1.1511.0";

#[cfg(test)]
mod tests;
