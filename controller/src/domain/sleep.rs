//! When a web process falls asleep, and when it wakes up.
//!
//! A process that may sleep has its instances stopped when nobody has asked for it for so long, and gets them back when
//! somebody does, or when anything about it or its app is changed: whoever starts, scales or pushes an app wants to see
//! it run. While a deployment replaces its instances nothing is decided about it.

use proto::config::value::show_duration;
use std::time::Duration;

/// A process that may sleep, as it is now. Times are ages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sleepy {
    /// Its app is started and there is a droplet to run.
    pub runs: bool,
    pub deploying: bool,
    pub asleep: bool,
    /// It or its app was changed after it had fallen asleep.
    pub changed: bool,
    /// A router holds requests for it.
    pub asked_for: bool,
    pub sleep_after: Duration,
    /// Since it or its app was changed, or it woke up.
    pub unchanged_for: Duration,
    /// For how long nobody asked for it; None: it is not known, a router is not heard.
    pub quiet_for: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Stay,
    Sleep { because: String },
    Wake { because: &'static str },
}

pub const ASKED_FOR: &str = "a request came for it";
pub const CHANGED: &str = "it was changed";

pub fn step(one: &Sleepy) -> Step {
    if one.deploying {
        return Step::Stay;
    }
    if one.asleep {
        return match one {
            Sleepy { changed: true, .. } => Step::Wake { because: CHANGED },
            Sleepy {
                asked_for: true,
                runs: true,
                ..
            } => Step::Wake { because: ASKED_FOR },
            _ => Step::Stay,
        };
    }
    let quiet_for = one.quiet_for.map(|quiet| quiet.min(one.unchanged_for));
    match quiet_for {
        Some(quiet) if one.runs && !one.asked_for && quiet >= one.sleep_after => Step::Sleep {
            because: format!("no request came for {}", show_duration(one.sleep_after)),
        },
        Some(_) | None => Step::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn awake() -> Sleepy {
        Sleepy {
            runs: true,
            deploying: false,
            asleep: false,
            changed: false,
            asked_for: false,
            sleep_after: 10 * MINUTE,
            unchanged_for: 20 * MINUTE,
            quiet_for: Some(10 * MINUTE),
        }
    }

    fn asleep() -> Sleepy {
        Sleepy {
            asleep: true,
            ..awake()
        }
    }

    #[test]
    fn who_is_asked_for_nothing_for_so_long_falls_asleep() {
        let because = "no request came for 10m".to_string();
        assert_eq!(step(&awake()), Step::Sleep { because });
        let stay = [
            Sleepy {
                quiet_for: Some(9 * MINUTE),
                ..awake()
            },
            Sleepy {
                quiet_for: None,
                ..awake()
            },
            Sleepy {
                unchanged_for: MINUTE,
                ..awake()
            },
            Sleepy {
                asked_for: true,
                ..awake()
            },
            Sleepy {
                runs: false,
                ..awake()
            },
            Sleepy {
                deploying: true,
                ..awake()
            },
        ];
        for one in stay {
            assert_eq!(step(&one), Step::Stay, "{one:?}");
        }
    }

    #[test]
    fn a_request_or_a_change_wakes() {
        let cases = [
            (asleep(), Step::Stay),
            (
                Sleepy {
                    asked_for: true,
                    ..asleep()
                },
                Step::Wake { because: ASKED_FOR },
            ),
            (
                Sleepy {
                    changed: true,
                    ..asleep()
                },
                Step::Wake { because: CHANGED },
            ),
            // A stopped app is not started by a request; that it was stopped is a change.
            (
                Sleepy {
                    asked_for: true,
                    runs: false,
                    ..asleep()
                },
                Step::Stay,
            ),
            (
                Sleepy {
                    changed: true,
                    deploying: true,
                    ..asleep()
                },
                Step::Stay,
            ),
        ];
        for (one, wanted) in cases {
            assert_eq!(step(&one), wanted, "{one:?}");
        }
    }
}
