//! Opening paths that somebody else controls.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

/// Opens `path` as if `root` were the root folder: symbolic links, absolute ones too, stay
/// inside, and the magic links of a proc file system are not followed.
pub fn open_in_root(root: impl AsFd, path: &Path, flags: OFlag, mode: u32) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(Mode::from_bits_truncate(mode))
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    // The kernel asks to try again when a rename ran beside the walk.
    for _ in 0..32 {
        match openat2(root.as_fd(), path, how) {
            Err(nix::errno::Errno::EAGAIN) => continue,
            outcome => return outcome.map_err(io::Error::from),
        }
    }
    Err(io::Error::from(nix::errno::Errno::EAGAIN))
}

/// Opens a regular file for reading in `root`; anything else (a pipe would block the reader for
/// ever, a device is worse) is refused.
pub fn open_regular_file(root: impl AsFd, path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = File::from(open_in_root(root, path, flags, 0)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn folder(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("sys-path-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("etc")).unwrap();
        path
    }

    #[test]
    fn links_cannot_lead_outside() {
        let root = folder("links");
        fs::write(root.join("etc/hostname"), "inside").unwrap();
        symlink("/etc/hostname", root.join("absolute")).unwrap();
        symlink("../../../../../../etc/hostname", root.join("climbing")).unwrap();
        symlink("/proc/self/root/etc/passwd", root.join("magic")).unwrap();
        let handle = File::open(&root).unwrap();
        for name in ["absolute", "climbing"] {
            let file = open_regular_file(&handle, Path::new(name)).unwrap();
            assert_eq!(io::read_to_string(file).unwrap(), "inside", "{name}");
        }
        assert!(open_regular_file(&handle, Path::new("magic")).is_err());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn folders_and_pipes_are_refused_at_once() {
        let root = folder("kinds");
        nix::unistd::mkfifo(&root.join("pipe"), Mode::S_IRWXU).unwrap();
        let handle = File::open(&root).unwrap();
        assert!(open_regular_file(&handle, Path::new("pipe")).is_err());
        assert!(open_regular_file(&handle, Path::new("etc")).is_err());
        fs::remove_dir_all(root).unwrap();
    }
}
