//! Tasks with a name, a policy for their death, and an orderly end.
//!
//! Shutdown has phases. *Draining*: nothing new is admitted ([`Shutdown::draining`]). *Cancelled*:
//! what still runs ends now ([`Shutdown::cancelled`]). The first phase lasts until
//! - every unit of work ([`Supervisor::spawn_once`]) has ended, and
//! - every task that was told to drain (its `draining()` resolved) has returned,
//!
//! or until the deadline. So a task that drains does its last work and *returns*; a task that
//! has nothing to drain only looks at `cancelled()` and costs no time. What does not return after
//! the second phase is aborted.
//!
//! What a newcomer gets wrong: awaiting `draining()` and then going on for ever (the daemon
//! then stops only at the deadline), and treating `Ok(())` as "restart me" in a `Critical` task:
//! a critical task may only return while the daemon drains.

use futures_util::FutureExt;
use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{Instrument, debug, error, warn};

use crate::run::StopCause;

/// What the death of a task means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The daemon cannot be itself without it: its end stops the daemon.
    Critical,
    /// It is made again, after a short wait that doubles while it keeps dying. Also when it
    /// returned `Ok(())` before the daemon drains: a loop that ended is a loop that is missing.
    Restart,
    /// Its end is logged, no more. `Ok(())` is silent.
    BestEffort,
}

/// First wait before a task is made again; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A task that lived this long starts counting anew.
const LONG_LIFE: Duration = Duration::from_secs(60);
/// How long cancelled tasks may take to return before they are aborted.
const LAST_WORDS: Duration = Duration::from_millis(1500);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Cancelled,
}

struct Entry {
    name: &'static str,
    unit: bool,
    draining: Arc<AtomicBool>,
    abort: Option<tokio::task::AbortHandle>,
}

struct Inner {
    phase: watch::Sender<Phase>,
    entries: Mutex<BTreeMap<u64, Entry>>,
    next: AtomicU64,
    /// Raised whenever an entry is gone.
    ended: tokio::sync::Notify,
    cause: watch::Sender<Option<StopCause>>,
}

/// Spawns and watches the tasks of one daemon.
#[derive(Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

/// One task's view of the daemon's end.
#[derive(Clone)]
pub struct Shutdown {
    phase: watch::Receiver<Phase>,
    told_to_drain: Arc<AtomicBool>,
}

impl Shutdown {
    /// Resolves when nothing new may be admitted. Whoever awaits it in a spawned task promises to
    /// return once its last work is done.
    pub async fn draining(&self) {
        self.reach(Phase::Draining).await;
        self.told_to_drain.store(true, Ordering::SeqCst);
    }

    /// Resolves when work must end now.
    pub async fn cancelled(&self) {
        self.reach(Phase::Cancelled).await;
    }

    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    pub fn is_cancelled(&self) -> bool {
        *self.phase.borrow() >= Phase::Cancelled
    }

    /// Waits as cheaply as it goes beside work that is polled all the time: the list of those who wait has a lock,
    /// which is taken only by whoever is not on it yet, and after a change.
    async fn reach(&self, wanted: Phase) {
        let mut phase = self.phase.clone();
        let known = phase.clone();
        let reached = phase.wait_for(|now| *now >= wanted);
        tokio::pin!(reached);
        let mut listed: Option<Waker> = None;
        std::future::poll_fn(|cx| {
            let is_listed = listed
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()));
            if is_listed && matches!(known.has_changed(), Ok(false)) {
                return Poll::Pending;
            }
            if !is_listed {
                listed = Some(cx.waker().clone());
            }
            // The sender lives as long as the supervisor; if that is gone, so is the daemon.
            reached.as_mut().poll(cx).map(drop)
        })
        .await;
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Supervisor::new()
    }
}

