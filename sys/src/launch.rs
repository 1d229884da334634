//! Starting a program without copying the memory of the process that starts it.
//!
//! `fork` copies page tables and then takes a fault for each page either side writes to: more than a small
//! program's own start. Here the child borrows the memory of its parent, which stands still until the child
//! is the program or has ended (`CLONE_VFORK`). So the child may do nothing but make system calls, from a
//! stack of its own, on what was prepared before.
//!
//! The standard library does the same, but not for a program that runs as another user in a session of its
//! own.
//!
//! What a newcomer gets wrong: the C library's `setuid` and its relatives tell all threads of the process;
//! in a borrowed memory those are the parent's. Only the bare system calls are right.

#![expect(unsafe_code, reason = "system calls that no library of ours offers")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

/// Enough for a handful of system calls.
const STACK: usize = 64 << 10;

/// Whom a program runs as.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    pub uid: u32,
    pub gid: u32,
    /// Its further groups.
    pub groups: &'a [u32],
}

/// A program, and in what state it begins: as the leader of a new session, killed when its parent ends.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// Where its file may be, in order.
    pub files: &'a [&'a CStr],
    pub arguments: &'a [&'a CStr],
    pub environment: &'a [&'a CStr],
    pub folder: &'a CStr,
    pub identity: Option<Identity<'a>>,
    /// Which descriptors it has, under which numbers; all others that are to be closed on exec are.
    pub descriptors: &'a [(BorrowedFd<'a>, RawFd)],
    /// Resource (`RLIMIT_…`) and limit, soft and hard.
    pub limits: &'a [(u32, u64)],
}

/// What could not be done on the way to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Process,
    Session,
    /// By its place in [`Launch::limits`].
    Limit(usize),
    Descriptor,
    Identity,
    Folder,
    Program,
}

#[derive(Debug)]
pub struct Failure {
    pub step: Step,
    pub error: io::Error,
}

/// What the child works on; nothing of it is allocated or released by the child.
struct Plan<'a> {
    launch: Launch<'a>,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    failed: Option<(Step, c_int)>,
}

/// Starts the program; its process id. When this returns the program runs, or it never will.
pub fn launch(launch: Launch<'_>) -> Result<i32, Failure> {
    let failure = |step, error| Failure { step, error };
    let mut taken: Vec<RawFd> = Vec::with_capacity(launch.descriptors.len());
    for (source, number) in launch.descriptors {
        // A number that was given away is no longer what its owner believes it to be.
        if taken.contains(&source.as_raw_fd()) {
            let error = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(failure(Step::Descriptor, error));
        }
        taken.push(*number);
    }
    let arguments = pointers(launch.arguments);
    let environment = pointers(launch.environment);
    let mut plan = Plan {
        launch,
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        failed: None,
    };
    let mut stack = vec![0u128; STACK / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack grows down from its end, which is aligned to 16 bytes. The calling thread stands
    // still until the child has left this memory, so stack and plan outlive its use of them, and nobody
    // else writes to them. The child makes system calls only.
    let child = unsafe { libc::clone(begin, top.cast(), flags, (&raw mut plan).cast()) };
    if child == -1 {
        return Err(failure(Step::Process, io::Error::last_os_error()));
    }
    // SAFETY: a plain read; volatile, because the compiler cannot know who wrote it.
    match unsafe { ptr::read_volatile(&raw const plan.failed) } {
        None => Ok(child),
        Some((step, errno)) => {
            // It has ended; nobody is to find its remains.
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child), None);
            Err(failure(step, io::Error::from_raw_os_error(errno)))
        }
    }
}

fn pointers(texts: &[&CStr]) -> Vec<*const c_char> {
    let texts = texts.iter().map(|text| text.as_ptr());
    texts.chain(std::iter::once(ptr::null())).collect()
}

/// The child's whole life as long as it is not the program.
extern "C" fn begin(plan: *mut c_void) -> c_int {
    let plan = plan.cast::<Plan<'_>>();
    // SAFETY: `launch` passes a plan that stays where it is, and stands still meanwhile.
    let failed = unsafe { become_program(&*plan) };
    // SAFETY: as above.
    unsafe { ptr::write_volatile(&raw mut (*plan).failed, Some(failed)) };
    // SAFETY: ends this process only, without the exit handlers of the parent.
    unsafe { libc::_exit(127) }
}

