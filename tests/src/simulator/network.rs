//! The bus between the parts: what is lost, late, twice, out of order, and who is cut off.

use super::Millis;
use super::message::Place;
use super::random::Random;
use std::collections::{BTreeMap, BTreeSet};

/// How bad it is, of 1000 messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weather {
    pub lost: u64,
    pub doubled: u64,
    /// Late by up to `late_by`; others take between 0 and 5 ms.
    pub late: u64,
    pub late_by: Millis,
}

impl Weather {
    pub const CALM: Weather = Weather {
        lost: 0,
        doubled: 0,
        late: 0,
        late_by: 0,
    };
}

/// What becomes of one message on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Lost,
    /// Arrives after these waits; two: it is doubled.
    Arrives(Millis, Option<Millis>),
}

#[derive(Default)]
pub struct Network {
    pub weather: Weather,
    cut: BTreeMap<Place, Millis>,
    /// Servers of the bus that lost each other: these hear only each other, the rest only the rest, until then.
    island: BTreeSet<Place>,
    island_until: Millis,
}

impl Network {
    /// Nobody hears this one until then, nor does it hear anybody.
    pub fn cut(&mut self, place: Place, until: Millis) {
        let end = self.cut.entry(place).or_insert(until);
        *end = (*end).max(until);
    }

    pub fn is_cut(&self, place: Place, now: Millis) -> bool {
        self.cut.get(&place).is_some_and(|until| *until > now)
    }

    /// The bus falls into two parts. Nobody notices: everybody has a connection.
    pub fn part(&mut self, island: BTreeSet<Place>, until: Millis) {
        self.island = island;
        self.island_until = until;
    }

    pub fn is_parted(&self, one: Place, other: Place, now: Millis) -> bool {
        now < self.island_until && self.island.contains(&one) != self.island.contains(&other)
    }

    /// Everybody who is cut off is so no more.
    pub fn mend(&mut self, now: Millis) -> Vec<Place> {
        self.island_until = 0;
        std::mem::take(&mut self.cut)
            .into_iter()
            .filter(|(_, until)| *until > now)
            .map(|(place, _)| place)
            .collect()
    }

    pub fn fate(&self, random: &mut Random) -> Fate {
        if random.chance(self.weather.lost) {
            return Fate::Lost;
        }
        let mut wait = || {
            if random.chance(self.weather.late) {
                random.between(5, self.weather.late_by)
            } else {
                random.between(0, 5)
            }
        };
        let first = wait();
        let again = wait();
        let doubled = random.chance(self.weather.doubled);
        Fate::Arrives(first, doubled.then_some(again))
    }
}
