//! The disk layer: an ext4 file system in a sparse file, because quotas are not in every kernel
//! and a tmpfs would eat the application's memory.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, chown};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::unistd::{Whence, lseek64};
use sys::loop_device::LoopDevice;

use super::assign::write_files;
use super::{Failure, Step};
use crate::protocol::Spec;

/// The application's user inside.
const VCAP: u32 = 2000;

/// Places of a root file system that are mounted on, given away or written to from outside, each after the
/// folder it is in.
const PLACES: [&str; 24] = [
    "dev",
    "dev/console",
    "dev/full",
    "dev/mqueue",
    "dev/null",
    "dev/ptmx",
    "dev/pts",
    "dev/random",
    "dev/shm",
    "dev/tty",
    "dev/urandom",
    "dev/zero",
    "etc",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "home",
    "home/vcap",
    "proc",
    "sys",
    "tmp",
    "yard",
    ".yard",
    ".yard/init",
];

/// Copies the template, mounts the copy and fills in what is this sandbox's own.
pub(super) fn make(spec: &Spec) -> Result<(), Failure> {
    let image = copy_sparse(&spec.disk_template, &spec.disk_image)
        .step(format!("copy {}", spec.disk_template.display()))?;
    let device = LoopDevice::attach(&image, &spec.disk_image).step("attach a loop device")?;
    fs::create_dir_all(&spec.disk_mount).step(format!("create {}", spec.disk_mount.display()))?;
    mount(
        Some(device.path()),
        &spec.disk_mount,
        Some("ext4"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME,
        Some("discard"),
    )
    .step(format!("mount {}", spec.disk_mount.display()))?;
    let root = spec.disk_mount.join("root");
    refuse_links(&root)?;
    let owner = Some(spec.uid_base + VCAP);
    for folder in ["home/vcap", "yard"] {
        let path = root.join(folder);
        chown(&path, owner, owner).step(format!("change the owner of {folder}"))?;
    }
    write_files(&root, &spec.files)
}

/// A link in one of the places would lead what is mounted or written there out of the sandbox, to the machine's
/// own files; nobody who means well makes such a stack.
fn refuse_links(root: &Path) -> Result<(), Failure> {
    for place in PLACES {
        match fs::symlink_metadata(root.join(place)) {
            Ok(found) if found.is_symlink() => {
                return Err(Failure {
                    step: "use the stack".to_string(),
                    cause: format!("/{place} is a link in it"),
                });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).step(format!("look at /{place} of the stack")),
        }
    }
    Ok(())
}

/// Copies only what is not a hole; the copy is a file of the same length.
fn copy_sparse(from: &Path, to: &Path) -> io::Result<File> {
    let source = File::open(from)?;
    let target = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(to)?;
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut buffer = vec![0u8; 256 * 1024];
    let mut at = 0i64;
    while (at as u64) < length {
        let start = match lseek64(source.as_fd(), at, Whence::SeekData) {
            Ok(start) => start,
            Err(Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = lseek64(source.as_fd(), start, Whence::SeekHole)?;
        let mut offset = start as u64;
        while offset < end as u64 {
            let wanted = buffer.len().min((end as u64 - offset) as usize);
            source.read_exact_at(&mut buffer[..wanted], offset)?;
            target.write_all_at(&buffer[..wanted], offset)?;
            offset += wanted as u64;
        }
        at = end;
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn links_in_a_root_are_refused_by_name() {
        for place in PLACES {
            let root = std::env::temp_dir().join(format!("links-{}", std::process::id()));
            let path = root.join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            assert!(refuse_links(&root).is_ok(), "before {place}");
            // Also one that leads nowhere.
            std::os::unix::fs::symlink("/nowhere/at/all", &path).unwrap();
            let refused = refuse_links(&root).unwrap_err();
            assert_eq!(refused.cause, format!("/{place} is a link in it"));
            fs::remove_dir_all(&root).unwrap();
        }
    }

    #[test]
    fn holes_stay_holes() {
        let folder = std::env::temp_dir().join(format!("sparse-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (from, to) = (folder.join("from"), folder.join("to"));
        let source = File::create(&from).unwrap();
        source.set_len(64 << 20).unwrap();
        source.write_all_at(b"head", 0).unwrap();
        source.write_all_at(b"middle", 32 << 20).unwrap();
        drop(source);
        let copy = copy_sparse(&from, &to).unwrap();
        let metadata = copy.metadata().unwrap();
        assert_eq!(metadata.len(), 64 << 20);
        assert!(metadata.blocks() * 512 < 1 << 20);
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        fs::remove_dir_all(folder).unwrap();
    }
}
