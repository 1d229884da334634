//! Why an app is as it is: gathers what was recorded about it.

use super::{Ops, Refusal, apps::app_for};
use crate::domain::access::{Action, Actor};
use crate::domain::why::{
    AgentChange, AgentNews, Crash, Decision, DecisionKind, Deed, Deployment, Outcome, Recorded,
    Slot, explain, read,
};
use crate::store::apps::App;
use crate::store::audit_events::AuditEvent;
use crate::store::query::Filter;
use crate::store::sql::Connection;
use crate::store::{StoreError, decisions, deployments};
use std::collections::BTreeSet;

/// Most records of each kind that are looked through.
const RECORDS_MOST: i64 = 1000;
/// Audit events that tell how an instance ended.
const CRASH: &str = "audit.app.process.crash";
/// Audit events about agents, and what they say.
const AGENT_CHANGES: &[(&str, AgentChange)] = &[
    ("agent.lost", AgentChange::Lost),
    ("agent.returned", AgentChange::Back),
    ("audit.agent.drain", AgentChange::DrainAsked),
    ("agent.draining", AgentChange::Draining),
    ("audit.agent.undrain", AgentChange::UndrainAsked),
];

impl Ops {
    /// The last `most` things that happened to an app, with their causes.
    pub async fn why(
        &self,
        actor: &Actor,
        app: &str,
        most: usize,
    ) -> Result<(App, Vec<Outcome>), Refusal> {
        let mut connection = self.store.read().await?;
        let (app, _) = app_for(&mut connection, actor, Action::Read, app).await?;
        let recorded = recorded(&mut connection, &app.guid).await?;
        Ok((app, explain(&recorded, most)))
    }
}

async fn recorded(connection: &mut Connection, app: &str) -> Result<Recorded, StoreError> {
    let mut recorded = Recorded {
        decisions: decisions::of_app(connection, app, RECORDS_MOST)
            .await?
            .into_iter()
            .filter_map(decision)
            .collect(),
        ..Recorded::default()
    };
    let filter = Filter::new()
        .equals("target_guid", app)
        .order("created_at", true)
        .window(RECORDS_MOST, 0);
    for event in AuditEvent::fetch(connection, filter, "read the events of an app").await? {
        if event.kind == CRASH {
            recorded.crashes.extend(crash(&event));
        } else if let Some(act) = read(&event.kind, &event.data) {
            recorded.deeds.push(Deed {
                at: event.created_at,
                by: event.actor_name,
                act,
            });
        }
    }
    let agents: BTreeSet<&String> = recorded
        .decisions
        .iter()
        .filter_map(|decision| decision.agent.as_ref())
        .collect();
    let kinds: Vec<&str> = AGENT_CHANGES.iter().map(|(kind, _)| *kind).collect();
    let filter = Filter::new()
        .any("type", &kinds)
        .any("target_guid", &agents.into_iter().collect::<Vec<_>>())
        .order("created_at", true)
        .window(RECORDS_MOST, 0);
    let events = AuditEvent::fetch(connection, filter, "read the news of agents").await?;
    recorded.agents = events.into_iter().filter_map(news).collect();
    let filter = Filter::new()
        .equals("app_guid", app)
        .order("created_at", true)
        .window(RECORDS_MOST, 0);
    let rows = deployments::Deployment::fetch(connection, filter, "read the deployments of an app")
        .await?;
    recorded.deployments = rows.into_iter().map(deployment).collect();
    Ok(recorded)
}

/// A row in the words of the domain; None for one of a kind that a newer controller wrote.
fn decision(row: decisions::Decision) -> Option<Decision> {
    Some(Decision {
        at: row.created_at,
        kind: match row.kind.as_str() {
            decisions::STARTED => DecisionKind::Started,
            decisions::NOT_PLACED => DecisionKind::NotPlaced,
            decisions::NEVER_ARRIVED => DecisionKind::NeverArrived,
            decisions::STOPPED => DecisionKind::Stopped,
            _ => return None,
        },
        slot: Slot {
            process: row.process_guid,
            process_type: row.process_type,
            version: row.version,
            index: u32::try_from(row.instance_index).ok()?,
        },
        instance: row.instance,
        agent: row.dea,
        because: row.because,
        placement: row.placement,
    })
}

fn crash(event: &AuditEvent) -> Option<Crash> {
    let text = |name: &str| event.data[name].as_str().map(str::to_string);
    Some(Crash {
        at: event.created_at,
        slot: Slot {
            process: event.actor_guid.clone(),
            process_type: event.actor_name.clone(),
            version: text("version")?,
            index: u32::try_from(event.data["index"].as_u64()?).ok()?,
        },
        instance: text("instance")?,
        agent: text("cell_id"),
        how: text("exit_description")?,
        status: event.data["exit_status"].as_i64(),
        while_starting: event.data["phase"] == "starting",
        ran: event.data["ran"].as_f64(),
    })
}

fn news(event: AuditEvent) -> Option<AgentNews> {
    let (_, what) = AGENT_CHANGES.iter().find(|(kind, _)| *kind == event.kind)?;
    Some(AgentNews {
        at: event.created_at,
        agent: event.target_guid,
        what: *what,
        by: (event.actor_type == "user").then_some(event.actor_name),
    })
}

fn deployment(row: deployments::Deployment) -> Deployment {
    Deployment {
        begun_at: row.created_at,
        ended_at: (row.status == deployments::FINALIZED).then_some(row.updated_at),
        guid: row.guid,
        droplet: row.droplet_guid,
        new_process: row.new_process_guid,
        old_process: row.old_process_guid,
        error: row.error,
    }
}
