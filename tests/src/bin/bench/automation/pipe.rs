//! Seeing when an action begins: it writes a number into a named pipe as its first act, and a
//! thread here reads.
//!
//! The pipe is in the sandbox, which has files of its own; we reach it through a process that lives
//! there. So the time includes the reader's wake-up, and no program that the action would have to
//! start in order to tell the time.

use anyhow::Context;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// No action writes it: it ends the reader.
const END: &str = "end";

pub struct Pipe {
    lines: Receiver<(String, Instant)>,
    writer: File,
    reader: Option<JoinHandle<()>>,
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
        let writer = file.try_clone()?;
        let (sender, lines) = channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(file).lines() {
                let Ok(line) = line else { return };
                if line == END || sender.send((line, Instant::now())).is_err() {
                    return;
                }
            }
        });
        Ok(Pipe {
            lines,
            writer,
            reader: Some(reader),
        })
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

/// While it is open, the disk of the sandbox cannot go.
impl Drop for Pipe {
    fn drop(&mut self) {
        if writeln!(self.writer, "{END}").is_ok()
            && let Some(reader) = self.reader.take()
        {
            let _ = reader.join();
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
