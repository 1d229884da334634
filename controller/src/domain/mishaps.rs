//! What components tell of their machines: what of it is news, and how it is said.
//!
//! A component repeats its mishaps with every answer, also those that are over, so that nothing is lost while it
//! cannot be recorded. What was told already is named by the component's own time of it.

use proto::bus::component::{Component, Mishap};
use std::collections::{BTreeMap, BTreeSet};

/// A component that was low and does not mention it any more started anew: after so many answers there is room.
const SILENT_ANSWERS: u32 = 10;
/// So long a jump of the clock is shown, in seconds.
const SHOWN: f64 = 600.0;

/// Something to tell rules of. Times in Unix seconds, by the component's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct News {
    pub component: String,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    DiskLow {
        folder: String,
        free_bytes: u64,
        total_bytes: u64,
        since: f64,
    },
    DiskRecovered {
        folder: String,
        since: f64,
    },
    ClockJumped {
        at: f64,
        seconds: f64,
    },
}

/// What was told of one disk.
#[derive(Debug, Clone, Copy, Default)]
struct ToldDisk {
    low: Option<f64>,
    recovered: Option<f64>,
    /// Answers in a row that did not mention it.
    silent: u32,
}

/// What was told.
#[derive(Debug, Default)]
pub struct Told {
    disks: BTreeMap<(String, String), ToldDisk>,
    /// Components and times of jumps, as bits.
    jumps: BTreeSet<(String, u64)>,
}

impl Told {
    /// Call it once for each round of answers.
    pub fn news(&mut self, answers: &[Component]) -> Vec<News> {
        let mut news = Vec::new();
        for answer in answers {
            // Strangers have no id of ours, and no mishaps.
            if let Some(component) = &answer.yard_id {
                self.forget(component, &answer.mishaps);
                news.extend(self.of_component(component, &answer.mishaps));
            }
        }
        news
    }

    fn of_component(&mut self, component: &str, mishaps: &[Mishap]) -> Vec<News> {
        let mut found = Vec::new();
        let mut mentioned = BTreeSet::new();
        for mishap in mishaps {
            match mishap {
                Mishap::DiskLow {
                    folder,
                    free_bytes,
                    total_bytes,
                    since,
                    until,
                } => {
                    mentioned.insert(folder.as_str());
                    let told = self.disk(component, folder);
                    told.silent = 0;
                    if told.low != Some(*since) {
                        found.push(What::DiskLow {
                            folder: folder.clone(),
                            free_bytes: *free_bytes,
                            total_bytes: *total_bytes,
                            since: *since,
                        });
                    }
                    if until.is_some() && told.recovered != Some(*since) {
                        found.push(What::DiskRecovered {
                            folder: folder.clone(),
                            since: *since,
                        });
                    }
                }
                Mishap::ClockJumped { at, seconds } => {
                    let key = (component.to_string(), at.to_bits());
                    if !self.jumps.contains(&key) {
                        found.push(What::ClockJumped {
                            at: *at,
                            seconds: *seconds,
                        });
                    }
                }
            }
        }
        let of_it = self.disks.iter_mut().filter(|((of, _), _)| of == component);
        for ((_, folder), told) in of_it {
            let Some(since) = told.low.filter(|low| told.recovered != Some(*low)) else {
                continue;
            };
            if !mentioned.contains(folder.as_str()) {
                told.silent += 1;
                if told.silent >= SILENT_ANSWERS {
                    let folder = folder.clone();
                    found.push(What::DiskRecovered { folder, since });
                }
            }
        }
        let component = component.to_string();
        found
            .into_iter()
            .map(|what| News {
                component: component.clone(),
                what,
            })
            .collect()
    }

    /// Jumps that their component does not remember come never again.
    fn forget(&mut self, component: &str, mishaps: &[Mishap]) {
        let remembered: BTreeSet<u64> = mishaps
            .iter()
            .filter_map(|mishap| match mishap {
                Mishap::ClockJumped { at, .. } => Some(at.to_bits()),
                Mishap::DiskLow { .. } => None,
            })
            .collect();
        self.jumps
            .retain(|(of, at)| of != component || remembered.contains(at));
    }

    fn disk(&mut self, component: &str, folder: &str) -> &mut ToldDisk {
        self.disks
            .entry((component.to_string(), folder.to_string()))
            .or_default()
    }

    /// It was recorded.
    pub fn note(&mut self, news: &News) {
        match &news.what {
            What::DiskLow { folder, since, .. } => {
                self.disk(&news.component, folder).low = Some(*since);
            }
            What::DiskRecovered { folder, since } => {
                self.disk(&news.component, folder).recovered = Some(*since);
            }
            What::ClockJumped { at, .. } => {
                self.jumps.insert((news.component.clone(), at.to_bits()));
            }
        }
    }
}

