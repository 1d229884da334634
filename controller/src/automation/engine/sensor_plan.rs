//! Where sensors should run, decided from rows and reports. Pure.
//!
//! What a newcomer gets wrong: an agent that was not heard yet is not lost. Only when every agent had the
//! time to be heard does silence mean something.

use proto::ids::DeaId;
use std::collections::BTreeMap;
use std::time::Duration;

/// An order that its agent does not report is sent again after this.
const AGAIN: Duration = Duration::from_secs(10);
/// An agent that reports, but not the sensor, loses it to another after this.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sensor as planning sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub sensor: String,
    pub enabled: bool,
    pub dea: Option<DeaId>,
    pub generation: i64,
    /// How long ago the order of this generation was first sent.
    pub first_sent: Option<Duration>,
    pub last_sent: Option<Duration>,
    pub token: TokenAge,
}

/// How much is left of a sensor's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAge {
    Fresh,
    /// Time for another, which the sensor gets while it runs.
    Old,
    /// Another did not reach it: it must start anew.
    RunningOut,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Generations of the sensors it reports.
    pub runs: BTreeMap<String, i64>,
    pub draining: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Onto this agent, with the next generation.
    Place {
        sensor: String,
        on: DeaId,
        because: &'static str,
    },
    /// No agent: it is switched off.
    Release { sensor: String },
    /// Another token for a sensor that runs.
    Renew {
        sensor: String,
        on: DeaId,
        generation: i64,
    },
    /// The order of its generation, once more.
    Send { sensor: String, to: DeaId },
    Stop {
        sensor: String,
        on: DeaId,
        generation: i64,
    },
    /// Nobody can run it.
    Homeless { sensor: String },
}

/// What to do now. `settled`: every agent that lives had the time to be heard.
pub fn plan(wanted: &[Wanted], agents: &BTreeMap<DeaId, Place>, settled: bool) -> Vec<Step> {
    let mut load: BTreeMap<&DeaId, usize> = agents
        .iter()
        .filter(|(_, place)| !place.draining)
        .map(|(dea, _)| (dea, 0))
        .collect();
    for one in wanted.iter().filter(|one| one.enabled) {
        if let Some(count) = one.dea.as_ref().and_then(|dea| load.get_mut(dea)) {
            *count += 1;
        }
    }
    let mut steps = Vec::new();
    for one in wanted {
        let sensor = one.sensor.clone();
        if !one.enabled {
            if one.dea.is_some() {
                steps.push(Step::Release { sensor });
            }
            continue;
        }
        let why = match &one.dea {
            None => Some("it has no agent"),
            Some(dea) => match agents.get(dea) {
                None if settled => Some("its agent is lost"),
                None => continue,
                Some(place) if place.draining => Some("its agent takes no more work"),
                Some(place) => {
                    let runs = place.runs.get(&sensor) == Some(&one.generation);
                    if runs {
                        steps.extend(token_step(one, dea));
                        continue;
                    } else if one.first_sent.is_some_and(|since| since > PATIENCE) && load.len() > 1
                    {
                        Some("its agent does not run it")
                    } else {
                        if one.last_sent.is_none_or(|since| since >= AGAIN) {
                            steps.push(Step::Send {
                                sensor,
                                to: dea.clone(),
                            });
                        }
                        continue;
                    }
                }
            },
        };
        let Some(because) = why else { continue };
        let elsewhere = load
            .iter()
            .filter(|(dea, _)| one.dea.as_ref() != Some(**dea))
            .min_by_key(|(dea, count)| (**count, (**dea).clone()))
            .map(|(dea, _)| (*dea).clone());
        match elsewhere {
            Some(on) => {
                if let Some(count) = load.get_mut(&on) {
                    *count += 1;
                }
                steps.push(Step::Place {
                    sensor,
                    on,
                    because,
                });
            }
            None => steps.push(Step::Homeless { sensor }),
        }
    }
    let rows: BTreeMap<&str, &Wanted> = wanted
        .iter()
        .map(|one| (one.sensor.as_str(), one))
        .collect();
    for (dea, place) in agents {
        for (sensor, generation) in &place.runs {
            let belongs = rows
                .get(sensor.as_str())
                .is_some_and(|row| row.enabled && row.dea.as_ref() == Some(dea));
            if !belongs {
                steps.push(Step::Stop {
                    sensor: sensor.clone(),
                    on: dea.clone(),
                    generation: *generation,
                });
            }
        }
    }
    steps
}

