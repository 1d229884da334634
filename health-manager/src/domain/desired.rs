//! What should run, as the controller's bulk API told it.
//!
//! A set is taken over only when it was read to its end: half a set would make the other half look
//! undesired, and their instances would be stopped. Single processes are read again when the
//! controller says that they changed.

use super::Millis;
use proto::bus::health::DesiredProcess;
use proto::ids::{ProcessGuid, Version};
use std::collections::BTreeMap;

/// What should run of one process.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Id of the row: where a single one is read again.
    pub row: i64,
    pub instances: u32,
    pub version: Version,
    pub state: WantedState,
    /// Unix seconds.
    pub updated_at: f64,
    /// When it was read.
    pub read_at: Millis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedState {
    /// Instances should run.
    Started,
    /// Started, but there is nothing to run yet: nothing is missing, nothing is stopped.
    NotStaged,
    /// Nothing should run.
    Stopped,
}

impl Wanted {
    pub fn read(row: i64, process: &DesiredProcess, now: Millis) -> Wanted {
        let state = match (process.state.as_str(), process.package_state.as_str()) {
            ("STARTED", "STAGED") => WantedState::Started,
            ("STARTED", _) => WantedState::NotStaged,
            (_, _) => WantedState::Stopped,
        };
        Wanted {
            row,
            instances: process.instances,
            version: process.version.clone(),
            state,
            updated_at: process.updated_at,
            read_at: now,
        }
    }
}

/// The set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    pub processes: BTreeMap<ProcessGuid, Wanted>,
    /// When the reading of the last complete set *began*: what began to exist later may be missing in it.
    pub complete_as_of: Option<Millis>,
    /// The last row of that set.
    complete_to: i64,
}

impl Desired {
    /// Takes over a complete set whose reading began at `begun`. What was read singly after that is newer.
    pub fn replace(&mut self, set: BTreeMap<ProcessGuid, Wanted>, begun: Millis) {
        let newer: Vec<(ProcessGuid, Wanted)> = self
            .processes
            .iter()
            .filter(|(process, wanted)| {
                wanted.read_at > begun
                    && set
                        .get(*process)
                        .is_none_or(|read| read.updated_at <= wanted.updated_at)
            })
            .map(|(process, wanted)| (process.clone(), wanted.clone()))
            .collect();
        self.complete_to = set.values().map(|wanted| wanted.row).max().unwrap_or(0);
        self.processes = set;
        self.processes.extend(newer);
        self.complete_as_of = Some(begun);
    }

    /// Takes over one process read anew; `None` if it is gone.
    pub fn update(&mut self, process: &ProcessGuid, wanted: Option<Wanted>) {
        match wanted {
            Some(wanted) => {
                self.processes.insert(process.clone(), wanted);
            }
            None => {
                self.processes.remove(process);
            }
        }
    }

    /// Age of the last complete set.
    pub fn age(&self, now: Millis) -> Option<Millis> {
        self.complete_as_of.map(|at| now.saturating_sub(at))
    }

    /// The row after which unknown processes are looked for: the last of the complete set, not the
    /// last that is known. Processes created at the same time are read singly in any order, and the
    /// row of one that is read later may come before that of one that was read already.
    pub fn complete_to(&self) -> i64 {
        self.complete_to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(row: i64) -> Wanted {
        Wanted {
            row,
            instances: 1,
            version: Version::new("v1").expect("an id"),
            state: WantedState::Stopped,
            updated_at: 1.0,
            read_at: 10,
        }
    }

    #[test]
    fn what_was_read_singly_does_not_hide_rows_before_it() {
        let mut desired = Desired::default();
        let id = |name: &str| ProcessGuid::new(name).expect("an id");
        desired.replace(BTreeMap::from([(id("a"), wanted(3))]), 5);
        desired.update(&id("later"), Some(wanted(7)));
        assert_eq!(desired.complete_to(), 3);
        desired.replace(BTreeMap::new(), 20);
        assert_eq!(desired.complete_to(), 0);
    }
}
