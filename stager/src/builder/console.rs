//! What the user reads: phase lines, details, and the scripts' own output, line by line.

use std::io::Write;

/// Lines go out at once: the agent reads them from a pipe and sends them on.
pub struct Console {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
}

impl Console {
    pub fn new(out: Box<dyn Write>, err: Box<dyn Write>) -> Console {
        Console { out, err }
    }

    pub fn standard() -> Console {
        Console::new(Box::new(std::io::stdout()), Box::new(std::io::stderr()))
    }

    /// The beginning of a phase.
    pub fn phase(&mut self, text: &str) {
        self.stdout(format!("-----> {text}").as_bytes());
    }

    /// A detail of the phase.
    pub fn detail(&mut self, text: &str) {
        self.stdout(format!("       {text}").as_bytes());
    }

    /// A complaint.
    pub fn complain(&mut self, text: &str) {
        self.stderr(text.as_bytes());
    }

    /// A reader that went away is no reason to fail a build: the result file still tells.
    pub fn stdout(&mut self, line: &[u8]) {
        let _ = self
            .out
            .write_all(&[line, b"\n"].concat())
            .and_then(|()| self.out.flush());
    }

    pub fn stderr(&mut self, line: &[u8]) {
        let _ = self
            .err
            .write_all(&[line, b"\n"].concat())
            .and_then(|()| self.err.flush());
    }
}
