//! Executions that were accepted and have not ended: a file for each.
//!
//! ```text
//!   <execution>-<attempt>.waiting    certainly not begun
//!   <execution>-<attempt>.given      its orders were given to its host, or just about to be
//!   <execution>-<attempt>.printed    what it printed so far, if it runs for more than a moment
//! ```
//! The step from the first to the second is one rename, before the orders are sent. So an agent that
//! died tells its successor what may have begun, at the price of a few small file operations; none of
//! them makes or removes a file (see [`SpareFiles`]).

use crate::adapters::spare_files::SpareFiles;
use crate::adapters::{chain, folders};
use crate::domain::action::ActionRecord;
use crate::domain::action_output::Printed;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

const WAITING: &str = "waiting";
const GIVEN: &str = "given";
const PRINTED: &str = "printed";
/// Left by an earlier version that was killed.
const MAKING: &str = "making";

pub struct Notes {
    folder: PathBuf,
    files: SpareFiles,
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
    pub fn open(folder: PathBuf) -> io::Result<Notes> {
        folders::private(&folder)?;
        let files = SpareFiles::open(folder.clone())?;
        Ok(Notes { folder, files })
    }

    /// Ids are safe in file names: they were checked at the door.
    fn path(&self, id: &str, state: &str) -> PathBuf {
        self.folder.join(format!("{id}.{state}"))
    }

    /// The execution counts as accepted when this returns.
    pub fn accept(&self, record: &ActionRecord) -> io::Result<()> {
        let path = self.path(&record.id(), WAITING);
        self.files.write(&path, &serde_json::to_vec(record)?)
    }

    /// Before its orders are sent.
    pub fn give(&self, id: &str) -> io::Result<()> {
        match fs::rename(self.path(id, WAITING), self.path(id, GIVEN)) {
            // It was given before, and its host did not take it.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::metadata(self.path(id, GIVEN)).map(drop)
            }
            outcome => outcome,
        }
    }

    pub fn print(&self, id: &str, printed: &[Printed]) {
        let mut lines = Vec::new();
        for piece in printed {
            lines.extend(serde_json::to_vec(piece).unwrap_or_default());
            lines.push(b'\n');
        }
        let written = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(id, PRINTED))
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
        // The note of its state last: without one, nobody looks for what it printed.
        self.retire(id, PRINTED);
        if !self.retire(id, GIVEN) {
            self.retire(id, WAITING);
        }
    }

    /// Whether the note was there.
    fn retire(&self, id: &str, state: &str) -> bool {
        let retired = self.files.retire(&self.path(id, state));
        retired.unwrap_or_else(|error| {
            tracing::warn!(
                execution = id,
                error = chain(&error),
                "the note of an execution could not be removed"
            );
            false
        })
    }

    /// What an earlier agent left. The files stay until each is settled.
    pub fn found(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let state = path.extension().and_then(|extension| extension.to_str());
            let given = match state {
                Some(GIVEN) => true,
                Some(WAITING) => false,
                Some(MAKING) => {
                    fs::remove_file(&path)?;
                    continue;
                }
                _ => continue,
            };
            match fs::read(&path).map(|bytes| serde_json::from_slice(&bytes)) {
                Ok(Ok(record)) => found.push(Found {
                    record,
                    given,
                    printed: printed(&path.with_extension(PRINTED)),
                }),
                Ok(Err(_)) | Err(_) => {
                    tracing::warn!(file = %path.display(), "the note of an execution makes no sense and is removed");
                    fs::remove_file(&path)?;
                }
            }
        }
        Ok(found)
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
        let notes = Notes::open(home.path().to_path_buf()).expect("opened");
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
        fs::write(home.path().join("d-1.making"), "cut").expect("written");
        fs::write(home.path().join("e-1.given"), "nonsense").expect("written");
        let mut found = notes.found().expect("read");
        found.sort_by_key(|one| one.record.id());
        let told: Vec<(&str, bool, usize)> = found
            .iter()
            .map(|one| (one.record.execution.as_str(), one.given, one.printed.len()))
            .collect();
        assert_eq!(told, [("a", false, 0), ("b", true, 2)]);
        assert_eq!(found[0].record, record("a"));
        notes.settle("a-1");
        notes.settle("b-1");
        Notes::open(home.path().to_path_buf()).expect("opened");
        assert_eq!(fs::read_dir(home.path()).expect("there").count(), 0);
    }
}
