//! After "101 Switching Protocols" the router only carries bytes, both ways, until one side ends.
//! No timeout: a quiet WebSocket is healthy. The end of the daemon cuts it.

use super::exchange::Exchange;
use super::line::Socket;
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

/// Joins the two sides once the client has switched; the instance has, and has `said` this already.
pub async fn join(client: OnUpgrade, mut instance: Socket, said: Bytes, mut exchange: Exchange) {
    let mut client = match client.await {
        Ok(client) => TokioIo::new(client),
        Err(error) => {
            tracing::debug!(%error, "an upgrade was answered and did not happen");
            return;
        }
    };
    // An error here is one side's way of hanging up.
    if client.write_all(&said).await.is_err() {
        return;
    }
    exchange.sent(said.len());
    if let Ok((_up, down)) = tokio::io::copy_bidirectional(&mut client, &mut instance).await {
        exchange.sent(down as usize);
    }
}
