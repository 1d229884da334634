//! Sending log lines to the collector over the bus.
//!
//! Lines are gathered for at most 100 ms, 500 lines or 1 MiB. Nobody ever waits for the bus here:
//! when the queue is full (10 000 lines or 32 MiB), or a batch cannot be sent, its lines are dropped, counted per source,
//! and the count goes out with the next batch, so that whoever reads the log sees the gap.
//!
//! Who announces something that other components will write lines about (a task's result) calls
//! [`LogSender::flush`] first: the bus keeps the order of one connection, so nobody's line about
//! the end can overtake the last lines before it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::bus::Topic;
use proto::bus::catalogue;
use proto::bus::stream::{LogBatch, LogLine, LogLoss};
use tokio::sync::{mpsc, oneshot};

use crate::bus::Bus;
use crate::run::Deps;
use crate::supervise::{Policy, Shutdown};

const QUEUE: usize = 10_000;
const QUEUE_BYTES: usize = 32 << 20;
const BATCH_LINES: usize = 500;
const BATCH_BYTES: usize = 1 << 20;
const BATCH_TIME: Duration = Duration::from_millis(100);
/// How long a flush may take; then its caller goes on without.
const FLUSH: Duration = Duration::from_secs(2);
/// Sources whose losses are told apart; the rest is counted together under "".
const SOURCES: usize = 2000;

/// Lines lost, by source; the place is "bus" or "agent" (the queue here was full).
#[derive(Debug, Default)]
struct Losses {
    counts: BTreeMap<(String, &'static str), u64>,
}

impl Losses {
    fn add(&mut self, source: &str, place: &'static str, lines: u64) {
        let known = self.counts.contains_key(&(source.to_string(), place));
        let source = if known || self.counts.len() < SOURCES {
            source
        } else {
            ""
        };
        *self.counts.entry((source.to_string(), place)).or_default() += lines;
    }

    fn take(&mut self) -> Vec<LogLoss> {
        std::mem::take(&mut self.counts)
            .into_iter()
            .map(|((source, place), lines)| LogLoss {
                source,
                lines,
                place: place.to_string(),
            })
            .collect()
    }

    /// A batch that did not go out: its losses stand, its lines become losses.
    fn put_back(&mut self, batch: LogBatch) {
        for loss in batch.losses {
            let place = if loss.place == "agent" {
                "agent"
            } else {
                "bus"
            };
            self.add(&loss.source, place, loss.lines);
        }
        for line in batch.lines {
            self.add(&line.source, "bus", 1);
        }
    }
}

/// Bytes of the lines that wait: a line may be long, so their number alone bounds nothing.
#[derive(Default)]
struct Room(AtomicUsize);

impl Room {
    fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| {
            let used = used.saturating_add(bytes);
            (used <= QUEUE_BYTES).then_some(used)
        };
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

enum Queued {
    Line(LogLine),
    /// Send what came before at once, then answer.
    Flush(oneshot::Sender<()>),
}

struct Shared {
    losses: Mutex<Losses>,
    room: Room,
    waiting: tokio::sync::Mutex<mpsc::Receiver<Queued>>,
}

/// Takes log lines. Cheap to clone; `send` never waits.
#[derive(Clone)]
pub struct LogSender {
    queue: mpsc::Sender<Queued>,
    shared: Arc<Shared>,
}

impl LogSender {
    /// Starts the task that sends. At the daemon's end it sends what is left.
    pub fn start(deps: &Deps) -> LogSender {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            losses: Mutex::default(),
            room: Room::default(),
            waiting: tokio::sync::Mutex::new(waiting),
        });
        let topic = catalogue::log_of(&deps.component);
        let (bus, state) = (deps.bus.clone(), shared.clone());
        deps.tasks
            .spawn("log-sender", Policy::Restart, move |shutdown| {
                let (bus, state, topic) = (bus.clone(), state.clone(), topic.clone());
                async move { state.run(&bus, &topic, &shutdown).await }
            });
        LogSender { queue, shared }
    }

    /// Queues a line; drops and counts it when the queue is full.
    pub fn send(&self, line: LogLine) {
        let (source, bytes) = (line.source.clone(), line.payload.len());
        if !self.shared.room.take(bytes) {
            return self.lost(&source, 1);
        }
        if self.queue.try_send(Queued::Line(line)).is_err() {
            self.shared.room.give_back(bytes);
            self.lost(&source, 1);
        }
    }

    /// Returns when every line queued before is on the bus, or lost and counted; at the latest after
    /// two seconds.
    pub async fn flush(&self) {
        let (answer, answered) = oneshot::channel();
        let flushing = async {
            if self.queue.send(Queued::Flush(answer)).await.is_ok() {
                let _ = answered.await;
            }
        };
        if tokio::time::timeout(FLUSH, flushing).await.is_err() {
            tracing::warn!("log lines were not sent in time and may come late");
        }
    }

    /// Counts lines that were lost before they came here (a rate limit).
    pub fn lost(&self, source: &str, lines: u64) {
        metrics::counter!("log_lines_lost_total", "place" => "agent").increment(lines);
        self.shared.losses().add(source, "agent", lines);
    }
}

impl Shared {
    fn losses(&self) -> std::sync::MutexGuard<'_, Losses> {
        self.losses
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    async fn run(
        &self,
        bus: &Bus,
        topic: &Topic<LogBatch>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        let mut waiting = self.waiting.lock().await;
        loop {
            let first = tokio::select! {
                biased;
                queued = waiting.recv() => match queued {
                    Some(queued) => Some(queued),
                    // Every sender is gone: nothing will ever come again.
                    None => {
                        self.send(bus, topic, Vec::new()).await;
                        shutdown.cancelled().await;
                        return Ok(());
                    }
                },
                // Losses are told even when no line follows.
                () = tokio::time::sleep(Duration::from_secs(1)) => None,
                () = shutdown.cancelled() => {
                    while let Ok(queued) = waiting.try_recv() {
                        let batch = gather(&mut waiting, queued, Duration::ZERO).await;
                        self.send_batch(bus, topic, batch).await;
                    }
                    let _ = bus.flush().await;
                    return Ok(());
                }
            };
            let batch = match first {
                Some(first) => gather(&mut waiting, first, BATCH_TIME).await,
                None => Batch::default(),
            };
            self.send_batch(bus, topic, batch).await;
        }
    }

