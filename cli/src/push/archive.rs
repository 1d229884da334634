//! The zip that is uploaded, and which of its files the cluster has already.

use super::files::{Collected, Entry, Kind};
use proto::api::{PackageFile, Resource, ResourceChecksum};
use sha1::{Digest, Sha1};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use time::OffsetDateTime;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Smaller files are sent rather than asked about.
pub const WORTH_ASKING: u64 = 64 * 1024;
/// Permissions of a link in an archive: they mean nothing.
const LINK_MODE: u32 = 0o777;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveFault {
    #[error("read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("pack {path}")]
    Pack {
        path: String,
        #[source]
        source: zip::result::ZipError,
    },
    #[error("write the package")]
    Write(#[source] io::Error),
    #[error("{0} is a file, but no zip archive: name a folder, or a .zip or .jar file")]
    NoArchive(PathBuf),
    #[error("the archive {0} is empty")]
    Empty(PathBuf),
    #[error("the archive {archive} holds {entry:?}, which leads out of the app")]
    Escapes { archive: PathBuf, entry: String },
}

/// What the cluster may have already: files that are large enough, with their checksums.
pub fn candidates(collected: &Collected) -> Result<Vec<Resource>, ArchiveFault> {
    let mut resources = Vec::new();
    for entry in &collected.entries {
        if let Kind::File { mode, size, .. } = entry.kind
            && size >= WORTH_ASKING
        {
            let checksum = ResourceChecksum {
                value: sha1_of(&entry.source)?,
            };
            resources.push(Resource {
                checksum,
                size_in_bytes: size,
                path: entry.path.clone(),
                mode: format!("{mode:o}"),
            });
        }
    }
    Ok(resources)
}

/// The candidates the server said it has, by content: it may answer without our paths.
pub fn known(candidates: &[Resource], answered: &[Resource]) -> Vec<Resource> {
    let have: BTreeSet<(&str, u64)> = answered
        .iter()
        .map(|resource| (resource.checksum.value.as_str(), resource.size_in_bytes))
        .collect();
    candidates
        .iter()
        .filter(|resource| {
            have.contains(&(resource.checksum.value.as_str(), resource.size_in_bytes))
        })
        .cloned()
        .collect()
}

/// A file as a package's table of contents has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    pub path: String,
    pub size: u64,
    /// Of the content; of a link, of its target.
    pub crc32: u32,
    /// Permissions alone.
    pub mode: u32,
}

impl LocalFile {
    pub fn is_like(&self, packed: &PackageFile) -> bool {
        let mode = u32::from_str_radix(&packed.mode, 8).unwrap_or_default();
        (self.size, self.crc32, self.mode) == (packed.size_in_bytes, packed.crc32, mode)
    }
}

/// The files of a folder as [`pack`] would write them.
pub fn list_folder(collected: &Collected) -> Result<Vec<LocalFile>, ArchiveFault> {
    let mut files = Vec::new();
    for entry in &collected.entries {
        let (size, crc32, mode) = match &entry.kind {
            Kind::Folder { .. } => continue,
            Kind::File { mode, size, .. } => (*size, crc32_of(&entry.source)?, mode | 0o400),
            Kind::Link { target } => {
                let mut crc = flate2::Crc::new();
                crc.update(target.as_bytes());
                (target.len() as u64, crc.sum(), LINK_MODE)
            }
        };
        files.push(LocalFile {
            path: entry.path.clone(),
            size,
            crc32,
            mode,
        });
    }
    Ok(files)
}

/// The files of an archive that is pushed as it is.
pub fn list_archive(path: &Path) -> Result<Vec<LocalFile>, ArchiveFault> {
    let file = File::open(path).map_err(|source| ArchiveFault::Read {
        path: path.to_path_buf(),
        source,
    })?;
    let unreadable = |source| ArchiveFault::Pack {
        path: path.display().to_string(),
        source,
    };
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(unreadable)?;
    let mut files = Vec::new();
    for number in 0..archive.len() {
        let entry = archive.by_index_raw(number).map_err(unreadable)?;
        if !entry.is_dir() {
            files.push(LocalFile {
                path: entry.name().to_string(),
                size: entry.size(),
                crc32: entry.crc32(),
                mode: entry.unix_mode().unwrap_or_default() & 0o777,
            });
        }
    }
    Ok(files)
}

