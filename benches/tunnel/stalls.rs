//! What a connection that is stalled costs the others of its forward.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::{sleep, spawn};
use std::time::Duration;

use crate::Result;
use crate::process::Lab;
use crate::report::{Row, Samples, Target};
use crate::tunnel::{Direction, Tunnel};

/// Time in which a connection that nobody reads, or whose target does not, fills every buffer on its way.
const STALL: Duration = Duration::from_secs(3);

/// What a connection to the target of uploads begins with.
const READ_ME: &[u8] = b"r";
const LEAVE_ME: &[u8] = b"l";

/// Measures the throughput beside a local reader, and beside a target, that has stopped, against that without
/// one.
pub(crate) fn measure(rounds: usize, len: usize, lab: &Lab) -> Result<Vec<Row>> {
    let (mut alone, mut beside): (Samples, Samples) = Default::default();
    for _ in 0..rounds {
        let tunnel = Tunnel::open(lab, &[Direction::Down.port()])?;
        let dial = || tunnel.dial(Direction::Down.port());
        alone.add(tunnel.rate(dial()?, Direction::Down, len)?);
        // Nobody reads it.
        let _stalled = dial()?;
        sleep(STALL);
        tunnel.await_another_session(dial)?;
        beside.add(tunnel.rate(dial()?, Direction::Down, len)?);
        tunnel.close()?;
    }
    let down = Row::new("throughput down, beside a stalled reader", "MB/s", beside);
    let down = down.against(alone).target(Target::RatioAtLeast(0.8));

    let (mut alone, mut beside): (Samples, Samples) = Default::default();
    let port = serve_uploads()?;
    for _ in 0..rounds {
        let tunnel = Tunnel::open(lab, &[port])?;
        let dial = |first: &[u8]| -> Result<TcpStream> {
            let mut socket = tunnel.dial(port)?;
            socket.write_all(first)?;
            Ok(socket)
        };
        alone.add(tunnel.rate(dial(READ_ME)?, Direction::Up, len)?);
        let mut stalled = dial(LEAVE_ME)?;
        // Ends when the tunnel does.
        spawn(move || while stalled.write(&[0; 64 * 1024]).is_ok() {});
        sleep(STALL);
        tunnel.await_another_session(|| dial(READ_ME))?;
        beside.add(tunnel.rate(dial(READ_ME)?, Direction::Up, len)?);
        tunnel.close()?;
    }
    let up = Row::new("throughput up, beside a stalled target", "MB/s", beside);
    let up = up.against(alone).target(Target::RatioAtLeast(0.8));
    Ok(vec![down, up])
}

/// Listens for uploads, some of which are read and some left alone; returns the port.
fn serve_uploads() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    spawn(move || {
        let mut left_alone = Vec::new();
        for socket in listener.incoming() {
            let mut socket = socket?;
            let mut first = [0; 1];
            socket.read_exact(&mut first)?;
            match first == *LEAVE_ME {
                true => left_alone.push(socket),
                false => drop(spawn(move || io::copy(&mut socket, &mut io::sink()))),
            }
        }
        io::Result::Ok(())
    });
    Ok(port)
}
