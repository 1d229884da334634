//! Group commit: what many callers want written at the same time is written in one transaction.
//!
//! ```text
//!   caller ─┐                    ┌─► its own answer
//!   caller ─┼─► waiting ─► work ─┼─► its own answer      while one group is at work, the next gathers
//!   caller ─┘                    └─► its own answer
//! ```
//!
//! Nobody waits for others to come: the first caller begins at once and alone, and those who come while it
//! commits are the next group. The work runs in a task of its own, so that a caller who goes away takes
//! nobody with him; what he asked for is done or not done as a whole, and only he does not know.
//!
//! What a newcomer gets wrong: the work answers for each job by itself. One that cannot be written must not
//! fail the others of its group.

use super::fault::Fault;
use crate::store::StoreError;
use daemon::Supervisor;
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Jobs of one group.
const LARGEST_GROUP: usize = 128;
/// Jobs that wait; who comes then is sent away.
const MOST_WAITING: usize = 4096;

/// Why a job has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("too many requests wait to be written; try again later")]
    Full,
    /// Whether it was done is not known.
    #[error("this controller was ended before the request was answered")]
    CutShort,
}

impl From<Unanswered> for Fault {
    fn from(unanswered: Unanswered) -> Fault {
        Fault::Unavailable(unanswered.to_string())
    }
}

/// All jobs with one call of `write`, or, if that is refused, each with one of its own: then one that is
/// refused fails alone. Answers in the order of the jobs.
pub async fn all_or_each<J, W>(
    operation: &'static str,
    jobs: Vec<J>,
    write: W,
) -> Vec<Result<J, Fault>>
where
    J: Send + Sync,
    W: for<'j> Fn(&'j [J]) -> BoxFuture<'j, Result<(), Fault>> + Send + Sync,
{
    let fault = match write(&jobs).await {
        Ok(()) => return jobs.into_iter().map(Ok).collect(),
        Err(fault) => fault,
    };
    if jobs.len() == 1 {
        return vec![Err(fault)];
    }
    if matches!(fault, Fault::Store(StoreError::Unavailable { .. })) {
        // Each by itself would wait as long again.
        let text = fault.to_string();
        let others = std::iter::repeat_with(|| Fault::Unavailable(text.clone()));
        let all = std::iter::once(fault).chain(others);
        return all.take(jobs.len()).map(Err).collect();
    }
    tracing::warn!(
        operation,
        error = &fault as &dyn std::error::Error,
        jobs = jobs.len(),
        "a group was refused and is written one by one"
    );
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        let done = write(std::slice::from_ref(&job)).await;
        answers.push(done.map(|()| job));
    }
    answers
}

struct State<J, A> {
    waiting: VecDeque<(J, oneshot::Sender<A>)>,
    is_at_work: bool,
}

/// Jobs `J` with answers `A`. Cheap to clone.
pub struct Together<J, A> {
    state: Arc<Mutex<State<J, A>>>,
}

impl<J, A> Clone for Together<J, A> {
    fn clone(&self) -> Together<J, A> {
        Together {
            state: self.state.clone(),
        }
    }
}

impl<J, A> Default for Together<J, A> {
    fn default() -> Together<J, A> {
        Together {
            state: Arc::new(Mutex::new(State {
                waiting: VecDeque::new(),
                is_at_work: false,
            })),
        }
    }
}

/// Held by the task at work. Whoever waits when it is cut short is told so: their senders go.
struct AtWork<J, A> {
    together: Together<J, A>,
    /// Nobody waited any more. Somebody else may be at work by now.
    has_ended: bool,
}

impl<J, A> AtWork<J, A> {
    fn next_group(&mut self) -> Option<(Vec<J>, Vec<oneshot::Sender<A>>)> {
        let group = self.together.next_group();
        self.has_ended = group.is_none();
        group
    }
}

impl<J, A> Drop for AtWork<J, A> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let mut state = self.together.lock();
        state.is_at_work = false;
        state.waiting.clear();
    }
}

