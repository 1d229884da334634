//! Steady calls of a webhook while something happens to the cluster. Each call has an id of its own and is
//! sent once: what is not acknowledged may be recorded or not, but never twice.

use crate::account::Promised;
use crate::api::{Api, Posted};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A running load; [`Calls::stop`] ends it.
pub struct Calls {
    stop: Arc<AtomicBool>,
    promised: Arc<Mutex<Promised>>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

impl Calls {
    /// `workers` callers, each with this pause between an answer and its next call.
    pub fn start(api: &Api, hook: &str, workers: usize, pause: Duration) -> Calls {
        let stop = Arc::new(AtomicBool::new(false));
        let promised = Arc::new(Mutex::new(Promised::default()));
        let next = Arc::new(AtomicU64::new(0));
        let workers = (0..workers)
            .map(|_| {
                let (stop, promised, next) = (stop.clone(), promised.clone(), next.clone());
                let (api, hook) = (api.clone(), hook.to_string());
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let id = format!("{hook}-{}", next.fetch_add(1, Ordering::Relaxed));
                        note(&promised, &id, api.post(&hook, &id).await);
                        tokio::time::sleep(pause).await;
                    }
                })
            })
            .collect();
        Calls {
            stop,
            promised,
            workers,
        }
    }

    pub async fn stop(self) -> Promised {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            let _ = worker.await;
        }
        std::mem::take(&mut *self.promised.lock().expect("no holder panics"))
    }
}

fn note(promised: &Mutex<Promised>, id: &str, posted: Posted) {
    let mut promised = promised.lock().expect("no holder panics");
    match posted {
        Posted::Acknowledged => {
            promised.acknowledged.insert(id.to_string());
        }
        Posted::PutOff(..) => promised.put_off += 1,
        Posted::Unknown(why) => {
            promised.unknown.insert(id.to_string());
            promised.last_failure = Some(why);
        }
    }
}

/// What was sent until a call was put off.
pub struct Fill {
    pub promised: Promised,
    /// The number of the first call that was not sent.
    pub next: u64,
    /// The answer that ended it.
    pub refusal: Posted,
}

/// Calls until one is put off because too much waits.
pub async fn fill(api: &Api, hook: &str, workers: usize, within: Duration) -> anyhow::Result<Fill> {
    let promised = Arc::new(Mutex::new(Promised::default()));
    let refusal = Arc::new(Mutex::new(None));
    let next = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..workers)
        .map(|_| {
            let (promised, refusal, next) = (promised.clone(), refusal.clone(), next.clone());
            let (api, hook) = (api.clone(), hook.to_string());
            let until = Instant::now() + within;
            tokio::spawn(async move {
                while refusal.lock().expect("no holder panics").is_none() && Instant::now() < until
                {
                    let id = format!("{hook}-{}", next.fetch_add(1, Ordering::Relaxed));
                    let posted = api.post(&hook, &id).await;
                    note(&promised, &id, posted.clone());
                    match &posted {
                        Posted::PutOff(_, why) if why.contains("wait for the rules") => {
                            *refusal.lock().expect("no holder panics") = Some(posted);
                        }
                        // Its rate is another matter.
                        Posted::PutOff(pause, _) => tokio::time::sleep(*pause).await,
                        Posted::Acknowledged | Posted::Unknown(_) => {}
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        let _ = worker.await;
    }
    let promised = std::mem::take(&mut *promised.lock().expect("no holder panics"));
    let Some(refusal) = refusal.lock().expect("no holder panics").take() else {
        anyhow::bail!(
            "nothing was put off within {within:?}: {} acknowledged, {:?}",
            promised.acknowledged.len(),
            promised.last_failure
        );
    };
    Ok(Fill {
        promised,
        next: next.load(Ordering::Relaxed),
        refusal,
    })
}

/// These calls as fast as they are taken; whoever is put off comes back when it was told to.
pub async fn burst(api: &Api, hook: &str, numbers: Range<u64>, workers: usize) -> Promised {
    let promised = Arc::new(Mutex::new(Promised::default()));
    let next = Arc::new(AtomicU64::new(numbers.start));
    let workers: Vec<_> = (0..workers)
        .map(|_| {
            let (promised, next) = (promised.clone(), next.clone());
            let (api, hook) = (api.clone(), hook.to_string());
            let end = numbers.end;
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        return;
                    }
                    let id = format!("{hook}-{number}");
                    loop {
                        let posted = api.post(&hook, &id).await;
                        note(&promised, &id, posted.clone());
                        match posted {
                            Posted::PutOff(pause, _) => tokio::time::sleep(pause).await,
                            Posted::Acknowledged | Posted::Unknown(_) => break,
                        }
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        let _ = worker.await;
    }
    std::mem::take(&mut *promised.lock().expect("no holder panics"))
}
