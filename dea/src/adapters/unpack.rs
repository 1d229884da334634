//! Unpacks a droplet (tar, gzip) into a folder, as the sandbox's user owns it.
//!
//! The archive is not trusted (see [`crate::domain::archive`]). The destination is a fresh folder
//! nobody else can reach, so what a path leads through can be checked without a race: no parent may
//! be a symbolic link, and nothing that exists is written through.

use crate::domain::archive::{self, BadEntry, Entry, Kind, MOST_BYTES, MOST_ENTRIES};
use std::collections::HashSet;
use std::fs;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("reading the droplet archive failed")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Bad(#[from] BadEntry),
    #[error("the archive leads through {}, which is no folder", .0.display())]
    Through(PathBuf),
    #[error("{operation} {} failed", path.display())]
    Write {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Unpacks `archive` below `root` (exists, empty); everything, `root` too, belongs to `owner`.
/// Blocks. `owner` `None`: whoever runs this (tests).
pub fn unpack(archive: &Path, root: &Path, owner: Option<u32>) -> Result<(), UnpackError> {
    let file = fs::File::open(archive).map_err(write("opening", archive))?;
    let unzipped = flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(256 << 10, file));
    let mut tape = tar::Archive::new(unzipped.take(MOST_BYTES + (MOST_ENTRIES << 10)));
    let mut place = Place {
        root,
        owner,
        folders: HashSet::new(),
    };
    place.own(root)?;
    let (mut entries, mut bytes) = (0u64, 0u64);
    for entry in tape.entries().map_err(UnpackError::Read)? {
        let mut entry = entry.map_err(UnpackError::Read)?;
        entries += 1;
        bytes = bytes.saturating_add(entry.size());
        if entries > MOST_ENTRIES {
            return Err(BadEntry::TooMany.into());
        }
        if bytes > MOST_BYTES {
            return Err(BadEntry::TooLarge.into());
        }
        let kind = kind_of(entry.header().entry_type());
        let path = entry.path().map_err(UnpackError::Read)?.into_owned();
        let target = entry
            .link_name()
            .map_err(UnpackError::Read)?
            .map(|target| target.into_owned());
        let mode = entry.header().mode().unwrap_or(0o644);
        match archive::judge(kind, &path, target.as_deref(), mode)? {
            Entry::Nothing => {}
            Entry::Folder { path, mode } => place.folder(&path, mode)?,
            Entry::File { path, mode } => {
                let modified = entry.header().mtime().unwrap_or(0);
                place.file(&path, mode, modified, &mut entry)?;
            }
            Entry::SymbolicLink { path, target } => place.symbolic_link(&path, &target)?,
            Entry::HardLink { path, target } => place.hard_link(&path, &target)?,
        }
    }
    Ok(())
}

fn kind_of(entry: tar::EntryType) -> Kind {
    match entry {
        tar::EntryType::Directory => Kind::Folder,
        tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
            Kind::File
        }
        tar::EntryType::Symlink => Kind::SymbolicLink,
        tar::EntryType::Link => Kind::HardLink,
        tar::EntryType::XGlobalHeader
        | tar::EntryType::XHeader
        | tar::EntryType::GNULongName
        | tar::EntryType::GNULongLink => Kind::Header,
        _ => Kind::Other,
    }
}

struct Place<'a> {
    root: &'a Path,
    owner: Option<u32>,
    /// Folders known to be real ones.
    folders: HashSet<PathBuf>,
}

