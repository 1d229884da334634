//! Whose value is in force, and where it comes from: a component's own, its machine's, the cluster's, or the
//! default, the first that there is.

use crate::client::Client;
use crate::failure::{Code, Failure, Outcome};
use clap::Args;
use proto::api::{ConfigEntry, NodeList};
use proto::config::place::NODE;
use serde::Serialize;
use serde_json::Value;

/// Where a value comes from that nobody set.
pub const DEFAULT: &str = "default";

#[derive(Debug, Args)]
pub struct Whose {
    /// As this component has it: dea-2
    #[arg(long, value_name = "NAME")]
    component: Option<String>,
    /// As the daemons of this machine have it, as `yard node list` calls it: machine-1
    #[arg(long, value_name = "NAME", conflicts_with = "component")]
    machine: Option<String>,
}

/// The owners whose values count, the closest first; none for the whole cluster.
#[derive(Debug, Default)]
pub struct Owners(Vec<String>);

/// A key as somebody has it.
#[derive(Debug, Serialize)]
pub struct Seen {
    #[serde(flatten)]
    pub entry: ConfigEntry,
    /// In force for who was asked about.
    #[serde(rename = "in_force")]
    pub value: Value,
    /// `default`, `cluster`, `machine NAME`, or the name of a component
    pub from: String,
}

/// An owner as documents name it, for people.
pub fn in_words(owner: &str) -> String {
    match owner.strip_prefix('@') {
        Some(machine) => format!("machine {machine}"),
        None => owner.to_string(),
    }
}

impl Whose {
    pub async fn owners(&self, client: &Client) -> Outcome<Owners> {
        if self.component.is_none() && self.machine.is_none() {
            return Ok(Owners::default());
        }
        let nodes: NodeList = client.get("/yard/v1/nodes", &[]).await?;
        self.found(&nodes)
    }

    fn found(&self, nodes: &NodeList) -> Outcome<Owners> {
        let node = nodes.resources.iter().find(|node| match &self.component {
            // The node itself is no daemon that it tells of.
            Some(component) => {
                component == NODE || node.daemons.iter().any(|one| one.name == *component)
            }
            None => Some(&node.machine) == self.machine.as_ref(),
        });
        let named = self.component.as_ref().or(self.machine.as_ref());
        let node = node.ok_or_else(|| {
            let name = named.map(String::as_str).unwrap_or_default();
            Failure::new(Code::NotFound, format!("no node tells of {name}"))
                .fix("`yard node list` shows the machines, `yard node inspect MACHINE` its daemons")
        })?;
        let machine = format!("@{}", node.machine);
        Ok(Owners(
            self.component.iter().cloned().chain([machine]).collect(),
        ))
    }
}

impl Owners {
    /// The whole cluster is meant.
    pub fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    pub fn see(&self, entry: ConfigEntry) -> Seen {
        let own = self.0.iter().find_map(|owner| {
            let own = entry.overrides.iter().find(|one| one.component == *owner)?;
            Some((own.value.clone(), in_words(owner)))
        });
        let (value, from) = own.unwrap_or_else(|| {
            let from = if entry.is_set { "cluster" } else { DEFAULT };
            (entry.value.clone(), from.to_string())
        });
        Seen { entry, value, from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::api::{ConfigOverride, SeenDaemon, SeenNode};
    use serde_json::json;

    fn nodes() -> NodeList {
        let node = |number: u32, daemon: &str| SeenNode {
            machine: format!("machine-{number}"),
            daemons: vec![SeenDaemon {
                name: daemon.into(),
                ..SeenDaemon::default()
            }],
            ..SeenNode::default()
        };
        NodeList {
            resources: vec![node(1, "dea-1"), node(2, "dea-2")],
        }
    }

    #[test]
    fn the_closest_value_is_in_force_and_says_where_it_comes_from() {
        let own = |component: &str, value: &str| ConfigOverride {
            component: component.into(),
            value: json!(value),
            revision: 1,
        };
        let entry = ConfigEntry {
            path: "dea/heartbeat/period".into(),
            value: json!("4s"),
            default: json!("10s"),
            is_set: true,
            revision: Some(1),
            doc: String::new(),
            kind: String::new(),
            needs_restart: false,
            overrides: vec![own("dea-1", "1s"), own("@machine-1", "2s")],
        };
        let seen = |component: Option<&str>, machine: Option<&str>, entry: &ConfigEntry| {
            let whose = Whose {
                component: component.map(String::from),
                machine: machine.map(String::from),
            };
            let owners = match (component, machine) {
                (None, None) => Owners::default(),
                _ => whose.found(&nodes()).expect("they are there"),
            };
            let seen = owners.see(entry.clone());
            (seen.value, seen.from)
        };
        let told = |value: &str, from: &str| (json!(value), from.to_string());
        assert_eq!(seen(Some("dea-1"), None, &entry), told("1s", "dea-1"));
        assert_eq!(
            seen(None, Some("machine-1"), &entry),
            told("2s", "machine machine-1")
        );
        assert_eq!(seen(Some("dea-2"), None, &entry), told("4s", "cluster"));
        assert_eq!(seen(None, None, &entry), told("4s", "cluster"));
        let unset = ConfigEntry {
            value: json!("10s"),
            is_set: false,
            overrides: vec![own("@machine-1", "2s")],
            ..entry
        };
        assert_eq!(
            seen(Some("dea-1"), None, &unset),
            told("2s", "machine machine-1")
        );
        assert_eq!(seen(Some("dea-2"), None, &unset), told("10s", "default"));
    }

    #[test]
    fn nobody_knows_a_stranger() {
        let whose = Whose {
            component: Some("dea-9".into()),
            machine: None,
        };
        let failure = whose.found(&nodes()).expect_err("there is none");
        assert_eq!(failure.what, "no node tells of dea-9");
    }
}
