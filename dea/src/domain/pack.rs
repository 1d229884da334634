//! The warm sandboxes of packs: which one an action runs in, and which ones go.
//!
//! There is one for each content of a pack: what differs in a byte is another sandbox, so an action
//! never meets code of another version. A sandbox in which nothing runs holds its room only until
//! somebody else wants it: instances, tasks and other packs come first.

use super::capacity::Resources;
use proto::bus::automation::PackContent;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// Where a pack and what belongs to it are in a sandbox.
pub const PYTHON: &str = "/opt/stackyard/python";
pub const PACK: &str = "/opt/stackyard/pack";
pub const BASE: &str = "/opt/stackyard/base";

/// What a sandbox is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackKey {
    /// Ref of the pack.
    pub pack: String,
    /// SHA-256 of its staged content; empty: it has no files.
    pub content: String,
    /// SHA-256 of the libraries common to all packs; empty: none.
    pub base: String,
}

impl PackKey {
    /// What has no address has no files.
    pub fn of(content: &PackContent) -> PackKey {
        let checksum = |url: &str, sha256: &str| match url {
            "" => String::new(),
            _ => sha256.to_ascii_lowercase(),
        };
        PackKey {
            pack: content.pack.clone(),
            content: checksum(&content.url, &content.sha256),
            base: checksum(&content.base_url, &content.base_sha256),
        }
    }
}

/// Why this is no pack that could be fetched.
pub fn problem(content: &PackContent) -> Option<String> {
    if content.pack.is_empty() || content.pack.len() > 200 {
        return Some("the pack has no name, or one of more than 200 bytes".to_string());
    }
    let is_checksum =
        |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    [
        (&content.url, &content.sha256),
        (&content.base_url, &content.base_sha256),
    ]
    .into_iter()
    .find(|(url, sha256)| !url.is_empty() && !is_checksum(sha256))
    .map(|(_, sha256)| {
        let shown: String = sha256.chars().take(80).collect();
        format!("{shown:?} is no checksum")
    })
}

/// One sandbox, as the decisions see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Warm {
    /// Of the sandbox.
    pub id: String,
    pub key: PackKey,
    pub limits: Resources,
    /// When it was made.
    pub since: Duration,
    /// Since when nothing runs in it. `None`: something does.
    pub idle_since: Option<Duration>,
}

/// Why a sandbox goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    Idle,
    /// The pack has a newer content that runs.
    Superseded,
}

/// The sandboxes to remove now.
pub fn retired(warm: &[Warm], now: Duration, keep: Duration) -> Vec<(String, Because)> {
    let newer_than = |one: &Warm| {
        warm.iter()
            .any(|other| other.key.pack == one.key.pack && other.since > one.since)
    };
    let judge = |one: &Warm| {
        let idle_since = one.idle_since?;
        if newer_than(one) {
            Some((one.id.clone(), Because::Superseded))
        } else if now.saturating_sub(idle_since) >= keep {
            Some((one.id.clone(), Because::Idle))
        } else {
            None
        }
    };
    warm.iter().filter_map(judge).collect()
}

/// Which idle sandboxes give way so that there is one less than `most`, longest idle first. `None`:
/// too many are at work.
pub fn too_many(warm: &[Warm], most: usize) -> Option<Vec<String>> {
    let surplus = (warm.len() + 1).saturating_sub(most);
    let mut idle: Vec<(Duration, &str)> = warm
        .iter()
        .filter_map(|one| Some((one.idle_since?, one.id.as_str())))
        .collect();
    idle.sort_unstable();
    (idle.len() >= surplus).then(|| {
        let going = idle.into_iter().take(surplus);
        going.map(|(_, id)| id.to_string()).collect()
    })
}

/// Search path of Python in a sandbox: the modules that stand in for StackStorm's, then what the pack
/// requires itself, then the libraries of all packs. `own`, `base`: folders inside. The pack's own are named
/// although its interpreter knows them: what is named here comes before what an interpreter knows.
pub fn python_path(own: &BTreeSet<String>, base: &BTreeSet<String>) -> String {
    let mut path = PYTHON.to_string();
    for folder in own.iter().chain(base) {
        path.push(':');
        path.push_str(folder);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warm(id: &str, pack: &str, since: u64, idle_since: Option<u64>) -> Warm {
        Warm {
            id: id.into(),
            key: PackKey {
                pack: pack.into(),
                content: String::new(),
                base: String::new(),
            },
            limits: Resources::default(),
            since: Duration::from_secs(since),
            idle_since: idle_since.map(Duration::from_secs),
        }
    }

    #[test]
    fn idle_and_superseded_ones_go_and_those_at_work_stay() {
        let sandboxes = [
            warm("old", "a", 1, Some(90)),
            warm("old, at work", "a", 2, None),
            warm("new", "a", 3, Some(95)),
            warm("other", "b", 1, Some(40)),
            warm("fresh", "c", 1, Some(41)),
        ];
        let keep = Duration::from_secs(60);
        assert_eq!(
            retired(&sandboxes, Duration::from_secs(100), keep),
            [
                ("old".to_string(), Because::Superseded),
                ("other".to_string(), Because::Idle)
            ]
        );
    }

    #[test]
    fn room_for_another_is_made_by_the_longest_idle() {
        let sandboxes = [
            warm("x", "a", 1, Some(9)),
            warm("y", "b", 1, None),
            warm("z", "c", 1, Some(5)),
        ];
        assert_eq!(too_many(&sandboxes, 4), Some(vec![]));
        assert_eq!(too_many(&sandboxes, 3), Some(vec!["z".into()]));
        assert_eq!(too_many(&sandboxes, 2), Some(vec!["z".into(), "x".into()]));
        assert_eq!(too_many(&sandboxes, 1), None);
    }

    #[test]
    fn what_has_no_address_has_no_files_and_what_has_one_a_checksum() {
        let content = |pack: &str, url: &str, sha256: &str| PackContent {
            pack: pack.into(),
            url: url.into(),
            sha256: sha256.into(),
            ..PackContent::default()
        };
        let sha256 = "0A".repeat(32);
        for (fine, key) in [
            (content("core", "", ""), ""),
            (content("core", "", &sha256), ""),
            (
                content("core", "http://x", &sha256),
                "0a".repeat(32).as_str(),
            ),
        ] {
            assert_eq!(problem(&fine), None);
            assert_eq!(PackKey::of(&fine).content, key);
        }
        for bad in [
            content("", "", ""),
            content("core", "http://x", ""),
            content("core", "http://x", "../x"),
        ] {
            assert!(problem(&bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_pack_requires_comes_before_the_libraries_of_all_packs() {
        let none = BTreeSet::new();
        assert_eq!(python_path(&none, &none), PYTHON);
        let (own, base) = (
            BTreeSet::from([format!("{PACK}/lib")]),
            BTreeSet::from([format!("{BASE}/lib")]),
        );
        assert_eq!(python_path(&none, &base), format!("{PYTHON}:{BASE}/lib"));
        assert_eq!(
            python_path(&own, &base),
            format!("{PYTHON}:{PACK}/lib:{BASE}/lib")
        );
    }
}