/// What is wrong now, in words; `now` in Unix seconds.
pub fn problems(mishaps: &[Mishap], now: f64) -> Vec<String> {
    mishaps
        .iter()
        .filter_map(|mishap| match mishap {
            Mishap::DiskLow {
                folder,
                free_bytes,
                total_bytes,
                until: None,
                ..
            } => Some(format!(
                "little room in {folder}: {} MB of {} MB are free",
                free_bytes >> 20,
                total_bytes >> 20
            )),
            Mishap::DiskLow { until: Some(_), .. } => None,
            Mishap::ClockJumped { at, seconds } => {
                let ago = now - at;
                // After a jump back, later times come again.
                (ago.abs() < SHOWN).then(|| format!("its clock jumped by {seconds:.0} s"))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(mishaps: Vec<Mishap>) -> Component {
        Component {
            kind: "DEA".into(),
            index: 1,
            uuid: "1-abc".into(),
            host: "127.0.0.1:1".into(),
            credentials: Vec::new(),
            start: String::new(),
            uptime: "0d:0h:0m:1s".into(),
            yard_id: Some("dea-1".into()),
            mishaps,
        }
    }

    fn low(since: f64, until: Option<f64>) -> Mishap {
        Mishap::DiskLow {
            folder: "/data".into(),
            free_bytes: 5 << 20,
            total_bytes: 64 << 20,
            since,
            until,
        }
    }

    fn jump(at: f64) -> Mishap {
        Mishap::ClockJumped {
            at,
            seconds: -86_400.0,
        }
    }

    /// The news of one answer, told at once.
    fn tell(told: &mut Told, mishaps: Vec<Mishap>) -> Vec<&'static str> {
        let news = told.news(&[component(mishaps)]);
        for one in &news {
            told.note(one);
        }
        news.iter()
            .map(|one| match one.what {
                What::DiskLow { .. } => "low",
                What::DiskRecovered { .. } => "recovered",
                What::ClockJumped { .. } => "jumped",
            })
            .collect()
    }

    #[test]
    fn each_want_of_room_and_each_jump_is_news_once() {
        let mut told = Told::default();
        assert_eq!(
            tell(&mut told, vec![low(1.0, None), jump(2.0)]),
            ["low", "jumped"]
        );
        assert!(tell(&mut told, vec![low(1.0, None), jump(2.0)]).is_empty());
        assert_eq!(
            tell(&mut told, vec![low(1.0, Some(9.0)), jump(2.0), jump(3.0)]),
            ["recovered", "jumped"]
        );
        assert!(tell(&mut told, vec![low(1.0, Some(9.0)), jump(3.0)]).is_empty());
        assert_eq!(tell(&mut told, vec![low(20.0, None)]), ["low"]);
    }

    #[test]
    fn what_could_not_be_recorded_stays_news_also_when_it_is_over() {
        let mut told = Told::default();
        assert_eq!(told.news(&[component(vec![low(1.0, None)])]).len(), 1);
        assert_eq!(told.news(&[component(vec![low(1.0, None)])]).len(), 1);
        assert_eq!(
            tell(&mut told, vec![low(1.0, Some(9.0))]),
            ["low", "recovered"]
        );
    }

    #[test]
    fn a_component_that_started_anew_and_says_nothing_has_room() {
        let mut told = Told::default();
        tell(&mut told, vec![low(1.0, None)]);
        for _ in 1..SILENT_ANSWERS {
            assert!(tell(&mut told, Vec::new()).is_empty());
        }
        assert_eq!(tell(&mut told, Vec::new()), ["recovered"]);
        assert!(tell(&mut told, Vec::new()).is_empty());
    }

    #[test]
    fn who_does_not_answer_changes_nothing() {
        let mut told = Told::default();
        tell(&mut told, vec![low(1.0, None), jump(2.0)]);
        for _ in 0..3 * SILENT_ANSWERS {
            assert!(told.news(&[]).is_empty());
        }
        assert!(tell(&mut told, vec![low(1.0, None), jump(2.0)]).is_empty());
    }

    #[test]
    fn problems_are_those_of_now() {
        let mishaps = [low(1.0, None), low(1.0, Some(2.0)), jump(1000.0)];
        assert_eq!(
            problems(&mishaps, 1010.0),
            [
                "little room in /data: 5 MB of 64 MB are free",
                "its clock jumped by -86400 s"
            ]
        );
        assert_eq!(problems(&mishaps, 5000.0).len(), 1);
    }
}
