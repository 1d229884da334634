//! The machines of the cluster and their roles: seen by everybody, changed by administrators.
//!
//! Roles live in the cluster store ([`proto::roles`]), where the node of each machine follows them. A change is
//! decided from the roles of all machines and written only if none of them was changed meanwhile; it is
//! audited after it was made, like one of the configuration.

use super::config::away;
use super::{Ops, Refusal, authorize, by, now};
use crate::domain::access::{Action, Actor, Object};
use crate::store::audit_events::{self, On};
use daemon::{Cluster, Write};
use proto::api::{RoleChanges, SeenDaemon, SeenNode};
use proto::bus::Role;
use proto::node::{ComponentStatus, NodePhase, NodeReport};
use proto::roles::{self, EVERY, NODES, ROLES, Refused, Roles, Terms, Wish};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How often a change is decided anew because somebody else changed roles too.
const ATTEMPTS: usize = 8;
/// A node that told nothing for so many periods is not heard.
const SILENT_PERIODS: f64 = 3.0;

/// The roles of all machines, with the revisions they were read at.
struct Written {
    machines: BTreeMap<String, Roles>,
    seen: Vec<(String, Option<i64>)>,
}

impl Ops {
    pub async fn nodes(&self, cluster: &Cluster) -> Result<Vec<SeenNode>, Refusal> {
        let written = self.written_roles(cluster).await?;
        let told = cluster.list(NODES).await.map_err(away)?;
        let told: BTreeMap<String, NodeReport> = told
            .into_iter()
            .filter_map(|(key, stored)| {
                let name = key.strip_prefix(NODES)?.to_string();
                Some((name, serde_json::from_str(&stored.value).ok()?))
            })
            .collect();
        let now = now() as f64 / 1e6;
        let nodes = written.machines.into_iter();
        Ok(nodes
            .map(|(machine, roles)| {
                let report = told.get(&machine);
                seen(machine, &roles, report, now)
            })
            .collect())
    }

    async fn written_roles(&self, cluster: &Cluster) -> Result<Written, Refusal> {
        let mut written = Written {
            machines: BTreeMap::new(),
            seen: Vec::new(),
        };
        for (key, stored) in cluster.list(ROLES).await.map_err(away)? {
            let machine = key.strip_prefix(ROLES).unwrap_or_default().to_string();
            let roles =
                serde_json::from_str(&stored.value).map_err(|source| Refusal::Internal {
                    operation: "reading the roles of a machine",
                    source: source.into(),
                })?;
            written.machines.insert(machine, roles);
            written.seen.push((key, Some(stored.revision)));
        }
        Ok(written)
    }

    /// What an administrator wishes, if it can be meant. Needs no cluster.
    pub fn check_roles(
        &self,
        actor: &Actor,
        changes: &RoleChanges,
    ) -> Result<Vec<(Role, Wish)>, Refusal> {
        authorize(actor, Action::Administer, &Object::Platform, "Node")?;
        let more = changes.add.iter().map(|(name, count)| (name, *count, true));
        let fewer = changes.remove.iter();
        let fewer = fewer.map(|(name, count)| (name, *count, false));
        let mut wishes = Vec::new();
        for (name, count, is_more) in more.chain(fewer) {
            let role = roles::parse(name).map_err(refusal)?;
            if count == 0 {
                return Refusal::unprocessable(format!("{name}: give a number from 1"));
            }
            let wish = if is_more {
                Wish::More(count)
            } else {
                Wish::Fewer(count)
            };
            wishes.push((role, wish));
        }
        if wishes.is_empty() {
            return Refusal::unprocessable("Name a role under add or remove");
        }
        Ok(wishes)
    }

