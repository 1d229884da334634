//! The crashes of one index, and how many of them came in a row.
//!
//! A crash is known by its instance and may be told several times and late: by `droplet.exited`, by
//! beats, and, to a health manager that begins, by the controller's records. So the crashes are kept in
//! the order of their times and the count is worked out from them; a counter would depend on the
//! order in which they are heard. Only the newest are kept: the back-off reached its longest before.

use super::Millis;
use proto::ids::InstanceId;

/// Most crashes kept of one index.
const MOST: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    pub instance: InstanceId,
    /// Unix milliseconds.
    pub unix: i64,
    /// It had run well until then: the row begins anew.
    pub ran_well: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Crashes {
    /// How long the row was before the oldest that is kept.
    earlier: u32,
    kept: Vec<Crash>,
    /// When the last one happened, on our clock.
    last: Millis,
}

impl Crashes {
    /// Takes in a crash that happened at `at` on our clock. Whether it was news.
    pub fn add(&mut self, crash: Crash, at: Millis) -> bool {
        if self
            .kept
            .iter()
            .any(|known| known.instance == crash.instance)
        {
            return false;
        }
        let place = self.kept.partition_point(|known| known.unix <= crash.unix);
        if place == 0 && self.earlier > 0 {
            // It came before those that are only a number by now.
            return false;
        }
        if place == self.kept.len() {
            self.last = at;
        }
        self.kept.insert(place, crash);
        if self.kept.len() > MOST {
            let oldest = self.kept.remove(0);
            self.earlier = longer(self.earlier, &oldest);
        }
        true
    }

    /// Crashes in a row until now.
    pub fn in_a_row(&self) -> u32 {
        self.kept.iter().fold(self.earlier, longer)
    }

    /// When the last one happened, on our clock.
    pub fn last(&self) -> Millis {
        self.last
    }

    /// The same in Unix seconds; `None` if there was none.
    pub fn last_unix(&self) -> Option<i64> {
        self.kept.last().map(|crash| crash.unix.div_euclid(1000))
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The row has ended.
    pub fn forget(&mut self) {
        *self = Crashes::default();
    }
}

fn longer(row: u32, crash: &Crash) -> u32 {
    if crash.ran_well {
        1
    } else {
        row.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crash(number: i64, ran_well: bool) -> Crash {
        Crash {
            instance: InstanceId::new(format!("i{number}")).expect("an id"),
            unix: number * 1000,
            ran_well,
        }
    }

    #[test]
    fn the_row_is_the_same_in_whatever_order_it_is_told() {
        let told: [&[i64]; 4] = [
            &[1, 2, 3, 4, 5],
            &[5, 4, 3, 2, 1],
            &[3, 5, 1, 4, 2],
            &[5, 5, 1, 2, 3, 4, 1],
        ];
        for order in told {
            let mut crashes = Crashes::default();
            for number in order {
                crashes.add(crash(*number, *number == 3), *number as Millis * 1000);
            }
            assert_eq!(crashes.in_a_row(), 3, "{order:?}");
            assert_eq!((crashes.last(), crashes.last_unix()), (5000, Some(5)));
        }
    }

    #[test]
    fn a_long_row_is_counted_and_not_kept() {
        let mut crashes = Crashes::default();
        for number in 100..200 {
            assert!(crashes.add(crash(number, false), number as Millis));
        }
        assert_eq!(crashes.in_a_row(), 100);
        assert_eq!(crashes.kept.len(), MOST);
        assert!(!crashes.add(crash(199, false), 0), "told before");
        assert!(!crashes.add(crash(5, false), 0), "before what is kept");
        assert_eq!(crashes.in_a_row(), 100);
        crashes.add(crash(200, true), 200);
        assert_eq!(crashes.in_a_row(), 1);
        crashes.forget();
        assert_eq!((crashes.in_a_row(), crashes.last_unix()), (0, None));
        assert!(crashes.is_empty());
    }
}
