//! Executions that were accepted and have not ended: a record for each (see [`SpareFiles`]), whose state says
//! whether it is
//!
//! ```text
//!   waiting    certainly not begun
//!   given      its orders were given to its host, or just about to be
//! ```
//! and a file `<execution>-<attempt>.printed` for what it printed so far, if it runs for more than a moment.
//!
//! The step from the first state to the second is one write, before the orders are sent. So an agent that
//! died tells its successor what may have begun, at the price of three small writes.

use crate::adapters::spare_files::{SpareFiles, Written};
use crate::adapters::{chain, folders};
use crate::domain::action::ActionRecord;
use crate::domain::action_output::Printed;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

const WAITING: u8 = b'w';
const GIVEN: u8 = b'g';
const PRINTED: &str = "printed";
/// The states as earlier versions had them: files of their own, by what their names end with.
const EARLIER: [(&str, u8); 2] = [("waiting", WAITING), ("given", GIVEN)];

pub struct Notes {
    folder: PathBuf,
    files: SpareFiles,
    notes: Mutex<BTreeMap<String, Note>>,
    found: Mutex<Vec<Found>>,
}

struct Note {
    written: Written,
    given: bool,
    /// There is a file of what it printed.
    printed: bool,
}

/// An execution that an earlier agent had.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub record: ActionRecord,
    /// It may have begun.
    pub given: bool,
    pub printed: Vec<Printed>,
}

impl Notes {
    /// Takes up what an earlier agent left; each of its notes stays until it is settled.
    pub fn open(folder: PathBuf) -> io::Result<Notes> {
        folders::private(&folder)?;
        let (files, left) = SpareFiles::open(folder.clone())?;
        let notes = Notes {
            folder,
            files,
            notes: Mutex::default(),
            found: Mutex::default(),
        };
        for one in left {
            notes.find(one.state == GIVEN, &one.content, one.written)?;
        }
        notes.take_over_earlier()?;
        Ok(notes)
    }

    fn notes(&self) -> MutexGuard<'_, BTreeMap<String, Note>> {
        self.notes
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn found(&self) -> MutexGuard<'_, Vec<Found>> {
        self.found
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn printed_path(&self, id: &str) -> PathBuf {
        // Ids are safe in file names: they were checked at the door.
        self.folder.join(format!("{id}.{PRINTED}"))
    }

    fn find(&self, given: bool, content: &[u8], written: Written) -> io::Result<()> {
        let Ok(record) = serde_json::from_slice::<ActionRecord>(content) else {
            tracing::warn!(file = %written.path().display(), "the note of an execution makes no sense and is removed");
            return self.files.release(written);
        };
        let id = record.id();
        let path = self.printed_path(&id);
        let note = Note {
            written,
            given,
            printed: path.exists(),
        };
        self.notes().insert(id, note);
        self.found().push(Found {
            record,
            given,
            printed: printed(&path),
        });
        Ok(())
    }

