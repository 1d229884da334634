//! Work inside a sandbox's namespaces, done by a forked child so that the supervisor stays where
//! it is.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use sys::mount::{
    Configuration, NO_DEV, NO_SUID, READ_ONLY, clone_tree, move_onto, set_attributes,
};
use sys::path::open_in_root;
use sys::process::{Forked, exit_now, fork};

use super::{Failure, Step};
use crate::protocol::Spec;

const VCAP: u32 = 2000;

/// Runs `work` in a child process and brings its failure back.
fn in_child(work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).step("pipe")?;
    match fork().step("fork")? {
        Forked::Child => {
            let text = work().err().map(|failure| failure.to_string());
            let _ = nix::unistd::write(&writer, text.unwrap_or_default().as_bytes());
            exit_now(0)
        }
        Forked::Parent { child } => {
            drop(writer);
            let text = io::read_to_string(File::from(reader)).step("read from the child")?;
            let _ = waitpid(Pid::from_raw(child), None);
            match text.is_empty() {
                true => Ok(()),
                false => Err(Failure {
                    step: "inside the sandbox".to_owned(),
                    cause: text,
                }),
            }
        }
    }
}

/// Caps what the sandbox may take of the kernel's tables that are shared by all users. Such a cap
/// belongs to a user namespace and is set from inside it.
pub(super) fn cap_tables(spec: &Spec, init: Pid) -> Result<(), Failure> {
    let user = File::open(format!("/proc/{init}/ns/user")).step("open the user namespace")?;
    let caps = [
        ("max_inotify_instances", spec.inotify_instances),
        ("max_inotify_watches", spec.inotify_watches),
        ("max_user_namespaces", 0),
    ];
    in_child(|| {
        setns(&user, CloneFlags::CLONE_NEWUSER).step("enter the user namespace")?;
        for (name, value) in caps {
            let path = format!("/proc/sys/user/{name}");
            fs::write(&path, value.to_string()).step(format!("write {path}"))?;
        }
        Ok(())
    })
}

/// Enters the mount namespace and attaches `mount` at `target`, which is made if missing.
fn attach(init: Pid, mount: &OwnedFd, target: &str, folder: bool) -> Result<(), Failure> {
    let namespace = File::open(format!("/proc/{init}/ns/mnt")).step("open the mount namespace")?;
    in_child(|| {
        setns(&namespace, CloneFlags::CLONE_NEWNS).step("enter the mount namespace")?;
        let path = Path::new(target);
        let made = if folder {
            fs::create_dir_all(path)
        } else {
            path.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| {
                    File::options()
                        .create(true)
                        .append(true)
                        .open(path)
                        .map(drop)
                })
        };
        made.step(format!("create {target}"))?;
        let root = File::open("/").step("open the sandbox's root")?;
        let place = open_in_root(&root, path, OFlag::O_PATH, 0).step(format!("open {target}"))?;
        move_onto(mount.as_fd(), place.as_fd()).step(format!("mount on {target}"))
    })
}

/// Shows a file or folder of the host read-only.
pub(super) fn bind(init: Pid, source: &Path, target: &str) -> Result<(), Failure> {
    let folder = fs::metadata(source)
        .step(format!("find {}", source.display()))?
        .is_dir();
    let mount = clone_tree(source, false).step(format!("clone {}", source.display()))?;
    set_attributes(mount.as_fd(), READ_ONLY | NO_SUID | NO_DEV, None)
        .step("make the clone read-only")?;
    attach(init, &mount, target, folder)
}

/// Of a sandbox's disk, what is written over a droplet, and what the overlay needs for that.
fn layers(spec: &Spec) -> [PathBuf; 2] {
    ["upper", "work"].map(|name| spec.disk_mount.join("layer").join(name))
}

/// Makes them; a droplet that comes later does not wait for it.
pub(super) fn make_layers(spec: &Spec) -> Result<(), Failure> {
    let layers = layers(spec);
    for folder in &layers {
        fs::create_dir_all(folder).step(format!("create {}", folder.display()))?;
    }
    let [upper, _] = &layers;
    let owner = Some(spec.uid_base + VCAP);
    chown(upper, owner, owner).step("change the owner of the upper layer")?;
    fs::set_permissions(upper, fs::Permissions::from_mode(0o755))
        .step("set permissions of the upper layer")
}

