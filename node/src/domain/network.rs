//! Addresses for sandboxes: one /16 of 10.0.0.0/8 for a cluster, a /20 of it for each agent.
//!
//! Chosen once, where nothing on the machine routes already; two clusters on one machine are two
//! /16. User ids of sandboxes follow from the same number: 2^24 for each agent (256 sandboxes of
//! 65,536), which leaves room for fifteen clusters of sixteen agents on one machine.

use std::net::Ipv4Addr;

/// Agents that fit into a cluster's network: sixteen /20 in a /16 ([`proto::roles::most`]).
pub const MAX_DEAS: u32 = 16;
/// Clusters whose user ids fit side by side.
const CLASSES: u8 = 15;

/// A network that is in use, as in the routing table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: u32,
    pub mask: u32,
}

impl Network {
    fn overlaps(&self, other: &Network) -> bool {
        let mask = self.mask & other.mask;
        self.address & mask == other.address & mask
    }
}

/// Reads `/proc/net/route`; the default route is no network in use.
pub fn routes(table: &str) -> Vec<Network> {
    let hex = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            Some(Network {
                address: hex(fields.get(1)?)?,
                mask: hex(fields.get(7)?)?,
            })
        })
        .filter(|network| network.mask != 0)
        .collect()
}

/// The second number of a free 10.x.0.0/16, the first one at or after `from`. Never 10.0 and
/// 10.255, which people use.
pub fn choose(used: &[Network], from: u8) -> Option<u8> {
    (0..254u16)
        .map(|step| ((u16::from(from) + step) % 254 + 1) as u8)
        .find(|second| {
            let candidate = Network {
                address: u32::from(Ipv4Addr::new(10, *second, 0, 0)),
                mask: 0xffff_0000,
            };
            // A cluster that runs may show as one of these networks: its user ids are avoided too.
            let same_uids = |network: &Network| {
                let [first, other, ..] = network.address.to_be_bytes();
                first == 10
                    && network.mask.leading_ones() >= 16
                    && other % CLASSES == second % CLASSES
            };
            !used
                .iter()
                .any(|network| network.overlaps(&candidate) || same_uids(network))
        })
}

/// What one agent gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// `10.x.y.0/20`
    pub subnet: String,
    /// The agent's own address in it, `10.x.y.1`.
    pub address: Ipv4Addr,
    pub uid_base: u32,
}

/// The share of the agent with that number, from 1 to [`MAX_DEAS`].
pub fn share(second: u8, dea: u32) -> Share {
    let position = (dea - 1).min(MAX_DEAS - 1);
    let third = (position * 16) as u8;
    Share {
        subnet: format!("10.{second}.{third}.0/20"),
        address: Ipv4Addr::new(10, second, third, 1),
        uid_base: ((u32::from(second % CLASSES) + 1) * MAX_DEAS + position) << 24,
    }
}

/// Host ports of the instances of one agent of a joined machine. There all agents are reached at one address, so each
/// has some of its own; below those that Linux takes for outgoing connections.
pub fn outside_ports(dea: u32) -> std::ops::Range<u16> {
    const EACH: u16 = 750;
    let position = (dea - 1).min(MAX_DEAS - 1) as u16;
    let first = 20_000 + position * EACH;
    first..first + EACH
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        eth0\t0000110A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
        sy1\t0000120A\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0\n";

    #[test]
    fn a_network_in_use_is_not_chosen_whatever_its_size() {
        let used = routes(TABLE);
        assert_eq!(used.len(), 2, "{used:?}");
        assert_eq!(choose(&used, 15), Some(16));
        assert_eq!(
            choose(&used, 16),
            Some(19),
            "10.17.0.0/16 and 10.18.0.0/20 are taken"
        );
        assert_eq!(
            choose(&used, 31),
            Some(34),
            "10.32 and 10.33 would share user ids with them"
        );
        let all = [Network {
            address: u32::from(Ipv4Addr::new(10, 0, 0, 0)),
            mask: 0xff00_0000,
        }];
        assert_eq!(choose(&all, 0), None);
    }

    #[test]
    fn agents_at_one_address_have_ports_of_their_own() {
        let ranges: Vec<_> = (1..=MAX_DEAS).map(outside_ports).collect();
        assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!((ranges[0].start, ranges[15].end), (20_000, 32_000));
    }

    #[test]
    fn shares_of_agents_never_overlap() {
        assert_eq!(share(77, 1).subnet, "10.77.0.0/20");
        assert_eq!(share(77, 16).subnet, "10.77.240.0/20");
        assert_eq!(share(77, 2).address, Ipv4Addr::new(10, 77, 16, 1));
        let mut bases: Vec<u32> = (1..=15u8)
            .flat_map(|second| (1..=MAX_DEAS).map(move |dea| share(second, dea).uid_base))
            .collect();
        bases.sort();
        assert!(bases.windows(2).all(|pair| pair[1] - pair[0] == 1 << 24));
        assert_eq!(bases.first(), Some(&(16 << 24)));
        assert_eq!(bases.last(), Some(&(255 << 24)));
    }
}
