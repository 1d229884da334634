//! What may stand in a droplet archive.
//!
//! A droplet was written by a container that ran a user's code, and is unpacked by the agent, as
//! root, outside. So every name is taken apart here: only plain components, no way up, nothing but
//! folders, files and links. Targets of symbolic links are free (`/usr/bin/python3` is a good one:
//! it is followed inside the sandbox only); the unpacker never walks through a link itself.

use std::path::{Component, Path, PathBuf};

/// Bounds of one archive.
pub const MOST_ENTRIES: u64 = 1_000_000;
pub const MOST_BYTES: u64 = 16 << 30;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Folder {
        path: PathBuf,
        mode: u32,
    },
    File {
        path: PathBuf,
        mode: u32,
    },
    SymbolicLink {
        path: PathBuf,
        target: PathBuf,
    },
    /// Another name for a file that came before.
    HardLink {
        path: PathBuf,
        target: PathBuf,
    },
    /// The root itself, or a header without content.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Folder,
    File,
    SymbolicLink,
    HardLink,
    /// Headers of the archive's format.
    Header,
    /// Devices, pipes, sockets.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    #[error("the archive holds the path {0:?}, which leads out of it")]
    Escapes(PathBuf),
    #[error("the archive holds {0:?}, which is no file, folder or link")]
    Special(PathBuf),
    #[error("the link {0:?} of the archive has no target")]
    NoTarget(PathBuf),
    #[error("the archive has more than {MOST_ENTRIES} entries")]
    TooMany,
    #[error("the archive unpacks to more than {MOST_BYTES} bytes")]
    TooLarge,
}

/// Judges one entry.
pub fn judge(kind: Kind, path: &Path, target: Option<&Path>, mode: u32) -> Result<Entry, BadEntry> {
    let inside = within(path)?;
    if inside.as_os_str().is_empty() {
        return Ok(Entry::Nothing);
    }
    let target = || {
        target
            .filter(|target| !target.as_os_str().is_empty())
            .ok_or_else(|| BadEntry::NoTarget(path.to_path_buf()))
    };
    // No setuid, setgid or sticky bits: nothing in a sandbox may use them anyway.
    let mode = mode & 0o777;
    match kind {
        Kind::Folder => Ok(Entry::Folder {
            path: inside,
            mode: mode | 0o700,
        }),
        Kind::File => Ok(Entry::File { path: inside, mode }),
        Kind::SymbolicLink => Ok(Entry::SymbolicLink {
            path: inside,
            target: target()?.to_path_buf(),
        }),
        Kind::HardLink => {
            let target = within(target()?)?;
            if target.as_os_str().is_empty() {
                return Err(BadEntry::NoTarget(path.to_path_buf()));
            }
            Ok(Entry::HardLink {
                path: inside,
                target,
            })
        }
        Kind::Header => Ok(Entry::Nothing),
        Kind::Other => Err(BadEntry::Special(path.to_path_buf())),
    }
}

/// The path as plain components below the root; a leading `/` or `./` means the root.
fn within(path: &Path) -> Result<PathBuf, BadEntry> {
    let mut inside = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(BadEntry::Escapes(path.to_path_buf()));
            }
        }
    }
    Ok(inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(kind: Kind, path: &str, target: Option<&str>) -> Result<Entry, BadEntry> {
        judge(kind, Path::new(path), target.map(Path::new), 0o6755)
    }

    #[test]
    fn names_stay_inside_and_modes_are_plain() {
        assert_eq!(
            check(Kind::File, "./app/run", None),
            Ok(Entry::File {
                path: "app/run".into(),
                mode: 0o755
            })
        );
        assert_eq!(
            check(Kind::File, "/etc/passwd", None),
            Ok(Entry::File {
                path: "etc/passwd".into(),
                mode: 0o755
            })
        );
        assert_eq!(check(Kind::Folder, "./", None), Ok(Entry::Nothing));
        assert!(matches!(
            check(Kind::File, "app/../../x", None),
            Err(BadEntry::Escapes(_))
        ));
        assert!(matches!(
            check(Kind::Other, "app/dev", None),
            Err(BadEntry::Special(_))
        ));
    }

    #[test]
    fn symbolic_links_lead_anywhere_hard_links_only_inside() {
        assert_eq!(
            check(
                Kind::SymbolicLink,
                "deps/0/bin/python3",
                Some("/usr/bin/python3")
            ),
            Ok(Entry::SymbolicLink {
                path: "deps/0/bin/python3".into(),
                target: "/usr/bin/python3".into()
            })
        );
        assert!(matches!(
            check(Kind::HardLink, "a", Some("../b")),
            Err(BadEntry::Escapes(_))
        ));
        assert!(matches!(
            check(Kind::HardLink, "a", Some("./")),
            Err(BadEntry::NoTarget(_))
        ));
        assert!(matches!(
            check(Kind::SymbolicLink, "a", None),
            Err(BadEntry::NoTarget(_))
        ));
    }

    proptest! {
        #[test]
        fn no_name_ever_leads_out(path in "[a-c./]{0,12}", target in "[a-c./]{0,12}") {
            for kind in [Kind::Folder, Kind::File, Kind::SymbolicLink, Kind::HardLink] {
                let plain = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
                match judge(kind, Path::new(&path), Some(Path::new(&target)), 0) {
                    Ok(Entry::Folder { path, .. } | Entry::File { path, .. } | Entry::SymbolicLink { path, .. }) => prop_assert!(plain(&path)),
                    Ok(Entry::HardLink { path, target }) => prop_assert!(plain(&path) && plain(&target)),
                    Ok(Entry::Nothing) | Err(_) => {}
                }
            }
        }
    }
}
