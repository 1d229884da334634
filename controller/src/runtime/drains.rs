//! Emptying agents: passing on the operator's wish, and recording what came of it.
//!
//! The agent alone knows whether it is being emptied: a signal may have told it, and a new process of it
//! is not any more. So the wish is no row; the leader writes down what agents say of themselves, once for
//! each drain, whose begin is its name.

use super::{Shared, clock};
use crate::domain::times::rfc3339_micros;
use crate::store::audit_events::{self, AuditEvent, By, On};
use crate::store::{StoreError, platform_events};
use automation::triggers::yard::{NodeDrained, NodeDraining, PlatformEvent};
use daemon::{BusError, Shutdown};
use proto::bus::catalogue;
use proto::bus::dea::{Drain, DrainAgent, DrainReply};
use proto::ids::DeaId;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(1);
/// How long an agent may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How long nothing is placed there after the order, unless the agent is heard before.
const GOODBYE: Duration = Duration::from_secs(10);

/// Why an agent was not told.
#[derive(Debug, thiserror::Error)]
pub enum NotTold {
    #[error("no agent of this name is known")]
    Unknown,
    #[error("the agent was not reached")]
    Unreached(#[source] BusError),
}

/// Tells an agent to be emptied, or to take work again; how it is then.
pub(super) async fn tell(
    shared: &Shared,
    dea: &DeaId,
    drain: bool,
) -> Result<Option<Drain>, NotTold> {
    // Before it is told: a start that is decided meanwhile goes elsewhere.
    let due = drain.then(|| shared.clock.now() + GOODBYE);
    let order = |due| shared.state().picture.pool.drain_ordered(dea, due);
    if !order(due) {
        return Err(NotTold::Unknown);
    }
    let reply: DrainReply = shared
        .bus
        .request(&catalogue::dea_drain(dea), &DrainAgent { drain }, ANSWER)
        .await
        .map_err(|error| {
            order(None);
            NotTold::Unreached(error)
        })?;
    Ok(reply.drain)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    Begun,
    Empty,
}

impl News {
    fn audited(self) -> &'static str {
        match self {
            News::Begun => "agent.draining",
            News::Empty => "agent.drained",
        }
    }

    fn event(self, dea: &DeaId, drain: &Drain, at: i64) -> PlatformEvent {
        let (node, at) = (dea.to_string(), rfc3339_micros(at));
        match self {
            News::Begun => NodeDraining {
                at,
                node,
                left: drain.left,
                until: time(drain.until),
            }
            .into(),
            News::Empty => NodeDrained {
                at,
                node,
                since: time(drain.since),
            }
            .into(),
        }
    }
}

/// Unix seconds as the API writes times.
fn time(unix: f64) -> String {
    rfc3339_micros((unix * 1e6).round() as i64)
}

/// What a drain has to tell so far.
fn news(drain: &Drain) -> impl Iterator<Item = News> {
    let is_empty = drain.left == 0;
    [News::Begun, News::Empty]
        .into_iter()
        .filter(move |news| *news == News::Begun || is_empty)
}

/// The leader records the drains that it hears of.
pub(super) async fn watch(shared: Arc<Shared>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut recorded: BTreeSet<(DeaId, u64, News)> = BTreeSet::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let Some(epoch) = *shared.epoch.borrow() else {
            recorded.clear();
            continue;
        };
        let seen = drains(&shared);
        recorded.retain(|(dea, since, _)| {
            seen.iter()
                .any(|(other, drain)| other == dea && drain.since.to_bits() == *since)
        });
        for (dea, drain) in seen {
            for news in news(&drain) {
                let key = (dea.clone(), drain.since.to_bits(), news);
                if recorded.contains(&key) {
                    continue;
                }
                match record(&shared, epoch, &dea, &drain, news).await {
                    Ok(()) => {
                        recorded.insert(key);
                    }
                    Err(error) => {
                        tracing::warn!(%dea, error = &error as &dyn std::error::Error, "the emptying of an agent was not recorded; it is tried again");
                    }
                }
            }
        }
    }
}

fn drains(shared: &Shared) -> Vec<(DeaId, Drain)> {
    let now = shared.clock.now();
    let state = shared.state();
    let agents = state.picture.pool.view(now);
    agents
        .into_iter()
        .filter_map(|agent| Some((agent.id.clone(), state.picture.pool.drain(&agent.id)?)))
        .collect()
}

/// Once, whatever leader records it: the last record of its kind names its drain.
async fn record(
    shared: &Shared,
    epoch: i64,
    dea: &DeaId,
    drain: &Drain,
    news: News,
) -> Result<(), StoreError> {
    let now = clock::unix_micros();
    let mut tx = shared
        .write_as_leader("record the emptying of an agent", epoch)
        .await?;
    let last = AuditEvent::last_of(&mut tx, news.audited(), dea.as_str()).await?;
    let since = time(drain.since);
    if last.is_some_and(|last| last.data["since"] == since.as_str()) {
        return Ok(());
    }
    let target = On::agent(dea.as_str());
    let data = json!({"since": since, "until": time(drain.until), "left": drain.left});
    audit_events::record(&mut tx, news.audited(), By::SYSTEM, target, data, now).await?;
    platform_events::tell(&mut tx, news.event(dea, drain, now), dea.as_str(), now).await?;
    tx.commit().await?;
    shared.committed.notify_one();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_tells_its_begin_and_once_nothing_is_left_its_end() {
        let mut drain = Drain {
            since: 1.5,
            until: 601.5,
            left: 3,
        };
        assert_eq!(news(&drain).collect::<Vec<_>>(), [News::Begun]);
        drain.left = 0;
        assert_eq!(news(&drain).collect::<Vec<_>>(), [News::Begun, News::Empty]);
    }
}
