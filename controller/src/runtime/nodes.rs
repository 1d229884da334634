//! Tells rules, and whoever reads audit events, which nodes come and go.
//!
//! The leader compares the agents it hears with those it told of before, which are rows: a new leader, or
//! one whose bus was away, tells nothing twice. An agent counts as gone only after it could have been heard
//! for as long as an agent may be silent.

use super::{Shared, clock};
use crate::domain::times::rfc3339_micros;
use crate::store::audit_events::{self, By, On};
use crate::store::known_nodes::{self, KnownNode};
use crate::store::query::Filter;
use crate::store::{StoreError, platform_events};
use automation::triggers::yard::{NodeJoined, NodeLost, PlatformEvent};
use daemon::Shutdown;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(1);

/// What audit events call it.
const JOINED: &str = "agent.joined";
const RETURNED: &str = "agent.returned";
const LOST: &str = "agent.lost";

/// What is seen of an agent now.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sight {
    memory_mb: u64,
    instances: u32,
    /// Unix microseconds.
    last_beat: i64,
}

/// What a leader remembers.
struct Term {
    epoch: i64,
    since: Duration,
    known: BTreeMap<String, KnownNode>,
    /// The last sight of each agent heard in this term.
    last: BTreeMap<String, Sight>,
}

pub(super) async fn watch(shared: Arc<Shared>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut term: Option<Term> = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let epoch = *shared.epoch.borrow();
        let Some(epoch) = epoch else {
            term = None;
            continue;
        };
        if let Err(error) = look(&shared, &mut term, epoch).await {
            // The rows are read again before anything is told.
            term = None;
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the coming and going of nodes could not be told; it is tried again"
            );
        }
    }
}

async fn look(shared: &Shared, term: &mut Option<Term>, epoch: i64) -> Result<(), StoreError> {
    let now = shared.clock.now();
    let term = match term {
        Some(same) if same.epoch == epoch => same,
        _ => {
            let mut reader = shared.store.read().await?;
            let rows = KnownNode::fetch(&mut reader, Filter::new(), "read known nodes").await?;
            term.insert(Term {
                epoch,
                since: now,
                known: rows.into_iter().map(|row| (row.dea.clone(), row)).collect(),
                last: BTreeMap::new(),
            })
        }
    };
    let heard = sights(shared);
    let connected_since = shared.state().picture.connected_since;
    term.last.extend(heard.clone());
    for (dea, sight) in &heard {
        let known = term.known.get(dea);
        if known.is_none_or(|known| !known.present) {
            let event = NodeJoined {
                at: rfc3339_micros(clock::unix_micros()),
                node: dea.clone(),
                address: None,
                memory_mb: sight.memory_mb,
                returned: known.is_some(),
            };
            let news = if known.is_some() { RETURNED } else { JOINED };
            tell(shared, term, dea, news, event.into()).await?;
        }
    }
    let lost_after = shared.lost_after();
    let watched = connected_since.map(|since| now.saturating_sub(since.max(term.since)));
    if watched.is_none_or(|watched| watched <= lost_after) {
        return Ok(());
    }
    let lost: Vec<KnownNode> = term
        .known
        .values()
        .filter(|known| known.present && !heard.contains_key(&known.dea))
        .cloned()
        .collect();
    for known in lost {
        // Advertised or not, what still beats is there.
        if shared
            .state()
            .picture
            .observed
            .agents()
            .any(|(dea, _)| dea.as_str() == known.dea)
        {
            continue;
        }
        let last = term.last.get(&known.dea);
        let event = NodeLost {
            at: rfc3339_micros(clock::unix_micros()),
            node: known.dea.clone(),
            address: None,
            last_seen_at: rfc3339_micros(last.map_or(known.seen_at, |sight| sight.last_beat)),
            instances: last.map_or(0, |sight| sight.instances),
        };
        tell(shared, term, &known.dea, LOST, event.into()).await?;
    }
    Ok(())
}

/// Agents that beat, told their instances and advertised what they offer.
fn sights(shared: &Shared) -> BTreeMap<String, Sight> {
    let (now, unix) = (shared.clock.now(), clock::unix_micros());
    let state = shared.state();
    let memory: BTreeMap<String, u64> = state
        .picture
        .pool
        .view(now)
        .into_iter()
        .map(|view| {
            let memory = view.total_memory_mb.unwrap_or(view.free_memory_mb);
            (view.id.to_string(), memory)
        })
        .collect();
    state
        .picture
        .observed
        .agents()
        .filter(|(_, agent)| agent.last_complete.is_some())
        .filter_map(|(dea, agent)| {
            let silent = now.saturating_sub(agent.last_beat).as_micros();
            let sight = Sight {
                memory_mb: *memory.get(dea.as_str())?,
                instances: u32::try_from(state.picture.observed.on_agent(dea)).unwrap_or(u32::MAX),
                last_beat: unix - i64::try_from(silent).unwrap_or_default(),
            };
            Some((dea.to_string(), sight))
        })
        .collect()
}

async fn tell(
    shared: &Shared,
    term: &mut Term,
    dea: &str,
    news: &'static str,
    event: PlatformEvent,
) -> Result<(), StoreError> {
    let now = clock::unix_micros();
    let node = KnownNode {
        dea: dea.to_string(),
        present: news != LOST,
        seen_at: now,
    };
    let mut tx = shared.write_as_leader("tell of a node", term.epoch).await?;
    known_nodes::put(&mut tx, &node).await?;
    let data = event.payload();
    audit_events::record(&mut tx, news, By::SYSTEM, On::agent(dea), data, now).await?;
    platform_events::tell(&mut tx, event, dea, now).await?;
    tx.commit().await?;
    term.known.insert(dea.to_string(), node);
    shared.committed.notify_one();
    Ok(())
}
