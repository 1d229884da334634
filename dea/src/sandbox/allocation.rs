//! Which number a sandbox gets. From it follow its address, uid range, interface and host port.
//!
//! A number that was just freed is the last to be used again: a router that has not heard of the
//! end of an application must meet a closed port, not another application.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::Ipv4Addr;

use super::Subnet;

/// Uids given to each sandbox.
pub const UIDS: u32 = 65_536;
/// Host port of number 0, unless the agent has others. The ports exist on the gateway's address, and on the machine's
/// where routers are on other machines.
pub const FIRST_PORT: u16 = 20_000;
/// More sandboxes than any machine runs; keeps ports and uids in their ranges.
const MOST: u32 = 16_384;

#[derive(Debug)]
pub struct Numbers {
    /// By number, the id of its sandbox: only that one gives it back.
    used: BTreeMap<u32, String>,
    next: u32,
    count: u32,
}

impl Numbers {
    /// Numbers for the subnet's addresses between the gateway's and the broadcast address.
    /// `start` is where to begin (any number; a random one makes two runs differ).
    pub fn new(subnet: Subnet, uid_base: u32, start: u32) -> Numbers {
        let by_address = subnet.size().saturating_sub(3);
        let by_uid = (u32::MAX - uid_base) / UIDS;
        let count = by_address.min(by_uid).min(MOST);
        Numbers {
            used: BTreeMap::new(),
            next: start.checked_rem(count).unwrap_or(0),
            count,
        }
    }

    /// The same, but no more than that many. Before any is taken.
    pub fn at_most(self, count: u32) -> Numbers {
        let count = self.count.min(count);
        Numbers {
            next: self.next.checked_rem(count).unwrap_or(0),
            count,
            ..self
        }
    }

    pub fn take(&mut self, id: &str) -> Option<u32> {
        for _ in 0..self.count {
            let number = self.next;
            self.next = (self.next + 1) % self.count;
            if self.adopt(number, id) {
                return Some(number);
            }
        }
        None
    }

    /// Marks the number of an adopted sandbox. False if it is in use or out of range.
    pub fn adopt(&mut self, number: u32, id: &str) -> bool {
        match self.used.entry(number) {
            Entry::Vacant(free) if number < self.count => {
                free.insert(id.to_owned());
                true
            }
            Entry::Vacant(_) | Entry::Occupied(_) => false,
        }
    }

    /// Gives a number back, if it is that sandbox's: a removal that is repeated must not free what
    /// somebody else has by now.
    pub fn release(&mut self, number: u32, id: &str) {
        if self.used.get(&number).is_some_and(|owner| owner == id) {
            self.used.remove(&number);
        }
    }
}

/// Address of the sandbox with this number: the subnet's first is the gateway by custom, and is
/// skipped wherever it is.
pub fn address(subnet: Subnet, gateway: Ipv4Addr, number: u32) -> Option<Ipv4Addr> {
    let gateway = u32::from(gateway).wrapping_sub(u32::from(subnet.network()));
    let position = number + 1;
    subnet.nth(if position >= gateway {
        position + 1
    } else {
        position
    })
}

pub fn uid_base(first: u32, number: u32) -> u32 {
    first + number * UIDS
}

pub fn host_port(number: u32) -> u16 {
    FIRST_PORT + number as u16
}

/// Every interface of the sandboxes starts so; the firewall knows them by it.
pub fn interface_stem(prefix: &str) -> String {
    format!("{prefix}v")
}

pub fn interface(prefix: &str, number: u32) -> String {
    format!("{}{number}", interface_stem(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet() -> Subnet {
        "10.1.0.0/29".parse().unwrap()
    }

    #[test]
    fn a_freed_number_is_the_last_to_come_again() {
        let mut numbers = Numbers::new(subnet(), 1_000_000, 3);
        let all: Vec<u32> = std::iter::from_fn(|| numbers.take("a")).collect();
        assert_eq!(all, [3, 4, 0, 1, 2]);
        numbers.release(4, "a");
        numbers.release(3, "a");
        assert_eq!(numbers.take("b"), Some(3));
        numbers.release(3, "a");
        assert_eq!(numbers.take("c"), Some(4), "3 is b's and stays so");
        assert_eq!(numbers.take("d"), None);
        numbers.release(3, "b");
        assert_eq!(numbers.take("d"), Some(3));
    }

    #[test]
    fn an_adopted_number_is_not_given_out() {
        let mut numbers = Numbers::new(subnet(), 1_000_000, 0);
        assert!(numbers.adopt(0, "a"));
        assert!(!numbers.adopt(0, "b"));
        assert!(!numbers.adopt(5, "b"));
        assert_eq!(numbers.take("b"), Some(1));
    }

    #[test]
    fn there_are_no_more_than_there_may_be() {
        let mut numbers = Numbers::new(subnet(), 1_000_000, 4).at_most(2);
        assert_eq!([0, 1].map(|_| numbers.take("a")), [Some(0), Some(1)]);
        assert_eq!(numbers.take("a"), None);
    }

    #[test]
    fn addresses_leave_out_network_gateway_and_broadcast() {
        for gateway in [1, 4, 6] {
            let gateway = subnet().nth(gateway).unwrap();
            let mut seen: Vec<Ipv4Addr> = (0..5)
                .map(|number| address(subnet(), gateway, number).unwrap())
                .collect();
            seen.dedup();
            assert_eq!(seen.len(), 5);
            assert!(!seen.contains(&gateway));
            assert!(!seen.contains(&subnet().nth(0).unwrap()));
            assert!(!seen.contains(&subnet().nth(7).unwrap()));
        }
    }

    #[test]
    fn names_fit_an_interface() {
        assert!(interface("sy0a1234", MOST).len() <= 15);
        assert!(u32::from(FIRST_PORT) + MOST <= 65_535);
    }
}
