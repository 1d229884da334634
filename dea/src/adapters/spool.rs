//! Facts on their way: written down, sent, repeated until acknowledged, then removed.
//!
//! A fact is a record (see [`SpareFiles`]) of its number and its message; the record's state says which kind of
//! fact it is. A killed agent leaves whole ones. They are not synced: they outlive the agent, not the machine
//! (whose instances are gone with it, which heartbeats tell).

use super::agent::Clock;
use super::spare_files::{SpareFiles, Written};
use super::{chain, folders};
use crate::domain::spool::{MOST, Queue};
use crate::domain::task;
use daemon::{Bus, Shutdown};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use proto::bus::automation::ActionExited;
use proto::bus::health::Exited;
use proto::bus::staging::Acknowledged;
use proto::bus::stream::{Ack, TaskExited};
use proto::bus::{Payload, catalogue};
use proto::ids::TaskId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;

/// Facts under way at once.
const AT_ONCE: usize = 32;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    Exited(Exited),
    Task(TaskExited),
    Action(ActionExited),
}

/// States of records.
const EXITED: u8 = b'e';
const TASK: u8 = b't';
const ACTION: u8 = b'a';
/// Facts as earlier versions had them: files named by their numbers, by what those names end with.
const EARLIER: [(&str, u8); 3] = [("exited", EXITED), ("task", TASK), ("action", ACTION)];

impl Fact {
    fn kind(&self) -> u8 {
        match self {
            Fact::Exited(_) => EXITED,
            Fact::Task(_) => TASK,
            Fact::Action(_) => ACTION,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Fact::Exited(exited) => exited.encode(),
            Fact::Task(task) => task.encode(),
            Fact::Action(action) => action.encode(),
        }
    }

    fn decode(kind: u8, bytes: &[u8]) -> Option<Fact> {
        match kind {
            EXITED => Exited::decode(bytes).ok().map(Fact::Exited),
            TASK => TaskExited::decode(bytes).ok().map(Fact::Task),
            ACTION => ActionExited::decode(bytes).ok().map(Fact::Action),
            _ => None,
        }
    }
}

/// A record's content: the number of the fact, then its message.
fn content(number: u64, message: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes(), message].concat()
}

/// Number and fact of a record.
fn fact_in(kind: u8, content: &[u8]) -> Option<(u64, Fact)> {
    let (number, message) = content.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), Fact::decode(kind, message)?))
}

/// Kind, number and message of a file of an earlier version.
fn earlier(path: &Path) -> Option<(u8, u64, Vec<u8>)> {
    let extension = path.extension()?.to_str()?;
    let (_, kind) = EARLIER.iter().find(|(name, _)| *name == extension)?;
    let number = path.file_stem()?.to_str()?.parse().ok()?;
    Some((*kind, number, std::fs::read(path).ok()?))
}

#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

struct Shared {
    files: SpareFiles,
    /// By the numbers of their facts.
    records: Mutex<BTreeMap<u64, Written>>,
    clock: Clock,
    queue: Mutex<Queue<Fact>>,
    changed: Notify,
}

