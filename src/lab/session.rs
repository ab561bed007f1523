//! One session as the service knows it: who it belongs to, its token, and where it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::gateway::Socket;
use super::lock;

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Started; no client has opened its data channel yet.
    Connecting,
    /// A client is there.
    Connected,
    /// The client is gone and may come back.
    Disconnected,
    /// Over.
    Terminated(EndedBy),
}

/// Who ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// The caller, with TerminateSession.
    Caller,
    /// The agent: the client told it to in the data channel, or it could not go on.
    Agent,
    /// The service, because the client sent nothing for too long.
    IdleTimeout,
    /// The service, because the session has lasted as long as it may.
    MaxDuration,
    /// The lab, by stopping.
    Shutdown,
}

/// A session as [`Lab::sessions`](super::Lab::sessions) reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    pub id: String,
    pub target: String,
    pub document: String,
    /// As in StartSession, before defaults were filled in.
    pub parameters: BTreeMap<String, Vec<String>>,
    pub reason: Option<String>,
    pub state: SessionState,
    /// How often a client has opened the data channel: once, and again with each resumption.
    pub connection_count: u64,
}

/// What a fault has the gateway's task do to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Close the data channel with code 1000, the client's and the agent's.
    Cut,
    /// Reset the client's connection.
    Reset,
    /// Take the agent's connection, and give it a new one after this time.
    LoseAgent(Duration),
    /// End the session as one of the others does it.
    End(EndedBy),
}

/// What reaches the gateway's task from elsewhere.
#[derive(Debug)]
pub(super) struct Inbox {
    /// WebSockets of clients.
    pub(super) sockets: mpsc::Receiver<Socket>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
}

/// What StartSession was asked for.
#[derive(Debug, Default)]
pub(super) struct NewSession {
    pub(super) target: String,
    pub(super) document: String,
    pub(super) parameters: BTreeMap<String, Vec<String>>,
    pub(super) reason: Option<String>,
}

/// A session's shared half: the API and the upgrade see it, the gateway's task serves it.
pub(super) struct Session {
    pub(super) id: String,
    pub(super) request: NewSession,
    pub(super) started: SystemTime,
    status: Mutex<Status>,
    sockets: mpsc::Sender<Socket>,
    orders: mpsc::UnboundedSender<Order>,
    /// Cancelled by TerminateSession and by the end of the lab.
    terminate: CancellationToken,
    shutdown: CancellationToken,
}

struct Status {
    connection_count: u64,
    token: Option<String>,
    /// The cells of the stream URLs that are good.
    cells: Vec<String>,
    state: SessionState,
    ended: Option<SystemTime>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret, if only a lab's.
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("request", &self.request)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Creates a session; the second half is for the gateway's task.
    pub(super) fn new(request: NewSession, shutdown: CancellationToken) -> (Arc<Self>, Inbox) {
        let (sockets, attached) = mpsc::channel(1);
        let (orders, ordered) = mpsc::unbounded_channel();
        // ECS calls the sessions it starts by its own name, not the caller's.
        let owner = match request.target.starts_with("ecs:") {
            true => "ecs-execute-command",
            false => "lab-user",
        };
        let session = Self {
            id: format!("{owner}-{}", random_text(b"0123456789abcdef", 17)),
            request,
            started: SystemTime::now(),
            status: Mutex::new(Status {
                connection_count: 0,
                token: None,
                cells: Vec::new(),
                state: SessionState::Connecting,
                ended: None,
            }),
            sockets,
            orders,
            terminate: shutdown.child_token(),
            shutdown,
        };
        let inbox = Inbox {
            sockets: attached,
            orders: ordered,
        };
        (Arc::new(session), inbox)
    }

    /// Replaces the token and returns the new one, or nothing once the session is over.
    pub(super) fn renew_token(&self) -> Option<String> {
        let mut status = lock(&self.status);
        if matches!(status.state, SessionState::Terminated(_)) {
            return None;
        }
        let token = new_token();
        status.token = Some(token.clone());
        Some(token)
    }

    /// Makes the token worthless.
    pub(super) fn expire_token(&self) {
        lock(&self.status).token = None;
    }

    /// Returns a new cell number for a stream URL. Its `+`, `/` and `=` are not escaped there.
    pub(super) fn new_cell(&self) -> String {
        let (start, end) = (
            random_text(BASE64_ALPHABET, 20),
            random_text(BASE64_ALPHABET, 17),
        );
        let cell = format!("AAEA{start}+/{end}=");
        let cells = &mut lock(&self.status).cells;
        cells.truncate(MAX_CELLS - 1);
        cells.insert(0, cell.clone());
        cell
    }

