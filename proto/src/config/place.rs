//! Where a value stands: for the whole cluster, for the daemons of one machine, or for one component
//! instance. The closer one wins: a component's own over its machine's, that over the cluster's, that over
//! the default.
//!
//! All are under the same prefix, so that a daemon's one watch and one listing see them:
//! `dea/heartbeat/period` is the cluster's, `@@machine-1/dea/heartbeat/period` that of a machine,
//! `@dea-2/dea/heartbeat/period` that of `dea-2`.
//! No key begins with `@`, and versions that know no such values ignore the paths.

use super::key::Key;
use crate::bus::Role;
use crate::ids::ComponentId;
use std::fmt;

/// The node, which is no [`Role`]: it has no number and is not on the bus.
pub const NODE: &str = "node";

/// Whoever can have a value instead of the cluster's. In documents and paths a text: `dea-2`, or with an
/// `@` in front of a machine's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    Machine(ComponentId),
    Component(ComponentId),
}

impl Owner {
    /// None: no owner, by its form.
    pub fn parse(text: &str) -> Option<Owner> {
        match text.strip_prefix('@') {
            Some(machine) => ComponentId::new(machine).ok().map(Owner::Machine),
            None => ComponentId::new(text).ok().map(Owner::Component),
        }
    }

    /// Those whose values a daemon has; the later one wins.
    pub fn of_daemon(machine: Option<&ComponentId>, component: &ComponentId) -> Vec<Owner> {
        let machine = machine.cloned().map(Owner::Machine);
        let component = Owner::Component(component.clone());
        machine.into_iter().chain([component]).collect()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Machine(machine) => write!(f, "@{machine}"),
            Owner::Component(component) => component.fmt(f),
        }
    }
}

/// One place of the tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Of a key of the schema, perhaps of a newer one.
    pub path: String,
    /// None: of the whole cluster.
    pub owner: Option<Owner>,
}

impl Place {
    pub fn cluster(path: &str) -> Place {
        Place {
            path: path.to_string(),
            owner: None,
        }
    }

    pub fn of(path: &str, owner: Option<Owner>) -> Place {
        Place {
            path: path.to_string(),
            owner,
        }
    }

    /// What stands after the prefix of the tree in the store. None: no place, by its form.
    pub fn parse(stored: &str) -> Option<Place> {
        let Some(rest) = stored.strip_prefix('@') else {
            return Some(Place::cluster(stored));
        };
        let (owner, path) = rest.split_once('/')?;
        Some(Place {
            path: path.to_string(),
            owner: Some(Owner::parse(owner)?),
        })
    }

    /// The form that [`Place::parse`] reads.
    pub fn stored(&self) -> String {
        match &self.owner {
            Some(owner) => format!("@{owner}/{}", self.path),
            None => self.path.clone(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Some(owner) => write!(f, "{} of {owner}", self.path),
            None => f.write_str(&self.path),
        }
    }
}

/// The name of the role that a component has by its name: `router-1` is a `router`.
pub fn role_of(component: &ComponentId) -> Option<&'static str> {
    if component.as_str() == NODE {
        return Some(NODE);
    }
    let (role, number) = component.as_str().rsplit_once('-')?;
    number.parse::<u32>().ok().filter(|number| *number > 0)?;
    Role::parse(role).map(Role::name)
}

/// Why somebody cannot have a value of his own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoOverride {
    #[error("{0} is no component: name one as `yard status` does, like dea-1")]
    NoComponent(String),
    #[error("{0} is no name of a machine: `yard node list` shows them")]
    NoMachine(String),
    #[error("{component} does not read {path}: {} do", .readers.join(", "))]
    NotRead {
        component: ComponentId,
        path: &'static str,
        readers: Vec<&'static str>,
    },
}

impl Key {
    /// Whether this owner, as documents name it, may have a value of its own: a component only of what it
    /// reads. A machine may have any; whether there is such a machine only the store knows.
    pub fn check_override(&self, owner: &str) -> Result<Owner, NoOverride> {
        let unknown = || NoOverride::NoComponent(owner.chars().take(80).collect());
        let id = match Owner::parse(owner) {
            // Whoever writes the `@` by mistake would wonder why nothing happens.
            Some(Owner::Machine(name)) if role_of(&name).is_some() => {
                return Err(NoOverride::NoMachine(name.to_string()));
            }
            Some(machine @ Owner::Machine(_)) => return Ok(machine),
            Some(Owner::Component(id)) => id,
            None if owner.starts_with('@') => {
                return Err(NoOverride::NoMachine(
                    owner.chars().skip(1).take(80).collect(),
                ));
            }
            None => return Err(unknown()),
        };
        let role = role_of(&id).ok_or_else(unknown)?;
        let readers = self.readers();
        if readers.contains(&role) {
            Ok(Owner::Component(id))
        } else {
            Err(NoOverride::NotRead {
                component: id,
                path: self.path,
                readers,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ComponentId {
        ComponentId::new(text).expect("an id")
    }

    #[test]
    fn a_place_reads_back() {
        for place in [
            Place::cluster("dea/heartbeat/period"),
            Place::of("dea/heartbeat/period", Owner::parse("dea-2")),
            Place::of("dea/heartbeat/period", Owner::parse("@machine-1")),
        ] {
            assert_eq!(Place::parse(&place.stored()), Some(place));
        }
        assert_eq!(Place::parse("@dea-2"), None);
        assert_eq!(Place::parse("@de.a/x/y"), None);
        assert_eq!(Place::parse("@@@m/x/y"), None);
    }

    #[test]
    fn roles_by_name() {
        assert_eq!(role_of(&id("health-manager-12")), Some("health-manager"));
        assert_eq!(role_of(&id("node")), Some("node"));
        for strange in ["dea", "dea-0", "dea-x", "cook-1"] {
            assert_eq!(role_of(&id(strange)), None, "{strange}");
        }
    }

    #[test]
    fn a_component_overrides_only_what_it_reads() {
        let key = |path| Key::find(path).expect("a known key");
        assert!(key("dea/heartbeat/period").check_override("dea-7").is_ok());
        assert!(key("cluster/log/level").check_override("node").is_ok());
        let of_machine = key("dea/heartbeat/period").check_override("@machine-1");
        assert_eq!(of_machine, Ok(Owner::Machine(id("machine-1"))));
        for wrong in ["@dea-1", "@m 1", "@"] {
            let refused = key("dea/heartbeat/period").check_override(wrong);
            assert!(matches!(refused, Err(NoOverride::NoMachine(_))), "{wrong}");
        }
        let refused = key("dea/heartbeat/period").check_override("router-1");
        assert_eq!(
            refused.expect_err("a router beats no heart").to_string(),
            "router-1 does not read dea/heartbeat/period: dea do"
        );
        assert!(matches!(
            key("cluster/log/level").check_override("dea 1"),
            Err(NoOverride::NoComponent(_))
        ));
    }
}
