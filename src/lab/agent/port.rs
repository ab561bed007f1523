//! Port sessions: connects the client's streams to real sockets.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ssmfwd_protocol::Endpoint;
use ssmfwd_protocol::agent::Agent;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::task::JoinSet;

use super::{Assignment, Outcome, Shared};
use crate::lab::conditions::Conditions;
use crate::lab::destination::Destination;
use crate::lab::pacer::Pacer;
use crate::lab::stall::OpenStream;
use crate::stream::{End, Stream};

/// Serves the session's streams until the session ends.
pub(super) async fn serve(
    shared: &Shared,
    properties: &BTreeMap<String, String>,
    assignment: &Assignment,
    pacer: Option<Pacer>,
) -> Outcome {
    let (services, conditions) = (&assignment.services, &assignment.conditions);
    let destination = match Destination::resolve(properties, services, &conditions.hosts).await {
        Ok(destination) => destination,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    // The document for `ssh` names no type. Its session is one connection.
    match properties.contains_key("type") {
        true => serve_all(shared, &destination, conditions, pacer).await,
        false => serve_one(shared, &destination, conditions, pacer).await,
    }
}

/// Connects the client's streams, one after the other as the real agent does: a destination that
/// does not answer holds up every later stream.
///
/// Returns when an agent without multiplexing cannot connect.
async fn serve_all(
    shared: &Shared,
    destination: &Destination,
    conditions: &Arc<Conditions>,
    pacer: Option<Pacer>,
) -> Outcome {
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
            Err(error) if is_first => return cannot_connect(&error),
            Err(_) => return Outcome::Failed(String::new()),
        }
        is_first = false;
    }
    Outcome::exited(0)
}

/// Connects at once, and is done when that connection ends.
async fn serve_one(
    shared: &Shared,
    destination: &Destination,
    conditions: &Arc<Conditions>,
    pacer: Option<Pacer>,
) -> Outcome {
    let socket = match destination.connect().await {
        Ok(socket) => socket,
        Err(error) => return cannot_connect(&error),
    };
    if let Some(stream) = shared.accept().await {
        let open = OpenStream::new(conditions);
        open.run(carry(socket, stream, pacer)).await;
    }
    Outcome::exited(0)
}

fn cannot_connect(error: &io::Error) -> Outcome {
    Outcome::Failed(format!("Unable to connect to specified port: {error}"))
}

fn is_multiplexed(shared: &Shared) -> bool {
    shared.with(|agent| {
        agent
            .streams()
            .is_some_and(|streams| streams.is_multiplexed())
    })
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