    /// The notes of an earlier version become such as this one writes.
    fn take_over_earlier(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let earlier = EARLIER.iter().find(|(name, _)| extension == Some(name));
            if let Some((_, state)) = earlier {
                let content = fs::read(&path)?;
                let written = self.files.write(*state, &content)?;
                fs::remove_file(&path)?;
                self.find(*state == GIVEN, &content, written)?;
            }
        }
        Ok(())
    }

    /// The execution counts as accepted when this returns.
    pub fn accept(&self, record: &ActionRecord) -> io::Result<()> {
        let written = self.files.write(WAITING, &serde_json::to_vec(record)?)?;
        let note = Note {
            written,
            given: false,
            printed: false,
        };
        let earlier = self.notes().insert(record.id(), note);
        earlier.map_or(Ok(()), |earlier| self.files.release(earlier.written))
    }

    /// Before its orders are sent.
    pub fn give(&self, id: &str) -> io::Result<()> {
        let mut notes = self.notes();
        let note = notes.get_mut(id);
        let note =
            note.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "there is no note of it"))?;
        // Otherwise it was given before, and its host did not take it.
        if !note.given {
            note.written.mark(GIVEN)?;
            note.given = true;
        }
        Ok(())
    }

    pub fn print(&self, id: &str, printed: &[Printed]) {
        let mut lines = Vec::new();
        for piece in printed {
            lines.extend(serde_json::to_vec(piece).unwrap_or_default());
            lines.push(b'\n');
        }
        // Before the file is there, so that it never stays behind.
        match self.notes().get_mut(id) {
            Some(note) => note.printed = true,
            None => return,
        }
        let written = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.printed_path(id))
            .and_then(|mut file| file.write_all(&lines));
        if let Err(error) = written {
            tracing::warn!(
                execution = id,
                error = chain(&error),
                "output of an action could not be written down; it is missing in the result if this agent dies"
            );
        }
    }

    /// Its end is in the spool.
    pub fn settle(&self, id: &str) {
        let Some(note) = self.notes().remove(id) else {
            return;
        };
        // The note itself last: without one, nobody looks for what it printed.
        let removed = match note.printed {
            true => fs::remove_file(self.printed_path(id)),
            false => Ok(()),
        };
        let removed = match removed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        };
        if let Err(error) = removed.and(self.files.release(note.written)) {
            tracing::warn!(
                execution = id,
                error = chain(&error),
                "the note of an execution could not be removed"
            );
        }
    }

    /// What an earlier agent left, once.
    pub fn take_found(&self) -> Vec<Found> {
        std::mem::take(&mut *self.found())
    }
}

/// Up to the first line that is not whole.
fn printed(path: &Path) -> Vec<Printed> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map_while(|line| serde_json::from_str(line).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pack_host::Stream;

    fn record(execution: &str) -> ActionRecord {
        ActionRecord {
            execution: execution.into(),
            attempt: 1,
            action: "core.local".into(),
            sandbox: "pack-1".into(),
            timeout_ms: 0,
            memory_mb: 64,
            output_limit: 10,
            result_url: String::new(),
            inline_limit: 10,
            accepted_at: 5.5,
            shell: true,
        }
    }

    #[test]
    fn a_successor_finds_what_was_accepted_and_whether_it_may_have_begun() {
        let home = tempfile::tempdir().expect("a folder");
        let open = || Notes::open(home.path().to_path_buf()).expect("opened");
        let notes = open();
        for name in ["a", "b", "c"] {
            notes.accept(&record(name)).expect("noted");
        }
        for _ in 0..2 {
            notes.give("b-1").expect("given, also twice");
        }
        assert!(notes.give("never-1").is_err());
        let pieces = [0, 1].map(|seq| Printed {
            stream: Stream::Stdout,
            seq,
            data: "x\n".into(),
        });
        notes.print("b-1", &pieces[..1]);
        notes.print("b-1", &pieces[1..]);
        let mut cut = fs::OpenOptions::new()
            .append(true)
            .open(home.path().join("b-1.printed"))
            .expect("open");
        cut.write_all(b"{\"stream\": \"std").expect("written");
        notes.settle("c-1");
        notes.settle("never-1");
        // As an earlier version left them.
        let earlier = serde_json::to_vec(&record("d")).expect("json");
        fs::write(home.path().join("d-1.given"), earlier).expect("written");
        fs::write(home.path().join("e-1.given"), "nonsense").expect("written");
        let told = |mut found: Vec<Found>| {
            found.sort_by_key(|one| one.record.id());
            let told = found.iter().map(|one| {
                let name = one.record.execution.clone();
                (name, one.given, one.printed.len())
            });
            told.collect::<Vec<_>>()
        };
        let expected = [("a", false, 0), ("b", true, 2), ("d", true, 0)]
            .map(|(name, given, printed)| (name.to_string(), given, printed));
        let later = open();
        let found = later.take_found();
        assert!(found.iter().any(|one| one.record == record("a")));
        assert_eq!(told(found), expected);
        assert_eq!(later.take_found(), []);
        // Nothing of it is settled yet: the next one finds it again.
        let last = open();
        assert_eq!(told(last.take_found()), expected);
        for id in ["a-1", "b-1", "d-1"] {
            last.settle(id);
        }
        assert_eq!(open().take_found(), []);
        assert_eq!(fs::read_dir(home.path()).expect("there").count(), 0);
    }
}