fn token_step(one: &Wanted, on: &DeaId) -> Option<Step> {
    let sensor = one.sensor.clone();
    match one.token {
        TokenAge::Fresh => None,
        TokenAge::Old => Some(Step::Renew {
            sensor,
            on: on.clone(),
            generation: one.generation,
        }),
        TokenAge::RunningOut => Some(Step::Place {
            sensor,
            on: on.clone(),
            because: "its token runs out",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dea(name: &str) -> DeaId {
        DeaId::new(name).unwrap()
    }

    fn wanted(sensor: &str, on: Option<&str>, generation: i64) -> Wanted {
        Wanted {
            sensor: sensor.into(),
            enabled: true,
            dea: on.map(dea),
            generation,
            first_sent: None,
            last_sent: None,
            token: TokenAge::Fresh,
        }
    }

    fn agents(places: &[(&str, &[(&str, i64)])]) -> BTreeMap<DeaId, Place> {
        places
            .iter()
            .map(|(name, runs)| {
                let place = Place {
                    runs: runs
                        .iter()
                        .map(|(sensor, generation)| (sensor.to_string(), *generation))
                        .collect(),
                    draining: false,
                };
                (dea(name), place)
            })
            .collect()
    }

    fn place(sensor: &str, on: &str, because: &'static str) -> Step {
        Step::Place {
            sensor: sensor.into(),
            on: dea(on),
            because,
        }
    }

    #[test]
    fn new_sensors_are_spread() {
        let two = agents(&[("dea-1", &[]), ("dea-2", &[])]);
        let new = [
            wanted("a", None, 1),
            wanted("b", None, 1),
            wanted("c", Some("dea-1"), 4),
        ];
        assert_eq!(
            plan(&new, &two, true),
            [
                place("a", "dea-2", "it has no agent"),
                place("b", "dea-1", "it has no agent"),
                Step::Send {
                    sensor: "c".into(),
                    to: dea("dea-1")
                },
            ]
        );
        assert_eq!(
            plan(&new[..1], &BTreeMap::new(), true),
            [Step::Homeless { sensor: "a".into() }]
        );
    }

    #[test]
    fn what_runs_is_left_alone_and_what_is_under_way_is_waited_for() {
        let one = agents(&[("dea-1", &[("a", 3)])]);
        assert_eq!(plan(&[wanted("a", Some("dea-1"), 3)], &one, true), []);
        let mut under_way = wanted("a", Some("dea-1"), 4);
        under_way.first_sent = Some(Duration::from_secs(3));
        under_way.last_sent = Some(Duration::from_secs(3));
        assert_eq!(plan(&[under_way.clone()], &one, true), []);
        under_way.last_sent = Some(AGAIN);
        assert_eq!(
            plan(&[under_way.clone()], &one, true),
            [Step::Send {
                sensor: "a".into(),
                to: dea("dea-1")
            }]
        );
        under_way.first_sent = Some(PATIENCE * 2);
        let two = agents(&[("dea-1", &[]), ("dea-2", &[])]);
        assert_eq!(
            plan(&[under_way], &two, true),
            [place("a", "dea-2", "its agent does not run it")]
        );
    }

    #[test]
    fn a_lost_agents_sensor_moves_once_all_had_time_to_speak() {
        let other = agents(&[("dea-2", &[])]);
        let row = [wanted("a", Some("dea-1"), 3)];
        assert_eq!(plan(&row, &other, false), []);
        assert_eq!(
            plan(&row, &other, true),
            [place("a", "dea-2", "its agent is lost")]
        );
    }

    #[test]
    fn a_draining_agent_gives_its_sensors_away() {
        let mut two = agents(&[("dea-1", &[("a", 3)]), ("dea-2", &[])]);
        two.get_mut(&dea("dea-1")).unwrap().draining = true;
        assert_eq!(
            plan(&[wanted("a", Some("dea-1"), 3)], &two, true),
            [place("a", "dea-2", "its agent takes no more work")]
        );
    }

    #[test]
    fn what_runs_where_it_should_not_is_stopped() {
        let both = agents(&[("dea-1", &[("a", 3), ("gone", 1)]), ("dea-2", &[("a", 4)])]);
        let stop = |sensor: &str, generation| Step::Stop {
            sensor: sensor.into(),
            on: dea("dea-1"),
            generation,
        };
        assert_eq!(
            plan(&[wanted("a", Some("dea-2"), 4)], &both, true),
            [stop("a", 3), stop("gone", 1)]
        );
        let mut off = wanted("a", Some("dea-1"), 4);
        off.enabled = false;
        let one = agents(&[("dea-1", &[("a", 3)])]);
        assert_eq!(
            plan(&[off], &one, true),
            [Step::Release { sensor: "a".into() }, stop("a", 3)]
        );
    }

    #[test]
    fn a_token_is_renewed_and_one_that_runs_out_makes_a_new_generation() {
        let one = agents(&[("dea-1", &[("a", 3)])]);
        let mut old = wanted("a", Some("dea-1"), 3);
        old.token = TokenAge::Old;
        let renew = Step::Renew {
            sensor: "a".into(),
            on: dea("dea-1"),
            generation: 3,
        };
        assert_eq!(plan(&[old.clone()], &one, true), [renew]);
        old.token = TokenAge::RunningOut;
        assert_eq!(
            plan(&[old], &one, true),
            [place("a", "dea-1", "its token runs out")]
        );
    }
}
