//! Who is at the gate and has not proven anything yet.
//!
//! Everybody is let in at once, so that nobody waits behind those who say nothing. When the hall is full, somebody is
//! sent away for whoever comes: of the address that has most in it, who has been there longest. So an address that fills
//! the hall sends away its own, and a machine that proves in milliseconds who it is stays.

use std::collections::BTreeMap;
use std::net::IpAddr;

#[derive(Debug)]
pub struct Hall<T> {
    most: usize,
    next: u64,
    /// In the order in which they came.
    here: BTreeMap<u64, (IpAddr, T)>,
}

impl<T> Hall<T> {
    pub fn new(most: usize) -> Hall<T> {
        Hall {
            most,
            next: 0,
            here: BTreeMap::new(),
        }
    }

    /// Lets somebody in: by which number to call him, and who is sent away.
    pub fn enter(&mut self, address: IpAddr, guest: T) -> (u64, Option<T>) {
        let sent_away = match self.here.len() >= self.most {
            true => self.longest_of_most().and_then(|number| self.leave(number)),
            false => None,
        };
        let number = self.next;
        self.next += 1;
        self.here.insert(number, (address, guest));
        (number, sent_away)
    }

    /// None: he had been sent away.
    pub fn leave(&mut self, number: u64) -> Option<T> {
        self.here.remove(&number).map(|(_, guest)| guest)
    }

    fn longest_of_most(&self) -> Option<u64> {
        // By address: how many, and who of them came first.
        let mut addresses: BTreeMap<IpAddr, (usize, u64)> = BTreeMap::new();
        for (number, (address, _)) in &self.here {
            addresses.entry(*address).or_insert((0, *number)).0 += 1;
        }
        addresses
            .into_values()
            .max_by_key(|(count, first)| (*count, std::cmp::Reverse(*first)))
            .map(|(_, first)| first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn an_address_that_fills_the_hall_sends_away_its_own() {
        let mut hall = Hall::new(4);
        assert_eq!(hall.enter(address(1), "a machine").1, None);
        for guest in ["first", "second", "third"] {
            assert_eq!(hall.enter(address(2), guest).1, None);
        }
        assert_eq!(hall.enter(address(2), "fourth").1, Some("first"));
        let (number, sent_away) = hall.enter(address(3), "another machine");
        assert_eq!(sent_away, Some("second"));
        // Whoever has proven who he is leaves the hall, and makes room.
        assert_eq!(hall.leave(number), Some("another machine"));
        assert_eq!(hall.leave(number), None);
        assert_eq!(hall.enter(address(2), "fifth").1, None);
    }

    #[test]
    fn of_equals_the_one_who_came_first_goes() {
        let mut hall = Hall::new(2);
        hall.enter(address(2), 1);
        hall.enter(address(1), 2);
        assert_eq!(hall.enter(address(3), 3).1, Some(1));
    }
}
