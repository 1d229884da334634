//! Commands carry the leadership epoch they were planned in. A leader that was replaced while its
//! command was on the way must not undo what the new one ordered: an older epoch than the newest
//! seen, of the same kind of command, is refused. Starts, stops and updates of instances are one kind: a start that
//! comes late must not follow the stop of somebody later. Commands without an epoch (a stranger's, a tool's)
//! pass. What was seen outlives the agent's process: a leader that stood still may send its commands after
//! the agent was restarted.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Start,
    Stop,
    Update,
    Task,
    Action,
    Sensor,
}

impl Command {
    /// What the same leader orders, and in which an order undoes another one.
    fn kind(self) -> Command {
        match self {
            Command::Start | Command::Stop | Command::Update => Command::Start,
            other => other,
        }
    }
}

/// Newest epoch seen of each kind of command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epochs(BTreeMap<Command, i64>);

/// A command of a leader that is none any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the command comes from epoch {given}, and one of epoch {newest} has been seen")]
pub struct Outdated {
    pub given: i64,
    pub newest: i64,
}

impl Epochs {
    pub fn check(&mut self, command: Command, epoch: Option<i64>) -> Result<(), Outdated> {
        let Some(given) = epoch else { return Ok(()) };
        let newest = self.0.entry(command.kind()).or_insert(given);
        if given < *newest {
            return Err(Outdated {
                given,
                newest: *newest,
            });
        }
        *newest = given;
        Ok(())
    }

    /// A command of this epoch was followed in an earlier life.
    pub fn seen(&mut self, command: Command, epoch: Option<i64>) {
        if let Some(epoch) = epoch {
            let newest = self.0.entry(command.kind()).or_insert(epoch);
            *newest = epoch.max(*newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_leader_is_refused_per_kind() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.check(Command::Start, Some(5)), Ok(()));
        assert_eq!(epochs.check(Command::Start, Some(5)), Ok(()));
        assert_eq!(
            epochs.check(Command::Start, Some(4)),
            Err(Outdated {
                given: 4,
                newest: 5
            })
        );
        assert_eq!(epochs.check(Command::Task, Some(4)), Ok(()));
        assert_eq!(epochs.check(Command::Start, None), Ok(()));
        assert_eq!(epochs.check(Command::Start, Some(6)), Ok(()));
        assert!(epochs.check(Command::Start, Some(5)).is_err());
    }

    #[test]
    fn a_late_start_does_not_follow_a_later_leaders_stop() {
        for (first, late) in [
            (Command::Stop, Command::Start),
            (Command::Start, Command::Stop),
            (Command::Update, Command::Start),
        ] {
            let mut epochs = Epochs::default();
            assert_eq!(epochs.check(first, Some(5)), Ok(()));
            assert!(
                epochs.check(late, Some(4)).is_err(),
                "{late:?} after {first:?}"
            );
        }
    }

    #[test]
    fn what_is_adopted_tells_the_epoch_in_any_order() {
        let mut epochs = Epochs::default();
        for epoch in [Some(4), Some(7), None, Some(5)] {
            epochs.seen(Command::Start, epoch);
        }
        assert!(epochs.check(Command::Start, Some(6)).is_err());
        assert_eq!(epochs.check(Command::Start, Some(7)), Ok(()));
    }
}