impl<J: Send + 'static, A: Send + 'static> Together<J, A> {
    /// Has a job done with others. `work` answers each job of a group, in order.
    pub async fn submit<W, F>(&self, tasks: &Supervisor, job: J, work: W) -> Result<A, Unanswered>
    where
        W: Fn(Vec<J>) -> F + Send + 'static,
        F: Future<Output = Vec<A>> + Send,
    {
        let (sender, answer) = oneshot::channel();
        let begins = {
            let mut state = self.lock();
            if state.waiting.len() >= MOST_WAITING {
                return Err(Unanswered::Full);
            }
            state.waiting.push_back((job, sender));
            !std::mem::replace(&mut state.is_at_work, true)
        };
        if begins {
            let mut at_work = AtWork {
                together: self.clone(),
                has_ended: false,
            };
            tasks.spawn_once("write-together", async move {
                while let Some((jobs, senders)) = at_work.next_group() {
                    for (answer, sender) in work(jobs).await.into_iter().zip(senders) {
                        // Err means that the caller has gone.
                        let _ = sender.send(answer);
                    }
                }
            });
        }
        answer.await.map_err(|_| Unanswered::CutShort)
    }
}

impl<J, A> Together<J, A> {
    fn lock(&self) -> MutexGuard<'_, State<J, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None: nobody waits, and who comes next begins anew.
    fn next_group(&self) -> Option<(Vec<J>, Vec<oneshot::Sender<A>>)> {
        let mut state = self.lock();
        let size = state.waiting.len().min(LARGEST_GROUP);
        if size == 0 {
            state.is_at_work = false;
            return None;
        }
        Some(state.waiting.drain(..size).unzip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::sync::Semaphore;

    const SOON: Duration = Duration::from_secs(60);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[expect(clippy::disallowed_methods, reason = "a test plays many callers")]
    async fn each_caller_gets_its_own_answer_and_those_who_wait_are_one_group() {
        let tasks = Supervisor::new();
        let together: Together<u32, (u32, usize)> = Together::default();
        let gate = Arc::new(Semaphore::new(0));
        let ask = |number: u32| {
            let (together, tasks, gate) = (together.clone(), tasks.clone(), gate.clone());
            tokio::spawn(async move {
                let work = move |jobs: Vec<u32>| {
                    let gate = gate.clone();
                    async move {
                        gate.acquire().await.unwrap().forget();
                        let size = jobs.len();
                        jobs.into_iter().map(|job| (job * 2, size)).collect()
                    }
                };
                together.submit(&tasks, number, work).await
            })
        };
        let waiting = async |count: usize| {
            tokio::time::timeout(SOON, async {
                while together.lock().waiting.len() != count {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .unwrap();
        };
        let first = ask(1);
        // At work alone, held at the gate.
        tokio::time::timeout(SOON, async {
            while !together.lock().is_at_work {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        waiting(0).await;
        let gone = ask(2);
        waiting(1).await;
        let others: Vec<_> = (3..13).map(ask).collect();
        waiting(11).await;
        // Who goes away takes nobody along.
        gone.abort();
        gate.add_permits(2);
        assert_eq!(first.await.unwrap(), Ok((2, 1)));
        for (number, other) in (3..13).zip(others) {
            assert_eq!(other.await.unwrap(), Ok((number * 2, 11)));
        }
        assert!(!together.lock().is_at_work);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_panic_in_one_group_is_told_and_the_next_caller_begins_anew() {
        let tasks = Supervisor::new();
        let together: Together<u32, u32> = Together::default();
        let work = |jobs: Vec<u32>| async move {
            assert!(jobs.iter().all(|job| *job > 0), "no zeros");
            jobs
        };
        assert_eq!(
            together.submit(&tasks, 0, work).await,
            Err(Unanswered::CutShort)
        );
        // Who comes while the task is being taken down goes with it.
        tokio::time::timeout(SOON, async {
            while together.lock().is_at_work {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        assert_eq!(together.submit(&tasks, 7, work).await, Ok(7));
    }
}