impl Spool {
    /// Opens the folder and takes up what an earlier agent left.
    pub fn open(folder: PathBuf, clock: Clock) -> std::io::Result<Spool> {
        folders::private(&folder)?;
        let (files, left) = SpareFiles::open(folder.clone())?;
        let (mut queue, mut records) = (Queue::new(MOST), BTreeMap::new());
        for one in left {
            match fact_in(one.state, &one.content) {
                Some((number, fact)) => {
                    queue.restore(number, fact);
                    records.insert(number, one.written);
                }
                None => {
                    tracing::warn!(file = %one.written.path().display(), "a record of the spool makes no sense and is removed");
                    files.release(one.written)?;
                }
            }
        }
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if let Some((kind, number, message)) = earlier(&path)
                && let Some(fact) = Fact::decode(kind, &message)
            {
                records.insert(number, files.write(kind, &content(number, &message))?);
                queue.restore(number, fact);
                std::fs::remove_file(&path)?;
            }
        }
        Ok(Spool {
            shared: Arc::new(Shared {
                files,
                records: Mutex::new(records),
                clock,
                queue: Mutex::new(queue),
                changed: Notify::new(),
            }),
        })
    }

    /// Takes a fact. It is on its way at once, and written down before this returns.
    pub fn put(&self, fact: Fact) {
        let number = self.queue().reserve();
        if let Err(error) = self.write(number, &fact) {
            tracing::error!(
                error = chain(&error),
                "a fact could not be written down; it is lost if this agent dies now"
            );
        }
        let given_up = self.queue().put(number, fact);
        for number in given_up {
            tracing::error!(number, "the spool is full, its oldest fact is given up");
            metrics::counter!("dea_facts_given_up_total").increment(1);
            self.remove(number);
        }
        self.shared.changed.notify_one();
    }

    pub fn len(&self) -> usize {
        self.queue().len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue().is_empty()
    }

    /// Executions and attempts whose end is not acknowledged.
    pub fn actions(&self) -> Vec<(String, u32)> {
        let queue = self.queue();
        let actions = queue.facts().filter_map(|fact| match fact {
            Fact::Action(exited) => Some((exited.execution.clone(), exited.attempt)),
            Fact::Exited(_) | Fact::Task(_) => None,
        });
        actions.collect()
    }

    /// Tasks of apps whose end is not acknowledged.
    pub fn app_tasks(&self) -> Vec<TaskId> {
        let queue = self.queue();
        let tasks = queue.facts().filter_map(|fact| match fact {
            Fact::Task(exited) if exited.kind == task::APP => {
                TaskId::new(exited.task.as_str()).ok()
            }
            Fact::Task(_) | Fact::Exited(_) | Fact::Action(_) => None,
        });
        tasks.collect()
    }

    /// Whether the end of this task is not acknowledged yet.
    pub fn has_task(&self, task: &str) -> bool {
        self.queue().facts().any(|fact| match fact {
            Fact::Task(exited) => exited.task == task,
            Fact::Exited(_) | Fact::Action(_) => false,
        })
    }

    /// Whether the end of this execution is not acknowledged yet.
    pub fn has_action(&self, (execution, attempt): &(String, u32)) -> bool {
        self.queue().facts().any(|fact| match fact {
            Fact::Action(exited) => exited.execution == *execution && exited.attempt == *attempt,
            Fact::Exited(_) | Fact::Task(_) => false,
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Fact>> {
        self.shared
            .queue
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<u64, Written>> {
        self.shared
            .records
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self, number: u64, fact: &Fact) -> std::io::Result<()> {
        let content = content(number, &fact.encode());
        let written = self.shared.files.write(fact.kind(), &content)?;
        self.records().insert(number, written);
        Ok(())
    }

    fn remove(&self, number: u64) {
        let written = self.records().remove(&number);
        let removed = written.map(|written| self.shared.files.release(written));
        if let Some(Err(error)) = removed {
            tracing::warn!(number, %error, "an acknowledged fact could not be removed and will be sent again");
        }
    }

    /// Sends until the daemon's end.
    pub async fn run(&self, bus: &Bus, shutdown: Shutdown) -> anyhow::Result<()> {
        self.queue().resume();
        let mut status = bus.status();
        let mut sending: FuturesUnordered<BoxFuture<'static, (u64, bool)>> =
            FuturesUnordered::new();
        loop {
            let connected = status.borrow_and_update().connected;
            if connected {
                let due = self.queue().take_due(
                    self.shared.clock.now().uptime,
                    AT_ONCE.saturating_sub(sending.len()),
                );
                for (number, fact) in due {
                    let bus = bus.clone();
                    sending.push(Box::pin(async move { (number, send(&bus, &fact).await) }));
                }
            }
            let next = self
                .queue()
                .next_due()
                .filter(|_| connected && sending.len() < AT_ONCE);
            let wake = next.map(|due| self.shared.clock.at(due));
            tokio::select! {
                Some((number, acknowledged)) = sending.next() => {
                    let now = self.shared.clock.now().uptime;
                    if self.queue().settle(number, acknowledged, now) {
                        self.remove(number);
                    }
                }
                () = self.shared.changed.notified() => {}
                () = sleep_until(wake) => {}
                changed = status.changed() => {
                    changed?;
                    if !connected {
                        self.queue().hurry();
                    }
                }
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }
}

async fn sleep_until(wake: Option<tokio::time::Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

/// Whether somebody has it now.
async fn send(bus: &Bus, fact: &Fact) -> bool {
    let result = match fact {
        Fact::Exited(exited) => bus
            .request::<_, Acknowledged>(&catalogue::droplet_exited(), exited, ANSWER)
            .await
            .map(|answer| answer.ok),
        Fact::Task(task) => {
            let topic = if task.kind == "staging" {
                catalogue::staging_task_exited()
            } else {
                catalogue::app_task_exited()
            };
            bus.request::<_, Ack>(&topic, task, ANSWER)
                .await
                .map(|answer| answer.ok)
        }
        Fact::Action(action) => bus
            .request::<_, Ack>(&catalogue::action_exited(), action, ANSWER)
            .await
            .map(|answer| answer.ok),
    };
    match result {
        Ok(acknowledged) => acknowledged,
        Err(error) => {
            tracing::debug!(
                error = chain(&error),
                "a fact was not acknowledged and is sent again"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_outlive_the_agent() {
        let home = tempfile::tempdir().expect("a folder");
        let fact = |task: &str| {
            Fact::Task(TaskExited {
                task: task.into(),
                ..TaskExited::default()
            })
        };
        let spool = Spool::open(home.path().to_path_buf(), Clock::started()).expect("opened");
        spool.put(fact("a"));
        spool.put(fact("b"));
        // As an earlier version left it, and what is no fact.
        std::fs::write(home.path().join("7.task"), fact("c").encode()).expect("written");
        std::fs::write(home.path().join("8.task"), [255]).expect("written");
        for _ in 0..2 {
            let later = Spool::open(home.path().to_path_buf(), Clock::started()).expect("opened");
            let due = later.queue().take_due(Duration::ZERO, 10);
            assert_eq!(due, [(1, fact("a")), (2, fact("b")), (7, fact("c"))]);
        }
        let later = Spool::open(home.path().to_path_buf(), Clock::started()).expect("opened");
        assert!(later.queue().settle(1, true, Duration::ZERO));
        later.remove(1);
        let last = Spool::open(home.path().to_path_buf(), Clock::started()).expect("opened");
        assert_eq!(last.len(), 2);
    }
}
