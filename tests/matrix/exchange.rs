//! What connections carry: bytes that both ends know beforehand, and that each end checks as they arrive.

use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Random, send};
use crate::tally::Tally;

/// What the local side asks of the destination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    /// What the bytes of both directions are made from.
    pub(crate) seed: u64,
    /// Bytes that come down.
    pub(crate) down_len: u64,
    /// Bytes that go up.
    pub(crate) up_len: u64,
    /// The destination closes the connection afterwards.
    pub(crate) is_last: bool,
}

/// How an exchange ended, as the local side saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Everything has come, and the destination has confirmed what went.
    Complete,
    /// The connection was reset.
    Reset,
    /// The connection was closed as if all were well, and so many bytes were missing.
    Lost(u64),
}

/// Ends an exchange, once the destination has everything.
const CONFIRMATION: [u8; 8] = *b"complete";

/// The next bytes of the exchange are made and compared in blocks of this length.
const BLOCK_LEN: u64 = 64 * 1024;

impl Order {
    fn encode(self) -> [u8; 25] {
        let mut bytes = [0; 25];
        bytes[..8].copy_from_slice(&self.seed.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.down_len.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.up_len.to_be_bytes());
        bytes[24] = self.is_last.into();
        bytes
    }

    async fn read(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        Ok(Self {
            seed: reader.read_u64().await?,
            down_len: reader.read_u64().await?,
            up_len: reader.read_u64().await?,
            is_last: reader.read_u8().await? != 0,
        })
    }

    /// What the bytes that go up are made from.
    fn up_seed(self) -> u64 {
        !self.seed
    }
}

/// Has the destination do what `order` says, and checks what comes.
pub(crate) async fn exchange(socket: &mut TcpStream, order: Order, tally: &Tally) -> Ended {
    let _open = tally.open();
    let (mut reader, mut writer) = socket.split();
    let mut writing = pin!(async {
        writer.write_all(&order.encode()).await?;
        send(&mut writer, order.up_seed(), order.up_len).await
    });
    let mut reading = pin!(answer_to(order, &mut reader, tally));
    let mut is_written = false;
    loop {
        tokio::select! {
            // Whichever call comes first is told of a reset, and only that one.
            biased;
            written = &mut writing, if !is_written => match written {
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ended::Reset,
                // What cannot be written any more is explained by what can be read.
                _ => is_written = true,
            },
            ended = &mut reading => return match ended {
                Ok(0) => Ended::Complete,
                Ok(missing_len) => Ended::Lost(missing_len),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => Ended::Reset,
                Err(error) => panic!("a connection failed in a way of its own: {error}"),
            },
        }
    }
}

/// Reads the destination's half of an exchange; returns how many bytes are missing in either direction.
async fn answer_to(
    order: Order,
    reader: &mut (impl AsyncRead + Unpin),
    tally: &Tally,
) -> io::Result<u64> {
    let received = expect(reader, order.seed, order.down_len, tally).await?;
    let mut confirmation = Vec::new();
    let confirming = reader.take(CONFIRMATION.len() as u64);
    { confirming }.read_to_end(&mut confirmation).await?;
    if confirmation != CONFIRMATION {
        // Nobody knows how much has arrived up there.
        return Ok((order.down_len - received + order.up_len).max(1));
    }
    if order.is_last {
        let mut more = Vec::new();
        reader.read_to_end(&mut more).await?;
        tally.arrived(more.len(), more.len());
    }
    Ok(0)
}

/// Serves a connection at the destination. How it ended is judged at its local side.
pub(crate) async fn answer(mut socket: TcpStream, tally: Arc<Tally>) {
    let _: io::Result<()> = answer_orders(&mut socket, &tally).await;
}

async fn answer_orders(socket: &mut TcpStream, tally: &Tally) -> io::Result<()> {
    loop {
        let order = Order::read(socket).await?;
        let (mut reader, mut writer) = socket.split();
        let (_, received) = tokio::try_join!(
            send(&mut writer, order.seed, order.down_len),
            expect(&mut reader, order.up_seed(), order.up_len, tally),
        )?;
        if received < order.up_len {
            return Ok(());
        }
        writer.write_all(&CONFIRMATION).await?;
        if order.is_last {
            return Ok(());
        }
    }
}

/// Reads `len` bytes made from `seed`, or fewer if the other side ends sooner; returns how many.
async fn expect(
    reader: &mut (impl AsyncRead + Unpin),
    seed: u64,
    len: u64,
    tally: &Tally,
) -> io::Result<u64> {
    let mut random = Random::new(seed);
    let mut buffer = vec![0; BLOCK_LEN as usize];
    let mut received = 0;
    while received < len {
        let expected = random.bytes((len - received).min(BLOCK_LEN) as usize);
        let mut left = &expected[..];
        while !left.is_empty() {
            let count = reader.read(&mut buffer[..left.len()]).await?;
            if count == 0 {
                return Ok(received);
            }
            let pairs = buffer[..count].iter().zip(left);
            tally.arrived(count, pairs.filter(|(one, other)| one != other).count());
            left = &left[count..];
            received += count as u64;
        }
    }
    Ok(received)
}
