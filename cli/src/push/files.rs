//! Which files of a folder are the app.
//!
//! Ignored are what Cloud Foundry's own client ignores and what `.cfignore` (gitignore syntax) in
//! the app's folder says. Unix modes are kept; links inside the app stay links. A link that leads
//! out of the app would be dead, or lead somewhere else, in the container: it is an error.

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// Never part of an app.
const IGNORED: &[&str] = &[
    ".cfignore",
    ".DS_Store",
    ".git",
    ".gitignore",
    ".hg",
    ".svn",
    "_darcs",
    "manifest.yml",
    "manifest.yaml",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the app, `/` between parts.
    pub path: String,
    pub source: PathBuf,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Folder {
        mode: u32,
    },
    File {
        mode: u32,
        size: u64,
        modified: Option<SystemTime>,
    },
    Link {
        target: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// Sorted by path.
    pub entries: Vec<Entry>,
    /// What cannot be sent (sockets, pipes, devices).
    pub skipped: Vec<String>,
}

impl Collected {
    pub fn files(&self) -> usize {
        self.entries
            .iter()
            .filter(|entry| !matches!(entry.kind, Kind::Folder { .. }))
            .count()
    }

    pub fn bytes(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| match entry.kind {
                Kind::File { size, .. } => size,
                Kind::Folder { .. } | Kind::Link { .. } => 0,
            })
            .sum()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum FilesFault {
    #[error("there is no file or folder {0}")]
    Missing(PathBuf),
    #[error("{0} has no files to push: it is empty, or `.cfignore` leaves nothing")]
    Nothing(PathBuf),
    #[error("the link {link} leads to {target}, which is outside of the app")]
    LinkOut { link: String, target: String },
    #[error("the name of {0:?} is no valid UTF-8")]
    Name(PathBuf),
    #[error("the ignore pattern {0:?} in .cfignore is not understood")]
    Pattern(String),
    #[error("read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Walks the folder of an app.
pub fn collect(root: &Path) -> Result<Collected, FilesFault> {
    collect_without(root, IGNORED)
}

/// Walks a folder; what `ignored` and `.cfignore` name is left out.
pub fn collect_without(root: &Path, ignored: &[&str]) -> Result<Collected, FilesFault> {
    let read_error = |path: &Path| {
        let path = path.to_path_buf();
        move |source: std::io::Error| FilesFault::Read { path, source }
    };
    if fs::metadata(root).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Err(FilesFault::Missing(root.to_path_buf()));
    }
    let rules = rules(root, ignored)?;
    let mut collected = Collected::default();
    let mut folders = vec![(root.to_path_buf(), String::new())];
    while let Some((folder, inside)) = folders.pop() {
        for item in fs::read_dir(&folder).map_err(read_error(&folder))? {
            let item = item.map_err(read_error(&folder))?;
            let source = item.path();
            let name = item.file_name();
            let name = name
                .to_str()
                .ok_or_else(|| FilesFault::Name(source.clone()))?;
            let path = if inside.is_empty() {
                name.to_string()
            } else {
                format!("{inside}/{name}")
            };
            let metadata = fs::symlink_metadata(&source).map_err(read_error(&source))?;
            if rules.matched(&path, metadata.is_dir()).is_ignore() {
                continue;
            }
            let mode = metadata.permissions().mode() & 0o777;
            let kind = metadata.file_type();
            let kind = if kind.is_dir() {
                folders.push((source.clone(), path.clone()));
                Kind::Folder { mode }
            } else if kind.is_symlink() {
                let target = fs::read_link(&source).map_err(read_error(&source))?;
                if !stays_inside(&inside, &target) {
                    return Err(FilesFault::LinkOut {
                        link: path,
                        target: target.display().to_string(),
                    });
                }
                Kind::Link {
                    target: target
                        .to_str()
                        .ok_or(FilesFault::Name(target.clone()))?
                        .to_string(),
                }
            } else if kind.is_socket()
                || kind.is_fifo()
                || kind.is_block_device()
                || kind.is_char_device()
            {
                collected.skipped.push(path);
                continue;
            } else {
                Kind::File {
                    mode,
                    size: metadata.len(),
                    modified: metadata.modified().ok(),
                }
            };
            collected.entries.push(Entry { path, source, kind });
        }
    }
    collected.entries.sort_by(|a, b| a.path.cmp(&b.path));
    collected.skipped.sort();
    if collected.files() == 0 {
        return Err(FilesFault::Nothing(root.to_path_buf()));
    }
    Ok(collected)
}

fn rules(root: &Path, ignored: &[&str]) -> Result<Gitignore, FilesFault> {
    let mut builder = GitignoreBuilder::new("");
    let mut add = |line: &str| {
        builder
            .add_line(None, line)
            .map(|_| ())
            .map_err(|_| FilesFault::Pattern(line.to_string()))
    };
    for line in ignored {
        add(line)?;
    }
    let file = root.join(".cfignore");
    match fs::read(&file) {
        Ok(text) => {
            for line in String::from_utf8_lossy(&text).lines() {
                add(line)?;
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(FilesFault::Read { path: file, source }),
    }
    builder
        .build()
        .map_err(|error| FilesFault::Pattern(error.to_string()))
}

/// Whether a link in the folder `inside` (relative to the app) stays within the app. Judged by
/// its text alone: what it points to need not exist yet.
fn stays_inside(inside: &str, target: &Path) -> bool {
    let mut depth = inside.split('/').filter(|part| !part.is_empty()).count();
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// The app's name when nobody says it: that of its folder, made fit for a host name.
pub fn name_of_folder(folder: &Path) -> Option<String> {
    let name = folder.file_name().and_then(OsStr::to_str)?;
    let name = name
        .split('.')
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or(name);
    let name: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let name = name.trim_matches('-').to_string();
    if name.is_empty() { None } else { Some(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, "x").expect("a file");
        }
        folder
    }

    fn paths(folder: &tempfile::TempDir) -> Vec<String> {
        let collected = collect(folder.path()).expect("files");
        collected
            .entries
            .into_iter()
            .filter(|entry| !matches!(entry.kind, Kind::Folder { .. }))
            .map(|entry| entry.path)
            .collect()
    }

    #[test]
    fn what_no_app_needs_is_left_out() {
        let folder = folder(&[
            "index.html",
            ".git/config",
            "manifest.yml",
            ".gitignore",
            "a/.DS_Store",
            "a/.hidden",
        ]);
        assert_eq!(paths(&folder), ["a/.hidden", "index.html"]);
    }

    #[test]
    fn cfignore_has_gitignores_syntax() {
        let folder = folder(&[
            "a.log",
            "keep.log",
            "build/x",
            "src/build/y",
            "src/z.tmp",
            "node_modules/m/i.js",
            "src/node_modules/k",
        ]);
        fs::write(
            folder.path().join(".cfignore"),
            "# notes\n*.log\n!keep.log\n/build\n*.tmp\nnode_modules/\n",
        )
        .expect("rules");
        assert_eq!(paths(&folder), ["keep.log", "src/build/y"]);
    }

    #[test]
    fn modes_and_inner_links_are_kept() {
        let folder = folder(&["bin/run", "lib/a"]);
        fs::set_permissions(
            folder.path().join("bin/run"),
            fs::Permissions::from_mode(0o755),
        )
        .expect("a mode");
        symlink("../lib/a", folder.path().join("bin/a")).expect("a link");
        let collected = collect(folder.path()).expect("files");
        let kind = |path: &str| {
            collected
                .entries
                .iter()
                .find(|entry| entry.path == path)
                .expect("the entry")
                .kind
                .clone()
        };
        assert!(matches!(
            kind("bin/run"),
            Kind::File {
                mode: 0o755,
                size: 1,
                ..
            }
        ));
        assert_eq!(
            kind("bin/a"),
            Kind::Link {
                target: "../lib/a".into()
            }
        );
    }

    #[test]
    fn a_link_out_of_the_app_is_refused() {
        for target in ["/etc/passwd", "../../x", "a/../../../x"] {
            let folder = folder(&["dir/a"]);
            symlink(target, folder.path().join("dir/link")).expect("a link");
            let error = collect(folder.path()).expect_err("outside");
            assert!(
                matches!(error, FilesFault::LinkOut { .. }),
                "{target}: {error}"
            );
        }
        assert!(stays_inside("dir", Path::new("../x")));
        assert!(!stays_inside("", Path::new("../x")));
    }

    #[test]
    fn nothing_to_push_is_an_error() {
        let empty = tempfile::tempdir().expect("a temporary folder");
        assert!(matches!(collect(empty.path()), Err(FilesFault::Nothing(_))));
        assert!(matches!(
            collect(&empty.path().join("no")),
            Err(FilesFault::Missing(_))
        ));
        fs::create_dir(empty.path().join("only-a-folder")).expect("a folder");
        assert!(matches!(collect(empty.path()), Err(FilesFault::Nothing(_))));
    }

    #[test]
    fn names_from_folders() {
        assert_eq!(
            name_of_folder(Path::new("/a/My Shop")).as_deref(),
            Some("my-shop")
        );
        assert_eq!(
            name_of_folder(Path::new("/a/shop.jar")).as_deref(),
            Some("shop")
        );
        assert_eq!(name_of_folder(Path::new("/")), None);
    }
}
