//! The archives a build leaves: the droplet and the cache.
//!
//! The same files give the same bytes: entries are sorted, owners are fixed, nothing else of the
//! machine gets in. Times are kept, because compiled Python and web servers compare them.

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// The user that apps run as.
const OWNER: u64 = 2000;

#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be {doing}")]
pub struct ArchiveError {
    pub path: String,
    pub doing: &'static str,
    #[source]
    pub source: io::Error,
}

fn failed<'a>(path: &'a Path, doing: &'static str) -> impl FnOnce(io::Error) -> ArchiveError + 'a {
    move |source| ArchiveError {
        path: path.display().to_string(),
        doing,
        source,
    }
}

/// A gzipped tar being written. Level 1: staging waits for it, and the agents are near.
pub struct Archive {
    builder: Builder<GzEncoder<BufWriter<File>>>,
    target: PathBuf,
    /// Sockets, pipes and devices, which no droplet can carry.
    pub left_out: Vec<String>,
}

impl Archive {
    pub fn create(target: &Path) -> Result<Archive, ArchiveError> {
        let file = File::create(target).map_err(failed(target, "created"))?;
        Ok(Archive {
            builder: Builder::new(GzEncoder::new(
                BufWriter::with_capacity(1 << 18, file),
                Compression::fast(),
            )),
            target: target.to_path_buf(),
            left_out: Vec::new(),
        })
    }

    /// Adds `folder` and all below it as `name`.
    pub fn folder(&mut self, folder: &Path, name: &str) -> Result<(), ArchiveError> {
        for entry in walkdir::WalkDir::new(folder)
            .follow_links(false)
            .sort_by_file_name()
        {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(folder).to_path_buf();
                failed(&path, "read")(error.into())
            })?;
            let relative = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            let inside = if relative.as_os_str().is_empty() {
                PathBuf::from(name)
            } else {
                Path::new(name).join(relative)
            };
            self.entry(entry.path(), &inside)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, inside: &Path) -> Result<(), ArchiveError> {
        let metadata = fs::symlink_metadata(path).map_err(failed(path, "read"))?;
        let kind = metadata.file_type();
        let mut header = header(
            metadata.mode() & 0o777,
            u64::try_from(metadata.mtime()).unwrap_or(0),
        );
        let written = if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            header.set_size(0);
            self.builder.append_data(&mut header, inside, io::empty())
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(failed(path, "read"))?;
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            self.builder.append_link(&mut header, inside, target)
        } else if kind.is_file() {
            let file = File::open(path).map_err(failed(path, "read"))?;
            header.set_entry_type(EntryType::Regular);
            header.set_size(metadata.len());
            let content = exactly(BufReader::with_capacity(1 << 16, file), metadata.len());
            self.builder.append_data(&mut header, inside, content)
        } else {
            debug_assert!(
                kind.is_fifo()
                    || kind.is_socket()
                    || kind.is_char_device()
                    || kind.is_block_device()
            );
            self.left_out.push(inside.display().to_string());
            Ok(())
        };
        written.map_err(failed(path, "packed"))
    }

    /// Adds an empty folder.
    pub fn empty_folder(&mut self, name: &str) -> Result<(), ArchiveError> {
        let mut header = header(0o755, 0);
        header.set_entry_type(EntryType::Directory);
        header.set_size(0);
        self.builder
            .append_data(&mut header, name, io::empty())
            .map_err(failed(Path::new(name), "packed"))
    }

    /// Adds a file with this content.
    pub fn content(&mut self, name: &str, content: &[u8]) -> Result<(), ArchiveError> {
        let mut header = header(0o644, 0);
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        self.builder
            .append_data(&mut header, name, content)
            .map_err(failed(Path::new(name), "packed"))
    }

    /// Writes what is left; the size in bytes.
    pub fn finish(self) -> Result<u64, ArchiveError> {
        let Archive {
            builder, target, ..
        } = self;
        let finish = || {
            let mut writer = builder.into_inner()?.finish()?;
            writer.flush()?;
            Ok(writer.get_ref().metadata()?.len())
        };
        finish().map_err(failed(&target, "written"))
    }
}

/// So many bytes: a file that something left behind still writes to must not shift all entries after
/// it.
fn exactly(file: impl Read, bytes: u64) -> impl Read {
    file.chain(io::repeat(0)).take(bytes)
}