/// Removes the entry when the task ends in any way, abort included.
struct Registered {
    inner: Arc<Inner>,
    key: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.inner.entries).remove(&self.key);
        self.inner.ended.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Supervisor {
    pub fn new() -> Supervisor {
        Supervisor {
            inner: Arc::new(Inner {
                phase: watch::Sender::new(Phase::Running),
                entries: Mutex::new(BTreeMap::new()),
                next: AtomicU64::new(0),
                ended: tokio::sync::Notify::new(),
                cause: watch::Sender::new(None),
            }),
        }
    }

    /// A view of the end for whoever is no task of this supervisor. Its `draining()` delays nothing.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown {
            phase: self.inner.phase.subscribe(),
            told_to_drain: Arc::default(),
        }
    }

    /// Runs what `make` makes; calls it again as the policy says.
    pub fn spawn<F, Fut>(&self, name: &'static str, policy: Policy, mut make: F)
    where
        F: FnMut(Shutdown) -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let supervisor = self.clone();
        let draining: Arc<AtomicBool> = Arc::default();
        let told = draining.clone();
        self.launch(name, false, draining, async move {
            let mut wait = FIRST_WAIT;
            loop {
                let shutdown = Shutdown {
                    phase: supervisor.inner.phase.subscribe(),
                    told_to_drain: told.clone(),
                };
                let ending = shutdown.clone();
                let started = Instant::now();
                // What makes the task may panic as well as the task.
                let result = catch_panic(async { make(shutdown).await }).await;
                if ending.is_draining() {
                    if let Err(reason) = result {
                        debug!(task = name, reason = %format!("{reason:#}"), "a task failed while the daemon was stopping");
                    }
                    return;
                }
                match (policy, result) {
                    (Policy::BestEffort, Ok(())) => return,
                    (Policy::BestEffort, Err(reason)) => {
                        warn!(task = name, reason = %format!("{reason:#}"), "a task failed");
                        return;
                    }
                    (Policy::Critical, result) => {
                        let reason = match result {
                            Ok(()) => "it returned".to_string(),
                            Err(reason) => format!("{reason:#}"),
                        };
                        error!(task = name, %reason, "a critical task ended, the daemon stops");
                        supervisor.request_stop(StopCause::TaskEnded { task: name, reason });
                        return;
                    }
                    (Policy::Restart, result) => {
                        if started.elapsed() > LONG_LIFE {
                            wait = FIRST_WAIT;
                        }
                        let reason = match result {
                            Ok(()) => "it returned".to_string(),
                            Err(reason) => format!("{reason:#}"),
                        };
                        warn!(task = name, %reason, wait_ms = wait.as_millis() as u64, "a task ended and is started again");
                        metrics::counter!("task_restarts_total", "task" => name).increment(1);
                        tokio::select! {
                            () = tokio::time::sleep(wait) => {}
                            () = ending.reach(Phase::Draining) => return,
                        }
                        wait = (wait * 2).min(LONGEST_WAIT);
                    }
                }
            }
        });
    }

    /// Runs what `run` makes of the subject, again whenever it ends.
    pub fn keep<S, Fut>(
        &self,
        name: &'static str,
        subject: &S,
        run: impl Fn(S, Shutdown) -> Fut + Send + 'static,
    ) where
        S: Clone + Send + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let subject = subject.clone();
        self.spawn(name, Policy::Restart, move |shutdown| {
            run(subject.clone(), shutdown)
        });
    }

    /// Runs one unit of work: a request, an instance. The end of the daemon waits for it until
    /// the deadline, then drops it.
    pub fn spawn_once(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        let phase = self.inner.phase.subscribe();
        let shutdown = Shutdown {
            phase,
            told_to_drain: Arc::default(),
        };
        // In a box: each layer around it would hold it twice, as what it was given and as what it waits for.
        let future = Box::pin(future);
        self.launch(name, true, Arc::default(), async move {
            tokio::select! {
                biased;
                result = catch_panic(future.map(Ok)) => {
                    if let Err(reason) = result {
                        error!(task = name, reason = %format!("{reason:#}"), "a unit of work failed");
                    }
                }
                () = shutdown.cancelled() => debug!(task = name, "a unit of work was cut short"),
            }
        });
    }

    /// Runs what serves other tasks and is over when they are: a connection that they use. The end of the daemon
    /// does not wait for it, and ends it with its runtime.
    pub fn spawn_beside(&self, future: impl Future<Output = ()> + Send + 'static) {
        #[expect(clippy::disallowed_methods, reason = "this is the supervisor")]
        tokio::spawn(future.instrument(tracing::Span::current()));
    }

    /// How many units of work are running.
    pub fn units(&self) -> usize {
        lock(&self.inner.entries)
            .values()
            .filter(|entry| entry.unit)
            .count()
    }

    /// Asks the daemon to stop; the first cause is kept.
    pub fn request_stop(&self, cause: StopCause) {
        self.inner.cause.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(cause);
            }
            first
        });
    }

    /// Resolves when somebody asked for the daemon's end.
    pub async fn stop_requested(&self) -> StopCause {
        let mut cause = self.inner.cause.subscribe();
        match cause.wait_for(Option::is_some).await {
            Ok(cause) => cause.clone().unwrap_or(StopCause::Asked),
            Err(_) => StopCause::Asked,
        }
    }

    /// Goes through the phases; returns when nothing runs any more.
    pub async fn stop(&self, deadline: Duration) {
        self.inner.phase.send_replace(Phase::Draining);
        // The tasks must get the chance to notice before "nobody drains" is believed.
        tokio::time::sleep(Duration::from_millis(20).min(deadline)).await;
        let drained = tokio::time::timeout(
            deadline,
            self.until(|entry| entry.unit || entry.draining.load(Ordering::SeqCst)),
        );
        if drained.await.is_err() {
            warn!(tasks = ?self.names(), "the deadline of the stop has passed, work is cut short");
        }
        self.inner.phase.send_replace(Phase::Cancelled);
        if tokio::time::timeout(LAST_WORDS, self.until(|_| true))
            .await
            .is_err()
        {
            warn!(tasks = ?self.names(), "tasks did not end and are aborted");
            for entry in lock(&self.inner.entries).values() {
                if let Some(abort) = &entry.abort {
                    abort.abort();
                }
            }
        }
    }

    /// Waits until no entry matches.
    async fn until(&self, matches: impl Fn(&Entry) -> bool) {
        loop {
            let ended = self.inner.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if !lock(&self.inner.entries).values().any(&matches) {
                return;
            }
            // The timer covers a task that begins to drain without another one ending.
            let _ = tokio::time::timeout(Duration::from_millis(50), ended).await;
        }
    }

    fn names(&self) -> Vec<&'static str> {
        lock(&self.inner.entries)
            .values()
            .map(|entry| entry.name)
            .collect()
    }

    fn launch(
        &self,
        name: &'static str,
        unit: bool,
        draining: Arc<AtomicBool>,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        let key = self.inner.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.inner.entries).insert(
            key,
            Entry {
                name,
                unit,
                draining,
                abort: None,
            },
        );
        let registered = Registered {
            inner: self.inner.clone(),
            key,
        };
        let span = tracing::Span::current();
        #[expect(clippy::disallowed_methods, reason = "this is the supervisor")]
        let handle = tokio::spawn(
            async move {
                let _registered = registered;
                future.await;
            }
            .instrument(span),
        );
        if let Some(entry) = lock(&self.inner.entries).get_mut(&key) {
            entry.abort = Some(handle.abort_handle());
        }
    }
}

