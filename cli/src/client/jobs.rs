//! Waiting for what goes on after its request was answered.

use super::{Client, Reply};
use crate::failure::{Code, Failure, Outcome};
use proto::api::Job;
use reqwest::Method;
use std::time::Duration;

/// First polls are quick, because most things take milliseconds; later ones spare the server.
#[derive(Debug, Clone)]
pub struct Pace {
    next: Duration,
}

impl Pace {
    const FIRST: Duration = Duration::from_millis(20);
    const SLOWEST: Duration = Duration::from_millis(500);

    pub fn new() -> Pace {
        Pace { next: Pace::FIRST }
    }

    pub fn step(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 3 / 2).min(Pace::SLOWEST);
        wait
    }
}

impl Default for Pace {
    fn default() -> Self {
        Pace::new()
    }
}

impl Client {
    /// Follows the job an answer points to; gives back its warnings. No job: it was done at once.
    pub async fn finish(&self, reply: &Reply, within: Duration) -> Outcome<Vec<String>> {
        let Some(location) = &reply.location else {
            return Ok(Vec::new());
        };
        let url = self.own_url(location);
        let deadline = tokio::time::Instant::now() + within;
        let mut pace = Pace::new();
        loop {
            let job: Job = self
                .call(Method::GET, &url, |request| request)
                .await?
                .json("/v3/jobs")?;
            match job.state.as_str() {
                "COMPLETE" => {
                    return Ok(job
                        .warnings
                        .into_iter()
                        .map(|warning| warning.detail)
                        .collect());
                }
                "FAILED" => {
                    let details: Vec<String> =
                        job.errors.into_iter().map(|error| error.detail).collect();
                    let what = if details.is_empty() {
                        format!("the job {} failed without a reason", job.operation)
                    } else {
                        details.join("\n")
                    };
                    return Err(Failure::failed(what));
                }
                _ if tokio::time::Instant::now() >= deadline => {
                    return Err(Failure::new(
                        Code::TimedOut,
                        format!(
                            "the job {} ({}) is not done after {}s",
                            job.operation,
                            job.guid,
                            within.as_secs()
                        ),
                    )
                    .fix("`yard status` may say what it waits for"));
                }
                _ => tokio::time::sleep(pace.step()).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_start_fast_and_grow_slow() {
        let mut pace = Pace::new();
        let waits: Vec<u128> = std::iter::repeat_with(|| pace.step().as_millis())
            .take(12)
            .collect();
        assert_eq!(waits[0], 20);
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(*waits.last().expect("twelve of them"), 500);
    }
}
