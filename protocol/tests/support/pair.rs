//! Both ends, their links, and what uses them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ssmfwd_protocol::agent::{Agent, AgentEvent, Encryption, Session, SessionType};
use ssmfwd_protocol::channel::{CloseReason, Event};
use ssmfwd_protocol::config::Config;
use ssmfwd_protocol::error::OpenError;
use ssmfwd_protocol::message::{Header, Message, MessageType, PayloadType};
use ssmfwd_protocol::streams::Streams;
use ssmfwd_protocol::{Channel, DataKey, Endpoint, StreamId, Transmit};
use uuid::Uuid;

use super::link::{Faults, Link};
use super::target::{Behaviour, Target};
use super::user::{Transfer, User};

/// The data key of encrypted sessions, unless the options say otherwise.
pub(crate) const DATA_KEY: [u8; 64] = [0x42; 64];

/// Inputs at one instant after which the pair is taken to go round in circles.
const LIVELOCK_COUNT: usize = 200_000;

/// What a pair is made of.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) config: Config,
    pub(crate) agent_version: &'static str,
    pub(crate) session_type: SessionType,
    pub(crate) encryption: Option<Encryption>,
    /// What KMS gives the client when a data key is needed.
    pub(crate) client_key: Result<[u8; 64], String>,
    /// What it makes of that for the agent.
    pub(crate) agent_key: Result<[u8; 64], String>,
    pub(crate) up: Faults,
    pub(crate) down: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            config: Config::default(),
            agent_version: "3.3.987.0",
            session_type: SessionType::Port {
                properties: BTreeMap::from([
                    ("portNumber".to_owned(), "80".to_owned()),
                    ("type".to_owned(), "LocalPortForwarding".to_owned()),
                ]),
            },
            encryption: None,
            client_key: Ok(DATA_KEY),
            agent_key: Ok(DATA_KEY),
            up: Faults::delay(10),
            down: Faults::delay(10),
        }
    }
}

impl Options {
    /// A session of another type.
    pub(crate) fn of(session_type: SessionType) -> Self {
        Self {
            session_type,
            ..Self::default()
        }
    }

    /// The same session, encrypted.
    pub(crate) fn encrypted(self) -> Self {
        let encryption = Encryption {
            key_id: "arn:aws:kms:eu-west-1:123456789012:key/1".to_owned(),
            context_challenge: Some([7; 16]),
            requires_context_challenge: true,
            proof_challenge: std::array::from_fn(|at| at as u8 ^ 0x5a),
        };
        Self {
            encryption: Some(encryption),
            ..self
        }
    }

    /// The same faults both ways.
    pub(crate) fn faults(self, faults: Faults) -> Self {
        Self {
            up: faults,
            down: faults,
            ..self
        }
    }
}

/// A client and an agent in simulated time.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) client: Channel,
    pub(crate) agent: Agent,
    /// Client to agent.
    pub(crate) up: Link,
    /// Agent to client.
    pub(crate) down: Link,
    pub(crate) user: User,
    pub(crate) target: Target,
    pub(crate) events: Vec<Event>,
    pub(crate) agent_events: Vec<AgentEvent>,
    /// Connect requests the service has seen.
    pub(crate) hellos: Vec<String>,
    /// Everything the client has put on the wire, and the agent.
    pub(crate) client_wires: Vec<Bytes>,
    pub(crate) agent_wires: Vec<Bytes>,
    /// Most bytes the client ever held.
    pub(crate) peak_len: usize,
    client_key: Result<[u8; 64], String>,
    agent_key: Result<[u8; 64], String>,
    is_client_connected: bool,
    is_agent_connected: bool,
}

impl Pair {
    /// Two ends that are not connected yet.
    pub(crate) fn new(options: Options) -> Self {
        let start = super::any_instant();
        let unix = Duration::from_secs(1_800_000_000);
        let seed = options.seed.wrapping_mul(4);
        let session = Session {
            id: "session".to_owned(),
            agent_version: options.agent_version.parse().unwrap(),
            session_type: options.session_type,
            encryption: options.encryption,
        };
        Self {
            start,
            now: start,
            client: Channel::new(options.config, seed, start, unix),
            agent: Agent::new(session, seed + 1, start, unix),
            up: Link::new(seed + 2, options.up),
            down: Link::new(seed + 3, options.down),
            user: User::default(),
            target: Target::default(),
            events: Vec::new(),
            agent_events: Vec::new(),
            hellos: Vec::new(),
            client_wires: Vec::new(),
            agent_wires: Vec::new(),
            client_key: options.client_key,
            agent_key: options.agent_key,
            peak_len: 0,
            is_client_connected: false,
            is_agent_connected: false,
        }
    }

