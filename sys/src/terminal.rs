//! Pseudo-terminals: their size, and becoming the one that controls a session.

#![expect(unsafe_code, reason = "system calls that no library of ours offers")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};

/// Both ends of a new terminal of this mount namespace, closed on exec: the one that a user's side reads and
/// writes, and the one for the programs.
pub fn open(columns: u16, rows: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let ends = openpty(&size(columns, rows), None)?;
    for end in [&ends.master, &ends.slave] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    Ok((ends.master, ends.slave))
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// Tells the terminal its size; the kernel tells the programs.
pub fn resize(terminal: impl AsFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = size(columns, rows);
    let number = terminal.as_fd().as_raw_fd();
    // SAFETY: the request reads one such structure, which lives until the call returns.
    match unsafe { libc::ioctl(number, libc::TIOCSWINSZ, &raw const size) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Makes the terminal the controlling one of this process, which must lead a session without one.
pub fn control(terminal: impl AsFd) -> io::Result<()> {
    let number = terminal.as_fd().as_raw_fd();
    // SAFETY: the request takes a number.
    match unsafe { libc::ioctl(number, libc::TIOCSCTTY, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    #[test]
    fn a_terminal_echoes_and_carries() {
        let (user, program) = open(80, 24).unwrap();
        resize(&user, 100, 30).unwrap();
        let (mut user, mut program) = (File::from(user), File::from(program));
        user.write_all(b"word\n").unwrap();
        let mut line = [0; 16];
        let length = program.read(&mut line).unwrap();
        assert_eq!(&line[..length], b"word\n");
        let length = user.read(&mut line).unwrap();
        assert!(line[..length].starts_with(b"word"), "the terminal echoes");
        assert!(resize(File::open("/dev/null").unwrap(), 1, 1).is_err());
    }
}
