//! Stacks: what a sandbox sees as its root file system.
//!
//! Stack `host` is the machine's own `/usr`, read-only, with a made-up `/etc`: nothing to
//! download. Besides `/usr` some folders of `/etc` are shown, without which well-known programs
//! fail in odd ways (`/etc/ssl`: pip fails, npm hangs; `/etc/alternatives`: no awk).
//!
//! The rest (folders, links, made-up files) is laid down once in a *template*, the image of a
//! small file system; a sandbox's disk layer is a sparse copy of it, so that preparing does not
//! make the same thirty files each time. There is a template for each disk size.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::SandboxError;
use super::program::run;

/// Part of the templates' names: raise it when the skeleton or the file system's options change.
const GENERATION: u32 = 1;
const SMALLEST_DISK_MB: u64 = 16;
const MAKE_WITHIN: Duration = Duration::from_secs(60);

/// The folders of `/etc` that are shown as they are, by the beginning of their names.
const SHOWN_ETC: [&str; 7] = [
    "ssl",
    "alternatives",
    "fonts",
    "java-",
    "perl",
    "python3",
    "mono",
];

/// Small files of `/etc` that are copied as they are, if the host has them.
const COPIED_ETC: [&str; 8] = [
    "services",
    "protocols",
    "localtime",
    "timezone",
    "ld.so.cache",
    "ld.so.conf",
    "mime.types",
    "magic",
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
vcap:x:2000:2000:vcap:/home/vcap:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";

const GROUP: &str = "root:x:0:
daemon:x:1:
tty:x:5:
vcap:x:2000:
nogroup:x:65534:
";

const NSSWITCH: &str = "passwd: files
group: files
shadow: files
hosts: files dns
services: files
protocols: files
";

/// The host stack, as found on this machine.
#[derive(Debug, Clone)]
pub struct HostStack {
    /// Folders of the host and their places.
    pub shown: Vec<(PathBuf, String)>,
    /// Links of the root, such as `bin` to `usr/bin`.
    links: Vec<(String, PathBuf)>,
    /// Content of copied files.
    copied: Vec<(String, Vec<u8>)>,
}

impl HostStack {
    pub fn find() -> Result<HostStack, SandboxError> {
        let mut stack = HostStack {
            shown: vec![(PathBuf::from("/usr"), "/usr".to_owned())],
            links: Vec::new(),
            copied: Vec::new(),
        };
        for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
            let path = Path::new("/").join(name);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_symlink() => {
                    let target = fs::read_link(&path).map_err(SandboxError::file("read", &path))?;
                    stack.links.push((name.to_owned(), target));
                }
                Ok(metadata) if metadata.is_dir() => stack.shown.push((path, format!("/{name}"))),
                _ => {}
            }
        }
        let etc = Path::new("/etc");
        let entries = fs::read_dir(etc).map_err(SandboxError::file("list", etc))?;
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| SHOWN_ETC.iter().any(|stem| name.starts_with(stem)))
            .collect();
        names.sort();
        for name in names {
            stack.shown.push((etc.join(&name), format!("/etc/{name}")));
        }
        for name in COPIED_ETC {
            match fs::read(etc.join(name)) {
                Ok(content) => stack.copied.push((name.to_owned(), content)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(SandboxError::file("read", etc.join(name))(error)),
            }
        }
        Ok(stack)
    }

    /// A name for everything the template depends on.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{GENERATION} {:?} {:?}", self.shown, self.links));
        for (name, content) in &self.copied {
            hash.update(name);
            hash.update(content);
        }
        for text in [PASSWD, GROUP, NSSWITCH] {
            hash.update(text);
        }
        let digest = hash.finalize();
        digest[..6]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn lay_down(&self, folder: &Path) -> io::Result<()> {
        let root = folder.join("root");
        for (name, mode) in [
            ("dev", 0o755),
            ("etc", 0o755),
            ("home", 0o755),
            ("home/vcap", 0o755),
            ("opt", 0o755),
            ("proc", 0o555),
            ("root", 0o755),
            ("run", 0o755),
            ("sys", 0o555),
            ("tmp", 0o1777),
            ("var", 0o755),
            ("var/tmp", 0o1777),
            ("yard", 0o755),
            (".yard", 0o755),
        ] {
            make_folder(&root.join(name), mode)?;
        }
        make_folder(&folder.join("layer"), 0o755)?;
        for folder in [folder, &root] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        }
        for (_, place) in &self.shown {
            make_folder(&root.join(place.trim_start_matches('/')), 0o755)?;
        }
        for (name, target) in &self.links {
            symlink(target, root.join(name))?;
        }
        let etc = root.join("etc");
        symlink("../usr/lib/os-release", etc.join("os-release"))?;
        symlink("/proc/self/mounts", etc.join("mtab"))?;
        let made_up = [
            ("passwd", PASSWD),
            ("group", GROUP),
            ("nsswitch.conf", NSSWITCH),
        ];
        let files = made_up
            .iter()
            .map(|(name, text)| (*name, text.as_bytes()))
            .chain(
                self.copied
                    .iter()
                    .map(|(name, content)| (name.as_str(), content.as_slice())),
            );
        for (name, content) in files {
            write_file(&etc.join(name), content, 0o644)?;
        }
        write_file(&root.join(".yard/init"), b"", 0o755)
    }

    /// Removes templates of a stack that has changed since, and halves of unfinished ones. Only
    /// at the engine's start, when nobody makes one.
    pub fn clear_stale(&self, folder: &Path) {
        let current = format!("host-{}-", self.fingerprint());
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        for entry in entries.filter_map(|entry| entry.ok()) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("skeleton-") {
                let _ = fs::remove_dir_all(path);
            } else if !name.starts_with(&current) || name.ends_with(".unfinished") {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Returns the template for a disk of this size, making it if this is the first.
    pub async fn template(&self, folder: &Path, disk_mb: u64) -> Result<PathBuf, SandboxError> {
        let fingerprint = self.fingerprint();
        let image = folder.join(format!("host-{fingerprint}-{disk_mb}.img"));
        if image.exists() {
            return Ok(image);
        }
        let skeleton = folder.join(format!("skeleton-{fingerprint}"));
        let _ = fs::remove_dir_all(&skeleton);
        fs::create_dir_all(folder).map_err(SandboxError::file("create", folder))?;
        self.lay_down(&skeleton)
            .map_err(SandboxError::file("lay down the stack in", &skeleton))?;
        // What the file system needs for itself is not the application's to pay.
        let size = disk_mb.max(SMALLEST_DISK_MB) * 104 / 100 + 8;
        let unfinished = folder.join(format!("host-{fingerprint}-{disk_mb}.unfinished"));
        let _ = fs::remove_file(&unfinished);
        let mut command = tokio::process::Command::new("mkfs.ext4");
        command
            .args(["-q", "-F", "-b", "4096", "-m", "0", "-i", "8192"])
            // No journal: nothing of a sandbox survives a crash of the machine anyway.
            .args([
                "-O",
                "^has_journal,^resize_inode",
                "-E",
                "lazy_itable_init=1,root_owner=0:0",
                "-d",
            ])
            .arg(&skeleton)
            .arg(&unfinished)
            .arg(format!("{size}M"))
            .stdout(Stdio::null());
        run("mkfs.ext4", command, "", MAKE_WITHIN).await?;
        fs::rename(&unfinished, &image).map_err(SandboxError::file("rename", &unfinished))?;
        let _ = fs::remove_dir_all(&skeleton);
        Ok(image)
    }
}

fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn write_file(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// The files that are each sandbox's own.
pub fn own_files(
    hostname: &str,
    address: Option<Ipv4Addr>,
    gateway: Ipv4Addr,
    hosts: &[(Ipv4Addr, String)],
) -> Vec<(String, String)> {
    let own = address.unwrap_or(Ipv4Addr::LOCALHOST);
    let mut lines = format!("127.0.0.1 localhost\n{own} {hostname}\n");
    for (address, name) in hosts {
        lines += &format!("{address} {name}\n");
    }
    let resolver = match address {
        Some(_) => format!("nameserver {gateway}\noptions timeout:2 attempts:2\n"),
        None => String::new(),
    };
    vec![
        ("etc/hosts".to_owned(), lines),
        ("etc/hostname".to_owned(), format!("{hostname}\n")),
        ("etc/resolv.conf".to_owned(), resolver),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_knows_itself_and_the_gateway() {
        let address = Ipv4Addr::new(10, 1, 0, 7);
        let gateway = Ipv4Addr::new(10, 1, 0, 1);
        let extra = [(gateway, "api.yard.internal".to_owned())];
        let files = own_files("web-1", Some(address), gateway, &extra);
        assert_eq!(
            files[0].1,
            "127.0.0.1 localhost\n10.1.0.7 web-1\n10.1.0.1 api.yard.internal\n"
        );
        assert!(files[2].1.starts_with("nameserver 10.1.0.1\n"));
    }

    #[test]
    fn the_host_stack_is_found_and_laid_down() {
        let stack = HostStack::find().unwrap();
        assert!(stack.shown.iter().any(|(_, place)| place == "/usr"));
        let folder = tempfile::tempdir().unwrap();
        stack.lay_down(folder.path()).unwrap();
        let root = folder.path().join("root");
        assert!(root.join(".yard/init").is_file());
        assert!(
            fs::read_to_string(root.join("etc/passwd"))
                .unwrap()
                .contains("vcap:x:2000:")
        );
        let mode = fs::metadata(root.join("tmp")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o1777);
        assert_eq!(stack.fingerprint(), stack.fingerprint());
    }

    #[test]
    fn only_templates_of_this_stack_are_kept() {
        let stack = HostStack::find().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let current = format!("host-{}-64.img", stack.fingerprint());
        let half = format!("host-{}-64.unfinished", stack.fingerprint());
        for name in [current.as_str(), half.as_str(), "host-0123456789ab-64.img"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("skeleton-x")).unwrap();
        stack.clear_stale(folder.path());
        let left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(left, [current]);
    }
}
