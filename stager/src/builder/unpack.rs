//! Unpacks the user's package, or the archive of a buildpack, trusting nothing in it.
//!
//! A zip may name absolute paths and parents, carry links that lead out of the app, hold devices,
//! say it is small and inflate without end. All of that is refused with the entry's name. Two
//! things are easy to get wrong:
//!
//! - Links are made after all files, so that no file is ever written *through* a link.
//! - A chain of links can leave the app although each of them looks harmless when its text is
//!   normalized, so each link is followed as the kernel would follow it ([`resolves_inside`]).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};
use zip::read::ZipFile;
use zip::{ExtraField, ZipArchive};

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("it cannot be opened")]
    Open(#[source] io::Error),
    #[error("it is no readable zip archive")]
    Archive(#[source] zip::result::ZipError),
    #[error("it is empty")]
    Empty,
    #[error("it holds {entries} entries; at most {most} are allowed")]
    TooMany { entries: u64, most: u64 },
    #[error("it unpacks to more than {most} bytes, seen at {entry}")]
    TooLarge { entry: String, most: u64 },
    #[error("it holds {entry:?}, a path that leads out of it")]
    Escape { entry: String },
    #[error("the link {entry} points to {target}, which is outside of it")]
    LinkEscape { entry: String, target: String },
    #[error("{entry} is neither file, folder nor link")]
    Special { entry: String },
    #[error("{entry} cannot be read from it")]
    Entry {
        entry: String,
        #[source]
        source: zip::result::ZipError,
    },
    #[error("{entry} cannot be unpacked")]
    Write {
        entry: String,
        #[source]
        source: io::Error,
    },
}

#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub bytes: u64,
    pub entries: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unpacked {
    pub files: u64,
    pub bytes: u64,
}

const LONGEST_LINK: u64 = 4096;
/// As the kernel.
const MOST_LINKS_FOLLOWED: usize = 40;

/// Unpacks `package` into `target`, an existing empty folder.
pub fn unpack(package: &Path, target: &Path, bounds: Bounds) -> Result<Unpacked, UnpackError> {
    let file = File::open(package).map_err(UnpackError::Open)?;
    let mut archive = ZipArchive::new(io::BufReader::new(file)).map_err(UnpackError::Archive)?;
    let entries = archive.len() as u64;
    if entries == 0 {
        return Err(UnpackError::Empty);
    }
    if entries > bounds.entries {
        return Err(UnpackError::TooMany {
            entries,
            most: bounds.entries,
        });
    }
    let mut done = Unpacked::default();
    let mut links = Vec::new();
    let mut folders = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive
            .by_index(index)
            .map_err(|source| UnpackError::Entry {
                entry: format!("entry {index}"),
                source,
            })?;
        let name = name_of(&entry);
        let relative = safe_path(&name).ok_or_else(|| UnpackError::Escape {
            entry: name.clone(),
        })?;
        let path = target.join(&relative);
        let mode = entry.unix_mode().unwrap_or(0);
        let failed = |source| UnpackError::Write {
            entry: name.clone(),
            source,
        };
        match kind(&entry, mode) {
            Kind::Folder => {
                fs::create_dir_all(&path).map_err(failed)?;
                folders.push((path, mode));
            }
            Kind::File => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(failed)?;
                }
                let left = bounds.bytes - done.bytes;
                let written = write_file(&mut entry, &path, mode, left).map_err(failed)?;
                if written > left {
                    return Err(UnpackError::TooLarge {
                        entry: name,
                        most: bounds.bytes,
                    });
                }
                done.bytes += written;
                done.files += 1;
            }
            Kind::Link => {
                let mut text = Vec::new();
                (&mut entry)
                    .take(LONGEST_LINK)
                    .read_to_end(&mut text)
                    .map_err(failed)?;
                let text = String::from_utf8(text).map_err(|error| {
                    failed(io::Error::new(
                        io::ErrorKind::InvalidData,
                        error.utf8_error(),
                    ))
                })?;
                links.push((name, relative, text));
            }
            Kind::Special => return Err(UnpackError::Special { entry: name }),
        }
    }
    done.files += links.len() as u64;
    if done.files == 0 {
        return Err(UnpackError::Empty);
    }
    make_links(target, &links)?;
    for (path, mode) in folders {
        // The owner can always work in his own folders, and set-id bits mean nothing here.
        let mode = if mode == 0 {
            0o755
        } else {
            mode & 0o777 | 0o700
        };
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(|source| {
            UnpackError::Write {
                entry: path.display().to_string(),
                source,
            }
        })?;
    }
    Ok(done)
}