    /// Two ends whose handshake is done.
    pub(crate) fn established(options: Options) -> Self {
        let mut pair = Self::new(options);
        pair.connect();
        pair.drive_bounded(Duration::from_secs(15), Self::is_established);
        pair
    }

    /// Connects whichever end is not.
    pub(crate) fn connect(&mut self) {
        if !self.is_agent_connected {
            self.is_agent_connected = true;
            self.agent.handle_connected(self.now);
        }
        if !self.is_client_connected {
            self.is_client_connected = true;
            self.client.handle_connected(self.now, "token");
        }
    }

    /// Cuts the client off; what is under way is lost.
    pub(crate) fn disconnect_client(&mut self) {
        self.cut();
        if std::mem::take(&mut self.is_client_connected) {
            self.client.handle_disconnected(self.now);
        }
    }

    /// Cuts the agent off; what is under way is lost.
    pub(crate) fn disconnect_agent(&mut self) {
        self.cut();
        if std::mem::take(&mut self.is_agent_connected) {
            self.agent.handle_disconnected(self.now);
        }
    }

    /// Sends the agent a message of the service.
    pub(crate) fn signal_agent(&mut self, message_type: MessageType) {
        let wire = service_message(message_type, b"{}");
        self.agent.handle_message(self.now, wire);
    }

    /// Sends the client a message of the service.
    pub(crate) fn signal_client(&mut self, message_type: MessageType) {
        let wire = service_message(message_type, b"{}");
        self.client.handle_message(self.now, wire);
    }

