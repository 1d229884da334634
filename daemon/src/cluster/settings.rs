//! The live settings: a listing, the changes that a watch tells since, and a listing every 30 s for certainty.
//!
//! What a newcomer gets wrong: a watch that opens has missed what was changed before. It says when it opens, and
//! then everything is listed; changes that the listing holds already are known by their revision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::config::{Owner, PREFIX, Settings};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::connection::{AbortOnDrop, Change, Connection, Heard, Listener, listen};
use super::{Stored, list};

const RELIST: Duration = Duration::from_secs(30);
/// Between attempts while the store is away.
const RETRY: Duration = Duration::from_millis(500);

pub(super) struct Followed {
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) reachable: watch::Receiver<bool>,
    pub(super) task: AbortOnDrop,
}

/// What the store holds, as far as it was read and heard of.
#[derive(Debug, Default)]
struct Tree {
    values: BTreeMap<String, String>,
    /// Of the store, when it was so; 0: it was never read.
    revision: i64,
}

impl Tree {
    fn read(pairs: Vec<(String, Stored)>, revision: i64) -> Tree {
        let values = pairs.into_iter().map(|(key, stored)| (key, stored.value));
        Tree {
            values: values.collect(),
            revision,
        }
    }

    /// Carries out what was changed at once, unless it was read already. Whether anything was new.
    fn change(&mut self, changes: Vec<Change>) -> bool {
        let known = self.revision;
        let mut news = false;
        for change in changes {
            if known == 0 || change.revision <= known {
                continue;
            }
            news = true;
            self.revision = self.revision.max(change.revision);
            match change.value {
                Some(value) => self.values.insert(change.key, value),
                None => self.values.remove(&change.key),
            };
        }
        news
    }

    /// Keys without the prefix, and their values.
    fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.as_str())))
    }
}

/// Follows the values that these owners have.
pub(super) fn follow(connection: Connection, owners: Vec<Owner>) -> Followed {
    let (settings, settings_seen) = watch::channel(Arc::new(Settings::default()));
    let (reachable, reachable_seen) = watch::channel(false);
    let task = AbortOnDrop::spawn(async move {
        let (changes, mut heard) = mpsc::channel(64);
        let listener = Listener::Changes(changes);
        let watching = listen(connection.clone(), PREFIX.to_string(), listener);
        let reading = async {
            let mut tree = Tree::default();
            let mut complained: Vec<String> = Vec::new();
            let mut publish = |tree: &Tree| {
                let (read, ignored) = Settings::of_owners(tree.values(), &owners);
                if ignored != complained {
                    warn!(keys = ?ignored, "settings that this version does not understand keep their defaults");
                    complained = ignored;
                }
                settings.send_if_modified(|current| {
                    let changed = **current != read;
                    if changed {
                        *current = Arc::new(read);
                    }
                    changed
                });
            };
            loop {
                let wait = match list(&connection, PREFIX).await {
                    Ok((pairs, revision)) => {
                        tree = Tree::read(pairs, revision);
                        publish(&tree);
                        if !reachable.send_replace(true) {
                            info!("the cluster store is there");
                        }
                        RELIST
                    }
                    Err(error) => {
                        if reachable.send_replace(false) {
                            warn!(error = %format!("{:#}", anyhow::Error::from(error)), "the cluster store is away, the last known settings stay");
                        }
                        RETRY
                    }
                };
                let until = tokio::time::Instant::now() + wait;
                // Of a store that was never read the changes are no tree.
                while let Ok(Some(Heard::Changed(changes))) =
                    tokio::time::timeout_at(until, heard.recv()).await
                {
                    if tree.change(changes) {
                        publish(&tree);
                    }
                }
            }
        };
        // Neither ends; the task does when its holder is dropped.
        tokio::join!(watching, reading);
    });
    Followed {
        settings: settings_seen,
        reachable: reachable_seen,
        task,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(key: &str, value: Option<&str>, revision: i64) -> Change {
        Change {
            key: format!("{PREFIX}{key}"),
            value: value.map(str::to_string),
            revision,
        }
    }

    fn pairs(tree: &Tree) -> Vec<(&str, &str)> {
        tree.values().collect()
    }

    #[test]
    fn changes_count_from_the_revision_that_was_read_on() {
        let stored = Stored {
            value: "1".to_string(),
            revision: 4,
        };
        let mut tree = Tree::read(vec![(format!("{PREFIX}a"), stored)], 7);
        // What the listing held already, and something older than it.
        assert!(!tree.change(vec![changed("a", Some("0"), 3), changed("b", None, 7)]));
        assert_eq!(pairs(&tree), [("a", "1")]);
        // Two of one transaction have one revision.
        assert!(tree.change(vec![changed("a", Some("2"), 8), changed("b", Some("x"), 8)]));
        assert_eq!(pairs(&tree), [("a", "2"), ("b", "x")]);
        assert!(tree.change(vec![changed("a", None, 9)]));
        assert_eq!(pairs(&tree), [("b", "x")]);
        assert!(!tree.change(vec![changed("a", Some("2"), 8)]));
    }

    #[test]
    fn what_is_heard_before_anything_was_read_is_no_tree() {
        let mut tree = Tree::default();
        assert!(!tree.change(vec![changed("a", Some("1"), 5)]));
        assert!(pairs(&tree).is_empty());
    }
}
