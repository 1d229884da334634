//! Processes started with nothing around them.

use crate::machine::milliseconds;
use anyhow::ensure;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What `python3` is here; a version manager's shim would cost more than the interpreter.
pub const PYTHON: &str = "/usr/bin/python3";

/// From start to exit of a shell that prints a word, in milliseconds.
pub fn shells(count: usize) -> anyhow::Result<Vec<f64>> {
    timed(count, "/bin/sh", "echo hi")
}

/// From start to exit of an interpreter that has loaded what most actions load, in milliseconds.
pub fn pythons(count: usize) -> anyhow::Result<Vec<f64>> {
    timed(count, PYTHON, "import json,yaml")
}

fn timed(count: usize, program: &str, script: &str) -> anyhow::Result<Vec<f64>> {
    (0..count)
        .map(|_| {
            let begun = Instant::now();
            let status = Command::new(program)
                .args(["-c", script])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            ensure!(status.success(), "{program} -c '{script}' failed: {status}");
            Ok(milliseconds(begun.elapsed()))
        })
        .collect()
}

/// Now, on the clock that Python's `time` reads.
pub fn unix_nanos() -> i128 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}
