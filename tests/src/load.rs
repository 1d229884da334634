//! Steady requests through the router while something happens to the cluster: what matters is how
//! many failed, and how.

use crate::Cluster;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A running load; [`Load::stop`] ends it.
pub struct Load {
    stop: Arc<AtomicBool>,
    shared: Arc<Shared>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    answered: AtomicU64,
    failures: Mutex<Vec<(Duration, String)>>,
    bodies: Mutex<BTreeMap<String, u64>>,
    took: Mutex<Vec<Duration>>,
}

/// What a load saw.
#[derive(Debug, Clone)]
pub struct Seen {
    pub answered: u64,
    /// When (since the start) and how.
    pub failures: Vec<(Duration, String)>,
    /// First lines of the answers, counted.
    pub bodies: BTreeMap<String, u64>,
    pub slowest: Duration,
    /// What each request took, the quickest first.
    pub took: Vec<Duration>,
}

impl Seen {
    /// So much of the requests (0.99) took no longer than this.
    pub fn percentile(&self, part: f64) -> Duration {
        percentile(&self.took, part)
    }

    /// Fails if any request did, or if there were hardly any.
    pub fn without_failure(&self, at_least: u64) -> anyhow::Result<()> {
        if !self.failures.is_empty() {
            anyhow::bail!(
                "{} of {} requests failed, first: {:?}",
                self.failures.len(),
                self.answered,
                &self.failures[..self.failures.len().min(5)]
            );
        }
        if self.answered < at_least {
            anyhow::bail!(
                "only {} requests were answered, at least {at_least} were expected",
                self.answered
            );
        }
        Ok(())
    }
}

/// So much of these times, the shortest first, are no longer than this.
pub(crate) fn percentile(took: &[Duration], part: f64) -> Duration {
    let at = (took.len() as f64 * part).ceil() as usize;
    let at = at.clamp(1, took.len().max(1)) - 1;
    took.get(at).copied().unwrap_or_default()
}

impl Load {
    /// `workers` clients with keep-alive, each sending a request every 10 ms.
    pub fn start(cluster: &Cluster, host: &str, path: &str, workers: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared::default());
        let begin = Instant::now();
        let workers = (0..workers)
            .map(|_| {
                let (stop, shared) = (stop.clone(), shared.clone());
                let url = format!("http://127.0.0.1:{}{path}", cluster.port);
                let host = format!("{host}:{}", cluster.port);
                tokio::spawn(async move {
                    let client = reqwest::Client::builder()
                        .no_proxy()
                        .build()
                        .expect("a client without options");
                    while !stop.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        let outcome = client
                            .get(&url)
                            .header("Host", &host)
                            .timeout(Duration::from_secs(20))
                            .send()
                            .await;
                        let outcome = match outcome {
                            Ok(response) => {
                                let status = response.status();
                                match response.text().await {
                                    Ok(body) if status == 200 => Ok(body),
                                    Ok(body) => Err(format!(
                                        "{status}: {}",
                                        body.lines().next().unwrap_or_default()
                                    )),
                                    Err(error) => Err(chain(&error)),
                                }
                            }
                            Err(error) => Err(chain(&error)),
                        };
                        match outcome {
                            Ok(body) => {
                                shared.answered.fetch_add(1, Ordering::Relaxed);
                                let line = body.lines().next().unwrap_or_default().to_string();
                                *shared
                                    .bodies
                                    .lock()
                                    .expect("no holder panics")
                                    .entry(line)
                                    .or_default() += 1;
                            }
                            Err(failure) => shared
                                .failures
                                .lock()
                                .expect("no holder panics")
                                .push((begin.elapsed(), failure)),
                        }
                        shared
                            .took
                            .lock()
                            .expect("no holder panics")
                            .push(start.elapsed());
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                })
            })
            .collect();
        Load {
            stop,
            shared,
            workers,
        }
    }

    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    pub fn failed(&self) -> usize {
        self.shared.failures.lock().expect("no holder panics").len()
    }

    pub async fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            let _ = worker.await;
        }
        let mut took = self.shared.took.lock().expect("no holder panics").clone();
        took.sort();
        Seen {
            answered: self.shared.answered.load(Ordering::Relaxed),
            failures: self
                .shared
                .failures
                .lock()
                .expect("no holder panics")
                .clone(),
            bodies: self.shared.bodies.lock().expect("no holder panics").clone(),
            slowest: took.last().copied().unwrap_or_default(),
            took,
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let seen = |millis: std::ops::Range<u64>| Seen {
            answered: 0,
            failures: Vec::new(),
            bodies: BTreeMap::new(),
            slowest: Duration::ZERO,
            took: millis.map(Duration::from_millis).collect(),
        };
        assert_eq!(seen(1..101).percentile(0.99), Duration::from_millis(99));
        assert_eq!(seen(1..11).percentile(0.99), Duration::from_millis(10));
        assert_eq!(seen(1..2).percentile(0.5), Duration::from_millis(1));
        assert_eq!(seen(1..1).percentile(0.99), Duration::ZERO);
    }
}
