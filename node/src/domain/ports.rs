//! Ports of the parts, chosen once and kept: bootstrap files, adopted daemons and the operator's
//! notes all name them.

use std::collections::BTreeMap;

/// Below the range from which Linux takes ports for outgoing connections (32768…), so that no
/// connection of anybody sits on a port of ours while its owner restarts.
pub const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Keeps what is known and adds what is missing from the free ports, beginning at `from` (any
/// number, usually random, so that two clusters started at once rarely meet).
pub fn complete(
    known: &BTreeMap<String, u16>,
    wanted: &[String],
    from: u16,
    is_free: impl Fn(u16) -> bool,
) -> Option<BTreeMap<String, u16>> {
    let mut ports = known.clone();
    let size = RANGE.end - RANGE.start;
    let mut candidates = (0..size).map(|step| RANGE.start + (from % size + step) % size);
    for name in wanted {
        if !ports.contains_key(name) {
            let port = candidates
                .find(|port| !ports.values().any(|taken| taken == port) && is_free(*port))?;
            ports.insert(name.clone(), port);
        }
    }
    Some(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn known_ports_stay_and_new_ones_are_free_and_different() {
        let known = BTreeMap::from([("nats".to_string(), 20_001)]);
        let ports = complete(&known, &names(&["nats", "etcd", "api"]), 0, |port| {
            port != 20_000
        })
        .unwrap();
        assert_eq!(ports["nats"], 20_001);
        assert_eq!((ports["etcd"], ports["api"]), (20_002, 20_003));
        assert_eq!(
            complete(&ports, &names(&["nats", "etcd", "api"]), 77, |_| false),
            Some(ports)
        );
    }

    #[test]
    fn a_machine_without_free_ports_is_said_so() {
        assert_eq!(
            complete(&BTreeMap::new(), &names(&["nats"]), 5, |_| false),
            None
        );
    }

    #[test]
    fn the_search_goes_around_the_end_of_the_range() {
        let ports = complete(
            &BTreeMap::new(),
            &names(&["a", "b"]),
            RANGE.end - RANGE.start - 1,
            |_| true,
        )
        .unwrap();
        assert_eq!(ports["a"], RANGE.end - 1);
        assert_eq!(ports["b"], RANGE.start);
    }
}