enum Kind {
    Folder,
    File,
    Link,
    Special,
}

fn kind<R: Read>(entry: &ZipFile<'_, R>, mode: u32) -> Kind {
    match mode & 0o170_000 {
        0o120_000 => Kind::Link,
        0o040_000 => Kind::Folder,
        0 | 0o100_000 if entry.is_dir() => Kind::Folder,
        0 | 0o100_000 => Kind::File,
        _ => Kind::Special,
    }
}

/// Many archivers write UTF-8 without saying so.
fn name_of<R: Read>(entry: &ZipFile<'_, R>) -> String {
    match std::str::from_utf8(entry.name_raw()) {
        Ok(name) => name.to_string(),
        Err(_) => entry.name().to_string(),
    }
}

/// The path inside the app, or None if it leads out of it or names nothing.
fn safe_path(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') || name.contains('\0') {
        return None;
    }
    let mut path = PathBuf::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => path.push(part),
        }
    }
    // `./` is the app itself, which many archivers list.
    Some(path)
}

/// Writes at most `left` bytes and one more, so that the caller sees that there were more.
fn write_file<R: Read>(
    entry: &mut ZipFile<'_, R>,
    path: &Path,
    mode: u32,
    left: u64,
) -> io::Result<u64> {
    let mode = if mode & 0o777 == 0 {
        0o644
    } else {
        mode & 0o777 | 0o600
    };
    let create = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
    };
    let mut file = match create() {
        // The last entry of a name wins, as in every unzip.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_file() => {
            fs::remove_file(path)?;
            create()?
        }
        other => other?,
    };
    let modified = modified(entry);
    let written = io::copy(&mut entry.take(left.saturating_add(1)), &mut file)?;
    file.flush()?;
    file.set_permissions(Permissions::from_mode(mode))?;
    if let Some(time) = modified {
        file.set_modified(time)?;
    }
    Ok(written)
}

/// The entry's time, if it has a real one: web servers compare it, and the first day of 1980, which
/// archivers write for "unknown", would make a changed file look unchanged.
fn modified<R: Read>(entry: &ZipFile<'_, R>) -> Option<SystemTime> {
    let extended = entry.extra_data_fields().find_map(|field| match field {
        ExtraField::ExtendedTimestamp(stamp) => stamp.mod_time(),
        _ => None,
    });
    let seconds = match extended {
        Some(seconds) => u64::from(seconds),
        None => {
            let time = entry
                .last_modified()
                .filter(|time| time.year() > 1980 && time.is_valid())?;
            let days = days_since_1970(
                i64::from(time.year()),
                i64::from(time.month()),
                i64::from(time.day()),
            );
            let seconds = days * 86_400
                + i64::from(time.hour()) * 3600
                + i64::from(time.minute()) * 60
                + i64::from(time.second());
            u64::try_from(seconds).ok()?
        }
    };
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Days of the Gregorian calendar, counted from a year that begins in March, so that the leap day
/// is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + day - 1 - 719_468
}

