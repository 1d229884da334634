//! Sending log lines to the collector over the bus.
//!
//! Lines are gathered for at most 100 ms, 500 lines or 1 MiB. Nobody ever waits for the bus here:
//! when the queue is full, or a batch cannot be sent, its lines are dropped, counted per source,
//! and the count goes out with the next batch, so that whoever reads the log sees the gap.
//!
//! Lines of one sender arrive in order. Where a message must not overtake the lines before it (the
//! end of a task, which makes somebody else write a line), [`LogSender::flush`] comes first.

use std::collections::BTreeMap;
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
const BATCH_LINES: usize = 500;
const BATCH_BYTES: usize = 1 << 20;
const BATCH_TIME: Duration = Duration::from_millis(100);
/// Sources whose losses are told apart; the rest is counted together under "".
const SOURCES: usize = 2000;

/// What waits to be sent.
enum Queued {
    Line(LogLine),
    /// To be answered when everything before it is at the server.
    Mark(oneshot::Sender<()>),
}

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
    waiting: tokio::sync::Mutex<mpsc::Receiver<Queued>>,
}

/// Takes log lines. Cheap to clone; `send` never waits.
#[derive(Clone)]
pub struct LogSender {
    lines: mpsc::Sender<Queued>,
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
        if let Err(refused) = self.lines.try_send(Queued::Line(line))
            && let Queued::Line(line) = refused.into_inner()
        {
            self.lost(&line.source, 1);
        }
    }

    /// Waits until every line queued before is at the server, so that nothing sent afterwards, by
    /// whomever, is delivered before them. False if that took longer than `within`.
    pub async fn flush(&self, within: Duration) -> bool {
        let (done, mark) = oneshot::channel();
        let flushed =
            async { self.lines.send(Queued::Mark(done)).await.is_ok() && mark.await.is_ok() };
        tokio::time::timeout(within, flushed).await.unwrap_or(false)
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
                    let mut marks = Vec::new();
                    while let Ok(queued) = waiting.try_recv() {
                        match queued {
                            Queued::Line(line) => rest.push(line),
                            Queued::Mark(mark) => marks.push(mark),
                        }
                    }
                    for lines in rest.chunks(BATCH_LINES) {
                        self.send(bus, topic, lines.to_vec()).await;
                    }
                    if bus.flush().await.is_ok() {
                        marks.into_iter().for_each(answer);
                    }
                    return Ok(());
                }
            };
            let (lines, mark) = gather(&mut waiting, first).await;
            self.send(bus, topic, lines).await;
            if let Some(mark) = mark {
                match bus.flush().await {
                    Ok(()) => answer(mark),
                    Err(error) => tracing::debug!(%error, "log lines may still be on their way"),
                }
            }
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

/// The lines of one batch, which ends with a mark.
async fn gather(
    waiting: &mut mpsc::Receiver<Queued>,
    first: Option<Queued>,
) -> (Vec<LogLine>, Option<oneshot::Sender<()>>) {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    let until = tokio::time::Instant::now() + BATCH_TIME;
    let mut next = first;
    loop {
        match next {
            Some(Queued::Line(line)) => {
                bytes += line.payload.len();
                lines.push(line);
            }
            Some(Queued::Mark(mark)) => return (lines, Some(mark)),
            None => return (lines, None),
        }
        if lines.len() >= BATCH_LINES || bytes >= BATCH_BYTES {
            return (lines, None);
        }
        next = tokio::time::timeout_at(until, waiting.recv())
            .await
            .unwrap_or_default();
    }
}

/// Everything before is at the server. Whoever has given up waiting needs no answer.
fn answer(mark: oneshot::Sender<()>) {
    let _ = mark.send(());
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
