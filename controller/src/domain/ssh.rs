//! Going inside an instance: whether it is switched on, and which instance is meant.

use super::observed::Instance;
use proto::bus::health::InstanceState;
use proto::ids::{DeaId, InstanceId};

/// Who is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A living instance.
    Live { index: u32 },
    /// What was kept of a crashed one; without an index the newest.
    Crashed { index: Option<u32> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub instance: InstanceId,
    pub dea: DeaId,
    pub index: u32,
}

/// Why nobody may go inside, in the words of Cloud Foundry; None: it is switched on.
pub fn switched_off(app: bool, space: bool) -> Option<&'static str> {
    match (space, app) {
        (false, _) => Some("Disabled for space"),
        (true, false) => Some("Disabled for app"),
        (true, true) => None,
    }
}

/// The instance that is meant, or why there is none. Of several (an old one beside its replacement) the one that
/// runs, then the newest.
pub fn choose<'a>(
    seen: impl IntoIterator<Item = &'a Instance>,
    wanted: Wanted,
) -> Result<Chosen, String> {
    let seen: Vec<&Instance> = seen.into_iter().collect();
    let is_meant = |instance: &&&Instance| match wanted {
        Wanted::Live { index } => {
            instance.index == index && instance.state != InstanceState::Crashed
        }
        Wanted::Crashed { index } => {
            instance.state == InstanceState::Crashed
                && index.is_none_or(|index| instance.index == index)
        }
    };
    let best = seen
        .iter()
        .filter(is_meant)
        .filter_map(|instance| Some((instance, instance.dea.clone()?)))
        .max_by(|(one, _), (other, _)| {
            let rank = |instance: &Instance| (instance.is_running(), instance.state_since);
            let (one, other) = (rank(one), rank(other));
            one.0.cmp(&other.0).then(one.1.total_cmp(&other.1))
        });
    match best {
        Some((instance, dea)) => Ok(Chosen {
            instance: instance.id.clone(),
            dea,
            index: instance.index,
        }),
        None => Err(match wanted {
            Wanted::Live { index } => format!("There is no running instance {index}"),
            Wanted::Crashed { index: Some(index) } => {
                format!("Nothing is kept of a crashed instance {index}")
            }
            Wanted::Crashed { index: None } => "Nothing is kept of a crashed instance".to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::ids::{ProcessGuid, Version};
    use std::time::Duration;

    fn instance(id: &str, index: u32, state: InstanceState, since: f64) -> Instance {
        Instance {
            id: InstanceId::new(id).unwrap(),
            process: ProcessGuid::new("p").unwrap(),
            version: Version::new("v").unwrap(),
            index,
            dea: Some(DeaId::new("dea-1").unwrap()),
            state,
            state_since: since,
            seen_at: Duration::ZERO,
            running_since: None,
            stats: None,
            details: None,
        }
    }

    #[test]
    fn the_instance_that_runs_is_meant_and_of_crashed_ones_the_newest() {
        use InstanceState::{Crashed, Running, Starting};
        let seen = [
            instance("old", 0, Running, 1.0),
            instance("starting", 0, Starting, 9.0),
            instance("new", 0, Running, 5.0),
            instance("other", 1, Starting, 3.0),
            instance("dead-0", 0, Crashed, 7.0),
            instance("dead-2", 2, Crashed, 8.0),
        ];
        let chosen = |wanted| choose(&seen, wanted).map(|chosen| chosen.instance.to_string());
        for (wanted, expected) in [
            (Wanted::Live { index: 0 }, Ok("new")),
            (Wanted::Live { index: 1 }, Ok("other")),
            (
                Wanted::Live { index: 2 },
                Err("There is no running instance 2"),
            ),
            (Wanted::Crashed { index: None }, Ok("dead-2")),
            (Wanted::Crashed { index: Some(0) }, Ok("dead-0")),
            (
                Wanted::Crashed { index: Some(1) },
                Err("Nothing is kept of a crashed instance 1"),
            ),
        ] {
            let expected = expected.map(str::to_string).map_err(str::to_string);
            assert_eq!(chosen(wanted), expected, "{wanted:?}");
        }
        let homeless = Instance {
            dea: None,
            ..instance("x", 0, Running, 1.0)
        };
        assert!(choose([&homeless], Wanted::Live { index: 0 }).is_err());
    }

    #[test]
    fn either_switch_switches_off() {
        assert_eq!(switched_off(true, true), None);
        assert_eq!(switched_off(false, true), Some("Disabled for app"));
        assert_eq!(switched_off(false, false), Some("Disabled for space"));
        assert_eq!(switched_off(true, false), Some("Disabled for space"));
    }
}
