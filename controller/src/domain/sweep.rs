//! Which blobs are removed: those that no row names and that are too old to be about to get one.
//!
//! A blob is written before the row that names it, so a young one is left alone whatever the rows say.

use std::collections::BTreeSet;
use std::time::Duration;

/// Unused files of past pushes are kept for this long.
const RESOURCES: Duration = Duration::from_secs(7 * 86_400);
/// Executions under way keep the content they began with; agents fetch it while they run.
const PACKS: Duration = Duration::from_secs(86_400);
/// Reports that agents put down before they tell of them.
const RESULTS: Duration = Duration::from_secs(86_400);

/// What blobs are for, by the first part of their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Packages,
    Buildpacks,
    Droplets,
    Uploads,
    Caches,
    Packs,
    Results,
    Resources,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Packages,
        Kind::Buildpacks,
        Kind::Droplets,
        Kind::Uploads,
        Kind::Caches,
        Kind::Packs,
        Kind::Results,
        Kind::Resources,
    ];

    pub fn prefix(self) -> &'static str {
        match self {
            Kind::Packages => "packages",
            Kind::Buildpacks => "buildpacks",
            Kind::Droplets => "droplets",
            Kind::Uploads => "uploads",
            Kind::Caches => "caches",
            Kind::Packs => "packs",
            Kind::Results => "results",
            Kind::Resources => "resources",
        }
    }

    /// How long one that nothing names is kept; `unnamed` where nothing asks for longer.
    fn kept(self, unnamed: Duration) -> Duration {
        match self {
            Kind::Packages | Kind::Buildpacks | Kind::Droplets | Kind::Uploads | Kind::Caches => {
                unnamed
            }
            Kind::Packs => PACKS.max(unnamed),
            Kind::Results => RESULTS.max(unnamed),
            Kind::Resources => RESOURCES.max(unnamed),
        }
    }

    /// The part of a key that a row holds: `droplets/<sha256>`, `uploads/<build>/…`,
    /// `caches/<app>-<stack>.tgz`, `results/<sha256>`, `results/<execution>-<attempt>`.
    fn name(self, key: &str) -> Option<&str> {
        let name = key.split('/').nth(1)?;
        match self {
            Kind::Caches => name.get(..36),
            Kind::Results => name.split('-').next(),
            Kind::Packages
            | Kind::Buildpacks
            | Kind::Droplets
            | Kind::Uploads
            | Kind::Packs
            | Kind::Resources => Some(name),
        }
    }

    pub fn is_named(self, key: &str, named: &BTreeSet<String>) -> bool {
        self.name(key).is_some_and(|name| named.contains(name))
    }

    /// The keys of those (key and last change, in Unix seconds) that are old enough to be looked for.
    pub fn old(self, listed: Vec<(String, i64)>, unix_now: i64, unnamed: Duration) -> Vec<String> {
        let kept = i64::try_from(self.kept(unnamed).as_secs()).unwrap_or(i64::MAX);
        listed
            .into_iter()
            .filter(|(_, changed)| unix_now.saturating_sub(*changed) > kept)
            .map(|(key, _)| key)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_known_by_the_row_that_names_it() {
        let app = "6a1d2b1e-0c6c-4a8e-9c66-0a5d6a3b7e11".to_string();
        let named = BTreeSet::from(["abc".to_string(), app.clone()]);
        let cache = format!("caches/{app}-host.tgz");
        for (kind, key, expected) in [
            (Kind::Droplets, "droplets/abc", true),
            (Kind::Droplets, "droplets/abd", false),
            (Kind::Buildpacks, "buildpacks/abc", true),
            (Kind::Uploads, "uploads/abc/droplet.tgz", true),
            (Kind::Caches, cache.as_str(), true),
            (Kind::Caches, "caches/x-host.tgz", false),
            (Kind::Results, "results/abc", true),
            (Kind::Results, "results/abc-2", true),
            (Kind::Results, "results/abd-2", false),
        ] {
            assert_eq!(kind.is_named(key, &named), expected, "{key}");
        }
    }

    #[test]
    fn young_blobs_are_left_alone() {
        let listed = vec![("k/old".to_string(), 100), ("k/young".to_string(), 4000)];
        let hour = Duration::from_secs(3600);
        let old = |kind: Kind, now, unnamed| kind.old(listed.clone(), now, unnamed);
        assert_eq!(old(Kind::Packages, 4000, hour), ["k/old"]);
        assert!(old(Kind::Packages, 3700, hour).is_empty());
        assert!(
            old(Kind::Resources, 4000, hour).is_empty(),
            "they are of use for a week"
        );
        assert_eq!(old(Kind::Uploads, 4011, Duration::from_secs(10)).len(), 2);
        assert!(
            old(Kind::Packages, 0, hour).is_empty(),
            "the clock went back"
        );
    }
}
