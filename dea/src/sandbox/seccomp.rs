//! The system calls a sandbox may make.
//!
//! An allow list: what is not named fails with EPERM, so a call that a later kernel adds is
//! closed until somebody opens it here. Left out on purpose: everything that changes mounts,
//! namespaces, clocks, modules, swap or the machine's state; other processes' memory
//! (`ptrace`, `process_vm_*`); keyrings, `bpf`, `perf_event_open`, `userfaultfd`, io_uring (long
//! records of faults, no need); `personality` beyond the harmless values.
//!
//! `clone` is allowed without the flags of new namespaces. `clone3` hides its flags behind a
//! pointer that a filter cannot follow: it fails with ENOSYS, and C libraries fall back to
//! `clone`. The runtime ignores names that a kernel or architecture does not have.

use serde_json::{Value, json};

const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

/// The flags CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWTIME.
const NAMESPACES: u64 = 0x7E02_0080;

const ALLOWED: &str = "
    accept accept4 access alarm arch_prctl bind brk
    cachestat capget capset chdir chmod chown chown32 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat
    dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 execve execveat exit exit_group
    faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat
    fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64
    fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_time64 futex_wait futex_waitv futex_wake futex_requeue futimesat
    get_mempolicy get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32
    getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom
    getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
    getuid getuid32 getxattr
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl ioprio_get ioprio_set ipc kill
    landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen
    listxattr llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64
    madvise map_shadow_stack mbind membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap
    mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
    name_to_handle_at nanosleep newfstatat _newselect
    open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll
    ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev
    pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages
    removexattr rename renameat renameat2 restart_syscall rmdir riscv_flush_icache riscv_hwprobe rseq rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64
    send sendfile sendfile64 sendmmsg sendmsg sendto set_mempolicy set_robust_list set_thread_area set_tid_address setfsgid
    setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid
    setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt
    setuid setuid32 setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn
    socketcall socketpair splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range
    sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
    timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
    timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat
    utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev
    swapcontext sync_file_range2 breakpoint cacheflush set_tls
";

/// The `seccomp` member of the runtime's configuration.
pub fn profile() -> Value {
    let names: Vec<&str> = ALLOWED.split_whitespace().collect();
    let personality = |value: u64| {
        json!({ "names": ["personality"], "action": "SCMP_ACT_ALLOW",
                "args": [{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }] })
    };
    let architectures = match std::env::consts::ARCH {
        "aarch64" => json!(["SCMP_ARCH_AARCH64"]),
        _ => json!(["SCMP_ARCH_X86_64"]),
    };
    // AF_VSOCK reaches the hypervisor's side; every other family is limited by the network
    // namespace or by capabilities.
    const VSOCK: u64 = 40;
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": architectures,
        "syscalls": [
            { "names": names, "action": "SCMP_ACT_ALLOW" },
            { "names": ["socket"], "action": "SCMP_ACT_ALLOW",
              "args": [{ "index": 0, "value": VSOCK, "op": "SCMP_CMP_NE" }] },
            { "names": ["clone"], "action": "SCMP_ACT_ALLOW",
              "args": [{ "index": 0, "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }] },
            { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS },
            personality(0x0),
            personality(0x0002_0000),
            personality(0x0008),
            personality(0x0002_0008),
            personality(0xffff_ffff),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_change_the_machine_is_not_allowed() {
        let names: Vec<&str> = ALLOWED.split_whitespace().collect();
        for name in [
            "mount",
            "umount2",
            "move_mount",
            "fsopen",
            "open_tree",
            "unshare",
            "setns",
            "clone3",
            "pivot_root",
            "chroot",
            "ptrace",
            "process_vm_readv",
            "keyctl",
            "add_key",
            "request_key",
            "bpf",
            "perf_event_open",
            "userfaultfd",
            "kexec_load",
            "kexec_file_load",
            "init_module",
            "finit_module",
            "delete_module",
            "reboot",
            "swapon",
            "swapoff",
            "clock_settime",
            "settimeofday",
            "adjtimex",
            "clock_adjtime",
            "io_uring_setup",
            "open_by_handle_at",
            "quotactl",
            "acct",
            "syslog",
            "iopl",
            "ioperm",
            "mount_setattr",
            "fanotify_init",
            "kcmp",
            "lookup_dcookie",
            "nfsservctl",
            "vhangup",
            "sethostname",
            "setdomainname",
        ] {
            assert!(!names.contains(&name), "{name}");
        }
    }

    #[test]
    fn no_name_is_there_twice() {
        let names: Vec<&str> = ALLOWED.split_whitespace().collect();
        let distinct: std::collections::BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), distinct.len());
    }
}
