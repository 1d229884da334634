//! The log of a part: a file that the part itself appends to.
//!
//! A part may run for months, and at the level debug it writes a lot, so the node keeps its log
//! small while it runs. The file cannot be moved away under a program that has it open: what is in it
//! is copied aside and the file emptied. Everybody appends, so the next line goes to the beginning.
//! A line written between copy and cut is lost, which a log can bear.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A log larger than this is put aside; one old one is kept.
const LIMIT: u64 = 50 << 20;

/// The file to append to.
pub fn open(path: &Path) -> io::Result<fs::File> {
    if is_too_large(path) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// Empties a log that grew too large while somebody appends to it; says whether it did. Blocking.
pub fn keep_small(path: &Path) -> io::Result<bool> {
    if !is_too_large(path) {
        return Ok(false);
    }
    fs::copy(path, path.with_extension("log.1"))?;
    OpenOptions::new().write(true).open(path)?.set_len(0)?;
    Ok(true)
}

fn is_too_large(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.len() > LIMIT)
}

/// The last line, shortened: why a program ended is often there.
pub fn last_line(path: &Path) -> String {
    let reading = || -> io::Result<String> {
        let mut file = fs::File::open(path)?;
        let size = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(size.saturating_sub(4096)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let text = String::from_utf8_lossy(&tail);
        let line = text
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or_default();
        Ok(line.trim().chars().take(300).collect())
    };
    reading().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_last_line_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        assert_eq!(last_line(&path), "");
        fs::write(&path, "one\ntwo\n\n").unwrap();
        assert_eq!(last_line(&path), "two");
    }

    #[test]
    fn a_log_that_grew_too_large_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        fs::File::create(&path).unwrap().set_len(LIMIT + 1).unwrap();
        open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        assert!(folder.path().join("x.log.1").exists());
    }

    #[test]
    fn a_log_is_emptied_under_who_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut writer = open(&path).unwrap();
        writer.write_all(b"first\n").unwrap();
        assert!(!keep_small(&path).unwrap(), "it is small");
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\n");
        writer.set_len(LIMIT + 1).unwrap();
        assert!(keep_small(&path).unwrap());
        writer.write_all(b"next\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "next\n");
        let old = fs::File::open(folder.path().join("x.log.1")).unwrap();
        let mut beginning = String::new();
        old.take(6).read_to_string(&mut beginning).unwrap();
        assert_eq!(beginning, "first\n");
        assert!(!keep_small(&folder.path().join("none.log")).unwrap());
    }
}
