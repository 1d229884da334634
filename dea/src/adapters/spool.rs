//! Facts on their way: written down, sent, repeated until acknowledged, then removed.
//!
//! Files are written with a rename, so a killed agent leaves whole ones. They are not synced: they
//! outlive the agent, not the machine (whose instances are gone with it, which heartbeats tell).

use super::agent::Clock;
use super::spare_files::SpareFiles;
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
use std::path::PathBuf;
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

/// Endings of the files of the spool, those that come most often first.
const EXTENSIONS: [&str; 3] = ["action", "exited", "task"];

impl Fact {
    fn extension(&self) -> &'static str {
        match self {
            Fact::Exited(_) => "exited",
            Fact::Task(_) => "task",
            Fact::Action(_) => "action",
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Fact::Exited(exited) => exited.encode(),
            Fact::Task(task) => task.encode(),
            Fact::Action(action) => action.encode(),
        }
    }

    fn decode(extension: &str, bytes: &[u8]) -> Option<Fact> {
        match extension {
            "exited" => Exited::decode(bytes).ok().map(Fact::Exited),
            "task" => TaskExited::decode(bytes).ok().map(Fact::Task),
            "action" => ActionExited::decode(bytes).ok().map(Fact::Action),
            _ => None,
        }
    }
}

#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    files: SpareFiles,
    clock: Clock,
    queue: Mutex<Queue<Fact>>,
    changed: Notify,
}

impl Spool {
    /// Opens the folder and takes up what an earlier agent left.
    pub fn open(folder: PathBuf, clock: Clock) -> std::io::Result<Spool> {
        folders::private(&folder)?;
        let files = SpareFiles::open(folder.clone())?;
        let mut queue = Queue::new(MOST);
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let found = (|| {
                let number: u64 = path.file_stem()?.to_str()?.parse().ok()?;
                Some((
                    number,
                    Fact::decode(path.extension()?.to_str()?, &std::fs::read(&path).ok()?)?,
                ))
            })();
            match found {
                Some((number, fact)) => queue.restore(number, fact),
                None => {
                    tracing::warn!(file = %path.display(), "a file of the spool makes no sense and is removed");
                    std::fs::remove_file(&path)?;
                }
            }
        }
        Ok(Spool {
            shared: Arc::new(Shared {
                folder,
                files,
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

    fn write(&self, number: u64, fact: &Fact) -> std::io::Result<()> {
        let path = self.path(number, fact.extension());
        self.shared.files.write(&path, &fact.encode())
    }

    fn path(&self, number: u64, extension: &str) -> PathBuf {
        self.shared.folder.join(format!("{number}.{extension}"))
    }

    fn remove(&self, number: u64) {
        for extension in EXTENSIONS {
            let path = self.path(number, extension);
            match self.shared.files.retire(&path) {
                // A number has one fact.
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "an acknowledged fact could not be removed and will be sent again");
                }
            }
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
        std::fs::write(home.path().join("7.making"), "cut short").expect("written");
        let later = Spool::open(home.path().to_path_buf(), Clock::started()).expect("opened");
        assert!(!home.path().join("7.making").exists());
        let due = later.queue().take_due(Duration::ZERO, 10);
        assert_eq!(due, [(1, fact("a")), (2, fact("b"))]);
        assert!(later.queue().settle(1, true, Duration::ZERO));
        later.remove(1);
        let last = Spool::open(home.path().to_path_buf(), Clock::started()).expect("opened");
        assert_eq!(last.len(), 1);
    }
}
