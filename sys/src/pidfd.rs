//! Descriptors of other processes and out of them.
//!
//! The node keeps the listening sockets of its daemons open over their restarts. A node that was
//! itself restarted finds them only in the daemons that still run, and copies them from there.

#![expect(unsafe_code, reason = "system calls that no library of ours offers")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A descriptor of the process; it becomes readable when the process ends.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    taken(|| {
        // SAFETY: both arguments are numbers; a new descriptor or an error comes back.
        unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }
    })
}

/// A copy of descriptor `number` of the process `pid`: the same open socket or file. Needs the
/// right to trace that process (root has it).
pub fn copy_from(pid: u32, number: RawFd) -> io::Result<OwnedFd> {
    let process = open(pid)?;
    taken(|| {
        // SAFETY: `process` is open for the time of the call, the others are numbers.
        unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) }
    })
}

/// Sends a signal to the process behind the descriptor, and to no other: unlike a number, it cannot
/// come to mean somebody else.
pub fn send_signal(process: &OwnedFd, signal: i32) -> io::Result<()> {
    let no_details: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open for the time of the call; without details the kernel fills in
    // those of an ordinary kill.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal,
            no_details,
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn taken(call: impl FnOnce() -> libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(call()) {
        // SAFETY: the kernel has just made this descriptor for us, close-on-exec.
        Ok(number) if number >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        Ok(_) => Err(io::Error::last_os_error()),
        Err(error) => Err(io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_signal_reaches_its_process_and_nobody_after_its_death() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep starts");
        let process = open(child.id()).expect("it runs");
        send_signal(&process, libc::SIGKILL).expect("it runs");
        let status = child.wait().expect("it ends");
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(libc::SIGKILL)
        );
        let error = send_signal(&process, libc::SIGKILL).expect_err("it is gone");
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_copied_listener_is_the_same_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let copy = copy_from(std::process::id(), listener.as_fd().as_raw_fd())
            .expect("our own descriptor");
        let copy = std::net::TcpListener::from(copy);
        assert_eq!(
            copy.local_addr().expect("bound"),
            listener.local_addr().expect("bound")
        );
        assert!(copy_from(std::process::id(), 99_999).is_err());
    }
}
