//! Where a value stands: for the whole cluster, or for one component instance, which then has it
//! instead of the cluster's.
//!
//! Both are under the same prefix, so that a daemon's one watch and one listing see both:
//! `dea/heartbeat/period` is the cluster's, `@dea-2/dea/heartbeat/period` is that of `dea-2`.
//! No key begins with `@`, and versions that know no overrides ignore such paths.

use super::key::Key;
use crate::bus::Role;
use crate::ids::ComponentId;
use std::fmt;

/// The node, which is no [`Role`]: it has no number and is not on the bus.
pub const NODE: &str = "node";

/// One place of the tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Of a key of the schema, perhaps of a newer one.
    pub path: String,
    /// None: of the whole cluster.
    pub component: Option<ComponentId>,
}

impl Place {
    pub fn cluster(path: &str) -> Place {
        Place {
            path: path.to_string(),
            component: None,
        }
    }

    pub fn of(path: &str, component: Option<ComponentId>) -> Place {
        Place {
            path: path.to_string(),
            component,
        }
    }

    /// What stands after the prefix of the tree in the store. None: no place, by its form.
    pub fn parse(stored: &str) -> Option<Place> {
        let Some(rest) = stored.strip_prefix('@') else {
            return Some(Place::cluster(stored));
        };
        let (component, path) = rest.split_once('/')?;
        Some(Place {
            path: path.to_string(),
            component: Some(ComponentId::new(component).ok()?),
        })
    }

    /// The form that [`Place::parse`] reads.
    pub fn stored(&self) -> String {
        match &self.component {
            Some(component) => format!("@{component}/{}", self.path),
            None => self.path.clone(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.component {
            Some(component) => write!(f, "{} of {component}", self.path),
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

/// Why a component cannot have a value of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoOverride {
    #[error("{0} is no component: name one as `yard status` does, like dea-1")]
    NoComponent(String),
    #[error("{component} does not read {path}: {} do", .readers.join(", "))]
    NotRead {
        component: ComponentId,
        path: &'static str,
        readers: Vec<&'static str>,
    },
}

impl Key {
    /// Whether this component may have a value of its own: only what it reads.
    pub fn check_override(&self, component: &str) -> Result<ComponentId, NoOverride> {
        let unknown = || NoOverride::NoComponent(component.chars().take(80).collect());
        let id = ComponentId::new(component).map_err(|_| unknown())?;
        let role = role_of(&id).ok_or_else(unknown)?;
        let readers = self.readers();
        if readers.contains(&role) {
            Ok(id)
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
            Place::of("dea/heartbeat/period", Some(id("dea-2"))),
        ] {
            assert_eq!(Place::parse(&place.stored()), Some(place));
        }
        assert_eq!(Place::parse("@dea-2"), None);
        assert_eq!(Place::parse("@de.a/x/y"), None);
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
