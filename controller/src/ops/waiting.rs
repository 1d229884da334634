//! What waits, as the rows say: for `yard status`. What only the running half knows, instances without room and
//! where a build is, comes from there.

use super::{Ops, now};
use crate::automation::ops::base_environment;
use crate::store::apps::App;
use crate::store::automation::executions;
use crate::store::automation::held_executions;
use crate::store::automation::pack_stagings;
use crate::store::builds;
use crate::store::certificates;
use crate::store::processes::Process;
use crate::store::sql::Connection;
use crate::store::{StoreError, tasks};
use ::automation::execution::Hold;
use proto::api::WaitingThing;
use std::collections::BTreeMap;

/// Most things of each kind that are told one by one.
const EACH_MOST: i64 = 50;
/// Executions without an agent are counted no further.
const COUNTED: i64 = 10_000;

/// Seconds since a time in Unix microseconds.
fn seconds(since: i64) -> f64 {
    (now().saturating_sub(since) as f64 / 1e6).max(0.0)
}

fn thing(kind: &str, guid: &str, name: &str, because: String, since: i64) -> WaitingThing {
    WaitingThing {
        kind: kind.to_string(),
        guid: guid.to_string(),
        name: name.to_string(),
        because,
        since: seconds(since),
    }
}

impl Ops {
    /// What waits, apart from `seen`, which gets the names of its apps.
    pub async fn waiting(&self, seen: &mut Vec<WaitingThing>) -> Result<(), StoreError> {
        let mut reader = self.store.read().await?;
        let mut names = Names::default();
        builds_of(&mut reader, seen).await?;
        for waiting in seen.iter_mut().filter(|waiting| waiting.name.is_empty()) {
            let app = match waiting.kind.as_str() {
                "instance" => Process::find(&mut reader, &waiting.guid)
                    .await?
                    .map(|process| process.app_guid),
                "build" => builds::Build::find(&mut reader, &waiting.guid)
                    .await?
                    .map(|build| build.app_guid),
                _ => None,
            };
            if let Some(app) = app {
                waiting.name = names.of(&mut reader, &app).await?;
            }
        }
        for certificate in certificates::failing(&mut reader, EACH_MOST).await? {
            let (Some(error), Some(since)) = (certificate.last_error, certificate.last_error_at)
            else {
                continue;
            };
            let domain = &certificate.domain;
            seen.push(thing("certificate", domain, domain, error, since));
        }
        for task in tasks::pending(&mut reader, EACH_MOST).await? {
            let because = match (&task.waits_for, &task.dea) {
                (Some(reason), _) => reason.clone(),
                (None, Some(dea)) => format!("{dea} was told and has not taken it yet"),
                (None, None) => "it looks for an agent".to_string(),
            };
            let app = names.of(&mut reader, &task.app_guid).await?;
            let name = format!("{app} #{} {}", task.sequence_id, task.name);
            seen.push(thing("task", &task.guid, &name, because, task.created_at));
        }
        seen.extend(executions_held(&mut reader).await?);
        for staging in pack_stagings::open(&mut reader, EACH_MOST).await? {
            let because = match &staging.dea {
                Some(dea) => format!("{dea} installs what it requires"),
                None => "it looks for an agent with room".to_string(),
            };
            let (task, pack) = (&staging.task, &staging.pack);
            seen.push(thing("pack", task, pack, because, staging.created_at));
        }
        if let Some(missing) = base_environment::missing(&mut reader).await? {
            seen.push(WaitingThing {
                kind: "libraries".to_string(),
                name: "the Python libraries of all packs".to_string(),
                because: missing.because,
                since: missing.since.as_secs_f64(),
                ..WaitingThing::default()
            });
        }
        Ok(())
    }
}

/// Builds that are not over and of which the running half here knows nothing: another controller leads.
async fn builds_of(
    connection: &mut Connection,
    seen: &mut Vec<WaitingThing>,
) -> Result<(), StoreError> {
    for build in builds::staging(connection).await? {
        if seen
            .iter()
            .any(|it| it.kind == "build" && it.guid == build.guid)
        {
            continue;
        }
        let because = match &build.dea {
            Some(dea) => format!("staging on {dea}"),
            None => "it looks for an agent and a stager".to_string(),
        };
        seen.push(thing("build", &build.guid, "", because, build.created_at));
    }
    Ok(())
}

/// Executions that a policy holds, and those without an agent: by their number.
async fn executions_held(connection: &mut Connection) -> Result<Vec<WaitingThing>, StoreError> {
    let mut found = Vec::new();
    for queue in held_executions::queues(connection, EACH_MOST).await? {
        let oldest = executions::Execution::find(connection, &queue.oldest).await?;
        let policy = oldest.and_then(|row| match &row.life.hold {
            Some(Hold::Policy(policy)) => Some(policy.clone()),
            Some(Hold::Until(_)) | None => None,
        });
        let because = format!(
            "{} held by {}",
            executions_in_words(queue.count),
            match policy {
                Some(policy) =>
                    format!("the policy {policy}, until others of this action have ended"),
                None => "a policy".to_string(),
            }
        );
        found.push(thing(
            "execution",
            &queue.oldest,
            &queue.action_ref,
            because,
            queue.accepted_at,
        ));
    }
    let count = executions::count_unplaced(connection, COUNTED).await?;
    if let Some(oldest) = executions::unplaced(connection, 1).await?.first() {
        let because = format!(
            "{} without an agent: none has room for another action",
            executions_in_words(count)
        );
        found.push(thing(
            "execution",
            &oldest.id,
            &oldest.action_ref,
            because,
            oldest.started_at,
        ));
    }
    Ok(found)
}

fn executions_in_words(count: i64) -> String {
    match count {
        1 => "1 execution".to_string(),
        COUNTED => format!("{COUNTED} executions or more"),
        count => format!("{count} executions"),
    }
}

/// Names of apps by guid, read once each.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    /// Empty for one that was deleted meanwhile.
    async fn of(&mut self, connection: &mut Connection, app: &str) -> Result<String, StoreError> {
        if let Some(known) = self.0.get(app) {
            return Ok(known.clone());
        }
        let row = App::find(connection, app).await?;
        let name = row.map(|row| row.name).unwrap_or_default();
        self.0.insert(app.to_string(), name.clone());
        Ok(name)
    }
}
