//! Bytes from one connection to another, until they end or nothing moves any more.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

/// What is read at once in each direction, in bytes.
const BUFFER: usize = 16 << 10;

/// Until one side ends, which the other is told. What one side does not take is not read from the other.
pub(crate) async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: impl Fn(usize),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        moved(read);
    }
}

/// Comes back when nothing has moved for so long.
pub(crate) async fn silence(last: impl Fn() -> Instant, idle: Duration) {
    loop {
        let until = last() + idle;
        if Instant::now() >= until {
            return;
        }
        sleep_until(until).await;
    }
}
