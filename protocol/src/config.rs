//! Every tunable of the protocol, with its unit, default and source.

use std::time::Duration;

use crate::console::Size;

/// Settings of one data channel, the same type for both ends.
#[derive(Debug, Clone)]
pub struct Config {
    /// Payload bytes in a stream message, 64 to 32,768.
    ///
    /// 1,024 is what plugin and agent send (`StreamDataPayloadSize`, `config.go`). More is faster and
    /// was taken by agents, but the service's limit is unknown.
    pub payload_len: usize,
    /// Most bytes on the wire, headers included, that may be unacknowledged before new data waits.
    ///
    /// The window adapts to the path below this bound. 3.5 MiB keep 100 Mbit/s busy at 280 ms, and a
    /// resumed session has to send no more than that again. Agents have no window and no bound.
    pub send_window_len: usize,
    /// Bytes one stream's writer may queue before it waits for the window.
    pub stream_send_len: usize,
    /// Received bytes, over all streams, that may wait for the application before the socket is no longer
    /// read; with it, acknowledgements and the end of the session wait too.
    ///
    /// 32 MiB last an agent, which sends 0.87 MB/s, for half a minute. What is dropped instead it would
    /// send again at ten messages a second, so there is no better way out.
    pub receive_buffer_len: usize,
    /// Received bytes of one stream after which it is reported as stalled, see
    /// [`StreamEvent::Stalled`](crate::streams::StreamEvent::Stalled). More is taken as long as
    /// [`Self::receive_buffer_len`] allows.
    pub stream_receive_len: usize,
    /// Bytes a stream may send without anything coming back before it is reported as stalled.
    ///
    /// The agent stops reading everything once its connections leave 4 MiB unread in total
    /// (`DefaultConfig`, `mux.go`). It acknowledges a message when its mux has taken it, not when the
    /// target has, and smux v1 has no window: nothing tells a target that reads silently, such as that of
    /// an HTTP upload, from one that does not read. A target that is sent more than 4 MiB and takes
    /// nothing therefore blocks its session, and a limit that prevented it would stop every silent
    /// upload. What helps is to keep other connections out of such a session.
    pub stream_unanswered_len: usize,
    /// Messages that may arrive ahead of a missing one; further ones are not acknowledged.
    ///
    /// The official client holds 10,000 (`IncomingMessageBufferCapacity`).
    pub reorder_count: usize,
    /// Payload bytes of those messages.
    pub reorder_len: usize,
    /// Retransmission timing.
    pub retransmission: Retransmission,
    /// Time from the first connect to the end of the handshake, or to the first sign of the program where there is
    /// none; the same time again from when the agent asks for a data key. [`Duration::MAX`] waits for ever.
    ///
    /// The agent gives up 15 s after it connects, and takes some seconds at most to start its worker.
    pub handshake_timeout: Duration,
    /// How the session may begin.
    pub beginning: Beginning,
    /// How long nothing must have come of a session with a terminal before the agent is asked whether that is there, and
    /// again after it has acknowledged the question before a session that may begin silently counts as begun.
    ///
    /// 2 s: it keeps what a command prints back for the first second (`writePump`, `shell.go`), and needs less from its
    /// connection to its handshake.
    pub silence_delay: Duration,
    /// How long data waits after the handshake of a session without multiplexing.
    ///
    /// The agent marks its handshake complete just after it says so, and drops what arrives in
    /// between. With multiplexing a keep-alive frame is sent ahead instead.
    pub settle_delay: Duration,
    /// How long data waits at most for the acknowledgement of what is sent ahead of it.
    ///
    /// 5 s: by then the agent has marked its handshake complete, however slow the path, and the acknowledgement is lost for good
    /// if it came before a loss of the connection and the agent does not repeat it.
    pub settle_timeout: Duration,
    /// How long nothing must have arrived before an agent without multiplexing is taken to have repeated all that
    /// was lost with an earlier WebSocket.
    ///
    /// 2 s: it repeats its oldest message after 1.1 s at most, until that is acknowledged
    /// ([`Retransmission::official`]).
    pub turn_delay: Duration,
    /// How long the end of a session waits for the acknowledgement of the TerminateSession flag.
    pub close_timeout: Duration,
    /// How long [`crate::Channel::finish`] waits for the next acknowledgement.
    ///
    /// Most outages are over by then, and a person waits for the end.
    pub delivery_timeout: Duration,
    /// How long the agent may acknowledge nothing of what is under way, over one connection, before
    /// [`Event::Unanswered`](crate::channel::Event::Unanswered) tells.
    ///
    /// 45 s: longer than it takes to notice that the connection itself is dead.
    pub answer_timeout: Duration,
    /// How long a session goes on after its end where nothing else marks the end of its data, and nothing is known to be
    /// missing: the service may have swapped the last two messages.
    pub overtaken_delay: Duration,
    /// How long messages are waited for that the end of the session has overtaken, where some are known to
    /// be missing.
    ///
    /// The agent is gone by then and repeats nothing; the service swaps messages that are close together.
    pub drain_timeout: Duration,
    /// Whether mux keep-alive frames are sent to every agent. They are input of the client, and so keep the
    /// service from ending an idle session.
    pub keep_alive: bool,
    /// Interval of mux keep-alive frames, which old agents expect whatever `keep_alive` says (smux's
    /// default). Below the shortest idle timeout an account can set, a minute.
    pub keep_alive_interval: Duration,
    /// Undecodable messages in a row after which the session is given up.
    pub undecodable_limit: u32,
    /// Streams that may be open in a session, whichever end opens them.
    pub stream_count: usize,
    /// The size a terminal begins with, until [`crate::streams::Streams::resize`].
    ///
    /// 300 × 100 is what the official client gives where it has no terminal (`shellsession.go`).
    pub terminal_size: Size,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            payload_len: 1024,
            send_window_len: 3584 * 1024,
            stream_send_len: 64 * 1024,
            receive_buffer_len: 32 * 1024 * 1024,
            stream_receive_len: 4 * 1024 * 1024,
            stream_unanswered_len: 1024 * 1024,
            reorder_count: 10_000,
            reorder_len: 8 * 1024 * 1024,
            retransmission: Retransmission::default(),
            handshake_timeout: Duration::from_secs(20),
            beginning: Beginning::default(),
            silence_delay: Duration::from_secs(2),
            settle_delay: Duration::from_millis(20),
            settle_timeout: Duration::from_secs(5),
            turn_delay: Duration::from_secs(2),
            close_timeout: Duration::from_secs(1),
            delivery_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(45),
            overtaken_delay: Duration::from_millis(100),
            drain_timeout: Duration::from_millis(500),
            keep_alive: false,
            keep_alive_interval: Duration::from_secs(10),
            undecodable_limit: 16,
            stream_count: 16_384,
            terminal_size: Size {
                cols: 300,
                rows: 100,
            },
        }
    }
}

