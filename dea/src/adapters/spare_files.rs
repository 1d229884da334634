//! Small records that come and go all the time: written whole, each into a file that stays open and is used
//! again.
//!
//! Problem: making, renaming and removing a file for each fact and each step of an action was a third of
//! what an agent did for a short one. A file system changes a folder at ten times the price of a write into a
//! file that is there, and to find an inode that nobody has it passes over those that were freed in the last
//! seconds, one by one.
//!
//! Approach: a file keeps its name and begins with a head: the state of its record and the record's length.
//! A record is written, changes its state and goes by one write each; the file is then spare.
//!
//! ```text
//!   write ──▶ [state, length | record] ──mark──▶ [another state, …] ──release──▶ [empty, …]
//!                        ▲                                                          │
//!                        └──────────────────────── spare ◀──────────────────────────┘
//! ```
//! A killed agent leaves whole records: what is within a page is written at once or not at all, and of a longer
//! record the head comes last. Nothing is synced: records outlive the agent, not the machine.
//!
//! What a newcomer gets wrong: a successor writes into none of the files it finds. Its predecessor may not have
//! ended quite, and would write into them what it takes for its own.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

/// Of the names of the files.
const EXTENSION: &str = "record";
/// Of those that earlier versions kept for the next ones.
const SPARE: &str = "spare";
/// Files that are kept open, in use or spare. Those beyond are made and removed.
const MOST: usize = 256;
/// The state, then the length of the record.
const HEAD: usize = 5;
const EMPTY: u8 = 0;
/// What is written at once or not at all.
const PAGE: usize = 4096;
/// The longest record whose file is used again.
const LONGEST: usize = 16 << 10;

#[derive(Debug)]
pub struct SpareFiles {
    folder: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    spare: Vec<Written>,
    /// Files that are open, in use ones too.
    open: usize,
    /// Of the next name.
    number: u64,
}

/// The file of a record. It does not go by being dropped: see [`SpareFiles::release`].
#[derive(Debug)]
pub struct Written {
    path: PathBuf,
    /// None: it is not kept open, and goes with its record.
    file: Option<File>,
    is_long: bool,
}

/// A record of an earlier agent.
#[derive(Debug)]
pub struct Left {
    pub state: u8,
    pub content: Vec<u8>,
    pub written: Written,
}

impl SpareFiles {
    /// In this folder, and what an earlier agent left there.
    pub fn open(folder: PathBuf) -> io::Result<(SpareFiles, Vec<Left>)> {
        let mut left = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let extension = path.extension();
            if extension == Some(OsStr::new(SPARE)) {
                fs::remove_file(&path)?;
            } else if extension == Some(OsStr::new(EXTENSION)) {
                match record_in(fs::read(&path)?) {
                    Some((state, content)) => left.push(Left {
                        state,
                        content,
                        written: Written {
                            path,
                            file: None,
                            is_long: false,
                        },
                    }),
                    None => fs::remove_file(&path)?,
                }
            }
        }
        let files = SpareFiles {
            folder,
            kept: Mutex::default(),
        };
        Ok((files, left))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Writes a record down. When this returns it is there, whole.
    pub fn write(&self, state: u8, content: &[u8]) -> io::Result<Written> {
        let spare = self.kept().spare.pop();
        let mut written = match spare {
            Some(spare) => spare,
            None => self.make()?,
        };
        written.is_long = content.len() > LONGEST;
        match written.fill(state, content) {
            Ok(()) => Ok(self.keep_if_room(written)),
            Err(error) => {
                // If it cannot be removed either, it holds nothing that makes sense.
                let _ = self.discard(written);
                Err(error)
            }
        }
    }

