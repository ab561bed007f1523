//! The TCP connection below a client's WebSocket, and what a broken network does to it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::lab::chaos::Condition;
use crate::lab::conditions::Conditions;

/// A TCP connection that moves nothing while there is a black hole, and can be reset.
pub(in crate::lab) struct Connection {
    /// Empty only while it is dropped.
    socket: Option<TcpStream>,
    conditions: Arc<Conditions>,
    /// The end of the black hole that was met last.
    passage: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(socket: TcpStream, conditions: Arc<Conditions>) -> Self {
        Self {
            socket: Some(socket),
            conditions,
            passage: None,
        }
    }

    /// Has the peer see a reset instead of an end when this is dropped.
    pub(super) fn reset_on_drop(&self) {
        if let Some(socket) = &self.socket {
            let _: io::Result<()> = socket.set_zero_linger();
        }
    }

    /// Waits for the end of a black hole, and returns the socket then.
    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut TcpStream>>> {
        if self.passage.is_none() && self.conditions.holds(Condition::BlackHole) {
            let conditions = self.conditions.clone();
            let end = async move { conditions.until(Condition::BlackHole, false).await };
            self.passage = Some(Box::pin(end));
        }
        if let Some(passage) = &mut self.passage {
            ready!(passage.as_mut().poll(cx));
            self.passage = None;
        }
        let socket = self.socket.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Poll::Ready(Ok(Pin::new(socket)))
    }
}

impl Drop for Connection {
    /// Not even the end of a connection gets through a black hole.
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take()
            && self.conditions.holds(Condition::BlackHole)
        {
            self.conditions.keep_open(socket);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_socket(cx))?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_socket(cx))?.poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_socket(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_socket(cx))?.poll_shutdown(cx)
    }
}
