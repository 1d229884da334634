//! The files of a pack, in memory, wherever they came from: a folder, an upload, the blob store.
//!
//! ```text
//!   folder ─┐                         ┌─► inspection (automation::spec)
//!   tar.gz ─┼─► PackContent (bounded) ┼─► rows of pack_files: small texts
//!   zip  ───┘                         └─► archive: tar.gz with content/, the same bytes for the same files
//! ```
//!
//! Packs come from strangers. Nothing is written to the disk of the controller by the names in them;
//! sizes and counts are bounded while reading, not by what a header declares; a symlink is followed only
//! to a file of the same pack, and becomes that file.

use crate::domain::archive::{self, Bounds, Entry, EntryKind};
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Most files of a pack.
const MOST_FILES: u64 = 20_000;
/// Most bytes of all files of a pack.
const MOST_BYTES: u64 = 128 << 20;
/// How deep folders may be.
const DEEPEST: usize = 32;
/// Where the files are in the archive that agents get.
pub const CONTENT_FOLDER: &str = "content";
/// Larger texts are not kept as rows.
const LARGEST_TEXT: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// A sentence for whoever brings the pack.
    #[error("{0}")]
    Unacceptable(String),
    #[error("reading {what}")]
    Read {
        what: String,
        #[source]
        source: io::Error,
    },
}

fn no<T>(text: impl Into<String>) -> Result<T, ContentError> {
    Err(ContentError::Unacceptable(text.into()))
}

fn reading(what: impl Into<String>) -> impl FnOnce(io::Error) -> ContentError {
    let what = what.into();
    move |source| ContentError::Read { what, source }
}

/// Paths with `/`, relative to the pack's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackContent {
    pub files: BTreeMap<String, Vec<u8>>,
    pub executable: BTreeSet<String>,
}

impl PackContent {
    /// Reads a folder. Blocks.
    pub fn of_folder(root: &Path) -> Result<PackContent, ContentError> {
        let root = root
            .canonicalize()
            .map_err(reading(root.display().to_string()))?;
        if !root.is_dir() {
            return no(format!("{} is no folder", root.display()));
        }
        let mut content = PackContent::default();
        let mut room = MOST_BYTES;
        content.add_folder(&root, &root, "", 0, &mut room)?;
        Ok(content)
    }