    /// Ends the session from the service's side.
    pub(crate) fn close_channel(&mut self, output: &str) {
        let body = format!(r#"{{"MessageType":"channel_closed","Output":"{output}"}}"#);
        self.close_channel_with(body.as_bytes());
    }

    /// The service ends the session with a message of this body.
    pub(crate) fn close_channel_with(&mut self, body: &[u8]) {
        let wire = service_message(MessageType::ChannelClosed, body);
        self.client.handle_message(self.now, wire);
    }

    /// Opens a stream towards a destination that behaves so, and starts the upload.
    pub(crate) fn open(
        &mut self,
        behaviour: Behaviour,
        upload: Bytes,
    ) -> Result<StreamId, OpenError> {
        self.start_transfer(Transfer::new(behaviour, upload))
    }

    pub(crate) fn start_transfer(&mut self, transfer: Transfer) -> Result<StreamId, OpenError> {
        let id = self
            .client
            .streams()
            .expect("the handshake is done")
            .open()?;
        self.target.plan.insert(u32::from(id), transfer.behaviour);
        self.user.add(id, transfer);
        Ok(id)
    }

    /// Says what the agent's program does with a stream of a shell or command, before the ends connect.
    pub(crate) fn host(&mut self, id: StreamId, behaviour: Behaviour) {
        self.target.plan.insert(id.into(), behaviour);
    }

    /// The same, with a user who sends `upload`, reads all there is and is then done with it.
    pub(crate) fn plan(&mut self, id: StreamId, behaviour: Behaviour, upload: Bytes) {
        self.host(id, behaviour);
        self.user.add(id, Transfer::new(behaviour, upload));
    }

    /// Has the agent send a payload of any kind.
    pub(crate) fn forge(&mut self, sequence: i64, kind: PayloadType, payload: &[u8]) {
        let header = Header {
            message_type: MessageType::OutputStreamData,
            created_date: 1,
            sequence,
            flags: 0,
            message_id: Uuid::nil(),
            payload_type: kind,
        };
        let payload = Bytes::copy_from_slice(payload);
        self.client
            .handle_message(self.now, Message { header, payload }.encode());
        self.settle();
    }

    /// A transfer whose writes are at most so long.
    pub(crate) fn open_in_pieces(
        &mut self,
        behaviour: Behaviour,
        upload: Bytes,
        write_len: usize,
    ) -> StreamId {
        let mut transfer = Transfer::new(behaviour, upload);
        transfer.write_len = write_len;
        self.start_transfer(transfer).unwrap()
    }

    /// Drops the local connection.
    pub(crate) fn abort(&mut self, id: StreamId) {
        let transfer = self.user.transfers.get_mut(&id).unwrap();
        if !transfer.is_done {
            transfer.is_aborted = true;
            self.client.streams().unwrap().abort(id);
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(crate) fn is_established(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, Event::Established(_)))
    }

    /// Why the client's end has closed, if it has.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(reason) => Some(reason.clone()),
            _ => None,
        })
    }

    /// Every transfer has brought what it was to bring, and nothing is under way.
    pub(crate) fn is_done(&self) -> bool {
        let held_len = self.client.buffered_len() + self.agent.buffered_len();
        self.user.is_done() && self.agent.is_drained() && held_len == 0
    }

    /// Does all that can be done now, and jumps to the next instant at which there is something to
    /// do. Returns false if there is none.
    pub(crate) fn step(&mut self) -> bool {
        self.settle();
        let Some(next) = self.next_wake() else {
            return false;
        };
        self.now = self.now.max(next);
        self.settle();
        true
    }

    /// Steps until `is_done`; fails if simulated time runs past `limit` or nothing can happen any more.
    pub(crate) fn drive_bounded(&mut self, limit: Duration, is_done: impl Fn(&Self) -> bool) {
        let deadline = self.now + limit;
        self.settle();
        while !is_done(self) {
            let is_alive = self.step();
            assert!(
                is_done(self) || is_alive,
                "nothing left to happen\n{}",
                self.summary()
            );
            assert!(
                self.now <= deadline,
                "not done after {limit:?}\n{}",
                self.summary()
            );
        }
    }

    /// Steps for so long, whatever happens.
    pub(crate) fn drive_for(&mut self, time: Duration) {
        let deadline = self.now + time;
        self.settle();
        while self.next_wake().is_some_and(|next| next < deadline) {
            self.step();
        }
        self.now = deadline;
        self.settle();
    }

    /// Drives to the end of all transfers and checks every byte.
    pub(crate) fn complete(&mut self, limit: Duration) {
        self.drive_bounded(limit, Self::is_done);
        assert_eq!(self.close_reason(), None);
        self.check();
    }

    /// Checks that each side has received a part of what the other sent, in order; and the whole of it
    /// where the transfer is done and the session goes on.
    pub(crate) fn check(&self) {
        let has_ended = self.close_reason().is_some();
        for (id, transfer) in &self.user.transfers {
            transfer.check(*id);
            let Some(connection) = self.target.connections.get(id) else {
                let may_be_missing = has_ended || !transfer.is_done;
                assert!(may_be_missing, "{id:?} never reached the agent");
                continue;
            };
            let received = &connection.received[..];
            assert!(
                transfer.upload.starts_with(received),
                "{id:?}: {} bytes",
                received.len()
            );
            let is_read = matches!(
                connection.behaviour,
                Behaviour::Echo | Behaviour::Sink | Behaviour::Talk(_)
            );
            if transfer.is_done && is_read && !has_ended {
                assert_eq!(received.len(), transfer.upload.len(), "{id:?}");
            }
        }
    }

    fn summary(&self) -> String {
        let left = self
            .user
            .transfers
            .iter()
            .filter(|(_, it)| !it.is_done && !it.is_aborted);
        let left: Vec<_> = left
            .map(|(id, it)| {
                (
                    id,
                    it.behaviour,
                    it.upload.len(),
                    it.received.len(),
                    it.is_finished,
                )
            })
            .collect();
        format!(
            "{left:?}\n{:?}\n{:?}\nclient holds {}, agent holds {}, client blocked {}, agent blocked {}, events {:?} {:?}",
            self.up,
            self.down,
            self.client.buffered_len(),
            self.agent.buffered_len(),
            self.client.is_receive_blocked(),
            self.agent.is_receive_blocked(),
            self.events,
            self.agent_events
        )
    }

    /// When there is something to do again.
    fn next_wake(&mut self) -> Option<Instant> {
        let arrivals = [
            self.up
                .next_arrival()
                .filter(|_| !self.agent.is_receive_blocked()),
            self.down
                .next_arrival()
                .filter(|_| !self.client.is_receive_blocked()),
        ];
        let timers = [self.client.poll_timeout(), self.agent.poll_timeout()];
        let timers = timers.into_iter().flatten().map(|(at, _)| at);
        let wakes = arrivals.into_iter().flatten().chain(timers);
        wakes.chain(self.user.next_wake()).min()
    }

    /// Passes in everything that is due, one input at a time, and takes out what follows from it.
    fn settle(&mut self) {
        self.drain();
        for _ in 0..LIVELOCK_COUNT {
            if !self.input() {
                return;
            }
            self.drain();
        }
        panic!("livelock at {:?}\n{}", self.elapsed(), self.summary());
    }

    /// Passes in one thing that is due, if there is one.
    fn input(&mut self) -> bool {
        let now = self.now;
        if self.user.next_wake().is_some_and(|at| at <= now) && self.client.streams().is_some() {
            return true;
        }
        if !self.client.is_receive_blocked()
            && let Some(wire) = self.down.receive(now)
        {
            self.client.handle_message(now, wire);
        } else if !self.agent.is_receive_blocked()
            && let Some(wire) = self.up.receive(now)
        {
            self.agent.handle_message(now, wire);
        } else if self.client.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.client.handle_timeout(now);
        } else if self.agent.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.agent.handle_timeout(now);
        } else {
            return false;
        }
        true
    }

    fn drain(&mut self) {
        loop {
            self.drain_client();
            self.drain_agent();
            let is_client_idle = self.transmit_client();
            let is_agent_idle = self.transmit_agent();
            self.peak_len = self.peak_len.max(self.client.buffered_len());
            if is_client_idle && is_agent_idle {
                return;
            }
        }
    }

    fn drain_client(&mut self) {
        while let Some(event) = self.client.poll_event() {
            if let Event::DataKeyNeeded { .. } = event {
                let key = self.client_key.clone();
                let key = key.map(|key| DataKey::new(b"wrapped".to_vec(), &key).unwrap());
                self.client.handle_data_key(self.now, key);
            }
            self.events.push(event);
        }
        if let Some(streams) = self.client.streams() {
            while let Some(event) = streams.poll_event() {
                self.user.on_event(event);
            }
            self.user.work(self.now, streams);
        }
    }

    fn drain_agent(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            if let AgentEvent::DataKeyReceived { .. } = event {
                let key = self.agent_key.clone().map(Into::into);
                self.agent.handle_data_key(self.now, key);
            }
            self.agent_events.push(event);
        }
        while let Some(event) = self.agent.streams().and_then(Streams::poll_event) {
            self.target.on_event(event);
        }
        self.target.work(&mut self.agent);
    }

    /// Returns whether the client had nothing to send.
    fn transmit_client(&mut self) -> bool {
        let mut is_idle = true;
        while let Some(transmit) = self.client.poll_transmit(self.now) {
            is_idle = false;
            match transmit {
                Transmit::Text(hello) => self.hellos.push(hello),
                Transmit::Binary(wire) => {
                    self.client_wires.push(wire.clone());
                    if self.is_agent_connected {
                        self.up.send(self.now, wire);
                    }
                }
            }
        }
        is_idle
    }

    /// Returns whether the agent had nothing to send.
    fn transmit_agent(&mut self) -> bool {
        let mut is_idle = true;
        while let Some(transmit) = self.agent.poll_transmit(self.now) {
            is_idle = false;
            let Transmit::Binary(wire) = transmit else {
                continue;
            };
            self.agent_wires.push(wire.clone());
            if self.is_client_connected && !wire[4..].starts_with(b"agent_session_state") {
                self.down.send(self.now, wire);
            }
        }
        is_idle
    }

    fn cut(&mut self) {
        self.up.cut();
        self.down.cut();
    }
}

fn service_message(message_type: MessageType, payload: &[u8]) -> Bytes {
    let header = Header {
        message_type,
        created_date: 0,
        sequence: 0,
        flags: 0,
        message_id: Uuid::nil(),
        payload_type: PayloadType::None,
    };
    let payload = Bytes::copy_from_slice(payload);
    Message { header, payload }.encode()
}
