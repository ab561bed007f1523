//! What local programs do while things go wrong.

use std::cell::{Cell, OnceCell};
use std::io::ErrorKind;
use std::time::Duration;

use futures_util::future::join_all;
use ssmfwd::lab::{Chaos, Lab};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cell::Stage;
use crate::destination::Destination;
use crate::exchange::{Ended, Order, exchange};
use crate::fault::{Fault, Route};
use crate::support::connect;
use crate::tally::Tally;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    BulkDown,
    BulkUp,
    Both,
    Short,
    Idle,
}

impl Workload {
    pub(crate) const ALL: [Self; 5] = [
        Self::BulkDown,
        Self::BulkUp,
        Self::Both,
        Self::Short,
        Self::Idle,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BulkDown => "bulk down",
            Self::BulkUp => "bulk up",
            Self::Both => "both at once",
            Self::Short => "100 short connections",
            Self::Idle => "idle, then used",
        }
    }
}

/// How many connections ended in which way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fates {
    /// Connections from before the end of the fault that carried everything.
    pub(crate) survived: u32,
    /// Connections from before the end of the fault that were reset.
    pub(crate) reset: u32,
    /// A connection carried everything when all was over.
    pub(crate) works_afterwards: bool,
    /// Bytes that are missing behind a clean end.
    pub(crate) lost_len: u64,
}

/// One workload and one fault, on one forward.
pub(crate) struct Scene<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) fault: &'a Fault,
    pub(crate) tally: &'a Tally,
    pub(crate) destination: &'a Destination,
    /// The forward's local port.
    pub(crate) local: u16,
    /// When the fault is over.
    over: OnceCell<Instant>,
    next_seed: Cell<u64>,
    fates: Cell<Fates>,
}

/// How much has arrived when the fault begins.
const BEGINNING: u64 = 64 * 1024;

const SHORT_COUNT: u32 = 100;
/// Short connections before the fault.
const EARLY_COUNT: u32 = 20;
const EARLY_SPACING: Duration = Duration::from_millis(5);

/// Between a connection that was reset and the next attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

impl<'a> Scene<'a> {
    pub(crate) fn new(stage: &'a Stage, fault: &'a Fault, local: u16) -> Self {
        Self {
            lab: &stage.fixture.lab,
            fault,
            tally: &stage.tally,
            destination: &stage.destination,
            local,
            over: OnceCell::new(),
            next_seed: Cell::new(1),
            fates: Cell::default(),
        }
    }

    /// Has the workload meet the fault, and a connection follow when all is over. Counts what becomes of the
    /// connections in `fates`.
    pub(crate) async fn play(&self, workload: Workload) {
        let bulk_len = self.fault.bulk_len;
        match workload {
            Workload::BulkDown => self.bulk(bulk_len, 0).await,
            Workload::BulkUp => self.bulk(0, bulk_len).await,
            Workload::Both => self.bulk(bulk_len, bulk_len).await,
            Workload::Short => self.short().await,
            Workload::Idle => self.idle().await,
        }
        sleep_until(*self.over.get().unwrap()).await;
        if self.fault.route != Route::Host {
            self.lab.set_chaos(Chaos::default());
        }
        let mut ended = self.connection(self.short_order()).await;
        if ended == Ended::Reset && self.fault.route == Route::Host {
            // Only a refusal tells that the host has moved.
            ended = self.connection(self.short_order()).await;
        }
        let fates = self.fates.get();
        self.fates.set(Fates {
            works_afterwards: ended == Ended::Complete,
            ..fates
        });
    }

    pub(crate) fn fates(&self) -> Fates {
        self.fates.get()
    }

    /// One connection after the other that carries much, until one is complete when the fault is over.
    async fn bulk(&self, down_len: u64, up_len: u64) {
        let carrying = async {
            loop {
                let ended = self.connection(self.order(down_len, up_len)).await;
                match ended {
                    Ended::Complete if self.is_over() => return,
                    Ended::Complete => {}
                    Ended::Reset | Ended::Lost(_) => sleep(RETRY_PAUSE).await,
                }
            }
        };
        let beginning = async {
            self.tally.reached(BEGINNING).await;
            self.begin();
        };
        tokio::join!(carrying, beginning);
    }

    /// Connections that carry little: some before the fault, the others all through it and a little longer.
    async fn short(&self) {
        let begin_at = EARLY_SPACING * EARLY_COUNT;
        let spacing = (self.fault.length / 70).max(EARLY_SPACING);
        let connections = (0..SHORT_COUNT).map(async |number| {
            let delay = match number.checked_sub(EARLY_COUNT) {
                None => EARLY_SPACING * number,
                Some(late) => begin_at + spacing * late,
            };
            sleep(delay).await;
            self.connection(self.short_order()).await;
        });
        let beginning = async {
            sleep(begin_at).await;
            self.begin();
        };
        tokio::join!(join_all(connections), beginning);
    }

    /// A connection that is used before the fault and after it.
    async fn idle(&self) {
        let mut socket = connect(self.local).await;
        let first = Order {
            is_last: false,
            ..self.short_order()
        };
        let ended = exchange(&mut socket, first, self.tally).await;
        assert_eq!(ended, Ended::Complete, "before anything goes wrong");
        self.begin();
        sleep_until(*self.over.get().unwrap()).await;
        let ended = exchange(&mut socket, self.short_order(), self.tally).await;
        self.count(ended, true);
    }

    /// Makes a connection for one exchange.
    async fn connection(&self, order: Order) -> Ended {
        let is_early = !self.is_over();
        let ended = match TcpStream::connect(("127.0.0.1", self.local)).await {
            Ok(mut socket) => exchange(&mut socket, order, self.tally).await,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ended::Reset,
            Err(error) => panic!("the listener is gone: {error}"),
        };
        self.count(ended, is_early);
        ended
    }

    fn count(&self, ended: Ended, is_early: bool) {
        let mut fates = self.fates.get();
        match ended {
            Ended::Complete if is_early => fates.survived += 1,
            Ended::Reset if is_early => fates.reset += 1,
            Ended::Complete | Ended::Reset => {}
            Ended::Lost(len) => fates.lost_len += len,
        }
        self.fates.set(fates);
    }

    fn begin(&self) {
        self.destination.leave();
        self.lab.update_chaos(self.fault.chaos).unwrap();
        let over = Instant::now() + self.fault.length;
        self.over.set(over).unwrap();
    }

    fn is_over(&self) -> bool {
        self.over.get().is_some_and(|over| *over <= Instant::now())
    }

    fn order(&self, down_len: u64, up_len: u64) -> Order {
        let seed = self.next_seed.get();
        self.next_seed.set(seed + 1);
        Order {
            seed,
            down_len,
            up_len,
            is_last: true,
        }
    }

    fn short_order(&self) -> Order {
        self.order(6 << 10, 2 << 10)
    }
}
