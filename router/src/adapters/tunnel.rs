//! After "101 Switching Protocols" the router only carries bytes, both ways, until one side ends.
//! No timeout: a quiet WebSocket is healthy. The end of the daemon cuts it.

use super::exchange::Exchange;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// Joins the two sides once both have switched.
pub async fn join(client: OnUpgrade, instance: OnUpgrade, mut exchange: Exchange) {
    let (client, instance) = match tokio::try_join!(client, instance) {
        Ok(sides) => sides,
        Err(error) => {
            tracing::debug!(%error, "an upgrade was answered and did not happen");
            return;
        }
    };
    let (mut client, mut instance) = (TokioIo::new(client), TokioIo::new(instance));
    // An error here is one side's way of hanging up.
    if let Ok((_up, down)) = tokio::io::copy_bidirectional(&mut client, &mut instance).await {
        exchange.sent(down as usize);
    }
}
