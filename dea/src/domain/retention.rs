//! What is kept for a while and what goes: crashed sandboxes (the newest of each process) and
//! unpacked droplets (those in use and the most recent).

use std::collections::BTreeMap;
use std::time::Duration;

/// Most unused droplets kept.
pub const SPARE_DROPLETS: usize = 5;
/// A droplet unused for less than this is kept in any case: its instance may be on its way.
pub const SPARE_TIME: Duration = Duration::from_secs(60);

/// Of several crashed instances of one process only the newest stays: given `(key, group, since)`,
/// the keys to evict.
pub fn superseded<K: Clone + Ord, G: Ord>(
    crashed: impl IntoIterator<Item = (K, G, f64)>,
) -> Vec<K> {
    let mut newest: BTreeMap<G, (K, f64)> = BTreeMap::new();
    let mut evicted = Vec::new();
    for (key, group, since) in crashed {
        match newest.get_mut(&group) {
            None => {
                newest.insert(group, (key, since));
            }
            Some(kept) if kept.1 <= since => {
                let older = std::mem::replace(kept, (key, since));
                evicted.push(older.0);
            }
            Some(_) => evicted.push(key),
        }
    }
    evicted.sort();
    evicted
}

/// One unpacked droplet.
#[derive(Debug, Clone, PartialEq)]
pub struct Cached {
    pub key: String,
    /// Instances that are made of it, or are being prepared.
    pub users: usize,
    /// When it was last given out.
    pub used_at: Duration,
}

/// The droplets to remove now.
pub fn unused(droplets: &[Cached], now: Duration) -> Vec<String> {
    let mut free: Vec<&Cached> = droplets
        .iter()
        .filter(|droplet| droplet.users == 0)
        .collect();
    free.sort_by_key(|droplet| std::cmp::Reverse(droplet.used_at));
    free.into_iter()
        .skip(SPARE_DROPLETS)
        .filter(|droplet| now.saturating_sub(droplet.used_at) >= SPARE_TIME)
        .map(|droplet| droplet.key.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_crash_of_each_process_stays() {
        let crashed = [
            ("i1", "a", 1.0),
            ("i2", "b", 5.0),
            ("i3", "a", 3.0),
            ("i4", "a", 2.0),
        ];
        assert_eq!(superseded(crashed), ["i1", "i4"]);
        assert!(superseded([("i1", "a", 1.0)]).is_empty());
    }

    #[test]
    fn droplets_in_use_and_the_recent_ones_stay() {
        let droplet = |key: &str, users, used_at| Cached {
            key: key.into(),
            users,
            used_at: Duration::from_secs(used_at),
        };
        let mut droplets: Vec<Cached> = (0..7)
            .map(|number| droplet(&format!("d{number}"), 0, number))
            .collect();
        droplets.push(droplet("used", 1, 0));
        assert_eq!(unused(&droplets, Duration::from_secs(200)), ["d1", "d0"]);
        assert_eq!(
            unused(&droplets, Duration::from_secs(60)),
            ["d0"],
            "too fresh to go"
        );
        assert!(unused(&droplets[2..], Duration::from_secs(200)).is_empty());
    }
}