    fn add_folder(
        &mut self,
        root: &Path,
        folder: &Path,
        prefix: &str,
        depth: usize,
        room: &mut u64,
    ) -> Result<(), ContentError> {
        if depth > DEEPEST {
            return no(format!("{prefix} lies deeper than {DEEPEST} folders"));
        }
        let failed = || reading(folder.display().to_string());
        for entry in std::fs::read_dir(folder).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let Ok(name) = entry.file_name().into_string() else {
                return no(format!("a name in {prefix:?} is not UTF-8"));
            };
            if is_left_out(&name) {
                continue;
            }
            let path = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}/{name}")
            };
            let kind = entry.file_type().map_err(failed())?;
            if kind.is_dir() {
                self.add_folder(root, &entry.path(), &path, depth + 1, room)?;
                continue;
            }
            let source = if kind.is_symlink() {
                inside(root, &entry.path(), &path)?
            } else {
                entry.path()
            };
            if !source.is_file() {
                return no(format!("{path} is neither a file nor a folder"));
            }
            let file = File::open(&source).map_err(reading(path.clone()))?;
            let mode = file
                .metadata()
                .map_err(reading(path.clone()))?
                .permissions()
                .mode();
            self.add(path, file, mode, room)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        path: String,
        source: impl Read,
        mode: u32,
        room: &mut u64,
    ) -> Result<(), ContentError> {
        if self.files.len() as u64 >= MOST_FILES {
            return no(format!("the pack has more than {MOST_FILES} files"));
        }
        let mut bytes = Vec::new();
        source
            .take(*room + 1)
            .read_to_end(&mut bytes)
            .map_err(reading(path.clone()))?;
        *room = room.checked_sub(bytes.len() as u64).ok_or_else(|| {
            ContentError::Unacceptable(format!(
                "the pack is larger than {} MiB (at the file {path})",
                MOST_BYTES >> 20
            ))
        })?;
        if mode & 0o111 != 0 {
            self.executable.insert(path.clone());
        }
        self.files.insert(path, bytes);
        Ok(())
    }

    /// Reads an upload, a tar.gz or a zip, of the pack's folder or of what is in it. Blocks.
    pub fn of_upload(path: &Path) -> Result<PackContent, ContentError> {
        let mut magic = [0; 2];
        let mut file = File::open(path).map_err(reading("the upload"))?;
        file.read_exact(&mut magic)
            .map_err(|_| ContentError::Unacceptable("the upload is empty".into()))?;
        drop(file);
        let content = match &magic {
            [0x1f, 0x8b] => PackContent::of_tar(path, "")?,
            b"PK" => PackContent::of_zip(path)?,
            _ => return no("the upload is neither a tar.gz nor a zip"),
        };
        Ok(content.without_outer_folder())
    }

    /// Reads what an archive in the blob store has of the pack itself. Blocks.
    pub fn of_archive(path: &Path) -> Result<PackContent, ContentError> {
        PackContent::of_tar(path, "content/")
    }

    /// The files beneath `prefix`, named without it.
    fn of_tar(path: &Path, prefix: &str) -> Result<PackContent, ContentError> {
        let file = File::open(path).map_err(reading("the archive"))?;
        let mut archive = tar::Archive::new(GzDecoder::new(io::BufReader::new(file)));
        let mut content = PackContent::default();
        let mut entries = Vec::new();
        let mut room = MOST_BYTES;
        let broken =
            |error: io::Error| ContentError::Unacceptable(format!("no valid tar.gz: {error}"));
        for entry in archive.entries().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let kind = entry.header().entry_type();
            let Ok(full) = String::from_utf8(entry.path_bytes().into_owned()) else {
                return no("a name in the archive is not UTF-8");
            };
            let Some(name) = full.strip_prefix(prefix) else {
                continue;
            };
            let entry_kind = match kind {
                tar::EntryType::Regular | tar::EntryType::Continuous => EntryKind::File,
                tar::EntryType::Directory => EntryKind::Folder,
                tar::EntryType::XGlobalHeader => continue,
                _ => return no(format!("{name:?} is neither a file nor a folder")),
            };
            entries.push(Entry {
                name: name.to_string(),
                kind: entry_kind.clone(),
                size: entry.size(),
            });
            if entries.len() as u64 > MOST_FILES {
                return no(format!("the pack has more than {MOST_FILES} entries"));
            }
            if entry_kind == EntryKind::File {
                let parts = archive::parts(name).map_err(unacceptable)?;
                if parts.iter().any(|part| is_left_out(part)) {
                    continue;
                }
                let mode = entry.header().mode().unwrap_or(0o644);
                content.add(parts.join("/"), entry, mode, &mut room)?;
            }
        }
        archive::check(&entries, BOUNDS).map_err(unacceptable)?;
        Ok(content)
    }

    fn of_zip(path: &Path) -> Result<PackContent, ContentError> {
        let broken = |error: zip::result::ZipError| {
            ContentError::Unacceptable(format!("no valid zip: {error}"))
        };
        let file = File::open(path).map_err(reading("the upload"))?;
        let mut archive = zip::ZipArchive::new(file).map_err(broken)?;
        let entries = crate::ops::upload::table_of_contents(&mut archive, BOUNDS)
            .map_err(|refusal| ContentError::Unacceptable(refusal.to_string()))?;
        archive::check(&entries, BOUNDS).map_err(unacceptable)?;
        let mut content = PackContent::default();
        let mut room = MOST_BYTES;
        for (number, entry) in entries.iter().enumerate() {
            match entry.kind {
                EntryKind::File => {}
                EntryKind::Folder => continue,
                EntryKind::Symlink { .. } | EntryKind::Other => {
                    return no(format!("{:?} is neither a file nor a folder", entry.name));
                }
            }
            let parts = archive::parts(&entry.name).map_err(unacceptable)?;
            if parts.iter().any(|part| is_left_out(part)) {
                continue;
            }
            let source = archive.by_index(number).map_err(broken)?;
            let mode = source.unix_mode().unwrap_or(0o644);
            content.add(parts.join("/"), source, mode, &mut room)?;
        }
        Ok(content)
    }

    /// `hello/pack.yaml` becomes `pack.yaml` if everything lies in one folder that is the pack's.
    fn without_outer_folder(self) -> PackContent {
        if self.files.contains_key("pack.yaml") {
            return self;
        }
        let mut outer: Option<&str> = None;
        for path in self.files.keys() {
            let Some((first, _)) = path.split_once('/') else {
                return self;
            };
            if *outer.get_or_insert(first) != first {
                return self;
            }
        }
        let Some(prefix) = outer.map(|outer| format!("{outer}/")) else {
            return self;
        };
        let strip = |path: String| path.strip_prefix(&prefix).map(str::to_string);
        PackContent {
            executable: self.executable.into_iter().filter_map(strip).collect(),
            files: self
                .files
                .into_iter()
                .filter_map(|(path, bytes)| Some((strip(path)?, bytes)))
                .collect(),
        }
    }

    /// The archive that agents get. The same files give the same bytes. Blocks.
    pub fn archive(&self) -> io::Result<Vec<u8>> {
        let mut builder = tar::Builder::new(gzip(Vec::new()));
        for (path, bytes) in &self.files {
            let executable = self.executable.contains(path);
            append(&mut builder, path, bytes, executable)?;
        }
        builder.into_inner()?.finish()
    }

    /// What is kept as rows: what people read and registration reads again.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files
            .iter()
            .filter(|(path, bytes)| is_kept(path, bytes))
            .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }
}

