//! The access log: requests leave their lines in one text, which a writer takes to the file, so that a slow
//! disk costs lines (which are counted), never requests. Lines of apps also go to the app's own log, as `RTR`,
//! up to a rate: a benchmark through the router must not become a benchmark of the log stream.
//!
//! A write goes through a thread of its own, and on one core each handing over is a change of threads: written
//! as they come, lines cost a fifth of all processor time. So they are gathered for a moment.

use super::counters::Counters;
use crate::domain::access_line::Access;
use anyhow::Context;
use daemon::{LogSender, Policy, Shutdown, Supervisor};
use proto::bus::stream::LogLine;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// What may wait for the writer.
const WAITING_BYTES: usize = 8 << 20;
/// Between two writes: one costs as much as many lines do.
const REST: Duration = Duration::from_millis(50);
/// At this size the file becomes `access.log.1` and a new one begins.
const MAX_BYTES: u64 = 128 << 20;
/// Most lines a second that go to the logs of apps, all together.
const STREAM_RATE: u32 = 1000;
/// How large the little text grows.
const LATEST_BYTES: usize = 8 << 10;
/// A text that grew larger is not kept for the next lines.
const KEPT_BYTES: usize = 1 << 20;

#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// Takes the lines of apps to their logs.
    stream: Option<LogSender>,
    counters: Arc<Counters>,
}

/// What the writer has not taken yet.
#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    /// What goes behind it.
    latest: Vec<u8>,
    lines: u64,
    /// For the logs of apps.
    of_apps: Vec<LogLine>,
    /// Lines that do not go to the logs of their apps.
    withheld: HashMap<Box<str>, u64>,
    /// Since 1970, and how many lines of it went to the logs of apps.
    second: u64,
    streamed: u32,
}

thread_local! {
    /// Where a line is written before it is added to the others: no one waits for another's.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessLog {
    /// Starts the writer.
    pub fn start(
        path: PathBuf,
        stream: Option<LogSender>,
        counters: Arc<Counters>,
        tasks: &Supervisor,
    ) -> AccessLog {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            filled: Notify::new(),
            stream,
            counters,
        });
        let writing = shared.clone();
        tasks.spawn("access log", Policy::Restart, move |shutdown| {
            writing.clone().run(path.clone(), shutdown)
        });
        AccessLog(shared)
    }

    pub fn write(&self, access: &Access) {
        LINE.with_borrow_mut(|line| {
            line.clear();
            access.write(line);
            self.0.add(access, line);
        });
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, access: &Access, line: &[u8]) {
        let is_first = {
            let mut waiting = self.waiting();
            let is_first = waiting.lines == 0;
            if let (Some(_), Some(app)) = (&self.stream, access.app())
                && waiting.streams(app, access.second())
            {
                waiting.of_apps.push(of_app(app, access, line));
            }
            if waiting.has_room(line) {
                waiting.put(line);
            } else {
                self.counters.log_lost_metric.increment(1);
            }
            is_first
        };
        if is_first {
            self.filled.notify_one();
        }
    }

    async fn run(self: Arc<Self>, path: PathBuf, shutdown: Shutdown) -> anyhow::Result<()> {
        let mut log = in_a_thread(move || LogFile::open(path)).await?;
        let mut text = Vec::new();
        loop {
            tokio::select! {
                () = self.filled.notified() => {}
                () = shutdown.cancelled() => {}
            }
            let (lines, of_apps, withheld) = {
                let mut waiting = self.waiting();
                waiting.put_latest();
                std::mem::swap(&mut text, &mut waiting.text);
                (
                    std::mem::take(&mut waiting.lines),
                    std::mem::take(&mut waiting.of_apps),
                    std::mem::take(&mut waiting.withheld),
                )
            };
            if let Some(stream) = &self.stream {
                for line in of_apps {
                    stream.send(line);
                }
                for (app, lines) in withheld {
                    stream.lost(&app, lines);
                }
            }
            let written = in_a_thread(move || {
                log.write(&text)?;
                text.clear();
                text.shrink_to(KEPT_BYTES);
                Ok((log, text))
            });
            (log, text) = written
                .await
                .inspect_err(|_| self.counters.log_lost_metric.increment(lines))?;
            tokio::select! {
                () = tokio::time::sleep(REST) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }
}

impl Waiting {
    fn has_room(&self, line: &[u8]) -> bool {
        self.text.len() + self.latest.len() + line.len() <= WAITING_BYTES
    }

    fn put(&mut self, line: &[u8]) {
        self.lines += 1;
        if self.latest.len() + line.len() > LATEST_BYTES {
            self.put_latest();
        }
        self.latest.extend_from_slice(line);
    }

    fn put_latest(&mut self) {
        self.text.extend_from_slice(&self.latest);
        self.latest.clear();
        self.latest.shrink_to(LATEST_BYTES);
    }

    /// Whether one more line of this second goes to the log of its app. If not, it is counted.
    fn streams(&mut self, app: &str, second: u64) -> bool {
        if self.second != second {
            self.second = second;
            self.streamed = 0;
        }
        self.streamed += 1;
        // (And none beyond those of a second, should nobody take them.)
        if self.streamed <= STREAM_RATE && self.of_apps.len() < STREAM_RATE as usize {
            return true;
        }
        match self.withheld.get_mut(app) {
            Some(lines) => *lines += 1,
            None => {
                self.withheld.insert(app.into(), 1);
            }
        }
        false
    }
}

/// A line as it goes to the log of its app.
fn of_app(app: &str, access: &Access, line: &[u8]) -> LogLine {
    LogLine {
        timestamp: i64::try_from(super::clock::unix_nanos()).unwrap_or(i64::MAX),
        source: app.to_string(),
        instance: access.index().unwrap_or("0").to_string(),
        source_type: "RTR".to_string(),
        payload: line.trim_ascii_end().to_vec(),
        ..LogLine::default()
    }
}

/// The file, and how large it is.
struct LogFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl LogFile {
    fn open(path: PathBuf) -> anyhow::Result<LogFile> {
        let (file, length) = open(&path)?;
        Ok(LogFile { path, file, length })
    }

    fn write(&mut self, text: &[u8]) -> anyhow::Result<()> {
        let written = self.file.write_all(text);
        written.context("cannot write the access log")?;
        self.length += text.len() as u64;
        if self.length > MAX_BYTES {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))
                .context("cannot turn the access log over")?;
            (self.file, self.length) = open(&self.path)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> anyhow::Result<(File, u64)> {
    let file = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open the access log {}", path.display()))?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    Ok((file, length))
}

/// Runs what may wait for a disk.
async fn in_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.context("the thread that writes the access log failed")?
}
