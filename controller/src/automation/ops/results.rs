//! Results too large for their row, in the blob store.

use super::fault::Fault;
use crate::automation::Automation;
use crate::automation::engine::dispatch::result_key;
use crate::automation::engine::round::{LARGEST_INLINE_RESULT, StoredResult};
use crate::blobs::hex;
use futures_util::TryStreamExt as _;
use sha2::{Digest, Sha256};

impl Automation {
    /// Puts a result away if it is too large for its row.
    pub async fn store_large_result(&self, text: &str) -> Result<Option<StoredResult>, Fault> {
        if text.len() <= LARGEST_INLINE_RESULT {
            return Ok(None);
        }
        let sha256 = hex(&Sha256::digest(text.as_bytes()));
        let path = self
            .ops
            .scratch
            .join(format!("result-{}", crate::ops::new_guid()));
        let written = async {
            tokio::fs::write(&path, text)
                .await
                .map_err(Fault::internal("writing a large result"))?;
            self.ops.blobs.put_file(&result_key(&sha256), &path).await?;
            Ok::<(), Fault>(())
        }
        .await;
        // The copy has served, whether it arrived or not; what is left is emptied at the next start.
        if let Err(error) = tokio::fs::remove_file(&path).await {
            tracing::debug!(%error, "a scratch file was not removed");
        }
        written?;
        Ok(Some(StoredResult {
            sha256,
            size: i64::try_from(text.len()).unwrap_or(i64::MAX),
        }))
    }

    /// Reads a blob of results or reports whole.
    pub async fn read_result(&self, id: &str) -> Result<Vec<u8>, Fault> {
        let (size, stream) = self
            .ops
            .blobs
            .get(&result_key(id))
            .await?
            .ok_or_else(|| Fault::NotFound("The result is not kept any more.".into()))?;
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        let mut stream = std::pin::pin!(stream);
        while let Some(piece) = stream
            .try_next()
            .await
            .map_err(Fault::internal("reading a large result"))?
        {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}
