//! The access log: lines go through a bounded queue to one writer, so that a slow disk costs lines
//! (which are counted), never requests. Lines of apps also go to the app's own log, as `RTR`, up to a
//! rate: a benchmark through the router must not become a benchmark of the log stream.
//!
//! A write goes through a thread of its own, and on one core each handing over is a change of threads: written
//! as they come, lines cost a fifth of all processor time. So they are gathered for a moment.

use super::counters::Counters;
use crate::domain::access_line::Access;
use anyhow::Context;
use daemon::{LogSender, Policy, Supervisor};
use proto::bus::stream::LogLine;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

const QUEUE: usize = 16 * 1024;
const BATCH: usize = 4096;
/// Between two writes, unless lines wait that did not fit into one: a write costs as much as many lines do.
const REST: Duration = Duration::from_millis(50);
/// At this size the file becomes `access.log.1` and a new one begins.
const MAX_BYTES: u64 = 128 << 20;
/// Most lines a second that go to the logs of apps, all together.
const STREAM_RATE: u32 = 1000;

#[derive(Clone)]
pub struct AccessLog {
    queue: mpsc::Sender<Box<Access>>,
    counters: Arc<Counters>,
}

impl AccessLog {
    /// Starts the writer. `stream` takes the lines of apps to their logs.
    pub fn start(
        path: PathBuf,
        stream: Option<LogSender>,
        counters: Arc<Counters>,
        tasks: &Supervisor,
    ) -> AccessLog {
        let (queue, lines) = mpsc::channel::<Box<Access>>(QUEUE);
        let lines = Arc::new(tokio::sync::Mutex::new(lines));
        let lost = counters.log_lost_metric.clone();
        tasks.spawn("access log", Policy::Restart, move |shutdown| {
            let (path, lines, lost) = (path.clone(), lines.clone(), lost.clone());
            let mut apps = AppLines {
                stream: stream.clone(),
                second: Instant::now(),
                count: 0,
            };
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
                    let mut text = String::with_capacity(count * 512);
                    for access in batch.drain(..) {
                        let line = access.written();
                        apps.send(&access, &line);
                        text.push_str(&line);
                    }
                    let writing = async {
                        file.write_all(text.as_bytes()).await?;
                        file.flush().await
                    };
                    if let Err(error) = writing.await {
                        lost.increment(count as u64);
                        return Err(error).context("cannot write the access log");
                    }
                    written += text.len() as u64;
                    if written > MAX_BYTES {
                        tokio::fs::rename(&path, path.with_extension("log.1"))
                            .await
                            .context("cannot turn the access log over")?;
                        (file, written) = open(&path).await?;
                    }
                    if count < BATCH {
                        tokio::select! {
                            () = tokio::time::sleep(REST) => {}
                            () = shutdown.cancelled() => {}
                        }
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

/// Takes lines to the logs of the apps they are about.
struct AppLines {
    stream: Option<LogSender>,
    second: Instant,
    count: u32,
}

impl AppLines {
    fn send(&mut self, access: &Access, line: &str) {
        let (Some(stream), Some(app)) = (&self.stream, &access.app) else {
            return;
        };
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.second = Instant::now();
            self.count = 0;
        }
        self.count += 1;
        if self.count > STREAM_RATE {
            stream.lost(app, 1);
            return;
        }
        stream.send(LogLine {
            timestamp: i64::try_from(super::clock::unix_nanos()).unwrap_or(i64::MAX),
            source: app.clone(),
            instance: access.index.clone().unwrap_or_else(|| "0".to_string()),
            source_type: "RTR".to_string(),
            payload: line.trim_end().as_bytes().to_vec(),
            ..LogLine::default()
        });
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
