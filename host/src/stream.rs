//! A connection, on either side of the gateway.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection whose small writes do not wait for more. What is written in one piece, as nearly everything is, goes by
/// `send`, which costs the kernel less than `writev`.
#[derive(Debug)]
pub struct Stream {
    wire: Wire,
    /// What was read, for a client whose bytes may have to be passed on as they are.
    kept: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Wire {
    Tcp(TcpStream),
    Unix {
        stream: UnixStream,
        /// What was looked at, and is still to be read.
        ahead: Vec<u8>,
    },
}

impl Stream {
    /// Small writes are whole messages, and none of them should wait for another.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { wire: Wire::Tcp(stream), kept: None })
    }

    /// Keeps what is read from now on.
    pub fn keep(&mut self) {
        self.kept = Some(Vec::new());
    }

    /// What was read since [`Stream::keep`]; nothing more is kept.
    pub fn take_kept(&mut self) -> Vec<u8> {
        self.kept.take().unwrap_or_default()
    }

    /// Looks at what stays to be read, as much of it as there is.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Tcp(stream) => stream.peek(buffer).await,
            Wire::Unix { stream, ahead } => {
                if let Some(missing) = buffer.len().checked_sub(ahead.len()).filter(|missing| *missing > 0) {
                    let read = stream.read(&mut buffer[..missing]).await?;
                    ahead.extend_from_slice(&buffer[..read]);
                }
                let seen = ahead.len().min(buffer.len());
                buffer[..seen].copy_from_slice(&ahead[..seen]);
                Ok(seen)
            }
        }
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self { wire: Wire::Unix { stream, ahead: Vec::new() }, kept: None }
    }
}

impl Wire {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix { ahead, .. } if !ahead.is_empty() => {
                let taken = ahead.len().min(buffer.remaining());
                buffer.put_slice(&ahead[..taken]);
                ahead.drain(..taken);
                Poll::Ready(Ok(()))
            }
            Self::Unix { stream, .. } => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = this.wire.poll_read(context, buffer);
        if let Some(kept) = &mut this.kept {
            kept.extend_from_slice(&buffer.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Wire::Unix { stream, .. } => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [one] = slices {
            return self.poll_write(context, one);
        }
        match &mut self.get_mut().wire {
            Wire::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Wire::Unix { stream, .. } => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Wire::Unix { stream, .. } => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Wire::Unix { stream, .. } => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn what_was_looked_at_is_read_all_the_same() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let mut stream = Stream::from(server);
        let mut start = [0; 4];
        client.write_all(b"ab").await.unwrap();
        assert_eq!(stream.peek(&mut start).await.unwrap(), 2);
        client.write_all(b"cdef").await.unwrap();
        assert_eq!((stream.peek(&mut start).await.unwrap(), &start), (4, b"abcd"));
        assert_eq!((stream.peek(&mut start).await.unwrap(), &start), (4, b"abcd"), "nothing more is waited for");
        drop(client);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"abcdef");
    }
}
