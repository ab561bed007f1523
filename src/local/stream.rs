//! One accepted local connection.

use std::io::{self, IoSlice};
#[cfg(unix)]
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
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

    /// Waits until nobody can expect an answer any more: the other side has reset the connection, or closed it
    /// without a word. One that has sent something and closed may still be reading.
    pub async fn abandoned(&self) {
        if matches!(self.peek().await, Ok(len) if len > 0) {
            // A socket that cannot be watched is no use either.
            let _: io::Result<Ready> = match self {
                Self::Tcp(stream) => stream.ready(Interest::ERROR).await,
                #[cfg(unix)]
                Self::Unix(stream) => stream.ready(Interest::ERROR).await,
            };
        }
    }

    /// Waits for data, which it leaves there, or their end.
    async fn peek(&self) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(&mut [0]).await,
            #[cfg(unix)]
            Self::Unix(stream) => {
                let peek = || SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
                stream.async_io(Interest::READABLE, peek).await
            }
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (LocalStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (LocalStream::Tcp(accepted.unwrap().0), peer.unwrap())
    }

    #[tokio::test]
    async fn who_leaves_without_a_word_expects_no_answer() {
        let (local, peer) = pair().await;
        assert_eq!(local.abandoned().now_or_never(), None);
        drop(peer);
        local.abandoned().await;
        let (local, peer) = pair().await;
        peer.set_zero_linger().unwrap();
        drop(peer);
        local.abandoned().await;
    }

    #[tokio::test]
    async fn who_has_sent_something_is_there_until_a_reset() {
        let (local, mut peer) = pair().await;
        peer.write_all(b"hello").await.unwrap();
        peer.shutdown().await.unwrap();
        let LocalStream::Tcp(socket) = &local else {
            panic!("{local:?}");
        };
        while !socket
            .ready(Interest::READABLE)
            .await
            .unwrap()
            .is_read_closed()
        {
            tokio::task::yield_now().await;
        }
        assert_eq!(local.abandoned().now_or_never(), None);
        peer.set_zero_linger().unwrap();
        drop(peer);
        local.abandoned().await;
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_unix_socket_tells_the_same() {
        let (local, peer) = UnixStream::pair().unwrap();
        let local = LocalStream::Unix(local);
        assert_eq!(local.abandoned().now_or_never(), None);
        drop(peer);
        local.abandoned().await;
        let (local, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(b"hello").await.unwrap();
        peer.shutdown().await.unwrap();
        assert_eq!(LocalStream::Unix(local).abandoned().now_or_never(), None);
    }
}
