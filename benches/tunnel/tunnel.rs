//! The client under test, and what is sent through it.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::latency::{Latencies, PING_LEN};
use crate::process::{Lab, Process, TARGET};
use crate::{Result, usage};

/// The remote port of the lab's echo service.
pub(crate) const ECHO: u16 = 7;

/// Bytes a transfer carries before the clock starts, so that every buffer on the way has its usual level.
const WARM_UP_LEN: usize = 16 * 1024 * 1024;

/// Bytes the application reads or writes at a time.
const BUFFER_LEN: usize = 256 * 1024;

/// Time for what the last measurement has set in motion to come to rest.
const REST: Duration = Duration::from_millis(200);

/// A client with a session for each forward.
pub(crate) struct Tunnel {
    client: Process,
    /// Remote and local port of each forward.
    ports: Vec<(u16, u16)>,
    /// From the start of the process to the event that says all ports are bound.
    pub(crate) listening_after: Duration,
    /// From the start of the process to the event that says all forwards work.
    pub(crate) connected_after: Duration,
}

/// Which way a transfer goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    /// From the target.
    Down,
    /// To the target.
    Up,
}

/// What a transfer was.
pub(crate) struct Moved {
    pub(crate) len: usize,
    pub(crate) duration: Duration,
    /// The client's processor time, where it can be known.
    pub(crate) cpu: Option<Duration>,
}

impl Tunnel {
    /// Starts a client with forwards to these ports of the target, and waits until they work.
    pub(crate) fn open(lab: &Lab, remote_ports: &[u16]) -> Result<Self> {
        let forwards: Vec<_> = remote_ports
            .iter()
            .map(|port| format!("{port}:0"))
            .collect();
        let mut args = vec![TARGET];
        args.extend(forwards.iter().map(String::as_str));
        let client = Process::start(&args, &lab.environment)?;
        let mut ports = Vec::new();
        let mut listening = client.started;
        for &remote_port in remote_ports {
            let (at, event) = client.event("listening")?;
            let port = event["port"].as_u64().and_then(|port| port.try_into().ok());
            ports.push((remote_port, port.ok_or("a listener without a port")?));
            listening = at;
        }
        let mut connected = listening;
        for _ in remote_ports {
            (connected, _) = client.event("connected")?;
        }
        Ok(Self {
            ports,
            listening_after: listening - client.started,
            connected_after: connected - client.started,
            client,
        })
    }

    pub(crate) fn close(self) -> Result<()> {
        self.client.stop()
    }

    /// Moves `len` bytes through one connection.
    pub(crate) fn transfer(&self, direction: Direction, len: usize) -> Result<Moved> {
        sleep(REST);
        let mut socket = self.dial(direction.port())?;
        direction.run(&mut socket, WARM_UP_LEN)?;
        let (cpu, start) = (usage::cpu(self.client.id())?, Instant::now());
        direction.run(&mut socket, len)?;
        let duration = start.elapsed();
        let used = usage::cpu(self.client.id())?;
        Ok(Moved {
            len,
            duration,
            cpu: used.zip(cpu).map(|(after, before)| after - before),
        })
    }

    /// Moves `len` bytes through a connection and returns how many megabytes passed each second.
    pub(crate) fn rate(
        &self,
        mut socket: TcpStream,
        direction: Direction,
        len: usize,
    ) -> Result<f64> {
        direction.run(&mut socket, WARM_UP_LEN.min(len))?;
        let start = Instant::now();
        direction.run(&mut socket, len)?;
        let seconds = start.elapsed().as_secs_f64();
        // The end of data would be held back, and the stream of an upload count as stalled as long.
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        drop(socket);
        sleep(REST);
        Ok(len as f64 / seconds / 1e6)
    }

    /// Opens connections until the client has another session for them.
    pub(crate) fn await_another_session(&self, dial: impl Fn() -> Result<TcpStream>) -> Result<()> {
        for _ in 0..100 {
            // One that is closed while it waits has none started.
            let _waiting = dial()?;
            if self.client.event_within("session_started", REST)?.is_some() {
                return Ok(());
            }
        }
        Err("no other session was started".into())
    }

    /// Sends pings to the echo service, each when the last one is back.
    pub(crate) fn ping_pong(&self, count: usize) -> Result<Latencies> {
        sleep(REST);
        let mut socket = self.dial(ECHO)?;
        let mut buffer = [0; PING_LEN];
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            socket.write_all(&buffer)?;
            socket.read_exact(&mut buffer)?;
            samples.push(start.elapsed());
        }
        Ok(Latencies::new(samples))
    }

    /// Opens connections to the echo service, each of which has carried a byte each way.
    pub(crate) fn connect(&self, count: usize) -> Result<Vec<TcpStream>> {
        let mut sockets = Vec::with_capacity(count);
        for _ in 0..count {
            let mut socket = self.dial(ECHO)?;
            socket.write_all(b"x")?;
            socket.read_exact(&mut [0])?;
            sockets.push(socket);
        }
        Ok(sockets)
    }

    /// The client's resident bytes after a rest.
    pub(crate) fn settled_memory(&self) -> Result<Option<u64>> {
        sleep(REST);
        usage::memory(self.client.id())
    }

    pub(crate) fn dial(&self, remote_port: u16) -> Result<TcpStream> {
        let forward = self.ports.iter().find(|(remote, _)| *remote == remote_port);
        let (_, port) = forward.ok_or("no forward to this port")?;
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, *port))?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }
}

impl Direction {
    /// The remote port of the lab's service that sends or takes any amount.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Down => 19,
            Self::Up => 9,
        }
    }

    fn run(self, socket: &mut TcpStream, len: usize) -> Result<()> {
        let mut buffer = vec![0; BUFFER_LEN];
        let mut left = len;
        while left > 0 {
            let at_most = left.min(BUFFER_LEN);
            left -= match self {
                Self::Down => socket.read(&mut buffer[..at_most])?,
                Self::Up => socket.write(&buffer[..at_most])?,
            };
        }
        Ok(())
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Up => "up",
        })
    }
}
