//! The newest epochs of leaders whose commands this agent followed, on disk: written when one is newer, which
//! is when the leader changed, and read once.

use super::chain;
use crate::domain::epoch::{Command, Epochs, Outdated};
use crate::sandbox::write_whole;
use std::io::ErrorKind;
use std::path::PathBuf;

#[derive(Debug, Default)]
pub struct KeptEpochs {
    epochs: Epochs,
    file: PathBuf,
}

impl KeptEpochs {
    /// What an earlier process of this agent kept. A file that cannot be read is told and begun anew: an
    /// agent that does not start at all would be worse.
    pub fn open(file: PathBuf) -> KeptEpochs {
        let epochs = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(file = %file.display(), %error, "the epochs that were seen cannot be read");
                Epochs::default()
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Epochs::default(),
            Err(error) => {
                tracing::warn!(file = %file.display(), error = chain(&error), "the epochs that were seen cannot be read");
                Epochs::default()
            }
        };
        KeptEpochs { epochs, file }
    }

    pub fn check(&mut self, command: Command, epoch: Option<i64>) -> Result<(), Outdated> {
        let before = self.epochs.clone();
        self.epochs.check(command, epoch)?;
        self.keep(&before);
        Ok(())
    }

    /// A command of this epoch was followed in an earlier life.
    pub fn seen(&mut self, command: Command, epoch: Option<i64>) {
        let before = self.epochs.clone();
        self.epochs.seen(command, epoch);
        self.keep(&before);
    }

    fn keep(&self, before: &Epochs) {
        if self.epochs == *before {
            return;
        }
        let text = serde_json::to_vec(&self.epochs).unwrap_or_default();
        if let Err(error) = write_whole(&self.file, &text) {
            tracing::warn!(
                file = %self.file.display(),
                error = chain(&error),
                "the epoch of a new leader could not be kept; after a restart this agent would follow a former one"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_agent_refuses_whom_it_refused_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("epochs.json");
        let mut first = KeptEpochs::open(file.clone());
        assert_eq!(first.check(Command::Task, Some(7)), Ok(()));
        first.seen(Command::Start, Some(5));
        let mut again = KeptEpochs::open(file.clone());
        assert!(again.check(Command::Task, Some(6)).is_err());
        assert!(again.check(Command::Start, Some(4)).is_err());
        assert_eq!(again.check(Command::Start, Some(5)), Ok(()));
        std::fs::write(&file, "{").expect("written");
        let mut anew = KeptEpochs::open(file);
        assert_eq!(anew.check(Command::Stop, Some(1)), Ok(()));
    }
}
