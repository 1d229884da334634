//! Which instances a `dea.stop`, `dea.find.droplet` or `droplet.status` means: those that match
//! every filter present. Only the process given: all of it.

use proto::bus::dea::{FindInstances, StopInstances};
use proto::ids::{InstanceId, ProcessGuid, Version};

/// One question about instances.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    pub droplet: ProcessGuid,
    pub version: Option<Version>,
    pub instances: Option<Vec<InstanceId>>,
    pub indices: Option<Vec<u32>>,
    pub states: Option<Vec<String>>,
}

/// What a selection looks at.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub droplet: &'a ProcessGuid,
    pub version: &'a Version,
    pub instance: &'a InstanceId,
    pub index: u32,
    /// `STARTING`, `RUNNING`…
    pub state: &'a str,
}

impl Selection {
    pub fn matches(&self, candidate: Candidate<'_>) -> bool {
        fn holds<T: PartialEq>(list: &Option<Vec<T>>, value: &T) -> bool {
            list.as_ref().is_none_or(|list| list.contains(value))
        }
        self.droplet == *candidate.droplet
            && self
                .version
                .as_ref()
                .is_none_or(|version| version == candidate.version)
            && holds(&self.instances, candidate.instance)
            && holds(&self.indices, &candidate.index)
            && self.states.as_ref().is_none_or(|states| {
                states
                    .iter()
                    .any(|state| state.eq_ignore_ascii_case(candidate.state))
            })
    }
}

impl From<StopInstances> for Selection {
    fn from(message: StopInstances) -> Selection {
        let StopInstances {
            droplet,
            version,
            instances,
            indices,
            states,
            yard_epoch: _,
        } = message;
        Selection {
            droplet,
            version,
            instances,
            indices,
            states,
        }
    }
}

impl From<&FindInstances> for Selection {
    fn from(message: &FindInstances) -> Selection {
        Selection {
            droplet: message.droplet.clone(),
            version: message.version.clone(),
            instances: message.instances.clone(),
            indices: message.indices.clone(),
            states: message.states.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Selection {
        Selection {
            droplet: ProcessGuid::new("app").expect("an id"),
            version: None,
            instances: None,
            indices: None,
            states: None,
        }
    }

    fn matches(
        selection: &Selection,
        droplet: &str,
        version: &str,
        instance: &str,
        index: u32,
        state: &str,
    ) -> bool {
        selection.matches(Candidate {
            droplet: &ProcessGuid::new(droplet).expect("an id"),
            version: &Version::new(version).expect("an id"),
            instance: &InstanceId::new(instance).expect("an id"),
            index,
            state,
        })
    }

    #[test]
    fn only_the_process_means_all_of_it_and_nothing_else() {
        assert!(matches(&all(), "app", "v1", "a", 0, "RUNNING"));
        assert!(matches(&all(), "app", "v2", "b", 7, "CRASHED"));
        assert!(!matches(&all(), "other", "v1", "a", 0, "RUNNING"));
    }

    #[test]
    fn every_filter_present_must_hold() {
        let selection = Selection {
            version: Some(Version::new("v1").expect("an id")),
            indices: Some(vec![0, 2]),
            states: Some(vec!["running".into()]),
            ..all()
        };
        assert!(matches(&selection, "app", "v1", "a", 2, "RUNNING"));
        assert!(!matches(&selection, "app", "v2", "a", 2, "RUNNING"));
        assert!(!matches(&selection, "app", "v1", "a", 1, "RUNNING"));
        assert!(!matches(&selection, "app", "v1", "a", 2, "STARTING"));
    }

    #[test]
    fn an_empty_list_selects_nothing() {
        assert!(!matches(
            &Selection {
                instances: Some(vec![]),
                ..all()
            },
            "app",
            "v1",
            "a",
            0,
            "RUNNING"
        ));
    }
}
