//! Seeing when an action begins: it writes a number into a named pipe as its first act, and a
//! thread here reads.
//!
//! The pipe is in the sandbox, which has files of its own; we reach it through a process that lives
//! there. So the time includes the reader's wake-up, and no program that the action would have to
//! start in order to tell the time.

use anyhow::Context;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub struct Pipe {
    lines: Receiver<(String, Instant)>,
}

impl Pipe {
    /// Opens a pipe that an action has made in its sandbox, under a name that nobody else uses.
    pub fn open(inside: &str) -> anyhow::Result<Pipe> {
        let path = find(inside).with_context(|| format!("no sandbox has the pipe {inside}"))?;
        // Open for writing too, so that the end of one action is not the end of the pipe.
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        let (sender, lines) = channel();
        // Ends with the process: a read cannot be interrupted.
        std::thread::spawn(move || {
            for line in BufReader::new(file).lines() {
                let Ok(line) = line else { return };
                if sender.send((line, Instant::now())).is_err() {
                    return;
                }
            }
        });
        Ok(Pipe { lines })
    }

    /// When this line arrived.
    pub fn arrival(&self, wanted: &str, within: Duration) -> anyhow::Result<Instant> {
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let (line, at) = self
                .lines
                .recv_timeout(left)
                .with_context(|| format!("no action wrote {wanted:?} within {within:?}"))?;
            if line == wanted {
                return Ok(at);
            }
        }
    }
}

fn find(inside: &str) -> Option<PathBuf> {
    std::fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().parse::<u32>().is_ok()
        })
        .map(|entry| PathBuf::from(format!("{}/root{inside}", entry.path().display())))
        .find(|path| path.symlink_metadata().is_ok())
}
