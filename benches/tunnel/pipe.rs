//! The bare pipe: two processes, a plain WebSocket over loopback, and the tunnel's frames without its protocol.
//!
//! Every data message is answered by a message of an acknowledgement's length, as in the tunnel. This process is the
//! WebSocket's client; the far end is this executable again, in the place of the lab.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::stream::SplitStream;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config, client_async_with_config};

use crate::Result;
use crate::latency::{Latencies, PING_LEN};
use crate::tunnel::Direction;

/// The argument that makes this executable a far end; what it is to do follows.
pub(crate) const FAR_END: &str = "far-end";

/// Payload bytes of a data message.
const PAYLOAD_LEN: usize = 1024;
/// Bytes of a data message.
const DATA_LEN: usize = 120 + PAYLOAD_LEN;
/// Bytes of an acknowledgement.
const ACK_LEN: usize = 295;
/// Bytes of a data message with a ping: the message's header, the mux frame's header, the payload.
const PING_MESSAGE_LEN: usize = 120 + 8 + PING_LEN;
/// Messages that share a flush, as many as in the tunnel.
const BATCH: usize = 64;
/// Messages before the clock starts.
const WARM_UP_COUNT: usize = 16 * 1024;

type Socket = WebSocketStream<TcpStream>;

/// Moves `len` payload bytes, and returns how long that took.
pub(crate) fn transfer(direction: Direction, len: usize) -> Result<Duration> {
    let count = len.div_ceil(PAYLOAD_LEN);
    match direction {
        Direction::Down => run("send", async |socket| receive(socket, count).await),
        Direction::Up => run("receive", async |socket| send(socket, count).await),
    }
}

/// Sends pings, each when the answer to the last one is here.
pub(crate) fn ping_pong(count: usize) -> Result<Latencies> {
    run("echo", async |socket| {
        let (mut sink, mut stream) = socket.split();
        let ping = Message::binary(vec![0; PING_MESSAGE_LEN]);
        let ack = Message::binary(vec![0; ACK_LEN]);
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            sink.send(ping.clone()).await?;
            while next_len(&mut stream).await? != PING_MESSAGE_LEN {}
            samples.push(start.elapsed());
            sink.feed(ack.clone()).await?;
        }
        Ok(Latencies::new(samples))
    })
}

/// Starts a far end that does `job`, and does `work` at this one.
fn run<T>(job: &str, work: impl AsyncFnOnce(Socket) -> Result<T>) -> Result<T> {
    let (_far_end, port) = FarEnd::start(job)?;
    runtime()?.block_on(async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (socket, _) =
            client_async_with_config("ws://localhost/", stream, Some(config())).await?;
        work(socket).await
    })
}

/// Does one job for the first client, at the far end.
pub(crate) fn far_end(job: &str) -> Result<()> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let socket = accept_async_with_config(stream, Some(config())).await?;
        // All of them end with the client.
        let _ = match job {
            "send" => send(socket, usize::MAX).await,
            "receive" => receive(socket, usize::MAX).await,
            "echo" => echo(socket).await,
            unknown => return Err(format!("no such job: {unknown}").into()),
        };
        Ok(())
    })
}

/// Sends data messages as fast as they go, and returns how long the acknowledgements of `count` took.
async fn send(socket: Socket, count: usize) -> Result<Duration> {
    let (mut sink, mut stream) = socket.split();
    let data = Message::binary(vec![0; DATA_LEN]);
    let sending = async {
        loop {
            for _ in 0..BATCH {
                sink.feed(data.clone()).await?;
            }
            sink.flush().await?;
        }
    };
    let acknowledged = async {
        for _ in 0..WARM_UP_COUNT {
            next_len(&mut stream).await?;
        }
        let start = Instant::now();
        for _ in 0..count {
            next_len(&mut stream).await?;
        }
        Ok(start.elapsed())
    };
    tokio::select! {
        failed = sending => failed,
        acknowledged = acknowledged => acknowledged,
    }
}

/// Receives data messages and acknowledges them, and returns how long `count` took.
async fn receive(socket: Socket, count: usize) -> Result<Duration> {
    let (mut sink, stream) = socket.split();
    // A message that is kept makes the library read on in small pieces.
    let lens = stream.map(|message| message.map(|message| message.len()));
    let mut batches = lens.ready_chunks(BATCH);
    let ack = Message::binary(vec![0; ACK_LEN]);
    let mut take = async |count| {
        let mut taken_count = 0;
        while taken_count < count {
            for len in batches.next().await.ok_or(CLOSED)? {
                len?;
                taken_count += 1;
                sink.feed(ack.clone()).await?;
            }
            sink.flush().await?;
        }
        Result::Ok(())
    };
    take(WARM_UP_COUNT).await?;
    let start = Instant::now();
    take(count).await?;
    Ok(start.elapsed())
}

/// Acknowledges pings and sends them back.
async fn echo(mut socket: Socket) -> Result<Duration> {
    let ack = Message::binary(vec![0; ACK_LEN]);
    loop {
        let message = socket.next().await.ok_or(CLOSED)??;
        if message.len() == PING_MESSAGE_LEN {
            socket.feed(ack.clone()).await?;
            socket.send(message).await?;
        }
    }
}

async fn next_len(stream: &mut SplitStream<Socket>) -> Result<usize> {
    Ok(stream.next().await.ok_or(CLOSED)??.len())
}

const CLOSED: &str = "the bare pipe is closed";

/// As the client's in src/net/websocket.rs.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(64 * 1024)
        .max_write_buffer_size(64 * 1024 + 1024 * 1024)
}

/// One thread, as the client and the lab have.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// The other process; killed when dropped.
struct FarEnd(Child);

impl FarEnd {
    /// Starts it and returns it with the port it listens on.
    fn start(job: &str) -> Result<(Self, u16)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([FAR_END, job])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take();
        let far_end = Self(child);
        let mut line = String::new();
        BufReader::new(stdout.ok_or("no pipe from the child")?).read_line(&mut line)?;
        Ok((far_end, line.trim().parse()?))
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
