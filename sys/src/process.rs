//! Forking, inherited descriptors and signal dispositions.

#![expect(unsafe_code, reason = "system calls that no library of ours offers")]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Mutex;

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    Parent { child: i32 },
    Child,
}

/// Forks a single-threaded process; refuses in any other, where the child could find locks held
/// for ever by threads it does not have.
pub fn fork() -> io::Result<Forked> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!(
            "fork is for single-threaded processes, this one has {threads} threads"
        )));
    }
    // SAFETY: the process has one thread, so the child's memory is consistent.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        child => Ok(Forked::Parent { child }),
    }
}

/// Ends the process at once: no destructors, no flushing. For the child of a [`fork`].
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Takes over a descriptor that the parent process left open under an agreed number, and closes
/// it for children of this process. Each number can be taken once.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    let mut taken = TAKEN
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if number < 3 || !taken.insert(number) {
        return Err(io::Error::other(format!(
            "descriptor {number} cannot be taken over (twice)"
        )));
    }
    // SAFETY: F_SETFD takes an integer and fails cleanly on a descriptor that is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, came from the parent process, and is handed out only here.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes `descriptor` number `number` in the program that `command` will start.
pub fn pass_descriptor(
    command: &mut Command,
    descriptor: OwnedFd,
    number: RawFd,
) -> io::Result<()> {
    // The standard library reports a failed start through a descriptor of its own, which must
    // not get our number: so either we occupy that number from now on, or it is taken already.
    let raw = nix::fcntl::fcntl(&descriptor, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(number))?;
    // SAFETY: the call just returned this new descriptor to us alone.
    let held = unsafe { OwnedFd::from_raw_fd(raw) };
    let pass = move || {
        let raw = held.as_raw_fd();
        let outcome = if raw == number {
            // SAFETY: an integer operation on a descriptor that the closure owns.
            unsafe { libc::fcntl(raw, libc::F_SETFD, 0) }
        } else {
            // SAFETY: both are plain numbers; whatever had the target number is the child's copy.
            unsafe { libc::dup2(raw, number) }
        };
        if outcome == -1 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    // SAFETY: the closure makes one async-signal-safe call and allocates nothing.
    unsafe { command.pre_exec(pass) };
    Ok(())
}

/// Restores the default handling of every signal and unblocks all: ignored and blocked signals
/// survive `exec`, and a Rust program ignores SIGPIPE.
pub fn reset_signals() {
    for number in 1..=64 {
        // SAFETY: setting the default disposition installs no code; SIGKILL, SIGSTOP and the
        // numbers reserved by the C library are refused, which is fine.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    let none = nix::sys::signal::SigSet::empty();
    // Cannot fail with a valid operation and set.
    let _ = none.thread_set_mask();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threaded_process_is_not_forked() {
        // The test harness itself has threads.
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        assert!(fork().is_err());
        drop(stop);
        let _ = thread.join();
    }

    #[test]
    fn a_descriptor_is_passed_under_its_number() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo through >&9"]);
        pass_descriptor(&mut command, write, 9).unwrap();
        assert!(command.status().unwrap().success());
        drop(command);
        let text = io::read_to_string(std::fs::File::from(read)).unwrap();
        assert_eq!(text, "through\n");
    }

    #[test]
    fn what_is_not_open_is_not_taken_over() {
        assert!(inherited(987).is_err());
        assert!(inherited(1).is_err());
    }
}