fn make_links(target: &Path, links: &[(String, PathBuf, String)]) -> Result<(), UnpackError> {
    for (name, relative, text) in links {
        let path = target.join(relative);
        let failed = |source| UnpackError::Write {
            entry: name.clone(),
            source,
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
            // A link as a parent would put this one somewhere else than its name says.
            if !parent
                .canonicalize()
                .map_err(failed)?
                .starts_with(target.canonicalize().map_err(failed)?)
            {
                return Err(UnpackError::Escape {
                    entry: name.clone(),
                });
            }
        }
        if path
            .symlink_metadata()
            .is_ok_and(|metadata| !metadata.is_dir())
        {
            fs::remove_file(&path).map_err(failed)?;
        }
        symlink(text, &path).map_err(failed)?;
        // At once, not after all: a later link is made inside folders that earlier ones may be.
        if !resolves_inside(target, relative) {
            return Err(UnpackError::LinkEscape {
                entry: name.clone(),
                target: text.clone(),
            });
        }
    }
    // A link that dangled when it was made may lead out through one that was made after it.
    for (name, relative, text) in links {
        if !resolves_inside(target, relative) {
            return Err(UnpackError::LinkEscape {
                entry: name.clone(),
                target: text.clone(),
            });
        }
    }
    Ok(())
}