/// Returns only what failed.
///
/// # Safety
/// The pointers of the plan are those of its launch, ended by null.
unsafe fn become_program(plan: &Plan<'_>) -> (Step, c_int) {
    // SAFETY: errno is this thread's; the parent's thread, whose it also is, stands still.
    let errno = || unsafe { *libc::__errno_location() };
    let launch = &plan.launch;
    // SAFETY: each is a system call on integers or on memory of the plan.
    unsafe {
        if libc::setsid() == -1 {
            return (Step::Session, errno());
        }
        for (place, (resource, limit)) in launch.limits.iter().enumerate() {
            let both = libc::rlimit64 {
                rlim_cur: *limit,
                rlim_max: *limit,
            };
            if libc::syscall(
                libc::SYS_prlimit64,
                0,
                *resource,
                &raw const both,
                ptr::null::<c_void>(),
            ) == -1
            {
                return (Step::Limit(place), errno());
            }
        }
        for (source, number) in launch.descriptors {
            let outcome = if source.as_raw_fd() == *number {
                libc::fcntl(*number, libc::F_SETFD, 0)
            } else {
                libc::dup2(source.as_raw_fd(), *number)
            };
            if outcome == -1 {
                return (Step::Descriptor, errno());
            }
        }
        if let Some(Identity { uid, gid, groups }) = launch.identity
            && (libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) == -1
                || libc::syscall(libc::SYS_setresgid, gid, gid, gid) == -1
                || libc::syscall(libc::SYS_setresuid, uid, uid, uid) == -1)
        {
            return (Step::Identity, errno());
        }
        // After the change of user, which clears it.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::chdir(launch.folder.as_ptr()) == -1 {
            return (Step::Folder, errno());
        }
        // That a file is there and may not be run says more than that another is missing.
        let mut last = libc::ENOENT;
        for file in launch.files {
            libc::execve(file.as_ptr(), plan.arguments, plan.environment);
            match errno() {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => last = libc::EACCES,
                other => return (Step::Program, other),
            }
        }
        (Step::Program, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;
    use std::fs::File;
    use std::os::fd::AsFd;

    fn plain<'a>() -> Launch<'a> {
        Launch {
            files: &[c"/bin/sh"],
            arguments: &[],
            environment: &[],
            folder: c"/",
            identity: None,
            descriptors: &[],
            limits: &[],
        }
    }

    fn status(child: i32) -> i32 {
        match waitpid(Pid::from_raw(child), None) {
            Ok(WaitStatus::Exited(_, code)) => code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_program_begins_as_it_was_ordered() {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let script = c"echo $WORD $0 $1 $(pwd) $(ulimit -n); \
            test $(cut -d' ' -f6 /proc/$$/stat) = $$ && echo leads";
        let child = launch(Launch {
            files: &[c"/nowhere/sh", c"/bin/sh"],
            arguments: &[c"sh", c"-c", script, c"zero", c"one"],
            environment: &[c"WORD=hello", c"PATH=/usr/bin:/bin"],
            folder: c"/usr",
            descriptors: &[(write.as_fd(), 1)],
            limits: &[(libc::RLIMIT_NOFILE, 123)],
            ..plain()
        })
        .unwrap();
        drop(write);
        assert_eq!(
            io::read_to_string(File::from(read)).unwrap(),
            "hello zero one /usr 123\nleads\n"
        );
        assert_eq!(status(child), 0);
    }

    #[test]
    fn what_fails_is_told_with_its_step() {
        let step = |launched: Launch<'_>| match launch(launched) {
            Err(Failure { step, error }) => (step, error.raw_os_error().unwrap_or(0)),
            Ok(child) => panic!("{child} runs"),
        };
        let missing = Launch {
            files: &[c"/nowhere", c"/etc/passwd/x"],
            ..plain()
        };
        assert_eq!(step(missing), (Step::Program, libc::ENOENT));
        let no_program = Launch {
            files: &[c"/etc/passwd", c"/nowhere"],
            ..plain()
        };
        assert_eq!(step(no_program), (Step::Program, libc::EACCES));
        let folder = Launch {
            folder: c"/nowhere",
            ..plain()
        };
        assert_eq!(step(folder), (Step::Folder, libc::ENOENT));
        let limits = [(libc::RLIMIT_NOFILE, 10), (9999, 1)];
        let limit = Launch {
            limits: &limits,
            ..plain()
        };
        assert_eq!(step(limit), (Step::Limit(1), libc::EINVAL));
        let null = File::open("/dev/null").unwrap();
        let number = null.as_raw_fd();
        let descriptors = [(std::io::stdout().as_fd().as_raw_fd(), number)];
        let out = std::io::stdout();
        let descriptors = [(out.as_fd(), descriptors[0].1), (null.as_fd(), 0)];
        let clash = Launch {
            descriptors: &descriptors,
            ..plain()
        };
        assert_eq!(step(clash).0, Step::Descriptor);
    }
}
