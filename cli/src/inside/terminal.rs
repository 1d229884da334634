//! The user's own terminal, while a shell of an instance has it.

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::io::IsTerminal;

/// Columns and rows; of a terminal that does not say, what terminals had.
pub fn size() -> (u32, u32) {
    match terminal_size::terminal_size() {
        Some((width, height)) => (width.0.into(), height.0.into()),
        None => (80, 24),
    }
}

pub fn is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Every key goes to the other side as it is pressed, until this is dropped.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// None: standard input is no terminal.
    pub fn begin() -> Option<Raw> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw).ok()?;
        Some(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.before);
    }
}
