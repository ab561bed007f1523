//! One accepted local connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// A connection accepted by a [`Listener`](super::Listener).
#[derive(Debug)]
pub enum LocalStream {
    /// From a TCP port; Nagle's algorithm is off.
    Tcp(TcpStream),
    /// From a Unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
}

impl LocalStream {
    /// Has the connection end with an error for the other side, where it would have seen the end of the data, from now
    /// on and until [`close`](Self::close): even if this process is killed, nobody mistakes a cut transfer for a whole
    /// one.
    ///
    /// TCP sends a reset. Unix sockets have no reset: the other side sees one only if it had sent data that was not
    /// read, and an ordinary end otherwise.
    pub fn reset_on_drop(&self) {
        if let Self::Tcp(stream) = self {
            // A socket that refuses the option has been reset by the other side already.
            let _: io::Result<()> = stream.set_zero_linger();
        }
    }

    /// Closes the connection in good order: what was written is still delivered.
    pub fn close(self) {
        if let Self::Tcp(stream) = &self {
            let _: io::Result<()> = SockRef::from(stream).set_linger(None);
        }
    }
}

/// Calls the same method on whichever socket there is.
macro_rules! delegate {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match $self.get_mut() {
            LocalStream::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            #[cfg(unix)]
            LocalStream::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for LocalStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self.poll_read(cx, buffer))
    }
}

impl AsyncWrite for LocalStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.poll_shutdown(cx))
    }
}
