//! Small files that come and go all the time: written whole, and used again instead of removed.
//!
//! Problem: making and removing a file for each fact was two fifths of what an agent did for a short
//! action. A file system looks for an inode that nobody has; ext4 passes over those that were freed in
//! the last seconds, one by one, and after some thousand removals these are all there is.
//!
//! Approach: a file that is not needed any more gets another name and keeps its inode. The next one is
//! written into it under that name, and then renamed to its own: so a killed agent leaves whole ones, and
//! spare ones that its successor removes.
//!
//! What a newcomer gets wrong: opening such a file with truncation costs more than it saves. The file
//! system takes it for somebody who replaces a file, and writes it out at once.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

/// Of the names of spare files, and of files that are being written.
const EXTENSION: &str = "spare";
/// Spare files that are kept.
const MOST: usize = 256;

#[derive(Debug)]
pub struct SpareFiles {
    folder: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    spare: Vec<PathBuf>,
    /// Of the next name.
    number: u64,
}

impl SpareFiles {
    /// In this folder; spare files of an earlier agent are removed.
    pub fn open(folder: PathBuf) -> io::Result<SpareFiles> {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new(EXTENSION)) {
                fs::remove_file(&path)?;
            }
        }
        Ok(SpareFiles {
            folder,
            kept: Mutex::default(),
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn new_name(&self, kept: &mut Kept) -> PathBuf {
        kept.number += 1;
        // Of this process only: a predecessor may not have ended quite.
        let name = format!("{}-{}.{EXTENSION}", std::process::id(), kept.number);
        self.folder.join(name)
    }

    /// Makes a file of this folder. When this returns it is there, whole.
    pub fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let making = {
            let mut kept = self.kept();
            kept.spare.pop().unwrap_or_else(|| self.new_name(&mut kept))
        };
        let written = fill(&making, content).and_then(|()| fs::rename(&making, path));
        if written.is_err() {
            // Its name is not given again; if it cannot be removed either, the next agent does.
            let _ = fs::remove_file(&making);
        }
        written
    }

    /// The file is not needed any more. Whether it was there.
    pub fn retire(&self, path: &Path) -> io::Result<bool> {
        let spare = {
            let mut kept = self.kept();
            (kept.spare.len() < MOST).then(|| self.new_name(&mut kept))
        };
        let outcome = match &spare {
            Some(spare) => fs::rename(path, spare),
            None => fs::remove_file(path),
        };
        match outcome {
            Ok(()) => {
                self.kept().spare.extend(spare);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Writes a file whose content does not matter.
fn fill(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.write_all(content)?;
    let length = content.len() as u64;
    if file.metadata()?.len() > length {
        file.set_len(length)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("there").flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_used_again_and_holds_only_what_was_written_last() {
        let home = tempfile::tempdir().expect("a folder");
        let files = SpareFiles::open(home.path().to_path_buf()).expect("opened");
        let (first, second) = (home.path().join("a.note"), home.path().join("b.note"));
        files.write(&first, b"something long").expect("written");
        let inode = fs::metadata(&first).expect("there").ino();
        assert!(files.retire(&first).expect("retired"));
        assert!(!files.retire(&first).expect("it is gone"));
        let left = names(home.path());
        assert!(left.len() == 1 && left[0].ends_with(".spare"), "{left:?}");
        files.write(&second, b"short").expect("written");
        assert_eq!(fs::metadata(&second).expect("there").ino(), inode);
        assert_eq!(fs::read(&second).expect("read"), b"short");
        files.write(&first, b"another").expect("written");
        assert_eq!(names(home.path()), ["a.note", "b.note"]);
    }

    #[test]
    fn only_so_many_are_kept_and_a_successor_keeps_none() {
        let home = tempfile::tempdir().expect("a folder");
        let files = SpareFiles::open(home.path().to_path_buf()).expect("opened");
        let path = |number: usize| home.path().join(format!("{number}.note"));
        for number in 0..=MOST {
            files.write(&path(number), b"x").expect("written");
        }
        for number in 0..=MOST {
            files.retire(&path(number)).expect("retired");
        }
        assert_eq!(names(home.path()).len(), MOST);
        fs::write(path(0), "in use").expect("written");
        SpareFiles::open(home.path().to_path_buf()).expect("opened");
        assert_eq!(names(home.path()), ["0.note"]);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let home = tempfile::tempdir().expect("a folder");
        let files = SpareFiles::open(home.path().to_path_buf()).expect("opened");
        let elsewhere = home.path().join("no such folder/a.note");
        assert!(files.write(&elsewhere, b"x").is_err());
        assert!(names(home.path()).is_empty());
    }
}