fn header(mode: u32, modified: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(OWNER);
    header.set_gid(OWNER);
    header.set_mtime(modified);
    header
}

/// Unpacks a cache that an earlier build of the same app left.
pub fn unpack_cache(archive: &Path, target: &Path) -> Result<(), ArchiveError> {
    let file = File::open(archive).map_err(failed(archive, "opened"))?;
    let mut archive_reader = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    archive_reader.set_preserve_mtime(true);
    archive_reader
        .unpack(target)
        .map_err(failed(archive, "unpacked"))
}

/// Bytes of all files below `folder`.
pub fn size_of(folder: &Path) -> u64 {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter_map(|entry| entry.metadata().ok())
        .filter(|metadata| metadata.is_file())
        .map(|metadata| metadata.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn sample(root: &Path) {
        fs::create_dir_all(root.join("app/sub")).expect("folder");
        fs::write(root.join("app/b"), "b").expect("file");
        fs::write(root.join("app/a"), "a").expect("file");
        fs::write(root.join(format!("app/sub/{}", "long".repeat(50))), "x").expect("file");
        symlink("../a", root.join("app/sub/link")).expect("link");
        for path in ["app/a", "app/b"] {
            let time =
                std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
            File::options()
                .write(true)
                .open(root.join(path))
                .and_then(|file| file.set_modified(time))
                .expect("time");
        }
    }

    #[test]
    fn an_archive_is_sorted_and_owned_by_the_apps_user_and_comes_back() {
        let folder = tempfile::tempdir().expect("temporary folder");
        sample(folder.path());
        let target = folder.path().join("droplet.tgz");
        let mut archive = Archive::create(&target).expect("created");
        archive
            .folder(&folder.path().join("app"), "./app")
            .expect("folder");
        archive.empty_folder("./tmp").expect("folder");
        archive.content("./info.yml", b"{}").expect("file");
        assert!(archive.finish().expect("finished") > 0);

        let mut reader = tar::Archive::new(GzDecoder::new(File::open(&target).expect("file")));
        let entries: Vec<(String, u64, u64)> = reader
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("entry");
                let path = entry.path().expect("path").display().to_string();
                (
                    path.trim_start_matches("./").to_string(),
                    entry.header().uid().expect("uid"),
                    entry.header().mtime().expect("mtime"),
                )
            })
            .collect();
        let names: Vec<&str> = entries
            .iter()
            .map(|(name, ..)| name.trim_end_matches('/'))
            .collect();
        assert_eq!(names[..4], ["app", "app/a", "app/b", "app/sub"]);
        assert_eq!(
            names[5..],
            [
                "app/sub/".to_string() + &"long".repeat(50),
                "tmp".into(),
                "info.yml".into()
            ]
        );
        assert!(entries.iter().all(|(_, uid, _)| *uid == 2000));
        assert_eq!(entries[1].2, 1_700_000_000);

        let back = folder.path().join("back");
        fs::create_dir(&back).expect("folder");
        unpack_cache(&target, &back).expect("unpacked");
        assert_eq!(
            fs::read_to_string(back.join("app/sub/link")).expect("through the link"),
            "a"
        );
    }

    #[test]
    fn an_entry_has_its_size_whatever_became_of_its_file() {
        let read = |bytes| {
            let mut content = Vec::new();
            exactly(&b"abc"[..], bytes)
                .read_to_end(&mut content)
                .expect("read");
            content
        };
        assert_eq!(read(2), b"ab");
        assert_eq!(read(5), b"abc\0\0");
    }

    #[test]
    fn sockets_are_left_out_by_name() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let app = folder.path().join("app");
        fs::create_dir(&app).expect("folder");
        let _socket = std::os::unix::net::UnixListener::bind(app.join("s")).expect("socket");
        let mut archive = Archive::create(&folder.path().join("d.tgz")).expect("created");
        archive.folder(&app, "./app").expect("folder");
        assert_eq!(archive.left_out, ["./app/s"]);
    }

    #[test]
    fn a_broken_cache_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("cache.tgz");
        fs::write(&path, "garbage").expect("file");
        assert!(unpack_cache(&path, folder.path()).is_err());
    }
}
