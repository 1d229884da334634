//! The access log: lines go through a bounded queue to one writer, so that a slow disk costs lines
//! (which are counted), never requests.

use super::counters::Counters;
use crate::domain::access_line::Access;
use anyhow::Context;
use daemon::{Policy, Supervisor};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

const QUEUE: usize = 16 * 1024;
const BATCH: usize = 512;
/// At this size the file becomes `access.log.1` and a new one begins.
const MAX_BYTES: u64 = 128 << 20;

#[derive(Clone)]
pub struct AccessLog {
    queue: mpsc::Sender<Box<Access>>,
    counters: Arc<Counters>,
}

impl AccessLog {
    /// Starts the writer.
    pub fn start(path: PathBuf, counters: Arc<Counters>, tasks: &Supervisor) -> AccessLog {
        let (queue, lines) = mpsc::channel::<Box<Access>>(QUEUE);
        let lines = Arc::new(tokio::sync::Mutex::new(lines));
        tasks.spawn("access log", Policy::Restart, move |shutdown| {
            let (path, lines) = (path.clone(), lines.clone());
            async move {
                let mut lines = lines.lock().await;
                let mut batch = Vec::with_capacity(BATCH);
                let (mut file, mut written) = open(&path).await?;
                loop {
                    let count = tokio::select! {
                        biased;
                        count = lines.recv_many(&mut batch, BATCH) => count,
                        () = shutdown.cancelled() => 0,
                    };
                    if count == 0 {
                        return Ok(());
                    }
                    let text: String = batch.drain(..).map(|access| access.line()).collect();
                    file.write_all(text.as_bytes()).await.context("cannot write the access log")?;
                    file.flush().await.context("cannot write the access log")?;
                    written += text.len() as u64;
                    if written > MAX_BYTES {
                        tokio::fs::rename(&path, path.with_extension("log.1")).await.context("cannot turn the access log over")?;
                        (file, written) = open(&path).await?;
                    }
                }
            }
        });
        AccessLog { queue, counters }
    }

    pub fn write(&self, access: Box<Access>) {
        if self.queue.try_send(access).is_err() {
            self.counters.log_lost_metric.increment(1);
        }
    }
}

async fn open(path: &PathBuf) -> anyhow::Result<(tokio::fs::File, u64)> {
    let file = tokio::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .await
        .with_context(|| format!("cannot open the access log {}", path.display()))?;
    let length = file.metadata().await.map_or(0, |metadata| metadata.len());
    Ok((file, length))
}
