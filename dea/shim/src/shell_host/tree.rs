//! Process trees: finding and ending everything that descends from a slot.
//!
//! A process group is not enough: a process may leave it. What cannot be left is the chain of parents, as
//! long as the slot adopts its orphans. One look at the processes of the sandbox serves for a whole tree:
//! they are few.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};

/// Rounds of freezing what is new before killing. A tree that still grows after so many is killed as far as
/// it is known; the next look takes the rest.
const FREEZE_ROUNDS: usize = 16;

/// Parents of all processes of this namespace, zombies included.
fn parents() -> BTreeMap<i32, i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn below(parents: &BTreeMap<i32, i32>, leader: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![leader];
    while let Some(parent) = waiting.pop() {
        let children = parents.iter().filter(|(_, of)| **of == parent);
        for (child, _) in children {
            if found.insert(*child) {
                waiting.push(*child);
            }
        }
    }
    found
}

/// Whether the chain of parents of `pid` leads to `ancestor`.
pub fn descends(pid: i32, ancestor: i32) -> bool {
    below(&parents(), ancestor).contains(&pid)
}

/// Children of `parent`.
pub fn children(parent: i32) -> Vec<i32> {
    let parents = parents();
    let children = parents.iter().filter(|(_, of)| **of == parent);
    children.map(|(child, _)| *child).collect()
}

/// Asks everything below the leader to end.
pub fn terminate_below(leader: i32) {
    for pid in below(&parents(), leader) {
        send(pid, Signal::SIGTERM);
    }
}

/// Ends everything below the leader. All are frozen first: killed one by one, a process that forks could
/// stay ahead.
pub fn kill_below(leader: i32) {
    let mut frozen = BTreeSet::new();
    for _ in 0..FREEZE_ROUNDS {
        let fresh: Vec<i32> = below(&parents(), leader)
            .difference(&frozen)
            .copied()
            .collect();
        if fresh.is_empty() {
            break;
        }
        for pid in fresh {
            send(pid, Signal::SIGSTOP);
            frozen.insert(pid);
        }
    }
    for pid in frozen {
        send(pid, Signal::SIGKILL);
    }
}

/// To one process; it may be gone.
pub fn send(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_everything_below() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 9)]);
        assert_eq!(below(&parents, 2), BTreeSet::from([3, 4]));
        assert_eq!(below(&parents, 6), BTreeSet::new());
        let own = i32::try_from(std::process::id()).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(descends(pid, own) && children(own).contains(&pid));
        assert!(!descends(own, pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
