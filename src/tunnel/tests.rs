//! Tunnels and gates with real sessions, in a lab.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::FutureExt;
use ssmfwd_protocol::Channel;
use ssmfwd_protocol::config::Config;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::lab::testing::{aws, lab};
use crate::lab::{Condition, EndedBy, Fault, Lab, SessionState};
use crate::session::Options;
use crate::stream::Stream;

/// The lab's first target, and another one.
const NODE: &str = "i-0abc";
const OTHER_NODE: &str = "i-0def";

/// An agent that carries one connection at a time.
const OLD_AGENT: &str = "3.0.100.0";

/// Sessions to the lab's echo service on `node`.
fn plan(node: &str) -> Plan {
    Plan {
        request: StartSession {
            target: Target::id(node),
            document: Some("AWS-StartPortForwardingSession".to_owned()),
            parameters: BTreeMap::from([("portNumber".to_owned(), vec!["7".to_owned()])]),
            reason: None,
        },
        options: Options::default(),
        restarts: true,
        can_host_move: false,
    }
}

async fn session(aws: &Arc<Aws>, plan: Plan) -> Session {
    let never = CancellationToken::new();
    plan.start(Arc::clone(aws), &never).await.unwrap()
}

async fn lab_with_old_agents() -> Lab {
    lab(|config| {
        config.targets.push(crate::lab::Target::new(OTHER_NODE));
        for target in &mut config.targets {
            target.agent_version = OLD_AGENT.to_owned();
        }
    })
    .await
}

/// What a tunnel tells, as far as these tests want to know.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Started,
    /// An additional session, and where it goes.
    Added {
        target: String,
    },
    Gone,
    Closed {
        session_id: String,
        reason: String,
    },
}

struct Listener(mpsc::UnboundedSender<Told>);

impl Listener {
    fn tell(&self, told: Told) {
        // A test that has heard enough listens no more.
        let _: Result<(), _> = self.0.send(told);
    }
}

impl Narrator for Listener {
    fn on_started(&mut self, _: &Session, _: Option<Previous<'_>>) {
        self.tell(Told::Started);
    }

    fn on_added(&mut self, session: &Session, _: Shortage) {
        self.tell(Told::Added {
            target: session.target().to_owned(),
        });
    }

    fn on_not_added(&mut self, failure: &Failure) {
        panic!("{failure}");
    }

    fn on_lost(&mut self, _: &str, _: &str, _: usize) {}

    fn on_gone(&mut self, _: &str, _: &str, _: bool) {
        self.tell(Told::Gone);
    }

    fn on_waiting(&mut self, failure: &Failure) {
        panic!("{failure}");
    }

    fn on_closed(&mut self, session_id: &str, reason: &str, failed: Option<Failure>) {
        assert_eq!(failed, None);
        self.tell(Told::Closed {
            session_id: session_id.to_owned(),
            reason: reason.to_owned(),
        });
    }

    fn on_abandoned(&mut self) {}
}