/// Whether a file is kept as a row.
pub fn is_kept(path: &str, bytes: &[u8]) -> bool {
    bytes.len() <= LARGEST_TEXT
        && (path == "icon.png" || std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0')))
}

const BOUNDS: Bounds = Bounds {
    max_entries: MOST_FILES,
    max_unpacked: MOST_BYTES,
    setting: None,
};

fn unacceptable(error: archive::Unacceptable) -> ContentError {
    ContentError::Unacceptable(error.0)
}

/// What other programs leave in a folder.
fn is_left_out(name: &str) -> bool {
    name == ".git" || name == "__pycache__" || name.ends_with(".pyc")
}

/// Where a symlink leads, if that is inside.
fn inside(root: &Path, link: &Path, shown: &str) -> Result<PathBuf, ContentError> {
    let target = link
        .canonicalize()
        .map_err(|_| ContentError::Unacceptable(format!("the symlink {shown} leads nowhere")))?;
    if !target.starts_with(root) {
        return no(format!("the symlink {shown} leads out of the pack"));
    }
    if !target.is_file() {
        return no(format!(
            "the symlink {shown} leads to a folder; only links to files are followed"
        ));
    }
    Ok(target)
}

fn gzip<W: Write>(target: W) -> GzEncoder<W> {
    GzBuilder::new()
        .mtime(0)
        .write(target, Compression::default())
}

fn append<W: Write>(
    builder: &mut tar::Builder<W>,
    path: &str,
    bytes: &[u8],
    executable: bool,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_mtime(0);
    builder.append_data(&mut header, format!("{CONTENT_FOLDER}/{path}"), bytes)
}

/// Files that are written or removed in an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    pub written: BTreeMap<String, Vec<u8>>,
    pub removed: BTreeSet<String>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.removed.is_empty()
    }
}