    /// Whether a stream URL with this cell number is good.
    pub(super) fn accepts_cell(&self, cell: &str) -> bool {
        lock(&self.status).cells.iter().any(|known| known == cell)
    }

    /// Makes every stream URL worthless.
    pub(super) fn expire_cells(&self) {
        lock(&self.status).cells.clear();
    }

    /// Whether `token` opens the data channel: it is the latest, and the session is not over.
    pub(super) fn accepts_token(&self, token: &str) -> bool {
        let status = lock(&self.status);
        status.token.as_deref() == Some(token)
            && !matches!(status.state, SessionState::Terminated(_))
    }

    /// Hands a client's WebSocket to the gateway's task; an ended session lets it fall.
    pub(super) async fn attach(&self, socket: Socket) {
        let _ = self.sockets.send(socket).await;
    }

    /// Has the gateway's task do something; an ended session does nothing.
    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// Asks the gateway's task to end the session.
    pub(super) fn terminate(&self) {
        self.terminate.cancel();
    }

    /// Waits until the session is to end, and returns who wants that.
    pub(super) async fn terminated(&self) -> EndedBy {
        self.terminate.cancelled().await;
        match self.shutdown.is_cancelled() {
            true => EndedBy::Shutdown,
            false => EndedBy::Caller,
        }
    }

    /// Notes that a client has come.
    pub(super) fn set_connected(&self) {
        let mut status = lock(&self.status);
        status.state = SessionState::Connected;
        status.connection_count += 1;
    }

    /// Notes that no client is there any more, if there was one.
    pub(super) fn set_disconnected(&self) {
        let mut status = lock(&self.status);
        if status.state == SessionState::Connected {
            status.state = SessionState::Disconnected;
        }
    }

    /// Notes that the session is over; its token is worthless from here on.
    pub(super) fn end(&self, by: EndedBy) {
        let mut status = lock(&self.status);
        status.state = SessionState::Terminated(by);
        status.ended = Some(SystemTime::now());
    }

    pub(super) fn state(&self) -> SessionState {
        lock(&self.status).state
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self.state(), SessionState::Terminated(_))
    }

    /// When the session ended, if it has.
    pub(super) fn ended(&self) -> Option<SystemTime> {
        lock(&self.status).ended
    }

    pub(super) fn record(&self) -> SessionRecord {
        let request = &self.request;
        SessionRecord {
            id: self.id.clone(),
            target: request.target.clone(),
            document: request.document.clone(),
            parameters: request.parameters.clone(),
            reason: request.reason.clone(),
            state: self.state(),
            connection_count: lock(&self.status).connection_count,
        }
    }
}

/// Text of random characters. Not from a cryptographic source: whoever may reach the lab knows its
/// credentials anyway.
pub(super) fn random_text(alphabet: &[u8], len: usize) -> String {
    let characters = (0..len).filter_map(|_| fastrand::choice(alphabet));
    characters.map(|byte| char::from(*byte)).collect()
}

fn new_token() -> String {
    format!("AAEAA{}", random_text(BASE64_ALPHABET, 59))
}

/// Stream URLs of a session that are good at a time.
const MAX_CELLS: usize = 100;

const BASE64_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> (Arc<Session>, CancellationToken) {
        let shutdown = CancellationToken::new();
        let (session, _) = Session::new(NewSession::default(), shutdown.clone());
        (session, shutdown)
    }

    #[test]
    fn only_the_latest_token_opens_the_channel() {
        let (session, _) = session();
        let first = session.renew_token().unwrap();
        assert!(session.accepts_token(&first));
        let second = session.renew_token().unwrap();
        assert!(session.accepts_token(&second));
        assert!(!session.accepts_token(&first));
        assert!(!session.accepts_token(""));
    }

    #[test]
    fn an_ended_session_has_no_token() {
        let (session, _) = session();
        let token = session.renew_token().unwrap();
        session.end(EndedBy::Agent);
        assert!(!session.accepts_token(&token));
        assert_eq!(session.renew_token(), None);
        assert!(session.is_ended() && session.ended().is_some());
    }

    #[tokio::test]
    async fn who_ends_a_session_is_told_apart() {
        let (session, shutdown) = session();
        session.terminate();
        assert_eq!(session.terminated().await, EndedBy::Caller);
        shutdown.cancel();
        assert_eq!(session.terminated().await, EndedBy::Shutdown);
    }

    #[test]
    fn ids_have_the_form_of_the_service() {
        let (session, _) = session();
        let digits = session.id.strip_prefix("lab-user-").unwrap();
        assert_eq!(digits.len(), 17);
        assert!(digits.bytes().all(|b| b.is_ascii_hexdigit()));
    }
}