fn write(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> UnpackError {
    let path = path.to_path_buf();
    move |source| UnpackError::Write {
        operation,
        path,
        source,
    }
}

impl Place<'_> {
    /// The place of a path, its parents made and checked; what was there is removed.
    fn fresh(&mut self, path: &Path) -> Result<PathBuf, UnpackError> {
        if let Some(parent) = path.parent() {
            self.parents(parent)?;
        }
        let full = self.root.join(path);
        match fs::symlink_metadata(&full) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(write("looking at", &full)(error)),
            Ok(found) if found.is_dir() => return Err(UnpackError::Through(path.to_path_buf())),
            Ok(_) => fs::remove_file(&full).map_err(write("replacing", &full))?,
        }
        Ok(full)
    }

    /// Makes every folder of the path that is not there; none may be anything else.
    fn parents(&mut self, path: &Path) -> Result<(), UnpackError> {
        if path.as_os_str().is_empty() || self.folders.contains(path) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.parents(parent)?;
        }
        let full = self.root.join(path);
        match fs::symlink_metadata(&full) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(UnpackError::Through(path.to_path_buf())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new()
                    .mode(0o755)
                    .create(&full)
                    .map_err(write("making", &full))?;
                self.own(&full)?;
            }
            Err(error) => return Err(write("looking at", &full)(error)),
        }
        self.folders.insert(path.to_path_buf());
        Ok(())
    }

    fn folder(&mut self, path: &Path, mode: u32) -> Result<(), UnpackError> {
        self.parents(path)?;
        let full = self.root.join(path);
        fs::set_permissions(&full, fs::Permissions::from_mode(mode))
            .map_err(write("setting the mode of", &full))
    }

    /// The time of the last change is kept: servers make their validators (ETag) of it, and those
    /// must agree among the agents.
    fn file(
        &mut self,
        path: &Path,
        mode: u32,
        modified: u64,
        content: &mut impl Read,
    ) -> Result<(), UnpackError> {
        let full = self.fresh(path)?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&full)
            .map_err(write("creating", &full))?;
        io::copy(content, &mut file).map_err(write("writing", &full))?;
        file.set_permissions(fs::Permissions::from_mode(mode))
            .map_err(write("setting the mode of", &full))?;
        if let Some(modified) = UNIX_EPOCH.checked_add(Duration::from_secs(modified)) {
            file.set_modified(modified)
                .map_err(write("setting the time of", &full))?;
        }
        self.own(&full)
    }

    fn symbolic_link(&mut self, path: &Path, target: &Path) -> Result<(), UnpackError> {
        let full = self.fresh(path)?;
        symlink(target, &full).map_err(write("linking", &full))?;
        self.own(&full)
    }

    fn hard_link(&mut self, path: &Path, target: &Path) -> Result<(), UnpackError> {
        let full = self.fresh(path)?;
        if let Some(parent) = target.parent() {
            self.parents(parent)?;
        }
        let existing = self.root.join(target);
        let found = fs::symlink_metadata(&existing).map_err(write("linking to", &existing))?;
        if !found.is_file() {
            return Err(UnpackError::Through(target.to_path_buf()));
        }
        fs::hard_link(&existing, &full).map_err(write("linking", &full))
    }

    fn own(&self, path: &Path) -> Result<(), UnpackError> {
        match self.owner {
            Some(owner) => {
                lchown(path, Some(owner), Some(owner)).map_err(write("giving away", path))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    /// Writes headers as they are given, also those that the library would refuse to write.
    fn archive(entries: &[(tar::EntryType, &str, &str)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut builder = tar::Builder::new(GzEncoder::new(
            file.reopen().expect("open"),
            Compression::fast(),
        ));
        for (kind, path, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            let name = &mut header.as_old_mut().name;
            name[..path.len()].copy_from_slice(path.as_bytes());
            let link = matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link);
            if link {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
            }
            let body = if link || *kind == tar::EntryType::Directory {
                &[][..]
            } else {
                content.as_bytes()
            };
            header.set_size(body.len() as u64);
            header.set_cksum();
            builder.append(&header, body).expect("appended");
        }
        builder
            .into_inner()
            .expect("finished")
            .finish()
            .expect("finished");
        file
    }

    fn unpacked(
        entries: &[(tar::EntryType, &str, &str)],
    ) -> (tempfile::TempDir, Result<(), UnpackError>) {
        let folder = tempfile::tempdir().expect("a folder");
        let result = unpack(archive(entries).path(), folder.path(), None);
        (folder, result)
    }

    use tar::EntryType::{Block, Directory, Link, Regular, Symlink};

    #[test]
    fn a_droplet_is_unpacked() {
        let (folder, result) = unpacked(&[
            (Directory, "./", ""),
            (Directory, "./app/", ""),
            (Regular, "./app/run", "#!"),
            (Link, "./app/again", "./app/run"),
            (Symlink, "./deps/0/bin/python3", "/usr/bin/python3"),
        ]);
        result.expect("unpacked");
        let run = fs::metadata(folder.path().join("app/run")).expect("there");
        assert_eq!(run.permissions().mode() & 0o7777, 0o755);
        assert_eq!(
            fs::read(folder.path().join("app/again")).expect("there"),
            b"#!"
        );
        assert_eq!(
            fs::read_link(folder.path().join("deps/0/bin/python3")).expect("a link"),
            Path::new("/usr/bin/python3")
        );
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let outside = tempfile::tempdir().expect("a folder");
        let target = outside.path().to_str().expect("text");
        for attack in [
            vec![(Symlink, "app", target), (Regular, "app/x", "bad")],
            vec![(Symlink, "app", target), (Directory, "app/x", "")],
            vec![(Symlink, "a", target), (Symlink, "a/b", "/etc")],
            vec![(Regular, "../x", "bad")],
            vec![(Regular, "a", "x"), (Link, "b", "../../../etc/passwd")],
            vec![(Symlink, "a", "/etc/passwd"), (Link, "b", "a")],
            vec![(Block, "disk", "")],
        ] {
            let (_folder, result) = unpacked(&attack);
            assert!(result.is_err(), "{attack:?}");
            assert_eq!(
                fs::read_dir(outside.path()).expect("there").count(),
                0,
                "{attack:?}"
            );
        }
    }

    #[test]
    fn a_link_that_is_replaced_by_a_file_is_not_followed() {
        let outside = tempfile::NamedTempFile::new().expect("a file");
        let target = outside.path().to_str().expect("text");
        let (folder, result) = unpacked(&[(Symlink, "a", target), (Regular, "a", "mine")]);
        result.expect("unpacked");
        assert_eq!(fs::read(folder.path().join("a")).expect("there"), b"mine");
        assert_eq!(fs::read(outside.path()).expect("there"), b"");
    }

    #[test]
    fn what_is_no_archive_is_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "not gzip").expect("written");
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(
            unpack(file.path(), folder.path(), None),
            Err(UnpackError::Read(_))
        ));
    }
}
