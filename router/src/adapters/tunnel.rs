//! After "101 Switching Protocols" the router only carries bytes, both ways, until one side ends.
//! No timeout: a quiet WebSocket is healthy. The end of the daemon cuts it.

use super::exchange::Exchange;
use super::line::Socket;
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;

/// What carries bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// A client's side of a tunnel.
pub struct Switched {
    pub socket: Box<dyn Duplex>,
    /// What it has said already.
    pub said: Bytes,
}

impl std::fmt::Debug for Switched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = self.said.len();
        f.debug_struct("Switched").field("said", &said).finish()
    }
}

/// How a client's side is had, once the client was told.
pub enum ClientSide {
    Http1(oneshot::Receiver<Switched>),
    Http2(OnUpgrade),
}

impl ClientSide {
    async fn switched(self) -> Option<Switched> {
        match self {
            ClientSide::Http1(switched) => switched.await.ok(),
            ClientSide::Http2(upgrade) => match upgrade.await {
                Ok(stream) => Some(Switched {
                    socket: Box::new(TokioIo::new(stream)),
                    said: Bytes::new(),
                }),
                Err(error) => {
                    tracing::debug!(%error, "an upgrade was answered and did not happen");
                    None
                }
            },
        }
    }
}

/// Joins the two sides once the client has switched; the instance has, and has `said` this already.
pub async fn join(
    client: ClientSide,
    mut instance: Socket,
    said: Bytes,
    mut exchange: Box<Exchange>,
) {
    let Some(mut client) = client.switched().await else {
        return;
    };
    // An error here is one side's way of hanging up.
    if client.socket.write_all(&said).await.is_err()
        || client.socket.flush().await.is_err()
        || instance.write_all(&client.said).await.is_err()
        || instance.flush().await.is_err()
    {
        return;
    }
    exchange.sent(said.len());
    if let Ok((_up, down)) = tokio::io::copy_bidirectional(&mut client.socket, &mut instance).await
    {
        exchange.sent(down as usize);
    }
}
