//! How a command fails: an exit code that scripts can rely on, one line saying what failed, and
//! what to do about it.
//!
//! A failure is made where the meaning is known (the client knows that a login ran out, `push`
//! knows that staging failed) and printed once, in `main`. Its causes are kept and shown only with
//! `--verbose`. A closed pipe (`yard logs app | head`) is a failure too, one that says nothing:
//! the reader went away on purpose.

use std::error::Error;
use std::fmt;

/// What the process exits with. Numbers are part of the interface: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Failed,
    Usage,
    NotAllowed,
    Unreachable,
    AppDown,
    StagingFailed,
    NotFound,
    TimedOut,
    MachineNotReady,
    /// What a command exited with that was run for the user; 1 to 255.
    Command(u8),
    /// The same of one that the user watched: it said itself why.
    Watched(u8),
    /// The reader of our output went away.
    PipeClosed,
}

/// Lines repeated below an error.
pub const LAST_LINES: usize = 20;

/// Shown by `yard help exit-codes` and at the end of `yard --help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the operation failed
  2  wrong usage: unknown option, missing argument, unreadable manifest
  3  not logged in, or not allowed
  4  the cluster cannot be reached
  5  the app crashed or did not start
  6  staging failed
  7  no such app, route, space or setting; no such pack, action, rule or the like
  8  it took too long
  9  this machine is not ready for a cluster (see `yard doctor`)
`yard ssh APP -c COMMAND` exits with the status of the command.
`yard run APP -- COMMAND` exits with what the command exited with, 130 after an interrupt.";

impl Code {
    /// Whether there is nothing to say about it.
    pub fn is_silent(self) -> bool {
        matches!(self, Code::PipeClosed | Code::Watched(_))
    }

    pub fn number(self) -> u8 {
        match self {
            Code::PipeClosed => 0,
            Code::Failed => 1,
            Code::Usage => 2,
            Code::NotAllowed => 3,
            Code::Unreachable => 4,
            Code::AppDown => 5,
            Code::StagingFailed => 6,
            Code::NotFound => 7,
            Code::TimedOut => 8,
            Code::MachineNotReady => 9,
            Code::Command(status) | Code::Watched(status) => status,
        }
    }
}

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    pub code: Code,
    /// The operation and its object, and why; no full stop at the end.
    pub what: String,
    /// What the user can do.
    pub fix: Option<String>,
    /// The last lines of what failed, for readers of standard error.
    pub lines: Vec<String>,
    pub cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    pub fn new(code: Code, what: impl Into<String>) -> Failure {
        Failure {
            code,
            what: what.into(),
            fix: None,
            lines: Vec::new(),
            cause: None,
        }
    }

    pub fn failed(what: impl Into<String>) -> Failure {
        Failure::new(Code::Failed, what)
    }

    pub fn usage(what: impl Into<String>) -> Failure {
        Failure::new(Code::Usage, what)
    }

    /// The reader of our output went away.
    pub fn pipe_closed() -> Failure {
        Failure::new(Code::PipeClosed, "the output was closed")
    }

    pub fn fix(mut self, fix: impl Into<String>) -> Failure {
        self.fix = Some(fix.into());
        self
    }

    /// What the failed thing said last; at most [`LAST_LINES`] are kept.
    pub fn last_lines(mut self, lines: Vec<String>) -> Failure {
        let from = lines.len().saturating_sub(LAST_LINES);
        self.lines = lines.into_iter().skip(from).collect();
        self
    }

    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        self.cause = Some(cause.into());
        self
    }

    /// Puts the operation in front: `create the app shop: <what>`.
    pub fn doing(mut self, operation: impl fmt::Display) -> Failure {
        self.what = format!("{operation}: {}", self.what);
        self
    }

    /// For programs: what `--json` prints instead of a result.
    pub fn document(&self) -> serde_json::Value {
        serde_json::json!({ "error": {
            "exit_code": self.code.number(),
            "message": self.what,
            "fix": self.fix,
            "last_lines": self.lines,
        } })
    }

    /// For people: one line, the last lines of what failed, the fix; the chain of causes below if
    /// asked for.
    pub fn render(&self, verbose: bool) -> String {
        let mut text = format!("error: {}\n", one_line(&self.what));
        for line in &self.lines {
            text.push_str(&format!("  | {}\n", line.trim_end()));
        }
        if let Some(fix) = &self.fix {
            text.push_str(&format!("  try: {fix}\n"));
        }
        if verbose {
            let mut cause: Option<&(dyn Error + 'static)> =
                self.cause.as_ref().map(|cause| cause.as_ref() as _);
            while let Some(error) = cause {
                text.push_str(&format!("  because: {error}\n"));
                cause = error.source();
            }
        }
        text
    }
}

/// Messages from elsewhere may hold line breaks; ours are one line unless they are short lists.
fn one_line(text: &str) -> String {
    text.trim_end().replace('\n', "\n  ")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| cause.as_ref() as _)
    }
}

/// Only writing to standard output uses this: every other I/O error is given its operation.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::pipe_closed();
        }
        Failure::failed(format!("write to standard output: {error}"))
    }
}

pub type Outcome<T = ()> = Result<T, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_what_is_documented() {
        for (code, number) in [
            (Code::Failed, 1),
            (Code::Usage, 2),
            (Code::NotAllowed, 3),
            (Code::Unreachable, 4),
            (Code::AppDown, 5),
            (Code::StagingFailed, 6),
            (Code::NotFound, 7),
            (Code::TimedOut, 8),
            (Code::MachineNotReady, 9),
        ] {
            assert_eq!(code.number(), number);
            assert!(
                EXIT_CODES.contains(&format!("\n  {number}  ")),
                "{number} is not documented"
            );
        }
        assert_eq!(
            Code::PipeClosed.number(),
            0,
            "`yard logs app | head` is no failure"
        );
    }

    #[test]
    fn the_last_lines_stand_between_the_error_and_what_to_do() {
        let lines = (1..=30).map(|number| format!("line {number}")).collect();
        let failure = Failure::new(Code::StagingFailed, "staging shop failed")
            .fix("read")
            .last_lines(lines);
        let text = failure.render(false);
        assert!(
            text.starts_with("error: staging shop failed\n  | line 11\n"),
            "{text}"
        );
        assert!(text.ends_with("  | line 30\n  try: read\n"), "{text}");
        let document = failure.document();
        assert_eq!(document["error"]["exit_code"], 6);
        assert_eq!(document["error"]["last_lines"][19], "line 30");
    }

    #[test]
    fn the_chain_is_shown_only_when_asked_for() {
        let failure = Failure::failed("refused")
            .doing("start the app shop")
            .fix("look at `yard logs shop`")
            .because("deep reason");
        assert_eq!(
            failure.render(false),
            "error: start the app shop: refused\n  try: look at `yard logs shop`\n"
        );
        assert!(failure.render(true).contains("because: deep reason"));
    }
}