/// A tunnel with its first session, and what it tells.
struct Fixture {
    tunnel: Tunnel<Listener>,
    gate: Gate,
    stop: CancellationToken,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Fixture {
    fn new(aws: &Arc<Aws>, plan: Plan) -> Self {
        let (tx, told) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let (tunnel, gate) = Tunnel::new(Arc::clone(aws), plan, Listener(tx), stop.clone());
        Self {
            tunnel,
            gate,
            stop,
            told,
        }
    }
}

/// Opens a stream and keeps it with its session, once there is one.
fn open(gate: &Gate) -> JoinHandle<Passage> {
    let gate = gate.clone();
    tokio::spawn(async move { gate.open().await.unwrap() })
}

#[tokio::test]
async fn a_session_that_was_started_after_all_is_closed() {
    let lab = lab(|_| {}).await;
    let aws = aws(&lab).await;
    let mut fixture = Fixture::new(&aws, plan(NODE));
    let (first, late) = tokio::join!(session(&aws, plan(NODE)), session(&aws, plan(NODE)));
    let (first_id, late_id) = (first.id().to_owned(), late.id().to_owned());
    // It does not look whether it is still wanted: so does a start whose last step is under way.
    let (go, going) = oneshot::channel();
    fixture
        .tunnel
        .sessions
        .start(Shortage::Stalled, |_| async move {
            going.await.unwrap();
            Ok(late)
        });
    let running = tokio::spawn(fixture.tunnel.run(Some(first)));

    lab.end_session(&first_id, EndedBy::Caller);
    assert_eq!(fixture.told.recv().await, Some(Told::Gone));
    let _passage = open(&fixture.gate).await.unwrap();
    go.send(()).unwrap();
    let mut told = Vec::new();
    let closed = |session_id: &str, reason: &str| Told::Closed {
        session_id: session_id.to_owned(),
        reason: reason.to_owned(),
    };
    while !told.contains(&closed(&late_id, NOT_NEEDED)) {
        told.push(fixture.told.recv().await.unwrap());
        let added = Told::Added {
            target: NODE.to_owned(),
        };
        assert!(!told.contains(&added), "{told:?}");
    }
    assert!(told.contains(&Told::Started), "{told:?}");
    fixture.stop.cancel();
    running.await.unwrap().unwrap();
    let sessions = lab.sessions();
    assert_eq!(sessions.len(), 3);
    let is_over = |state| matches!(state, SessionState::Terminated(_));
    assert!(sessions.iter().all(|session| is_over(session.state)));
}

#[tokio::test]
async fn additional_sessions_go_where_the_first_one_does() {
    let lab = lab_with_old_agents().await;
    let aws = aws(&lab).await;
    // What the forward's target is called means the other node by now.
    let mut fixture = Fixture::new(&aws, plan(OTHER_NODE));
    let first = session(&aws, plan(NODE)).await;
    let running = tokio::spawn(fixture.tunnel.run(Some(first)));
    let _first = open(&fixture.gate).await.unwrap();
    let _second = open(&fixture.gate).await.unwrap();
    let added = Told::Added {
        target: NODE.to_owned(),
    };
    assert_eq!(fixture.told.recv().await, Some(added));
    fixture.stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_gives_up_waiting_wants_no_session_any_more() {
    let lab = lab_with_old_agents().await;
    let aws = aws(&lab).await;
    let session = session(&aws, plan(NODE)).await;
    let (mut supply, gate) = gate::new(false);
    supply.admit(&session);
    let _first = gate.open().await.unwrap();
    {
        let mut waiting = pin!(gate.open());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(supply.missing(0), (1, Shortage::OneAtATime));
    }
    assert_eq!(supply.missing(0).0, 0);
    session.close().await.unwrap();
}

/// Has the echo service say something on a stream and reads nothing of it, which stalls the session.
async fn stall(session: &Session, stream: &Stream<Channel>) {
    let mut text = Bytes::from_static(b"hello");
    poll_fn(|cx| stream.poll_write(cx, &mut text))
        .await
        .unwrap();
    while !session.opener().is_stalled() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Reads what has arrived.
fn drain(stream: &Stream<Channel>) {
    let cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(read) = stream.poll_read(&cx) {
        read.unwrap();
    }
}

#[tokio::test]
async fn whoever_waits_beside_a_session_that_is_good_again_is_woken() {
    let lab = lab(|_| {}).await;
    let aws = aws(&lab).await;
    let mut plan = plan(NODE);
    plan.options.config = Config {
        stream_receive_len: 1,
        ..Config::default()
    };
    let session = session(&aws, plan).await;
    let (mut supply, gate) = gate::new(false);
    supply.admit(&session);
    let first = gate.open().await.unwrap();
    stall(&session, &first.stream).await;
    let mut waiting = pin!(gate.open());
    assert!(waiting.as_mut().now_or_never().is_none());
    drain(&first.stream);
    assert!(!session.opener().is_stalled());
    // A stall that ends is no news, and the tunnel starts no session, since this one is good.
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(supply.missing(0), (0, Shortage::Stalled));
    let passage = waiting.now_or_never();
    passage.expect("it was woken").unwrap();
    session.close().await.unwrap();
}

#[tokio::test]
async fn whoever_waits_for_a_session_that_is_offline_has_it_try_more_often() {
    let lab = lab(|_| {}).await;
    let aws = aws(&lab).await;
    let session = session(&aws, plan(NODE)).await;
    let (supply, gate) = gate::new(false);
    supply.admit(&session);
    const HOUR: Duration = Duration::from_secs(3600);
    lab.inject(Fault::Holds(Condition::FailUpgrades, HOUR));
    lab.inject(Fault::Cut);
    let mut connection = session.connection();
    connection.wait_for(|is_there| !is_there).await.unwrap();
    let is_waited_for = || session.waiters().any().now_or_never().is_some();
    assert!(!is_waited_for());
    {
        let mut waiting = pin!(gate.open());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(is_waited_for());
    }
    assert!(!is_waited_for());
    session.close().await.unwrap();
}
