//! Receiving an upload into a file of our own: a zip must be looked at from its end.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::path::Path;
use tokio::io::AsyncWriteExt;

/// Why an upload was not received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("the upload is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the upload broke off")]
    BrokenOff,
    #[error("writing the upload to disk")]
    Disk(#[source] std::io::Error),
}

/// Writes the stream to `path`; returns how many bytes.
pub async fn receive<E>(
    path: &Path,
    stream: impl Stream<Item = Result<Bytes, E>> + Send,
    limit: u64,
) -> Result<u64, ReceiveError> {
    let mut stream = std::pin::pin!(stream);
    let mut file = tokio::fs::File::create(path)
        .await
        .map_err(ReceiveError::Disk)?;
    let mut size = 0_u64;
    loop {
        let piece = match tokio::time::timeout(super::PIECE, stream.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => return Err(ReceiveError::BrokenOff),
        };
        size += piece.len() as u64;
        if size > limit {
            return Err(ReceiveError::TooLarge { limit });
        }
        file.write_all(&piece).await.map_err(ReceiveError::Disk)?;
    }
    file.flush().await.map_err(ReceiveError::Disk)?;
    Ok(size)
}