    /// Changes the roles of a machine; its node follows.
    pub async fn change_roles(
        &self,
        actor: &Actor,
        cluster: &Cluster,
        machine: &str,
        wishes: &[(Role, Wish)],
        force: bool,
    ) -> Result<(), Refusal> {
        let terms = Terms {
            rows_are_shared: self.store.is_shared(),
            force,
        };
        for _ in 0..ATTEMPTS {
            let written = self.written_roles(cluster).await?;
            let wanted =
                roles::change(&written.machines, machine, wishes, terms).map_err(refusal)?;
            let value = serde_json::to_string(&wanted).map_err(|source| Refusal::Internal {
                operation: "writing the roles of a machine",
                source: source.into(),
            })?;
            let write = Write::Put {
                key: format!("{ROLES}{machine}"),
                value,
            };
            let done = cluster.transact(&written.seen, &[write]).await;
            if done.map_err(away)?.is_some() {
                let was = written.machines.get(machine).map(counts);
                self.audit_roles(actor, machine, json!({"was": was, "is": counts(&wanted)}))
                    .await;
                return Ok(());
            }
        }
        Err(Refusal::Conflict(
            "Roles of the cluster change all the time: try again".into(),
        ))
    }

    /// It is written already: if the database is away, the log keeps who did it.
    async fn audit_roles(&self, actor: &Actor, machine: &str, data: Value) {
        let record = async {
            let mut tx = self.store.write("audit a change of roles").await?;
            let target = On::node(machine);
            let data = data.clone();
            audit_events::record(&mut tx, "audit.node.roles", by(actor), target, data, now())
                .await?;
            tx.commit().await
        };
        if let Err(error) = record.await {
            tracing::error!(error = &error as &dyn std::error::Error, actor = %actor.name, machine, %data, "a change of roles was not audited");
        }
    }
}

fn refusal(refused: Refused) -> Refusal {
    match refused {
        Refused::NoMachine(_) => Refusal::NotFound("Node"),
        Refused::NoRole(_)
        | Refused::NoNumber { .. }
        | Refused::TooMany { .. }
        | Refused::TooFew { .. }
        | Refused::LastOne { .. }
        | Refused::FirstOnly { .. }
        | Refused::Several(_) => Refusal::Unprocessable(refused.to_string()),
    }
}

fn counts(roles: &Roles) -> BTreeMap<String, u32> {
    EVERY
        .into_iter()
        .map(|role| (role.name().to_string(), roles.count(role)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn seen(machine: String, roles: &Roles, report: Option<&NodeReport>, now: f64) -> SeenNode {
    let ago = report.map(|report| (now - report.at).max(0.0));
    let is_silent = ago.is_none_or(|ago| ago > SILENT_PERIODS * NodeReport::PERIOD_S);
    let state = match report.map(|report| report.phase) {
        // Who said goodbye is silent for a reason.
        Some(NodePhase::Stopped) => "stopped",
        _ if is_silent => "silent",
        Some(NodePhase::Starting) => "starting",
        Some(NodePhase::Running) | None => "running",
        Some(NodePhase::Stopping) => "stopping",
    };
    SeenNode {
        machine,
        host: report.map(|report| report.host.clone()).unwrap_or_default(),
        version: report
            .map(|report| report.version.clone())
            .unwrap_or_default(),
        state: state.to_string(),
        seen_seconds_ago: ago,
        roles: counts(roles),
        daemons: report
            .into_iter()
            .flat_map(|report| &report.components)
            .map(|component| seen_daemon(component, now))
            .collect(),
        problem: report.and_then(|report| report.error.clone()),
    }
}

fn seen_daemon(component: &ComponentStatus, now: f64) -> SeenDaemon {
    SeenDaemon {
        name: component.name.clone(),
        role: component.role.clone(),
        state: match json!(component.state) {
            Value::String(state) => state,
            other => other.to_string(),
        },
        detail: component.detail.clone(),
        restarts: component.restarts,
        up_seconds: match component.pid {
            Some(_) => (now - component.since).max(0.0),
            None => 0.0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_heard_is_silent() {
        let report = NodeReport {
            machine: "machine-1".into(),
            host: "one".into(),
            version: "1".into(),
            at: 1000.0,
            phase: NodePhase::Running,
            components: Vec::new(),
            error: None,
        };
        let state = |report: Option<&NodeReport>, now| {
            let node = seen("machine-1".into(), &Roles::one_of_each(), report, now);
            (node.state, node.seen_seconds_ago)
        };
        assert_eq!(
            state(Some(&report), 1005.0),
            ("running".to_string(), Some(5.0))
        );
        assert_eq!(
            state(Some(&report), 1031.0),
            ("silent".to_string(), Some(31.0))
        );
        assert_eq!(state(None, 1031.0), ("silent".to_string(), None));
    }
}
