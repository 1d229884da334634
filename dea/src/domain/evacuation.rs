//! Emptying an agent: what runs here is started elsewhere first and stops only then.
//!
//! ```text
//!   open ──(drain)──► emptying ──(its time is over)──► the rest is stopped
//!     ▲                  │                                     │
//!     └────(undrain, or a new process of the agent)────────────┘
//! ```
//!
//! The agent itself replaces nothing and stops nothing early: its beats call its instances EVACUATING,
//! the health manager has each replaced and asks for its end once the replacement runs. So whatever
//! goes wrong elsewhere, the old instance serves on. Only the bound is the agent's own: somebody waits for
//! the machine.
//!
//! What a newcomer gets wrong: evacuating is no state of an instance. It starts, serves, crashes and stops as
//! ever; only what others are told of it differs, and that may be taken back at any time.

use super::Now;
use proto::bus::dea::Drain;
use proto::bus::health::InstanceState;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Evacuation {
    /// The agent takes work.
    #[default]
    Open,
    Emptying {
        begun: Now,
        /// The time was over, and the rest was told to stop.
        stopped_rest: bool,
    },
}

impl Evacuation {
    /// Whether that is news.
    pub fn begin(&mut self, now: Now) -> bool {
        match self {
            Evacuation::Emptying { .. } => false,
            Evacuation::Open => {
                *self = Evacuation::Emptying {
                    begun: now,
                    stopped_rest: false,
                };
                true
            }
        }
    }

    /// Whether that is news.
    pub fn end(&mut self) -> bool {
        std::mem::take(self) != Evacuation::Open
    }

    pub fn is_on(&self) -> bool {
        *self != Evacuation::Open
    }

    /// True once for each evacuation, when its time is over: what is left must stop.
    pub fn must_stop_rest(&mut self, now: Now, timeout: Duration) -> bool {
        match self {
            Evacuation::Emptying {
                begun,
                stopped_rest,
            } if !*stopped_rest && now.uptime >= begun.uptime.saturating_add(timeout) => {
                *stopped_rest = true;
                true
            }
            Evacuation::Emptying { .. } | Evacuation::Open => false,
        }
    }

    /// What others are told of an instance in this state.
    pub fn seen_as(&self, state: InstanceState) -> InstanceState {
        match (self, state) {
            (Evacuation::Open, state) => state,
            (
                Evacuation::Emptying { .. },
                InstanceState::Starting | InstanceState::Running | InstanceState::Evacuating,
            ) => InstanceState::Evacuating,
            (Evacuation::Emptying { .. }, InstanceState::Crashed) => InstanceState::Crashed,
        }
    }

    /// How far it is, for the bus.
    pub fn told(&self, timeout: Duration, left: u32) -> Option<Drain> {
        match self {
            Evacuation::Open => None,
            Evacuation::Emptying { begun, .. } => Some(Drain {
                since: begun.unix,
                until: begun.unix + timeout.as_secs_f64(),
                left,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Now {
        Now {
            uptime: Duration::from_secs(seconds),
            unix: 1000.0 + seconds as f64,
        }
    }

    #[test]
    fn a_second_order_changes_nothing_and_its_time_goes_on() {
        let mut evacuation = Evacuation::default();
        assert!(!evacuation.is_on() && !evacuation.end());
        assert!(evacuation.begin(at(5)));
        assert!(!evacuation.begin(at(50)));
        let told = evacuation.told(TIMEOUT, 3).unwrap();
        assert_eq!((told.since, told.until, told.left), (1005.0, 1065.0, 3));
        assert!(evacuation.end());
        assert_eq!(evacuation.told(TIMEOUT, 3), None);
    }

    #[test]
    fn the_rest_is_stopped_once_when_the_time_is_over() {
        let mut evacuation = Evacuation::default();
        assert!(!evacuation.must_stop_rest(at(100), TIMEOUT));
        evacuation.begin(at(0));
        assert!(!evacuation.must_stop_rest(at(59), TIMEOUT));
        // A shorter time counts from the same begin.
        assert!(evacuation.must_stop_rest(at(59), Duration::from_secs(30)));
        assert!(!evacuation.must_stop_rest(at(61), TIMEOUT));
        evacuation.end();
        evacuation.begin(at(62));
        assert!(!evacuation.must_stop_rest(at(70), TIMEOUT), "a new one");
        assert!(evacuation.must_stop_rest(at(122), TIMEOUT));
    }

    #[test]
    fn what_lives_is_called_evacuating_and_what_crashed_stays_crashed() {
        use InstanceState::{Crashed, Evacuating, Running, Starting};
        let mut evacuation = Evacuation::default();
        assert_eq!(evacuation.seen_as(Running), Running);
        evacuation.begin(at(0));
        for state in [Starting, Running] {
            assert_eq!(evacuation.seen_as(state), Evacuating);
        }
        assert_eq!(evacuation.seen_as(Crashed), Crashed);
        evacuation.end();
        assert_eq!(evacuation.seen_as(Starting), Starting);
    }
}
