//! What the figures were measured on, and with.

use crate::statistics::{median, quantile};
use std::io::{Seek, Write};
use std::time::{Duration, Instant};

/// Synced writes that tell what the disk is like.
const WRITES: usize = 300;

/// Machine, kernel, profile and command, as a paragraph. To be asked before anything is measured: it
/// tells whether the machine had something else to do.
pub fn describe() -> anyhow::Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split(':').nth(1))
        .unwrap_or("unknown CPU")
        .trim()
        .to_string();
    let cores = std::thread::available_parallelism()
        .map(usize::from)
        .unwrap_or(0);
    let memory = read("/proc/meminfo")
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
        / 1024;
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_string();
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("unknown");
    let writes = synced_writes(WRITES)?;
    Ok(format!(
        "Machine: {cpu}, {cores} cores, {memory} GiB, kernel {kernel}; 4 KiB written and synced (`fdatasync`) in {:.2} ms (p99 {:.2} ms); load of the minute before: {load}. Profile: {}. Command: `make bench`.",
        median(&writes),
        quantile(&writes, 0.99),
        profile()
    ))
}

/// How this program, and those it measures, were built.
fn profile() -> &'static str {
    if cfg!(debug_assertions) {
        "dev (dependencies optimized a little, our own code not): not what a user would install"
    } else {
        "release (thin link-time optimization)"
    }
}

/// 4 KiB written and synced where clusters keep their state here, in milliseconds: what a durable
/// record costs at the least.
fn synced_writes(count: usize) -> anyhow::Result<Vec<f64>> {
    let mut file = tempfile::tempfile()?;
    let block = [0x55u8; 4096];
    let mut values = Vec::with_capacity(count);
    file.write_all(&block)?;
    file.sync_data()?;
    for _ in 0..count {
        file.rewind()?;
        let begun = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        values.push(milliseconds(begun.elapsed()));
    }
    Ok(values)
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
