//! What this machine has to offer.

use crate::domain::capacity::Resources;
use anyhow::Context;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Memory kept for the machine itself and Stackyard's own processes.
const RESERVE_MB: u64 = 512;

/// Totals as configured, else what the machine has: its memory less a reserve, four fifths of what
/// is free where the data folder is plus what this agent's own sandboxes hold there.
pub fn totals(
    memory_mb: Option<u64>,
    disk_mb: Option<u64>,
    folder: &Path,
) -> anyhow::Result<Resources> {
    let memory_mb = match memory_mb {
        Some(memory_mb) => memory_mb,
        None => {
            let text = std::fs::read_to_string("/proc/meminfo")
                .context("cannot read the machine's memory")?;
            megabytes(&text, "MemTotal:")
                .context("/proc/meminfo has no MemTotal")?
                .saturating_sub(RESERVE_MB)
        }
    };
    let disk_mb = match disk_mb {
        Some(disk_mb) => disk_mb,
        None => {
            let free = nix::sys::statvfs::statvfs(folder)
                .with_context(|| format!("cannot read the free space of {}", folder.display()))?;
            let bytes = free
                .blocks_available()
                .saturating_mul(free.fragment_size())
                .saturating_add(held_below(&folder.join("sandboxes")));
            (bytes >> 20) / 5 * 4
        }
    };
    Ok(Resources { memory_mb, disk_mb })
}

/// Bytes that files below a folder really take. What is adopted is counted as reserved, so it must
/// count as offered too.
fn held_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let held = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => held_below(&entry.path()),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    });
    held.sum()
}

/// What is really left now: memory that programs can have, and disk where the data folder is.
pub fn left(folder: &Path) -> anyhow::Result<Resources> {
    let text =
        std::fs::read_to_string("/proc/meminfo").context("cannot read the machine's memory")?;
    let memory_mb =
        megabytes(&text, "MemAvailable:").context("/proc/meminfo has no MemAvailable")?;
    let free = nix::sys::statvfs::statvfs(folder)
        .with_context(|| format!("cannot read the free space of {}", folder.display()))?;
    let bytes = free.blocks_available().saturating_mul(free.fragment_size());
    Ok(Resources {
        memory_mb,
        disk_mb: bytes >> 20,
    })
}

fn megabytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes >> 10)
}

pub fn cores() -> u32 {
    std::thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

/// Changes with every boot of the machine.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read_in_megabytes() {
        assert_eq!(
            megabytes("MemTotal:       24684000 kB\nMemFree: 1 kB\n", "MemTotal:"),
            Some(24105)
        );
        assert_eq!(megabytes("nothing", "MemTotal:"), None);
    }

    #[test]
    fn what_is_configured_counts() {
        let totals = totals(Some(7), Some(9), Path::new("/nowhere")).expect("nothing is read");
        assert_eq!((totals.memory_mb, totals.disk_mb), (7, 9));
    }
}
