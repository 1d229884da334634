//! The harness: whole clusters from real parts, in a folder, on ports and under a domain of their
//! own, driven by `yard` as a user would, and checked to leave nothing behind.
//!
//! A suite is a program with `harness = false` whose tests share one cluster ([`runner`]): starting
//! a cluster costs seconds, a test of a pushed app should not.

#![expect(clippy::print_stdout, reason = "a test runner speaks to its user")]
#![expect(clippy::disallowed_methods, reason = "a harness has no supervisor")]

pub mod agents;
pub mod apps;
pub mod authority;
pub mod automation;
pub mod barrage;
pub mod cluster;
pub mod inside;
pub mod leftovers;
pub mod load;
pub mod runner;
pub mod simulator;
pub mod trials;

pub use cluster::{Cluster, Options, Output};
pub use load::Load;

use std::time::{Duration, Instant};

/// Asks again until the answer is `Ok`, for at most `within`; then fails with the last answer.
pub async fn eventually<T, F, Fut>(what: &str, within: Duration, mut ask: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<T>>,
{
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(value) => return Ok(value),
            Err(last) if start.elapsed() >= within => {
                anyhow::bail!("{what}: not within {within:?}; last: {last:#}");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
}
