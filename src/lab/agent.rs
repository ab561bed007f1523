//! A session's agent: drives its end of the data channel and connects streams to real sockets.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use ssmfwd_protocol::Endpoint;
use ssmfwd_protocol::agent::{Agent, AgentEvent, Session, SessionType};
use ssmfwd_protocol::version::Version;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::conditions::Conditions;
use super::destination::Destination;
use super::link::AgentEnd;
use super::pacer::Pacer;
use super::service::PortTable;
use super::stall::OpenStream;
use crate::driver::drive;
use crate::endpoint;
use crate::stream::{End, Stream};

type Shared = endpoint::Shared<Agent>;

/// The links to the gateway an agent gets in the course of its session, each with how long it takes
/// the agent to connect.
pub(super) type Links = mpsc::UnboundedReceiver<(Duration, AgentEnd)>;

/// A session as its agent is told of it.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) session_id: String,
    pub(super) agent_version: Version,
    /// What the session's document makes of its parameters.
    pub(super) properties: BTreeMap<String, String>,
    /// The target's built-in services.
    pub(super) services: PortTable,
    /// What goes wrong with hosts and streams.
    pub(super) conditions: Arc<Conditions>,
    /// Whether data is sent as slowly as the real agent does.
    pub(super) pace: bool,
    /// What message ids derive from.
    pub(super) seed: u64,
}

/// Serves a session until it ends, and returns the text the agent reports then: empty unless
/// something went wrong.
pub(super) async fn run(assignment: Assignment, links: Links) -> String {
    let session = Session {
        id: assignment.session_id,
        agent_version: assignment.agent_version,
        session_type: SessionType::Port {
            properties: assignment.properties.clone(),
        },
        encryption: None,
    };
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let agent = Agent::new(session, assignment.seed, Instant::now(), unix);
    let shared = Shared::new(agent);

    let started = Notify::new();
    let driving = drive_links(&shared, links, |event| match event {
        AgentEvent::Started { .. } => {
            started.notify_one();
            ControlFlow::Continue(())
        }
        AgentEvent::Terminated | AgentEvent::Exited => ControlFlow::Break(String::new()),
        AgentEvent::Failed(output) => ControlFlow::Break(output),
        _ => ControlFlow::Continue(()),
    });
    let serving = async {
        started.notified().await;
        let conditions = &assignment.conditions;
        let (properties, services) = (&assignment.properties, &assignment.services);
        match Destination::resolve(properties, services, &conditions.hosts).await {
            Ok(destination) => serve(&shared, &destination, assignment.pace, conditions).await,
            Err(error) => error.to_string(),
        }
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

/// Connects the client's streams, one after the other as the real agent does: a destination that
/// does not answer holds up every later stream.
///
/// Returns, with the text to report, when an agent without multiplexing cannot connect.
async fn serve(
    shared: &Shared,
    destination: &Destination,
    pace: bool,
    conditions: &Arc<Conditions>,
) -> String {
    let pacer = pace.then(Pacer::default);
    let mut connections = JoinSet::new();
    let mut is_first = true;
    while let Some(stream) = shared.accept().await {
        while connections.try_join_next().is_some() {}
        match destination.connect().await {
            Ok(socket) => {
                let open = OpenStream::new(conditions);
                let pacer = pacer.clone();
                connections.spawn(async move { open.run(carry(socket, stream, pacer)).await });
            }
            Err(_) if is_multiplexed(shared) => {
                let id = stream.id();
                shared.with(|agent| agent.refuse(id));
            }
            Err(error) if is_first => {
                return format!("Unable to connect to specified port: {error}");
            }
            Err(_) => return String::new(),
        }
        is_first = false;
    }
    String::new()
}

fn is_multiplexed(shared: &Shared) -> bool {
    shared.with(|agent| agent.port().is_some_and(|port| port.is_multiplexed()))
}

/// Carries one connection until either direction ends: there is no half-close at the agent.
async fn carry(mut socket: TcpStream, stream: Stream<Agent>, pacer: Option<Pacer>) {
    let (mut reader, mut writer) = socket.split();
    let ended = tokio::select! {
        ended = to_client(&mut reader, &stream, pacer) => ended,
        ended = to_destination(&stream, &mut writer) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection to the destination broke");
    }
    stream.finish();
}

async fn to_client(
    reader: &mut ReadHalf<'_>,
    stream: &Stream<Agent>,
    pacer: Option<Pacer>,
) -> io::Result<()> {
    loop {
        reader.readable().await?;
        let mut data = match read(reader, pacer.is_some()) {
            Ok(data) if data.is_empty() => return Ok(()),
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        if let Some(pacer) = &pacer {
            pacer.turn().await;
        }
        if poll_fn(|cx| stream.poll_write(cx, &mut data))
            .await
            .is_err()
        {
            return Ok(());
        }
    }
}

async fn to_destination(stream: &Stream<Agent>, writer: &mut WriteHalf<'_>) -> io::Result<()> {
    loop {
        match poll_fn(|cx| stream.poll_read(cx)).await {
            Ok(data) => writer.write_all(&data).await?,
            Err(End::Finished | End::Cut | End::Refused | End::Lost) => return Ok(()),
        }
    }
}

/// Reads what the destination has sent; empty at its end.
fn read(reader: &ReadHalf<'_>, is_paced: bool) -> io::Result<Bytes> {
    let len = if is_paced { PACED_READ_LEN } else { READ_LEN };
    let mut buffer = BytesMut::with_capacity(len);
    reader.try_read_buf(&mut buffer)?;
    // A queue of short reads must not hold on to long buffers.
    Ok(match buffer.len() < READ_LEN / 4 {
        true => Bytes::copy_from_slice(&buffer),
        false => buffer.freeze(),
    })
}

/// Bytes read from a destination at a time.
const READ_LEN: usize = 32 * 1024;

/// What makes one message together with the header of its smux frame, as with the real agent.
const PACED_READ_LEN: usize = 1024 - 8;

#[cfg(test)]
mod tests;
