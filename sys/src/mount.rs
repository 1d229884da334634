//! The descriptor-based mount interface: a mount is made and configured while nobody can see it,
//! then moved to its place, which may be in another mount namespace.

#![expect(unsafe_code, reason = "system calls that no library of ours offers")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const OPEN_TREE_CLONE: libc::c_uint = 1;
const AT_RECURSIVE: libc::c_uint = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_SET_FD: libc::c_uint = 5;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;

pub const READ_ONLY: u64 = 0x1;
pub const NO_SUID: u64 = 0x2;
pub const NO_DEV: u64 = 0x4;
const IDMAP: u64 = 0x0010_0000;

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

fn c_text(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(io::Error::other)
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    let raw = check(result)? as i32;
    // SAFETY: the system call just returned this new descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// A private copy of the mount (and, if asked, of the mounts below) at `path`, not attached anywhere.
pub fn clone_tree(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: the path is a valid C string that outlives the call.
    descriptor(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Sets attributes (a sum of [`READ_ONLY`], [`NO_SUID`], [`NO_DEV`]) of a whole tree; with a user namespace also maps
/// the owners of its files through that namespace's mapping.
pub fn set_attributes(
    tree: BorrowedFd<'_>,
    set: u64,
    user_namespace: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let attributes = Attributes {
        set: set | user_namespace.map_or(0, |_| IDMAP),
        clear: 0,
        propagation: 0,
        user_namespace: user_namespace.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    // SAFETY: the structure has the layout of the kernel's `struct mount_attr` (first version)
    // and its size is passed; the empty path is a C string.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH as libc::c_uint | AT_RECURSIVE,
            &attributes as *const Attributes,
            size_of::<Attributes>(),
        )
    })?;
    Ok(())
}

/// Attaches a detached mount at a path, as the calling thread's mount namespace sees it.
pub fn move_to(mount: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: both paths are valid C strings that outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// Attaches a detached mount on an open file or folder (opened in the target's namespace).
pub fn move_onto(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both paths are valid C strings that outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// A file system being configured.
pub struct Configuration(OwnedFd);

impl Configuration {
    pub fn open(kind: &str) -> io::Result<Configuration> {
        let kind = c_text(kind)?;
        // SAFETY: a valid C string that outlives the call.
        let fd =
            descriptor(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
        Ok(Configuration(fd))
    }

    fn configure(
        &self,
        command: libc::c_uint,
        key: Option<&str>,
        value: Option<&str>,
        auxiliary: i32,
    ) -> io::Result<()> {
        let key = key.map(c_text).transpose()?;
        let value = value.map(c_text).transpose()?;
        let pointer =
            |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |c| c.as_ptr());
        // SAFETY: the pointers are null or valid C strings that outlive the call.
        let outcome = check(unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                command,
                pointer(&key),
                pointer(&value),
                auxiliary,
            )
        });
        outcome.map(drop).map_err(|error| self.explain(error))
    }

    pub fn set(&self, key: &str, value: &str) -> io::Result<()> {
        self.configure(FSCONFIG_SET_STRING, Some(key), Some(value), 0)
    }

    pub fn set_flag(&self, key: &str) -> io::Result<()> {
        self.configure(FSCONFIG_SET_FLAG, Some(key), None, 0)
    }

    pub fn set_descriptor(&self, key: &str, value: BorrowedFd<'_>) -> io::Result<()> {
        self.configure(FSCONFIG_SET_FD, Some(key), None, value.as_raw_fd())
    }

    /// Makes the file system and a detached mount of it with the given attributes.
    pub fn mount(self, attributes: u64) -> io::Result<OwnedFd> {
        self.configure(FSCONFIG_CMD_CREATE, None, None, 0)?;
        // SAFETY: plain numbers.
        let mount = descriptor(unsafe {
            libc::syscall(
                libc::SYS_fsmount,
                self.0.as_raw_fd(),
                FSMOUNT_CLOEXEC,
                attributes as libc::c_uint,
            )
        });
        mount.map_err(|error| self.explain(error))
    }

    /// Adds the kernel's own words, which wait in the configuration's message queue.
    fn explain(&self, error: io::Error) -> io::Error {
        let mut text = [0u8; 512];
        match nix::unistd::read(self.0.as_fd(), &mut text) {
            Ok(length) if length > 0 => {
                let words = String::from_utf8_lossy(&text[..length]);
                io::Error::new(error.kind(), format!("{error} ({})", words.trim()))
            }
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_system_is_an_error() {
        assert!(Configuration::open("no-such-file-system").is_err());
    }

    #[test]
    fn a_path_with_a_nul_byte_is_refused() {
        assert!(clone_tree(Path::new("/tmp\0/x"), false).is_err());
    }
}