/// Copies an archive with changed content; everything else in it (a virtual environment) stays. Blocks.
pub fn change_archive(from: &Path, to: &Path, changes: &Changes) -> io::Result<()> {
    let source = io::BufReader::new(File::open(from)?);
    let mut archive = tar::Archive::new(GzDecoder::new(source));
    let target = io::BufWriter::new(File::create(to)?);
    let mut builder = tar::Builder::new(gzip(target));
    for (path, bytes) in &changes.written {
        append(&mut builder, path, bytes, false)?;
    }
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        let replaced = std::str::from_utf8(&path)
            .ok()
            .and_then(|path| path.strip_prefix(CONTENT_FOLDER)?.strip_prefix('/'))
            .is_some_and(|path| {
                changes.removed.contains(path) || changes.written.contains_key(path)
            });
        if replaced {
            continue;
        }
        let mut header = entry.header().clone();
        let path = entry.path()?.into_owned();
        match entry.link_name()? {
            Some(link) => builder.append_link(&mut header, path, link)?,
            None => builder.append_data(&mut header, path, &mut entry)?,
        }
    }
    builder.into_inner()?.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(files: &[(&str, &str)]) -> PackContent {
        PackContent {
            files: files
                .iter()
                .map(|(path, text)| (path.to_string(), text.as_bytes().to_vec()))
                .collect(),
            executable: BTreeSet::new(),
        }
    }

    fn tar_gz(entries: &[(&str, tar::EntryType, &str)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(gzip(File::create(file.path()).unwrap()));
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            // Written as they are: the crate itself refuses some of them.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            let bytes = if *kind == tar::EntryType::Symlink {
                header.set_link_name(text).unwrap();
                &b""[..]
            } else {
                text.as_bytes()
            };
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            builder.append(&header, bytes).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
        file
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;

    #[test]
    fn an_upload_may_be_of_the_folder_or_of_its_content() {
        for entries in [
            &[("pack.yaml", FILE, "a"), ("actions/x.sh", FILE, "b")][..],
            &[
                ("hello/pack.yaml", FILE, "a"),
                ("hello/actions/x.sh", FILE, "b"),
            ],
            &[
                ("./hello/pack.yaml", FILE, "a"),
                ("./hello/actions/x.sh", FILE, "b"),
            ],
        ] {
            let read = PackContent::of_upload(tar_gz(entries).path()).unwrap();
            let expected = content(&[("pack.yaml", "a"), ("actions/x.sh", "b")]);
            assert_eq!(read.files, expected.files);
            assert!(read.executable.contains("actions/x.sh"));
        }
    }

    #[test]
    fn what_leads_out_of_the_pack_is_refused() {
        let refused = |entries: &[(&str, tar::EntryType, &str)]| {
            PackContent::of_upload(tar_gz(entries).path())
                .unwrap_err()
                .to_string()
        };
        assert!(refused(&[("../x", FILE, "")]).contains("leads out"));
        assert!(refused(&[("/etc/x", FILE, "")]).contains("absolute"));
        let link = tar::EntryType::Symlink;
        assert!(refused(&[("x", link, "/etc/passwd")]).contains("neither a file nor a folder"));
        let pipe = tar::EntryType::Fifo;
        assert!(refused(&[("x", pipe, "")]).contains("neither a file nor a folder"));
        assert!(refused(&[("x", FILE, ""), ("./x", FILE, "")]).contains("twice"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello").unwrap();
        let error = PackContent::of_upload(file.path()).unwrap_err();
        assert!(error.to_string().contains("neither a tar.gz nor a zip"));
    }

    #[test]
    fn a_folder_is_read_with_links_inside_and_without_links_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("hello");
        std::fs::create_dir_all(root.join("actions")).unwrap();
        std::fs::create_dir_all(root.join(".git")).unwrap();
        std::fs::write(root.join(".git/config"), "x").unwrap();
        std::fs::write(root.join("actions/a.sh"), "a").unwrap();
        std::os::unix::fs::symlink("a.sh", root.join("actions/b.sh")).unwrap();
        let read = PackContent::of_folder(&root).unwrap();
        let expected = content(&[("actions/a.sh", "a"), ("actions/b.sh", "a")]);
        assert_eq!(read, expected);

        std::fs::write(folder.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        let error = PackContent::of_folder(&root).unwrap_err();
        assert_eq!(error.to_string(), "the symlink out leads out of the pack");
    }

    #[test]
    fn an_archive_is_reproducible_and_can_be_changed() {
        let mut pack = content(&[("a", "1"), ("b", "2"), ("c", "3")]);
        pack.executable.insert("a".into());
        let bytes = pack.archive().unwrap();
        assert_eq!(bytes, pack.archive().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, bytes).unwrap();
        assert_eq!(PackContent::of_archive(&from).unwrap(), pack);
        let changes = Changes {
            written: BTreeMap::from([("b".into(), b"two".to_vec()), ("d".into(), b"4".to_vec())]),
            removed: BTreeSet::from(["c".to_string()]),
        };
        change_archive(&from, &to, &changes).unwrap();
        let mut expected = content(&[("a", "1"), ("b", "two"), ("d", "4")]);
        expected.executable.insert("a".into());
        assert_eq!(PackContent::of_archive(&to).unwrap(), expected);
    }
}