/// How a session may begin. Without encryption, those with a terminal have no handshake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Beginning {
    /// With a handshake, or at least with output.
    #[default]
    Handshake,
    /// With a handshake or a prompt. If neither comes, but the agent's word that there is a terminal, the session begins when
    /// [`Config::handshake_timeout`] has passed since: a shell may want input first.
    Prompt,
    /// With a handshake, with output, or in silence, as an interactive command that prints nothing at first: with the agent's
    /// word that there is a terminal, or with its own end.
    Silence,
}

/// When and what an end retransmits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retransmission {
    /// Timeout before the first round-trip sample.
    pub initial_rto: Duration,
    /// Lower bound of the timeout.
    pub min_rto: Duration,
    /// Upper bound of the timeout.
    pub max_rto: Duration,
    /// Which messages are repaired.
    pub repair: Repair,
}

impl Default for Retransmission {
    /// The client's: RFC 6298 with bounds for a path of 1 ms to several seconds.
    ///
    /// The official initial value is kept. A retransmission costs one message and the agent
    /// acknowledges it again, so the floor is below the RFC's 1 s.
    fn default() -> Self {
        Self {
            initial_rto: Duration::from_millis(200),
            min_rto: Duration::from_millis(100),
            max_rto: Duration::from_secs(10),
            repair: Repair::Selective,
        }
    }
}

impl Retransmission {
    /// The real agent's: only its oldest message, looked at every 100 ms, after at most 1 s.
    ///
    /// Source: agent `datachannel.go` `resendStreamDataMessageScheduler`, `config.go`.
    pub fn official() -> Self {
        Self {
            initial_rto: Duration::from_millis(200),
            min_rto: Duration::from_millis(10),
            max_rto: Duration::from_secs(1),
            repair: Repair::OldestOnly {
                tick: Duration::from_millis(100),
            },
        }
    }
}

/// Which unacknowledged messages are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repair {
    /// Each by its own timer, or at once when three later transmissions were acknowledged.
    Selective,
    /// The oldest, at most once a tick: what the official ends do.
    OldestOnly {
        /// Time between two looks.
        tick: Duration,
    },
}
