//! Work that was accepted and has no sandbox with a record yet.
//!
//! Whoever sent it counts on hearing of it. If the agent dies in between, nothing of it runs and
//! nothing tells so: hence a file for each, written when it is accepted, gone when its sandbox
//! carries the record (an instance) or its end is spooled (a task). What a restarted agent still
//! finds here, and did not adopt, never began, or nobody knows how it ended: [`super::adoption`] decides.

use super::{chain, folders};
use crate::domain::record::Record;
use crate::sandbox::write_whole;
use std::path::PathBuf;

pub struct Accepted {
    folder: PathBuf,
}

impl Accepted {
    pub fn open(folder: PathBuf) -> std::io::Result<Accepted> {
        folders::private(&folder)?;
        Ok(Accepted { folder })
    }

    /// Ids are safe in file names: they were checked at the door.
    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    pub fn note(&self, id: &str, record: &Record) {
        if let Err(error) = write_whole(&self.path(id), record.to_text().as_bytes()) {
            tracing::warn!(
                id,
                error = chain(&error),
                "accepted work could not be noted; it is lost silently if this agent dies now"
            );
        }
    }

    pub fn settle(&self, id: &str) {
        match std::fs::remove_file(self.path(id)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(
                id,
                error = chain(&error),
                "the note of accepted work could not be removed"
            ),
        }
    }

    /// What an earlier agent left; the folder is empty then.
    pub fn take(&self) -> std::io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                records.extend(
                    std::fs::read_to_string(&path)
                        .ok()
                        .as_deref()
                        .and_then(Record::of_text),
                );
            }
            std::fs::remove_file(&path)?;
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::TaskRecord;

    #[test]
    fn what_was_not_settled_is_found_once() {
        let home = tempfile::tempdir().expect("a folder");
        let accepted = Accepted::open(home.path().to_path_buf()).expect("opened");
        let record = |request: &str| {
            Record::Task(TaskRecord {
                request: request.into(),
                started_at: 0.0,
                ordered: false,
            })
        };
        accepted.note("a", &record("aa"));
        accepted.note("b", &record("bb"));
        accepted.settle("a");
        accepted.settle("never");
        std::fs::write(home.path().join("c.making"), "cut").expect("written");
        let again = Accepted::open(home.path().to_path_buf()).expect("opened");
        assert_eq!(again.take().expect("read"), [record("bb")]);
        assert!(again.take().expect("read").is_empty());
        assert_eq!(std::fs::read_dir(home.path()).expect("there").count(), 0);
    }
}
