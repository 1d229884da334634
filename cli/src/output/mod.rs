//! Everything `yard` prints goes through here, so that `--json` can promise one document and
//! nothing else on standard output, and so that a closed pipe ends the command quietly.
//!
//! | | people | `--json` |
//! |---|---|---|
//! | result ([`Output::show`]) | text on stdout | document on stdout |
//! | what is going on ([`Output::say`]) | stdout | stderr |
//! | warnings ([`Output::warn`]) | stderr | stderr |

pub mod human;
pub mod progress;
pub mod table;

use crate::failure::Outcome;
use serde::Serialize;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Resolves when whoever read our standard output went away. A stream that is quiet would learn of
/// it only with its next line, and `yard logs app | head` would wait for that. What is no pipe and
/// no socket never tells.
pub async fn reader_gone() {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    const LOOK: std::time::Duration = std::time::Duration::from_millis(300);
    loop {
        let gone = {
            let stdout = std::io::stdout();
            let mut looked_at = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
            let told = poll(&mut looked_at, PollTimeout::ZERO).is_ok_and(|number| number > 0);
            told && looked_at[0]
                .revents()
                .is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP))
        };
        if gone {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether standard output has its document. A command that fails after it printed its result
/// (`doctor`, for one) must not print a second one.
static DOCUMENT_WRITTEN: AtomicBool = AtomicBool::new(false);

#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub json: bool,
    /// Colours on standard output.
    pub color: bool,
    /// Standard error is a terminal: progress may be redrawn.
    pub live: bool,
}

impl Output {
    pub fn new(json: bool) -> Output {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Output {
            json,
            color: !json && !plain && std::io::stdout().is_terminal(),
            live: std::io::stderr().is_terminal() && std::env::var_os("CI").is_none(),
        }
    }

    /// The result of a command.
    pub fn show<T: Serialize>(&self, document: &T, people: impl FnOnce(&T) -> String) -> Outcome {
        if self.json {
            return self.document(document);
        }
        let text = people(document);
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.is_empty() && !text.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        Ok(stdout.flush()?)
    }

    /// The document of a failure, unless there was one already.
    pub fn error_document(document: &serde_json::Value) {
        if DOCUMENT_WRITTEN.load(Ordering::Relaxed) {
            return;
        }
        // Standard error has the same in words; if this one is closed, so be it.
        let _ = writeln!(std::io::stdout(), "{document:#}");
    }

    pub fn document<T: Serialize>(&self, document: &T) -> Outcome {
        DOCUMENT_WRITTEN.store(true, Ordering::Relaxed);
        let mut text = serde_json::to_vec_pretty(document).map_err(|error| {
            crate::failure::Failure::failed("write the result as JSON").because(error)
        })?;
        text.push(b'\n');
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&text)?;
        Ok(stdout.flush()?)
    }

    /// One document of a stream, on a line of its own.
    pub fn record<T: Serialize>(&self, document: &T) -> Outcome {
        let mut text = serde_json::to_vec(document).map_err(|error| {
            crate::failure::Failure::failed("write the result as JSON").because(error)
        })?;
        text.push(b'\n');
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&text)?;
        Ok(stdout.flush()?)
    }

    /// What is going on, while it goes on.
    pub fn say(&self, text: impl Display) -> Outcome {
        if self.json {
            let _ = writeln!(std::io::stderr(), "{text}");
            return Ok(());
        }
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{text}")?;
        Ok(stdout.flush()?)
    }

    pub fn warn(&self, text: impl Display) {
        // Nobody is left to tell if this fails.
        let _ = writeln!(std::io::stderr(), "warning: {text}");
    }

    /// Wraps in a colour if there are colours.
    pub fn paint(&self, color: Color, text: impl Display) -> String {
        if self.color {
            format!("\x1b[{}m{text}\x1b[0m", color.code())
        } else {
            text.to_string()
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    Good,
    Bad,
    Careful,
    Quiet,
    Strong,
}

impl Color {
    fn code(self) -> &'static str {
        match self {
            Color::Good => "32",
            Color::Bad => "31",
            Color::Careful => "33",
            Color::Quiet => "2",
            Color::Strong => "1",
        }
    }
}