    async fn send_batch(&self, bus: &Bus, topic: &Topic<LogBatch>, batch: Batch) {
        self.room
            .give_back(batch.lines.iter().map(|line| line.payload.len()).sum());
        self.send(bus, topic, batch.lines).await;
        if let Some(answer) = batch.flushed {
            let _ = answer.send(());
        }
    }

    async fn send(&self, bus: &Bus, topic: &Topic<LogBatch>, lines: Vec<LogLine>) {
        let batch = LogBatch {
            lines,
            losses: self.losses().take(),
        };
        if batch.lines.is_empty() && batch.losses.is_empty() {
            return;
        }
        if let Err(error) = bus.publish(topic, &batch).await {
            tracing::debug!(%error, lines = batch.lines.len(), "log lines were lost");
            metrics::counter!("log_lines_lost_total", "place" => "bus")
                .increment(batch.lines.len() as u64);
            self.losses().put_back(batch);
        }
    }
}

/// Lines that go out together, and who waits for that.
#[derive(Default)]
struct Batch {
    lines: Vec<LogLine>,
    flushed: Option<oneshot::Sender<()>>,
}

/// The batch that begins with `first`: full, asked for, or what came within the time.
async fn gather(waiting: &mut mpsc::Receiver<Queued>, first: Queued, within: Duration) -> Batch {
    let mut batch = Batch::default();
    let mut bytes = 0;
    let until = tokio::time::Instant::now() + within;
    let mut next = Some(first);
    while let Some(queued) = next {
        match queued {
            Queued::Line(line) => {
                bytes += line.payload.len();
                batch.lines.push(line);
            }
            Queued::Flush(answer) => {
                batch.flushed = Some(answer);
                break;
            }
        }
        if batch.lines.len() >= BATCH_LINES || bytes >= BATCH_BYTES {
            break;
        }
        next = match waiting.try_recv() {
            Ok(queued) => Some(queued),
            Err(_) => tokio::time::timeout_at(until, waiting.recv())
                .await
                .ok()
                .flatten(),
        };
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(source: &str) -> LogLine {
        LogLine {
            source: source.to_string(),
            ..LogLine::default()
        }
    }

    #[test]
    fn a_batch_that_was_not_sent_becomes_losses_and_keeps_older_ones() {
        let mut losses = Losses::default();
        losses.add("a", "agent", 2);
        let batch = LogBatch {
            lines: vec![line("a"), line("a"), line("b")],
            losses: losses.take(),
        };
        losses.put_back(batch);
        let mut told: Vec<_> = losses
            .take()
            .into_iter()
            .map(|loss| (loss.source, loss.place, loss.lines))
            .collect();
        told.sort();
        assert_eq!(
            told,
            [
                ("a".to_string(), "agent".to_string(), 2),
                ("a".to_string(), "bus".to_string(), 2),
                ("b".to_string(), "bus".to_string(), 1),
            ]
        );
        assert!(losses.take().is_empty());
    }

    #[tokio::test]
    async fn a_batch_is_gathered_for_a_while_and_a_flush_ends_it_at_once() {
        const LONG: Duration = Duration::from_secs(60);
        const SHORT: Duration = Duration::from_millis(20);
        let (sender, mut waiting) = mpsc::channel(2 * BATCH_LINES);
        let put = |queued| assert!(sender.try_send(queued).is_ok());
        let (answer, _) = oneshot::channel();
        put(Queued::Line(line("a")));
        put(Queued::Flush(answer));
        put(Queued::Line(line("b")));
        let begun = tokio::time::Instant::now();
        let batch = gather(&mut waiting, Queued::Line(line("a")), LONG).await;
        assert_eq!((batch.lines.len(), batch.flushed.is_some()), (2, true));
        assert!(begun.elapsed() < LONG / 2);
        let begun = tokio::time::Instant::now();
        let batch = gather(&mut waiting, Queued::Line(line("a")), SHORT).await;
        assert_eq!((batch.lines.len(), batch.flushed.is_some()), (2, false));
        assert!(begun.elapsed() >= SHORT);
        for _ in 0..BATCH_LINES {
            put(Queued::Line(line("a")));
        }
        let batch = gather(&mut waiting, Queued::Line(line("a")), Duration::ZERO).await;
        assert_eq!(batch.lines.len(), BATCH_LINES, "no more, and no wait");
        assert_eq!(waiting.len(), 1);
    }

    #[test]
    fn few_long_lines_fill_the_queue_too() {
        let room = Room::default();
        assert!(room.take(QUEUE_BYTES - 10));
        assert!(!room.take(11));
        assert!(room.take(10));
        assert!(!room.take(usize::MAX), "no wrapping around");
        room.give_back(10);
        assert!(room.take(10));
    }

    #[test]
    fn the_table_of_losses_is_bounded() {
        let mut losses = Losses::default();
        for number in 0..10 * SOURCES {
            losses.add(&number.to_string(), "bus", 1);
        }
        let told = losses.take();
        assert!(told.len() <= SOURCES + 2);
        assert_eq!(
            told.iter().map(|loss| loss.lines).sum::<u64>(),
            10 * SOURCES as u64
        );
    }
}