fn crc32_of(path: &Path) -> Result<u32, ArchiveFault> {
    let failed = |source| ArchiveFault::Read {
        path: path.to_path_buf(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut crc = flate2::CrcWriter::new(io::sink());
    io::copy(&mut file, &mut crc).map_err(failed)?;
    Ok(crc.crc().sum())
}

fn sha1_of(path: &Path) -> Result<String, ArchiveFault> {
    let failed = |source| ArchiveFault::Read {
        path: path.to_path_buf(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha1::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            return Ok(hasher
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect());
        }
        hasher.update(&buffer[..read]);
    }
}

/// Writes everything but the known files. Gives back how many entries were written.
pub fn pack<W: Write + Seek>(
    collected: &Collected,
    known: &[Resource],
    out: W,
) -> Result<usize, ArchiveFault> {
    let known: HashMap<&str, ()> = known
        .iter()
        .map(|resource| (resource.path.as_str(), ()))
        .collect();
    let mut zip = ZipWriter::new(BufWriter::with_capacity(256 * 1024, out));
    let mut written = 0;
    for entry in &collected.entries {
        if known.contains_key(entry.path.as_str()) {
            continue;
        }
        pack_entry(&mut zip, entry)?;
        written += 1;
    }
    zip.finish()
        .map_err(|source| ArchiveFault::Pack {
            path: "the end of the archive".into(),
            source,
        })?
        .flush()
        .map_err(ArchiveFault::Write)?;
    Ok(written)
}

/// The same into a temporary file.
pub fn pack_to_file(
    collected: &Collected,
    known: &[Resource],
) -> Result<tempfile::NamedTempFile, ArchiveFault> {
    let file = tempfile::NamedTempFile::new().map_err(ArchiveFault::Write)?;
    pack(collected, known, file.as_file())?;
    Ok(file)
}

fn pack_entry<W: Write + Seek>(zip: &mut ZipWriter<W>, entry: &Entry) -> Result<(), ArchiveFault> {
    let failed = |source| ArchiveFault::Pack {
        path: entry.path.clone(),
        source,
    };
    let options = SimpleFileOptions::default();
    match &entry.kind {
        // A folder without x for its owner could not be entered by the app.
        Kind::Folder { mode } => zip
            .add_directory(&entry.path, options.unix_permissions(mode | 0o700))
            .map_err(failed),
        Kind::Link { target } => zip
            .add_symlink(&entry.path, target, options)
            .map_err(failed),
        Kind::File {
            mode,
            size,
            modified,
        } => {
            let method = if is_compressed(&entry.path) {
                CompressionMethod::Stored
            } else {
                CompressionMethod::Deflated
            };
            let mut options = options
                .unix_permissions(mode | 0o400)
                .compression_method(method)
                .large_file(*size >= u64::from(u32::MAX));
            if let Some(time) = modified.and_then(zip_time) {
                options = options.last_modified_time(time);
            }
            zip.start_file(&entry.path, options).map_err(failed)?;
            let source = File::open(&entry.source).map_err(|source| ArchiveFault::Read {
                path: entry.source.clone(),
                source,
            })?;
            io::copy(&mut BufReader::with_capacity(256 * 1024, source), zip).map_err(|source| {
                ArchiveFault::Read {
                    path: entry.source.clone(),
                    source,
                }
            })?;
            Ok(())
        }
    }
}

/// Kept, because web servers tell browsers when a file changed.
fn zip_time(time: SystemTime) -> Option<DateTime> {
    let time = OffsetDateTime::from(time);
    DateTime::from_date_and_time(
        u16::try_from(time.year()).ok()?,
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
    )
    .ok()
}

/// Compressing these again takes time and saves nothing.
fn is_compressed(path: &str) -> bool {
    const ENDINGS: &[&str] = &[
        "7z", "br", "bz2", "gif", "gz", "jar", "jpeg", "jpg", "mp3", "mp4", "png", "tgz", "war",
        "webm", "webp", "whl", "woff", "woff2", "xz", "zip", "zst",
    ];
    path.rsplit_once('.')
        .is_some_and(|(_, ending)| ENDINGS.contains(&ending.to_ascii_lowercase().as_str()))
}

/// Checks an archive that is pushed as it is.
pub fn check_archive(path: &Path) -> Result<u64, ArchiveFault> {
    let failed = |source| ArchiveFault::Read {
        path: path.to_path_buf(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let archive = zip::ZipArchive::new(BufReader::new(file))
        .map_err(|_| ArchiveFault::NoArchive(path.to_path_buf()))?;
    if archive.is_empty() {
        return Err(ArchiveFault::Empty(path.to_path_buf()));
    }
    match archive
        .file_names()
        .find(|name| name.starts_with('/') || name.split(['/', '\\']).any(|part| part == ".."))
    {
        Some(entry) => Err(ArchiveFault::Escapes {
            archive: path.to_path_buf(),
            entry: entry.to_string(),
        }),
        None => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Cursor;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn app() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("bin")).expect("a folder");
        fs::write(folder.path().join("bin/run"), "#!/bin/sh\n").expect("a file");
        fs::set_permissions(
            folder.path().join("bin/run"),
            fs::Permissions::from_mode(0o755),
        )
        .expect("a mode");
        fs::write(folder.path().join("big.bin"), vec![7; 100_000]).expect("a file");
        symlink("bin/run", folder.path().join("start")).expect("a link");
        folder
    }

    #[test]
    fn the_archive_keeps_modes_and_links() {
        let folder = app();
        let collected = super::super::files::collect(folder.path()).expect("files");
        let mut bytes = Cursor::new(Vec::new());
        assert_eq!(pack(&collected, &[], &mut bytes).expect("packed"), 4);
        let mut archive = zip::ZipArchive::new(bytes).expect("a zip");
        assert_eq!(
            archive
                .by_name("bin/run")
                .expect("a file")
                .unix_mode()
                .map(|mode| mode & 0o777),
            Some(0o755)
        );
        let mut link = archive.by_name("start").expect("a link");
        assert_eq!(
            link.unix_mode().map(|mode| mode & 0o170_000),
            Some(0o120_000)
        );
        let mut target = String::new();
        link.read_to_string(&mut target).expect("its target");
        assert_eq!(target, "bin/run");
    }

    #[test]
    fn a_folder_is_listed_as_it_is_packed() {
        let folder = app();
        let collected = super::super::files::collect(folder.path()).expect("files");
        let packed = folder.path().join("packed.zip");
        pack(&collected, &[], File::create(&packed).expect("a file")).expect("packed");
        let listed = list_folder(&collected).expect("listed");
        assert_eq!(listed.len(), 3);
        assert_eq!(listed, list_archive(&packed).expect("listed"));
    }

    #[test]
    fn what_the_cluster_has_is_not_sent() {
        let folder = app();
        let collected = super::super::files::collect(folder.path()).expect("files");
        let candidates = candidates(&collected).expect("checksums");
        assert_eq!(candidates.len(), 1, "small files are not asked about");
        assert_eq!(candidates[0].path, "big.bin");
        let mut answered = candidates.clone();
        answered[0].path = String::new();
        let known = known(&candidates, &answered);
        assert_eq!(known, candidates);
        let mut bytes = Cursor::new(Vec::new());
        pack(&collected, &known, &mut bytes).expect("packed");
        assert!(
            zip::ZipArchive::new(bytes)
                .expect("a zip")
                .by_name("big.bin")
                .is_err()
        );
    }

    #[test]
    fn an_archive_is_checked_before_it_is_sent() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("app.jar");
        fs::write(&path, "no zip").expect("a file");
        assert!(matches!(
            check_archive(&path),
            Err(ArchiveFault::NoArchive(_))
        ));
        let mut zip = ZipWriter::new(File::create(&path).expect("a file"));
        zip.start_file("../evil", SimpleFileOptions::default())
            .expect("an entry");
        zip.finish().expect("a zip");
        assert!(matches!(
            check_archive(&path),
            Err(ArchiveFault::Escapes { .. })
        ));
        ZipWriter::new(File::create(&path).expect("a file"))
            .finish()
            .expect("a zip");
        assert!(matches!(check_archive(&path), Err(ArchiveFault::Empty(_))));
    }
}