/// A panic is an error of this task, not the end of its supervisor. (No `async fn`: it would hold the future twice.)
fn catch_panic(
    future: impl Future<Output = anyhow::Result<()>>,
) -> impl Future<Output = anyhow::Result<()>> {
    let caught = AssertUnwindSafe(future).catch_unwind();
    caught.map(|result| result.unwrap_or_else(|panic| Err(panicked(&*panic))))
}

fn panicked(panic: &(dyn Any + Send)) -> anyhow::Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| text.to_string())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a text".to_string());
    metrics::counter!("task_panics_total").increment(1);
    anyhow::anyhow!("it panicked: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[tokio::test]
    async fn a_restarted_task_comes_back_also_after_a_panic() {
        let tasks = Supervisor::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let seen = runs.clone();
        tasks.spawn("flaky", Policy::Restart, move |shutdown| {
            let run = seen.fetch_add(1, Ordering::SeqCst);
            async move {
                match run {
                    0 => panic!("boom"),
                    1 => anyhow::bail!("no"),
                    _ => shutdown.cancelled().await,
                }
                Ok(())
            }
        });
        let begun = Instant::now();
        while runs.load(Ordering::SeqCst) < 3 {
            assert!(begun.elapsed() < Duration::from_secs(5), "runs: {runs:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let begun = Instant::now();
        tasks.stop(Duration::from_secs(10)).await;
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "nobody had anything to drain"
        );
    }

    #[tokio::test]
    async fn the_end_is_heard_also_by_who_waits_in_turn_with_others_or_moved() {
        let tasks = Supervisor::new();
        let shutdown = tasks.shutdown();
        let seen = shutdown.clone();
        let mut both = Box::pin(async move {
            seen.draining().await;
            seen.cancelled().await;
        });
        // It is asked first in another task than the one that waits in the end.
        for _ in 0..3 {
            let pending = futures_util::poll!(both.as_mut());
            assert!(pending.is_pending());
        }
        #[expect(clippy::disallowed_methods, reason = "this is the supervisor")]
        let waiting = tokio::spawn(both_of(shutdown.clone()));
        tokio::time::sleep(Duration::from_millis(20)).await;
        tasks.stop(Duration::from_secs(1)).await;
        let ended = tokio::time::timeout(Duration::from_secs(1), async {
            waiting.await.expect("it does not panic");
        });
        ended.await.expect("both are heard in a task");
        let ended = tokio::time::timeout(Duration::from_secs(1), both);
        ended.await.expect("both are heard here");
    }

    /// Waits for both ends beside work that wakes it all the time.
    async fn both_of(shutdown: Shutdown) {
        let (draining, cancelled) = (shutdown.draining(), shutdown.cancelled());
        tokio::pin!(draining, cancelled);
        let mut drains = false;
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
                () = draining.as_mut(), if !drains => drains = true,
                () = cancelled.as_mut() => return,
            }
        }
    }

    #[tokio::test]
    async fn a_panic_in_what_makes_the_task_is_its_death_too() {
        let tasks = Supervisor::new();
        tasks.spawn("unmade", Policy::Critical, |shutdown| {
            assert!(shutdown.is_draining(), "it cannot be made");
            async { Ok(()) }
        });
        let cause = tokio::time::timeout(Duration::from_secs(5), tasks.stop_requested())
            .await
            .expect("the daemon is asked to stop");
        assert!(
            matches!(cause, StopCause::TaskEnded { task: "unmade", .. }),
            "{cause:?}"
        );
    }

    #[tokio::test]
    async fn the_end_of_a_critical_task_asks_for_the_end_of_the_daemon() {
        let tasks = Supervisor::new();
        tasks.spawn("heart", Policy::Critical, |_| async {
            anyhow::bail!("broken")
        });
        let cause = tasks.stop_requested().await;
        assert!(
            matches!(cause, StopCause::TaskEnded { task: "heart", ref reason } if reason == "broken"),
            "{cause:?}"
        );
    }

    #[tokio::test]
    async fn the_stop_waits_for_units_and_for_those_who_drain() {
        let tasks = Supervisor::new();
        let done = Arc::new(AtomicUsize::new(0));
        let counted = done.clone();
        tasks.spawn_once("request", async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let counted = done.clone();
        tasks.spawn("server", Policy::Critical, move |shutdown| {
            let counted = counted.clone();
            async move {
                shutdown.draining().await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                counted.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        });
        tasks.stop(Duration::from_secs(5)).await;
        assert_eq!(done.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_deadline_ends_what_never_ends() {
        let tasks = Supervisor::new();
        tasks.spawn_once("endless", std::future::pending());
        tasks.spawn("deaf", Policy::Restart, |_| std::future::pending());
        let begun = Instant::now();
        tasks.stop(Duration::from_millis(100)).await;
        assert!(begun.elapsed() < Duration::from_secs(3));
    }
}