/// Shows the shared droplet with a writable layer of the sandbox's own. `Ok(false)`: this kernel
/// cannot, nothing was done.
pub(super) fn mount_droplet(
    spec: &Spec,
    init: Pid,
    lower: &Path,
    target: &str,
) -> Result<bool, Failure> {
    let user = File::open(format!("/proc/{init}/ns/user")).step("open the user namespace")?;
    let clone = clone_tree(lower, false).step(format!("clone {}", lower.display()))?;
    // Only the lower layer is mapped: a mapped upper layer mounts read-only without a word.
    if let Err(error) = set_attributes(clone.as_fd(), READ_ONLY, Some(user.as_fd())) {
        return cannot("map the droplet's owners", error);
    }
    let [upper, work] = layers(spec);
    match overlay(spec, &clone, &upper, &work) {
        Ok(mount) => attach(init, &mount, target, true).map(|()| true),
        Err(error) => cannot("make the overlay", error),
    }
}

/// Distinguishes a kernel that lacks a feature from an accident.
fn cannot(step: &str, error: io::Error) -> Result<bool, Failure> {
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM) => Ok(false),
        // The kernel's explanation hides the number; its kind remains.
        None if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
        _ => Err(error).step(step),
    }
}

fn overlay(spec: &Spec, lower: &OwnedFd, upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    let text = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .ok_or_else(|| io::Error::other("a path that is not UTF-8"))
    };
    let configure = || -> io::Result<Configuration> {
        let overlay = Configuration::open("overlay")?;
        overlay.set("upperdir", &text(upper)?)?;
        overlay.set("workdir", &text(work)?)?;
        // Nothing of a sandbox must survive a crash of the machine.
        overlay.set_flag("volatile")?;
        Ok(overlay)
    };
    let overlay = configure()?;
    if overlay.set_descriptor("lowerdir+", lower.as_fd()).is_ok() {
        return overlay.mount(NO_SUID | NO_DEV);
    }
    // Older kernels want the lower layer by path: show it for a moment.
    let overlay = configure()?;
    let place = spec.scratch.join("lower");
    fs::create_dir_all(&place)?;
    sys::mount::move_to(lower.as_fd(), &place)?;
    let mounted = overlay
        .set("lowerdir", &text(&place)?)
        .and_then(|()| overlay.mount(NO_SUID | NO_DEV));
    let _ = nix::mount::umount2(&place, nix::mount::MntFlags::MNT_DETACH);
    mounted
}

/// The slow way to show a droplet: a copy on the disk layer, with its owners moved into the
/// sandbox's range.
pub(super) fn copy_droplet(spec: &Spec, lower: &Path, target: &str) -> Result<(), Failure> {
    let inside: PathBuf = spec
        .disk_mount
        .join("root")
        .join(target.trim_start_matches('/'));
    fs::create_dir_all(&inside).step(format!("create {}", inside.display()))?;
    copy_tree(lower, &inside, spec.uid_base).step(format!("copy {}", lower.display()))
}

fn copy_tree(from: &Path, to: &Path, uid_base: u32) -> io::Result<()> {
    let own = |metadata: &fs::Metadata| {
        (
            Some(uid_base.saturating_add(metadata.uid() % 65536)),
            Some(uid_base.saturating_add(metadata.gid() % 65536)),
        )
    };
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let metadata = fs::symlink_metadata(&source)?;
        let (uid, gid) = own(&metadata);
        if metadata.is_dir() {
            fs::create_dir_all(&target)?;
            copy_tree(&source, &target, uid_base)?;
            chown(&target, uid, gid)?;
            fs::set_permissions(&target, metadata.permissions())?;
        } else if metadata.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
            lchown(&target, uid, gid)?;
        } else if metadata.is_file() {
            fs::copy(&source, &target)?;
            chown(&target, uid, gid)?;
            fs::set_permissions(&target, metadata.permissions())?;
        }
    }
    Ok(())
}
