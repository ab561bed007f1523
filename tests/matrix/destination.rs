//! Where a cell's connections end.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ssmfwd::lab::Lab;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use crate::exchange::answer;
use crate::fault::Route;
use crate::tally::Tally;

/// The name behind the target, and where it leads at first and later; `fault.rs` has it move.
const HOST: &str = "db.internal";
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const LATER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Serves connections until it is dropped.
pub(crate) struct Destination {
    /// As in a FORWARD.
    pub(crate) name: String,
    /// Accepts where a host was before it moved.
    leaving: Option<AbortHandle>,
    _accepting: JoinSet<()>,
}

impl Destination {
    pub(crate) async fn serve(route: Route, lab: &Lab, tally: &Arc<Tally>) -> Self {
        let mut accepting = JoinSet::new();
        if route != Route::Host {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let name = listener.local_addr().unwrap().port().to_string();
            accepting.spawn(accept(listener, Arc::clone(tally)));
            return Self {
                name,
                leaving: None,
                _accepting: accepting,
            };
        }
        let (first, later) = on_one_port().await;
        let port = first.local_addr().unwrap().port();
        lab.update_chaos(&format!("host={HOST}:{FIRST}")).unwrap();
        let leaving = accepting.spawn(accept(first, Arc::clone(tally)));
        accepting.spawn(accept(later, Arc::clone(tally)));
        Self {
            name: format!("{HOST}:{port}"),
            leaving: Some(leaving),
            _accepting: accepting,
        }
    }

    /// Refuses connections where a host has been so far; goes on with those there are.
    pub(crate) fn leave(&self) {
        if let Some(leaving) = &self.leaving {
            leaving.abort();
        }
    }
}

/// Both of a host's addresses, with the one port a forward names.
async fn on_one_port() -> (TcpListener, TcpListener) {
    loop {
        let first = TcpListener::bind((FIRST, 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        // Somebody else may have it there.
        if let Ok(later) = TcpListener::bind((LATER, port)).await {
            return (first, later);
        }
    }
}

async fn accept(listener: TcpListener, tally: Arc<Tally>) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        tokio::spawn(answer(socket, Arc::clone(&tally)));
    }
}