    fn make(&self) -> io::Result<Written> {
        loop {
            let number = {
                let mut kept = self.kept();
                kept.number += 1;
                kept.number
            };
            let name = format!("{}-{number}.{EXTENSION}", std::process::id());
            let path = self.folder.join(name);
            let made = OpenOptions::new().write(true).create_new(true).open(&path);
            match made {
                Ok(file) => {
                    self.kept().open += 1;
                    return Ok(Written {
                        path,
                        file: Some(file),
                        is_long: false,
                    });
                }
                // Of a predecessor with our number.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn keep_if_room(&self, mut written: Written) -> Written {
        let mut kept = self.kept();
        if kept.open > MOST && written.file.take().is_some() {
            kept.open -= 1;
        }
        written
    }

    /// The record is not needed any more.
    pub fn release(&self, written: Written) -> io::Result<()> {
        let emptied = match &written.file {
            Some(file) if !written.is_long => file.write_all_at(&[EMPTY], 0).is_ok(),
            Some(_) | None => false,
        };
        if emptied {
            self.kept().spare.push(written);
            return Ok(());
        }
        self.discard(written)
    }

    fn discard(&self, written: Written) -> io::Result<()> {
        if written.file.is_some() {
            self.kept().open -= 1;
        }
        match fs::remove_file(&written.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Written {
    /// Changes the state of the record.
    pub fn mark(&self, state: u8) -> io::Result<()> {
        match &self.file {
            Some(file) => file.write_all_at(&[state], 0),
            None => OpenOptions::new()
                .write(true)
                .open(&self.path)?
                .write_all_at(&[state], 0),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn fill(&self, state: u8, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        let file = self.file.as_ref();
        let file = file.ok_or_else(|| io::Error::other("the file is not open"))?;
        let mut whole = Vec::with_capacity(HEAD + content.len());
        whole.push(state);
        whole.extend_from_slice(&length.to_be_bytes());
        if HEAD + content.len() <= PAGE {
            whole.extend_from_slice(content);
        } else {
            file.write_all_at(content, HEAD as u64)?;
        }
        file.write_all_at(&whole, 0)
    }
}

/// State and record in the bytes of a file; nothing in one that is empty or was not written to its end.
fn record_in(mut bytes: Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (head, record) = bytes.split_first_chunk::<HEAD>()?;
    let [state, length @ ..] = *head;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    if state == EMPTY || record.len() < length {
        return None;
    }
    bytes.drain(..HEAD);
    bytes.truncate(length);
    Some((state, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path) -> (SpareFiles, Vec<(u8, Vec<u8>)>) {
        let (files, left) = SpareFiles::open(folder.to_path_buf()).expect("opened");
        let mut left: Vec<_> = left
            .into_iter()
            .map(|left| (left.state, left.content))
            .collect();
        left.sort();
        (files, left)
    }

    fn count(folder: &Path) -> usize {
        fs::read_dir(folder).expect("there").count()
    }

    #[test]
    fn a_successor_finds_what_was_written_last() {
        let home = tempfile::tempdir().expect("a folder");
        let (files, left) = open(home.path());
        assert!(left.is_empty());
        let long = vec![b'x'; 3 * PAGE];
        let first = files.write(b'a', &long).expect("written");
        let second = files.write(b'b', b"short").expect("written");
        let third = files.write(b'c', b"goes").expect("written");
        second.mark(b'B').expect("marked");
        files.release(third).expect("released");
        assert_eq!(
            open(home.path()).1,
            [(b'B', b"short".to_vec()), (b'a', long)]
        );
        // The file of a long record holds a short one.
        files.release(first).expect("released");
        files.write(b'd', b"now").expect("written");
        assert_eq!(
            open(home.path()).1,
            [(b'B', b"short".to_vec()), (b'd', b"now".to_vec())]
        );
    }

    #[test]
    fn a_file_is_used_again_unless_it_is_large() {
        let home = tempfile::tempdir().expect("a folder");
        let (files, _) = open(home.path());
        for _ in 0..3 {
            let written = files.write(b'a', b"something").expect("written");
            files.release(written).expect("released");
            assert_eq!(count(home.path()), 1);
        }
        let written = files.write(b'a', &vec![0; LONGEST + 1]).expect("written");
        files.release(written).expect("released");
        assert_eq!(count(home.path()), 0);
    }

    #[test]
    fn only_so_many_are_kept_open_and_a_successor_removes_what_holds_nothing() {
        let home = tempfile::tempdir().expect("a folder");
        let (files, _) = open(home.path());
        let written: Vec<Written> = (0..MOST + 3)
            .map(|number| files.write(b'a', &[number as u8]).expect("written"))
            .collect();
        let open_ones = written.iter().filter(|one| one.file.is_some()).count();
        assert_eq!(open_ones, MOST);
        for one in &written {
            one.mark(b'b').expect("marked");
        }
        for one in written {
            files.release(one).expect("released");
        }
        assert_eq!(count(home.path()), MOST);
        assert_eq!(files.kept().open, MOST);
        fs::write(home.path().join("1-1.spare"), "of an earlier version").expect("written");
        fs::write(home.path().join("1-1.record"), [b'a', 0, 0, 0, 9, 1]).expect("written");
        assert_eq!(open(home.path()).1, []);
        assert_eq!(count(home.path()), 0);
    }

    #[test]
    fn a_successor_with_our_number_and_whatever_it_finds_do_not_meet() {
        let home = tempfile::tempdir().expect("a folder");
        let (files, _) = open(home.path());
        let ours = files.write(b'a', b"ours").expect("written");
        let (later, mut left) = SpareFiles::open(home.path().to_path_buf()).expect("opened");
        let theirs = later.write(b'b', b"theirs").expect("written");
        assert_ne!(ours.path(), theirs.path());
        let found = left.pop().expect("the record");
        found.written.mark(b'A').expect("marked");
        later.release(found.written).expect("released");
        // The predecessor writes into a file that nobody looks at.
        ours.mark(b'x').expect("marked");
        assert_eq!(open(home.path()).1, [(b'b', b"theirs".to_vec())]);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let home = tempfile::tempdir().expect("a folder");
        let gone = home.path().join("gone");
        fs::create_dir(&gone).expect("made");
        let (files, _) = open(&gone);
        fs::remove_dir(&gone).expect("removed");
        assert!(files.write(b'a', b"x").is_err());
        assert_eq!(files.kept().open, 0);
    }
}
