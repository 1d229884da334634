//! The service registry: StackStorm's services, and who of the cluster does their work.

use super::callers::Permission;
use super::fault::Fault;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Services that every controller offers.
const EVERY_CONTROLLER: [&str; 3] = ["api", "auth", "stream"];
/// Services that are the leader's duty.
const LEADER: [&str; 5] = [
    "garbagecollector",
    "notifier",
    "rulesengine",
    "scheduler",
    "timersengine",
];
/// Services that agents do.
const AGENTS: [&str; 2] = ["actionrunner", "sensorcontainer"];

/// Members by group. `status`: the cluster as this controller sees it.
fn groups(status: &Value, agents: &[String]) -> BTreeMap<&'static str, Vec<Value>> {
    let mut found = BTreeMap::new();
    let components = status["components"].as_array().cloned().unwrap_or_default();
    let mut controllers: Vec<(String, Value)> = components
        .iter()
        .filter(|component| component["role"] == "controller")
        .map(|component| {
            let name = component["name"].as_str().unwrap_or_default().to_string();
            (name, json!({"host": component["host"]}))
        })
        .collect();
    // While the bus is away nobody answers: this one is there.
    if let Some(own) = status["controller"].as_str()
        && !controllers.iter().any(|(name, _)| name == own)
    {
        controllers.push((own.to_string(), json!({})));
    }
    let member = |group: &str, id: &str, capabilities: &Value| json!({"group_id": group, "member_id": id, "capabilities": capabilities});
    for group in EVERY_CONTROLLER {
        let members = controllers
            .iter()
            .map(|(name, capabilities)| member(group, name, capabilities));
        found.insert(group, members.collect());
    }
    for group in LEADER {
        let leader = status["leader"].as_str();
        let members = leader.map(|name| member(group, name, &json!({})));
        found.insert(group, members.into_iter().collect());
    }
    for group in AGENTS {
        let members = agents.iter().map(|name| member(group, name, &json!({})));
        found.insert(group, members.collect());
    }
    found
}

impl Automation {
    async fn services(&self) -> BTreeMap<&'static str, Vec<Value>> {
        let status = (self.ops.live.status)().await;
        let agents: Vec<String> = self
            .agents
            .known()
            .iter()
            .map(|id| id.to_string())
            .collect();
        groups(&status, &agents)
    }

    /// Groups that have members.
    pub async fn service_groups(&self, caller: &Caller) -> Result<Vec<&'static str>, Fault> {
        caller.allow(Permission::View, "service_registry_list")?;
        let found = self.services().await;
        Ok(found
            .into_iter()
            .filter(|(_, members)| !members.is_empty())
            .map(|(name, _)| name)
            .collect())
    }

    pub async fn service_members(&self, caller: &Caller, group: &str) -> Result<Vec<Value>, Fault> {
        caller.allow(Permission::View, "service_registry_list")?;
        self.services()
            .await
            .remove(group)
            .ok_or_else(|| Fault::NotFound(format!("Group with ID \"{group}\" not found.")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_where_their_work_is_done() {
        let status = json!({
            "controller": "controller-1", "leader": "controller-2",
            "components": [{"name": "controller-2", "role": "controller", "host": "a:1"}, {"name": "router-1", "role": "router"}],
        });
        let found = groups(&status, &["dea-1".to_string()]);
        let names = |group: &str| -> Vec<&str> {
            let members = found[group].iter();
            members
                .filter_map(|one| one["member_id"].as_str())
                .collect()
        };
        assert_eq!(names("api"), ["controller-2", "controller-1"]);
        assert_eq!(names("rulesengine"), ["controller-2"]);
        assert_eq!(names("sensorcontainer"), ["dea-1"]);
    }
}
