//! Runs named tests one after the other against a shared subject, prints what `cargo test` would,
//! and always lets the subject be taken down.

use crate::{Cluster, Options};
use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

/// A test: its name reads as a sentence.
pub struct Test<S> {
    pub name: &'static str,
    pub run: for<'a> fn(&'a S) -> LocalBoxFuture<'a, anyhow::Result<()>>,
}

/// Declares tests from async functions that take the shared subject by reference.
#[macro_export]
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        vec![$($crate::runner::Test { name: stringify!($name), run: |subject| Box::pin($name(subject)) }),+]
    };
}

/// How a run ended.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub filtered: usize,
}

impl Tally {
    /// Counts one outcome and prints it. Whether it was a success.
    pub fn note(&mut self, test: &str, outcome: anyhow::Result<()>) -> bool {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("test {test} ... ok");
                true
            }
            Err(error) => {
                self.failed += 1;
                println!("test {test} ... FAILED\n    {error:#}");
                false
            }
        }
    }

    pub fn print(&self) {
        let verdict = if self.failed == 0 { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out",
            self.passed, self.failed, self.filtered
        );
    }
}

/// A whole test program. Ends the process with status 1 if anything failed.
pub fn suite(title: &str, work: impl AsyncFnOnce(&mut Tally)) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut tally = Tally::default();
    println!("\nrunning {title}");
    runtime.block_on(work(&mut tally));
    tally.print();
    if tally.failed > 0 {
        std::process::exit(1);
    }
}

/// Starts a cluster, lends it to `work`, and takes it down whatever came of that.
pub async fn with_cluster(
    tally: &mut Tally,
    work: impl AsyncFnOnce(Cluster, &mut Tally) -> Cluster,
) {
    with_cluster_of(Options::default(), tally, work).await;
}

/// The same with a cluster of another make.
pub async fn with_cluster_of(
    options: Options,
    tally: &mut Tally,
    work: impl AsyncFnOnce(Cluster, &mut Tally) -> Cluster,
) {
    let cluster = match Cluster::start(options).await {
        Ok(cluster) => cluster,
        Err(error) => {
            tally.note("the_cluster_comes_up", Err(error));
            return;
        }
    };
    let cluster = work(cluster, tally).await;
    if tally.failed > 0 {
        cluster.print_logs();
    }
    tally.note("destroy_leaves_nothing", cluster.destroy().await);
}

/// Says loudly that something could not be looked at here.
pub fn skipped(what: &str, why: &str) {
    println!("SKIPPED {what}: {why}");
}

/// The words of the command line that are no flags: a test runs if its name contains one of them.
pub fn filters() -> Vec<String> {
    std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect()
}

/// Runs those tests that the command line names (all, if none).
pub async fn run<S>(subject: &S, tests: Vec<Test<S>>, tally: &mut Tally) {
    run_and_clean(subject, tests, tally, async |_| Ok(())).await;
}

/// The same; `clean` removes what a test left in the subject, whether it passed or not.
pub async fn run_and_clean<S>(
    subject: &S,
    tests: Vec<Test<S>>,
    tally: &mut Tally,
    clean: impl AsyncFn(&S) -> anyhow::Result<()>,
) {
    let filters = filters();
    for test in tests {
        if !filters.is_empty()
            && !filters
                .iter()
                .any(|filter| test.name.contains(filter.as_str()))
        {
            tally.filtered += 1;
            continue;
        }
        let start = Instant::now();
        let outcome = AssertUnwindSafe((test.run)(subject)).catch_unwind().await;
        let seconds = start.elapsed().as_secs_f64();
        let outcome = match (outcome, clean(subject).await) {
            (Ok(Ok(())), cleaned) => Ok(cleaned.context("what it left cannot be removed")),
            (outcome, Ok(())) => outcome,
            (outcome, Err(error)) => {
                println!("    what it left cannot be removed: {error:#}");
                outcome
            }
        };
        match outcome {
            Ok(Ok(())) => {
                tally.passed += 1;
                println!("test {} ... ok ({seconds:.1} s)", test.name);
            }
            Ok(Err(error)) => {
                tally.failed += 1;
                println!(
                    "test {} ... FAILED ({seconds:.1} s)\n    {error:#}",
                    test.name
                );
            }
            Err(_) => {
                tally.failed += 1;
                println!(
                    "test {} ... FAILED ({seconds:.1} s): it panicked",
                    test.name
                );
            }
        }
    }
}