/// Follows `relative` below `root` component by component, links included, and says whether it
/// stays below. What does not exist is followed by its name.
fn resolves_inside(root: &Path, relative: &Path) -> bool {
    let mut pending: Vec<PathBuf> = vec![relative.to_path_buf()];
    let mut at = PathBuf::new();
    let mut followed = 0;
    while let Some(path) = pending.pop() {
        let mut components = path.components();
        let Some(component) = components.next() else {
            continue;
        };
        let rest = components.as_path().to_path_buf();
        match component {
            Component::Prefix(_) | Component::RootDir => return false,
            Component::CurDir => pending.push(rest),
            Component::ParentDir => {
                if !at.pop() {
                    return false;
                }
                pending.push(rest);
            }
            Component::Normal(name) => {
                pending.push(rest);
                at.push(name);
                if let Ok(text) = fs::read_link(root.join(&at)) {
                    followed += 1;
                    if followed > MOST_LINKS_FOLLOWED {
                        return false;
                    }
                    at.pop();
                    pending.push(text);
                }
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    const BOUNDS: Bounds = Bounds {
        bytes: 10_000,
        entries: 20,
    };

    enum Entry {
        File(&'static str, Vec<u8>, u32),
        Folder(&'static str),
        Link(&'static str, &'static str),
        Fifo(&'static str),
    }
    use Entry::{Fifo, Folder, Link};

    fn file(name: &'static str, text: &str) -> Entry {
        Entry::File(name, text.as_bytes().to_vec(), 0o644)
    }

    /// Unpacks a zip of these entries; the folder is returned for inspection.
    fn check(entries: &[Entry]) -> (tempfile::TempDir, Result<Unpacked, UnpackError>) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let package = folder.path().join("package.zip");
        let mut zip = ZipWriter::new(File::create(&package).expect("file"));
        let options = SimpleFileOptions::default();
        for entry in entries {
            match entry {
                Entry::File(name, bytes, mode) => {
                    zip.start_file(*name, options.unix_permissions(*mode))
                        .expect("entry");
                    zip.write_all(bytes).expect("content");
                }
                Folder(name) => zip.add_directory(*name, options).expect("entry"),
                Link(name, target) => zip.add_symlink(*name, *target, options).expect("entry"),
                Fifo(name) => {
                    zip.start_file(*name, options.unix_permissions(0o644))
                        .expect("entry");
                }
            }
        }
        zip.finish().expect("finished");
        if entries.iter().any(|entry| matches!(entry, Fifo(_))) {
            // The writer makes files, folders and links only: turn the type bits of the central
            // directory into those of a fifo.
            let mut bytes = fs::read(&package).expect("read");
            let header = bytes
                .windows(4)
                .position(|four| four == b"PK\x01\x02")
                .expect("a central header");
            bytes[header + 41] = bytes[header + 41] & 0x0f | 0x10;
            fs::write(&package, bytes).expect("written");
        }
        let target = folder.path().join("app");
        fs::create_dir(&target).expect("folder");
        let result = unpack(&package, &target, BOUNDS);
        (folder, result)
    }

    fn refusal(entries: &[Entry]) -> String {
        let (folder, result) = check(entries);
        assert!(
            !folder.path().join("evil").exists(),
            "something was written outside"
        );
        result.expect_err("refused").to_string()
    }

    #[test]
    fn files_keep_their_bytes_modes_and_links() {
        let run = Entry::File("bin/run", b"#!/bin/sh\n".to_vec(), 0o755);
        let (folder, result) = check(&[
            run,
            Folder("empty/"),
            file("./a.txt", "hello"),
            Link("link", "bin/run"),
        ]);
        assert_eq!(
            result.expect("unpacked"),
            Unpacked {
                files: 3,
                bytes: 15
            }
        );
        let app = folder.path().join("app");
        assert_eq!(
            fs::metadata(app.join("bin/run"))
                .expect("file")
                .permissions()
                .mode()
                & 0o777,
            0o755
        );
        assert_eq!(
            fs::read_to_string(app.join("a.txt")).expect("file"),
            "hello"
        );
        assert!(app.join("empty").is_dir());
        assert_eq!(
            fs::read_link(app.join("link")).expect("link"),
            Path::new("bin/run")
        );
    }

    #[test]
    fn paths_that_lead_out_are_refused_by_name() {
        for name in ["../evil", "/evil", "a/../../evil"] {
            assert!(
                refusal(&[file(name, "x")]).contains("leads out of it"),
                "{name}"
            );
        }
    }

    #[test]
    fn links_that_lead_out_are_refused_also_through_other_links() {
        for (link, target) in [
            ("l", "/etc/passwd"),
            ("l", "../evil"),
            ("a/l", "../../evil"),
        ] {
            assert!(
                refusal(&[file("a/f", "x"), Link(link, target)]).contains("outside of it"),
                "{link} -> {target}"
            );
        }
        // Harmless by its text (`a/b`), outside when followed.
        assert!(
            refusal(&[
                file("a/b/c/f", "x"),
                Link("a/b/c/up", "../../.."),
                Link("out", "a/b/c/up/../..")
            ])
            .contains("outside of it")
        );
        // The same with the order that leaves the first one dangling.
        assert!(
            refusal(&[
                file("a/b/c/f", "x"),
                Link("out", "a/b/c/up/../.."),
                Link("a/b/c/up", "../../..")
            ])
            .contains("outside of it")
        );
        // A loop leads nowhere.
        assert!(check(&[Link("x", "y"), Link("y", "x")]).1.is_err());
    }

    #[test]
    fn no_file_is_written_through_a_link() {
        let (folder, result) = check(&[Link("d", "sub"), file("d/f", "x"), file("sub/g", "y")]);
        assert!(result.is_err(), "a folder and a link of one name");
        assert!(!folder.path().join("app/sub/f").exists());
    }

    #[test]
    fn bombs_and_odd_entries_are_refused() {
        let zeros = Entry::File("zeros", vec![0; 10_001], 0o644);
        assert!(refusal(&[zeros]).contains("more than 10000 bytes"));
        let halves = [
            Entry::File("a", vec![0; 6000], 0o644),
            Entry::File("b", vec![0; 6000], 0o644),
        ];
        assert!(refusal(&halves).contains("seen at b"));
        let names: Vec<&'static str> = vec![
            "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q",
            "r", "s", "t", "u",
        ];
        let many: Vec<Entry> = names.into_iter().map(|name| file(name, "")).collect();
        assert!(refusal(&many).contains("21 entries; at most 20"));
        assert!(refusal(&[Fifo("pipe")]).contains("neither file, folder nor link"));
        assert!(refusal(&[Folder("only/")]).contains("it is empty"));
    }

    #[test]
    fn exactly_the_allowed_size_fits() {
        let (_folder, result) = check(&[Entry::File("a", vec![1; 10_000], 0o600)]);
        assert_eq!(result.expect("unpacked").bytes, 10_000);
    }

    #[test]
    fn what_is_no_zip_is_said_to_be_none() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let package = folder.path().join("package.zip");
        fs::write(&package, "hello").expect("written");
        let error = unpack(&package, folder.path(), BOUNDS).expect_err("refused");
        assert!(matches!(error, UnpackError::Archive(_)), "{error}");
    }

    #[test]
    fn the_calendar_is_right_around_leap_days() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 2, 29), 11_016);
        assert_eq!(days_since_1970(2000, 3, 1), 11_017);
        assert_eq!(days_since_1970(2026, 11, 21), 20_778);
    }
}
