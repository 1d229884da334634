//! Forking, inherited descriptors and signal dispositions.

#![expect(unsafe_code, reason = "system calls that no library of ours offers")]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

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

/// Forks a single-threaded process for a child that keeps one descriptor (as number 3) and the standard
/// ones, and nothing else. `life` is all that the child does; what it returns is its exit status. It is a
/// plain function, so that it cannot bring along a descriptor that is closed by then.
pub fn fork_keeping(keep: &OwnedFd, life: fn(OwnedFd) -> i32) -> io::Result<i32> {
    const KEPT: RawFd = 3;
    match fork()? {
        Forked::Parent { child } => Ok(child),
        Forked::Child => {
            if keep.as_raw_fd() != KEPT {
                // SAFETY: plain numbers. Whoever owns number 3 in this copy is never reached again: the
                // child ends without returning from here.
                let kept = unsafe { libc::dup3(keep.as_raw_fd(), KEPT, libc::O_CLOEXEC) };
                if kept == -1 {
                    exit_now(1);
                }
            }
            // SAFETY: as above, for all the others.
            unsafe { libc::syscall(libc::SYS_close_range, KEPT + 1, libc::c_uint::MAX, 0) };
            // SAFETY: it is open, and its owner in this copy is never reached again.
            let kept = unsafe { OwnedFd::from_raw_fd(KEPT) };
            exit_now(life(kept))
        }
    }
}

/// Receives bytes and the descriptors that came with them, closed on exec. No bytes: the peer ended.
pub fn receive_with_descriptors(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    most: usize,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    // SAFETY: computes a size.
    let space = unsafe { libc::CMSG_SPACE((most * size_of::<RawFd>()) as libc::c_uint) };
    let mut control = vec![0; space as usize];
    let mut parts = [io::IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let mut descriptors = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            for number in numbers {
                // SAFETY: the kernel has just made this descriptor for us alone.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    Ok((received.bytes, descriptors))
}

/// Sends bytes and, with the first of them, a descriptor. Returns how many bytes went.
pub fn send_with_descriptor(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    passed: BorrowedFd<'_>,
) -> io::Result<usize> {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let numbers = [passed.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&numbers)];
    let parts = [io::IoSlice::new(bytes)];
    loop {
        let flags = MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<()>(socket.as_raw_fd(), &parts, &control, flags, None) {
            Err(nix::errno::Errno::EINTR) => {}
            sent => return Ok(sent?),
        }
    }
}

/// A child that has ended, and what it and those it waited for used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub pid: i32,
    /// Its exit status; `None`: a signal ended it.
    pub status: Option<i32>,
    pub signal: Option<i32>,
    pub cpu: Duration,
    pub most_memory_bytes: u64,
}

/// Takes in a child that has ended. `None`: none has, and `patient` was not asked for. The error of having no
/// children at all is `ECHILD`.
pub fn wait_for_any(patient: bool) -> io::Result<Option<Ended>> {
    let flags = if patient { 0 } else { libc::WNOHANG };
    let mut status = 0;
    // SAFETY: a structure of numbers, for which zeros are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let pid = loop {
        // SAFETY: both are written to by the call only.
        let pid = unsafe { libc::wait4(-1, &raw mut status, flags, &raw mut usage) };
        if pid != -1 {
            break pid;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    let time = |of: libc::timeval| {
        let micros = u64::try_from(of.tv_usec).unwrap_or(0);
        Duration::from_secs(u64::try_from(of.tv_sec).unwrap_or(0)) + Duration::from_micros(micros)
    };
    Ok((pid != 0).then(|| Ended {
        pid,
        status: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        most_memory_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) << 10,
    }))
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
