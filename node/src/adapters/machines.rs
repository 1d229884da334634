//! The record of joined machines and of tokens: `$YARD_HOME/node/machines.json`, 0600.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use super::files::{self, FileError};
use crate::domain::machines::Machines;

pub struct Records {
    path: PathBuf,
    kept: Mutex<Machines>,
}

fn path(home: &Path) -> PathBuf {
    home.join("node/machines.json")
}

/// As it is on the disk.
pub fn read(home: &Path) -> Result<Machines, FileError> {
    Ok(files::read_json(&path(home))?.unwrap_or_default())
}

impl Records {
    pub fn open(home: &Path) -> Result<Records, FileError> {
        Ok(Records {
            kept: Mutex::new(read(home)?),
            path: path(home),
        })
    }

    /// What is read stays so until the guard goes.
    pub fn lock(&self) -> MutexGuard<'_, Machines> {
        self.kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Changes it on the disk first: what is not kept did not happen.
    pub fn change<T>(&self, change: impl FnOnce(&mut Machines) -> T) -> Result<T, FileError> {
        let mut kept = self.lock();
        let mut next = kept.clone();
        let result = change(&mut next);
        if next != *kept {
            files::write_json(&self.path, &next, 0o600)?;
            *kept = next;
        }
        Ok(result)
    }
}
