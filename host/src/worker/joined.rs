//! What an HTTP/2 connection writes, joined: h2 hands over each frame of data by itself, and flushes after it. Every
//! answer would be a TLS record and a system call of its own, however many are ready at once; this way those of one poll
//! go out together.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are held until the end of a poll: one TLS record. More is passed on at once.
const MOST_HELD: usize = 16 << 10;

/// Memory for what is held, which a worker's connections take turns with.
pub(super) type Spare = Rc<Cell<Vec<u8>>>;

/// A stream that holds what is written to it until [`Polled`] sends it. Two handles share it: the connection's and that
/// of whoever polls the connection.
pub(super) struct Joined<S>(Rc<RefCell<Inner<S>>>);

struct Inner<S> {
    stream: S,
    spare: Spare,
    held: Vec<u8>,
    /// How much of it the stream has taken.
    taken: usize,
    /// Something was written since the stream was flushed.
    unflushed: bool,
}

impl<S> Joined<S> {
    pub(super) fn new(stream: S, spare: &Spare) -> Self {
        let spare = Rc::clone(spare);
        Self(Rc::new(RefCell::new(Inner { stream, spare, held: Vec::new(), taken: 0, unflushed: false })))
    }

    pub(super) fn share(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken < self.held.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.held[self.taken..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => self.taken += taken,
            }
        }
        // An idle connection holds no memory for it.
        let mut held = std::mem::take(&mut self.held);
        held.clear();
        self.taken = 0;
        if held.capacity() > 0 {
            self.spare.set(held);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(self.poll_send(context))?;
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Joined<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Joined<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        let size = slices.iter().map(|slice| slice.len()).sum::<usize>();
        inner.unflushed = true;
        if inner.held.len() + size > MOST_HELD {
            ready!(inner.poll_send(context))?;
        }
        if size > MOST_HELD {
            return Pin::new(&mut inner.stream).poll_write_vectored(context, slices);
        }
        if inner.held.is_empty() {
            inner.held = inner.spare.take();
            inner.held.reserve_exact(MOST_HELD);
        }
        slices.iter().for_each(|slice| inner.held.extend_from_slice(slice));
        Poll::Ready(Ok(size))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// At the end of the poll.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_flush(context))?;
        Pin::new(&mut inner.stream).poll_shutdown(context)
    }
}

/// A connection over a [`Joined`] stream: what it wrote in a poll goes out at the end of the poll.
pub(super) struct Polled<'c, C, S> {
    /// The connection.
    pub(super) connection: Pin<&'c mut C>,
    /// Its stream.
    pub(super) stream: Joined<S>,
}

impl<C: Future<Output = hyper::Result<()>>, S: AsyncWrite + Unpin> Future for Polled<'_, C, S> {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.connection.as_mut().poll(context);
        let flushed = self.stream.0.borrow_mut().poll_flush(context);
        match flushed {
            // Nobody is left to talk to.
            Poll::Ready(Err(error)) if polled.is_pending() => {
                tracing::debug!(%error, "cannot write to the client");
                Poll::Ready(Ok(()))
            }
            _ => polled,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test);
    }

    #[test]
    fn small_writes_wait_for_the_end_of_the_poll() {
        run(async {
            let (stream, mut client) = duplex(1 << 20);
            let mut joined = Joined::new(stream, &Spare::default());
            let shared = joined.share();
            for _ in 0..10 {
                joined.write_all(&[1; 100]).await.unwrap();
                joined.flush().await.unwrap();
            }
            let mut read = [0; 4096];
            let early = poll_fn(|context| {
                Poll::Ready(Pin::new(&mut client).poll_read(context, &mut ReadBuf::new(&mut read)).is_ready())
            });
            assert!(!early.await);
            poll_fn(|context| shared.0.borrow_mut().poll_flush(context)).await.unwrap();
            assert_eq!(client.read(&mut read).await.unwrap(), 1000);
            assert_eq!(shared.0.borrow().held.capacity(), 0, "nothing is kept for an idle connection");
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn order_is_kept_whatever_the_sizes_and_however_slow_the_client(
            sizes in prop::collection::vec(prop_oneof![0_usize..300, MOST_HELD - 2..MOST_HELD + 2, 0..3 * MOST_HELD], 1..12),
            room in 1_usize..40_000,
        ) {
            let total: usize = sizes.iter().sum();
            let sent: Vec<u8> = (0..total).map(|at| (at ^ (at >> 8)) as u8).collect();
            let mut came = Vec::new();
            run(async {
                let (stream, mut client) = duplex(room);
                let mut joined = Joined::new(stream, &Spare::default());
                let write = async {
                    let mut rest = &sent[..];
                    for size in sizes {
                        joined.write_all(&rest[..size]).await.unwrap();
                        joined.flush().await.unwrap();
                        rest = &rest[size..];
                    }
                    joined.shutdown().await.unwrap();
                };
                let (_, read) = tokio::join!(write, client.read_to_end(&mut came));
                read.unwrap();
            });
            prop_assert!(came == sent);
        }
    }
}
