//! Alerts that rustls has no occasion to send: the handshake ends before there is a configuration to do it with.
//!
//! They are for clients that came for HTTP. A connection that is passed on as bytes is closed without one, where it cannot
//! be: its TLS is not ours to speak (the Gateway API's conformance suite asks that nobody answers there).

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stream::Stream;

/// What a client is told whose handshake is refused before it begins (RFC 8446 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// No listener claims the name.
    UnrecognizedName,
    /// A listener claims it and cannot serve.
    InternalError,
}

impl Alert {
    fn description(self) -> u8 {
        match self {
            Self::InternalError => 80,
            Self::UnrecognizedName => 112,
        }
    }

    /// Sends the alert and closes in a way that does not take it back.
    pub async fn send(self, stream: &mut Stream) {
        // A plain record of type alert (21) for TLS 1.2, as before any keys are agreed: level fatal (2), description.
        let record = [21, 3, 3, 0, 2, 2, self.description()];
        if stream.write_all(&record).await.is_ok() {
            close(stream).await;
        }
    }
}

/// Closes in a way that lets the client read an end, and whatever was written before.
pub(crate) async fn close(stream: &mut Stream) {
    if stream.shutdown().await.is_ok() {
        drain(stream).await;
    }
}

/// Reads what the client still sends: bytes left unread would make the kernel answer with a reset, which overtakes
/// what was written.
pub(super) async fn drain(stream: &mut Stream) {
    let mut rest = [0; 1024];
    let mut left = 64 << 10;
    let reading = async {
        while let Ok(read @ 1..) = stream.read(&mut rest).await {
            left -= read.min(left);
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), reading).await;
}
