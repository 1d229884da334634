//! Sending log lines to the collector over the bus.
//!
//! Lines are gathered for at most 100 ms, 500 lines or 1 MiB. Nobody ever waits for the bus here:
//! when the queue is full, or a batch cannot be sent, its lines are dropped, counted per source,
//! and the count goes out with the next batch, so that whoever reads the log sees the gap.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::bus::Topic;
use proto::bus::catalogue;
use proto::bus::stream::{LogBatch, LogLine, LogLoss};
use tokio::sync::mpsc;

use crate::bus::Bus;
use crate::run::Deps;
use crate::supervise::{Policy, Shutdown};

const QUEUE: usize = 10_000;
const BATCH_LINES: usize = 500;
const BATCH_BYTES: usize = 1 << 20;
const BATCH_TIME: Duration = Duration::from_millis(100);
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

struct Shared {
    losses: Mutex<Losses>,
    waiting: tokio::sync::Mutex<mpsc::Receiver<LogLine>>,
}

/// Takes log lines. Cheap to clone; `send` never waits.
#[derive(Clone)]
pub struct LogSender {
    lines: mpsc::Sender<LogLine>,
    shared: Arc<Shared>,
}

impl LogSender {
    /// Starts the task that sends. At the daemon's end it sends what is left.
    pub fn start(deps: &Deps) -> LogSender {
        let (lines, waiting) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            losses: Mutex::default(),
            waiting: tokio::sync::Mutex::new(waiting),
        });
        let topic = catalogue::log_of(&deps.component);
        let (bus, state) = (deps.bus.clone(), shared.clone());
        deps.tasks
            .spawn("log-sender", Policy::Restart, move |shutdown| {
                let (bus, state, topic) = (bus.clone(), state.clone(), topic.clone());
                async move { state.run(&bus, &topic, &shutdown).await }
            });
        LogSender { lines, shared }
    }

    /// Queues a line; drops and counts it when the queue is full.
    pub fn send(&self, line: LogLine) {
        if let Err(refused) = self.lines.try_send(line) {
            let line = match refused {
                mpsc::error::TrySendError::Full(line) | mpsc::error::TrySendError::Closed(line) => {
                    line
                }
            };
            self.lost(&line.source, 1);
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
                line = waiting.recv() => match line {
                    Some(line) => Some(line),
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
                    let mut rest = Vec::new();
                    while let Ok(line) = waiting.try_recv() {
                        rest.push(line);
                    }
                    for lines in batches(rest) {
                        self.send(bus, topic, lines).await;
                    }
                    let _ = bus.flush().await;
                    return Ok(());
                }
            };
            let mut lines: Vec<LogLine> = first.into_iter().collect();
            if !lines.is_empty() {
                let mut bytes = lines[0].payload.len();
                let until = tokio::time::Instant::now() + BATCH_TIME;
                while lines.len() < BATCH_LINES && bytes < BATCH_BYTES {
                    let Ok(Some(line)) = tokio::time::timeout_at(until, waiting.recv()).await
                    else {
                        break;
                    };
                    bytes += line.payload.len();
                    lines.push(line);
                }
            }
            self.send(bus, topic, lines).await;
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

/// Lines in pieces that the bus takes as one message each.
fn batches(lines: Vec<LogLine>) -> Vec<Vec<LogLine>> {
    let mut batches: Vec<Vec<LogLine>> = Vec::new();
    let mut bytes = 0;
    for line in lines {
        let length = line.payload.len();
        match batches.last_mut() {
            Some(last) if last.len() < BATCH_LINES && bytes + length <= BATCH_BYTES => {
                bytes += length;
                last.push(line);
            }
            Some(_) | None => {
                bytes = length;
                batches.push(vec![line]);
            }
        }
    }
    batches
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

    #[test]
    fn what_is_left_at_the_end_fits_into_messages() {
        let long = |number: usize| LogLine {
            payload: vec![b'x'; 64 * 1024],
            ..line(&number.to_string())
        };
        let lines: Vec<LogLine> = (0..100)
            .map(long)
            .chain((100..1500).map(|number| line(&number.to_string())))
            .collect();
        let sent = batches(lines.clone());
        for batch in &sent {
            let bytes: usize = batch.iter().map(|line| line.payload.len()).sum();
            assert!(batch.len() <= BATCH_LINES && bytes <= BATCH_BYTES);
        }
        assert!(sent.len() < 12, "not one by one: {}", sent.len());
        assert_eq!(sent.concat(), lines);
        assert!(batches(Vec::new()).is_empty());
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
