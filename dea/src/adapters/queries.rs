//! What the agent is asked: `dea.status`, `dea.discover`, `dea.find.droplet`, `droplet.status`.

use super::agent::Agent;
use crate::domain::capacity::{self, Hold, Resources};
use crate::domain::discover;
use crate::domain::selection::Selection;
use daemon::Received;
use proto::bus::dea::{AgentStatus, Discover, FindInstances, FoundInstance, InstanceStats};
use proto::bus::health::InstanceState;
use proto::bus::{Empty, Payload, catalogue};
use std::sync::Arc;

/// Stacks this agent has.
const STACKS: [&str; 1] = ["host"];

impl Agent {
    pub async fn answer_queries(self: &Arc<Self>) {
        self.answer("status", catalogue::dea_status().filter(), status)
            .await;
        self.answer("discover", catalogue::dea_discover().filter(), discover)
            .await;
        self.answer("find", catalogue::dea_find_droplet().filter(), find)
            .await;
        self.answer(
            "droplet-status",
            catalogue::droplet_status().filter(),
            droplet_status,
        )
        .await;
    }

    /// Memory in MB: offered, reserved, used.
    pub fn memory(&self) -> (u64, u64, u64) {
        let table = self.table();
        let used = table
            .instances
            .values()
            .filter_map(|entry| entry.usage)
            .map(|usage| usage.mem)
            .sum::<u64>()
            >> 20;
        // What waits for nobody in particular is nobody's.
        let claims = table.claims();
        let held = claims.iter().filter(|claim| claim.hold != Hold::Prepared);
        let reserved = capacity::reserved(held).memory_mb;
        drop(table);
        (self.offered().memory_mb, reserved, used)
    }
}

fn respond<M: Payload + Sync, R: Payload + Sync>(
    agent: &Arc<Agent>,
    received: Received<M>,
    replies: Vec<R>,
    after: std::time::Duration,
) {
    if !received.wants_reply() || replies.is_empty() {
        return;
    }
    agent.tasks.spawn_once("answer", async move {
        tokio::time::sleep(after).await;
        for reply in &replies {
            if let Err(error) = received.respond(reply).await {
                tracing::debug!(%error, "an answer was not sent");
            }
        }
    });
}

const AT_ONCE: std::time::Duration = std::time::Duration::ZERO;

fn status(agent: &Arc<Agent>, received: Received<Empty>) {
    let (max_memory, reserved_memory, used_memory) = agent.memory();
    let (num_clients, draining) = {
        let table = agent.table();
        (table.instances.len() as u64, table.closed().is_some())
    };
    let reply = AgentStatus {
        hello: agent.hello(),
        max_memory,
        reserved_memory,
        used_memory,
        num_clients,
        state: draining.then(|| "SHUTTING_DOWN".to_string()),
    };
    respond(agent, received, vec![reply], AT_ONCE);
}

/// Answers only if there is room, the later the fuller the agent is.
fn discover(agent: &Arc<Agent>, received: Received<Discover>) {
    let asked = &received.message;
    let (offered, reserved, _) = agent.memory();
    let (fits, own) = {
        let table = agent.table();
        let wanted = Resources {
            memory_mb: asked.limits.mem,
            disk_mb: asked.limits.disk,
        };
        let free = capacity::available(agent.offered(), &table.claims());
        let stack = asked
            .stack
            .as_deref()
            .is_none_or(|stack| STACKS.contains(&stack));
        let room = wanted.memory_mb <= free.memory_mb && wanted.disk_mb <= free.disk_mb;
        let own = asked
            .droplet
            .as_ref()
            .and_then(|droplet| table.counts().get(droplet).copied())
            .unwrap_or(0);
        (room && stack && table.closed().is_none(), own)
    };
    if fits {
        respond(
            agent,
            received,
            vec![agent.hello()],
            discover::delay(own, reserved, offered),
        );
    }
}

fn find(agent: &Arc<Agent>, received: Received<FindInstances>) {
    let selection = Selection::from(&received.message);
    let found: Vec<FoundInstance> = {
        let table = agent.table();
        let matching = table
            .instances
            .values()
            .filter(|entry| selection.matches(entry.candidate(&table.evacuation)));
        matching
            .map(|entry| FoundInstance {
                dea: agent.id.clone(),
                version: entry.record.start.version.clone(),
                droplet: entry.record.start.droplet.clone(),
                instance: entry.record.instance.clone(),
                index: entry.record.start.index,
                state: entry.state_name(&table.evacuation).to_string(),
                state_timestamp: entry.machine.since(),
                file_uri: None,
                credentials: vec![],
                staged: None,
                stats: received.message.include_stats.then(|| agent.stats(entry)),
            })
            .collect()
    };
    respond(agent, received, found, AT_ONCE);
}

fn droplet_status(agent: &Arc<Agent>, received: Received<FindInstances>) {
    let selection = Selection::from(&received.message);
    let stats: Vec<InstanceStats> = {
        let table = agent.table();
        let live = table.instances.values().filter(|entry| {
            matches!(
                entry.machine.beat_state(),
                Some(InstanceState::Starting | InstanceState::Running | InstanceState::Evacuating)
            )
        });
        live.filter(|entry| selection.matches(entry.candidate(&table.evacuation)))
            .map(|entry| agent.stats(entry))
            .collect()
    };
    respond(agent, received, stats, AT_ONCE);
}
