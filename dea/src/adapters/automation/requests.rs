//! What the agent is told to do with actions: `yard.dea.{id}.action.run` and `.action.stop`.
//!
//! An answer "accepted" is a promise that the end will be told, so the execution is written down
//! before it. "Refused" says that certainly nothing began. The answer is not urgent: the host of the sandbox is told
//! first, since what an answer makes others do takes the processor from what was asked for.

use super::making;
use super::unit::{self, MOST_RUNNING, NewAction, PackCommand};
use crate::adapters::agent::{Agent, PackEntry, Table};
use crate::domain::action::{self, ActionRecord};
use crate::domain::capacity::{self, Resources};
use crate::domain::epoch::Command;
use crate::domain::pack::{self, PackKey, Warm};
use crate::domain::pool::Shape;
use daemon::Received;
use proto::bus::automation::{RunAction, RunActionReply, StopAction};
use proto::bus::catalogue;
use std::sync::Arc;

impl Agent {
    pub async fn listen_for_actions(self: &Arc<Self>) {
        let (runs, stops) = (
            catalogue::dea_action_run(&self.id).filter(),
            catalogue::dea_action_stop(&self.id).filter(),
        );
        self.answer("action-run", runs, run).await;
        self.answer("action-stop", stops, stop).await;
    }
}

/// Who wants an action run, and waits for an answer.
pub type Asker = Arc<Received<()>>;

/// Since when an execution is here.
enum Taken {
    /// Its unit answers, once its host has been told.
    Now,
    Before,
}

fn run(agent: &Arc<Agent>, received: Received<RunAction>) {
    let (message, from) = received.open();
    let from = Arc::new(from);
    match accept(agent, &message, &from) {
        Ok(Taken::Now) => {}
        Ok(Taken::Before) => answer(agent, from, Ok(())),
        Err(reason) => {
            from.ignore(
                "refused",
                format_args!("execution {}: {reason}", message.execution),
            );
            answer(agent, from, Err(reason));
        }
    }
}

/// Says that an execution is taken, or why not.
pub fn answer(agent: &Arc<Agent>, from: Asker, taken: Result<(), String>) {
    let reply = RunActionReply {
        accepted: taken.is_ok(),
        reason: taken.err().unwrap_or_default(),
    };
    agent.tasks.spawn_once("answer", async move {
        if let Err(error) = from.respond(&reply).await {
            tracing::warn!(%error, "whoever wants an action run was not answered");
        }
    });
}

/// Takes an execution, or says why not.
fn accept(agent: &Arc<Agent>, request: &RunAction, from: &Asker) -> Result<Taken, String> {
    let (key, orders) = action::understand(request)?;
    let id = action::id(&request.execution, request.attempt);
    let place = (request.execution.clone(), request.attempt);
    let unacknowledged = agent.spool.has_action(&place);
    let _admitting = agent.admitting();
    let mut table = agent.table();
    // 0 is "no epoch": the field has no presence.
    let epoch = Some(request.epoch).filter(|epoch| *epoch != 0);
    table
        .epochs
        .check(Command::Action, epoch)
        .map_err(|outdated| outdated.to_string())?;
    if table.stopped_actions.knows(&id) {
        return Err("it was stopped before it came".to_string());
    }
    if unacknowledged || table.actions.contains_key(&place) || table.ended_actions.knows(&id) {
        return Ok(Taken::Before);
    }
    if let Some(newest) = table.newest_attempt(&request.execution) {
        if newest > request.attempt {
            return Err(format!("attempt {newest} of it runs already"));
        }
        table.stop_action(
            &(request.execution.clone(), newest),
            "another attempt begins",
            0,
        );
    }
    if let Some(why) = table.closed() {
        return Err(why.to_string());
    }
    let sandbox = match table.sandbox_for(&key)? {
        Some(sandbox) => sandbox,
        None => open(agent, &mut table, key, request)?,
    };
    let record = ActionRecord::of(
        request,
        action::is_shell(&orders),
        &sandbox,
        agent.now().unix,
    );
    agent
        .notes
        .accept(&record)
        .map_err(|error| format!("it could not be noted: {error}"))?;
    let Some(entry) = table.packs.get_mut(&sandbox) else {
        return Err("its sandbox is gone".to_string());
    };
    let command = PackCommand::Run(Box::new(NewAction {
        record,
        orders,
        from: from.clone(),
    }));
    if entry.commands.try_send(command).is_err() {
        agent.notes.settle(&id);
        return Err("its sandbox takes no more commands".to_string());
    }
    entry.running += 1;
    entry.warm.idle_since = None;
    table.actions.insert(place, sandbox);
    Ok(Taken::Now)
}

/// Begins to make a sandbox for this pack.
fn open(
    agent: &Arc<Agent>,
    table: &mut Table,
    key: PackKey,
    request: &RunAction,
) -> Result<String, String> {
    let limits = making::limits(agent);
    let wanted = Resources {
        memory_mb: limits.memory_mb,
        disk_mb: limits.disk_mb,
    };
    let most = agent.setting().integer("dea/pack/max_sandboxes");
    let warm = table.warm();
    let going = pack::too_many(&warm, usize::try_from(most).unwrap_or(usize::MAX))
        .ok_or_else(|| format!("{} sandboxes of packs are at work here", warm.len()))?;
    let content = request.content.clone().unwrap_or_default();
    table.pool.heard_of_base(&key.base, &content.base_url);
    // Before it is asked for room, or what waits for it would give way to it.
    let ready = agent.take_prepared(
        table,
        Shape::Pack {
            disk_mb: limits.disk_mb,
            base: key.base.clone(),
        },
    );
    let evicted = match capacity::admit(agent.offered(), &table.claims(), wanted) {
        Ok(evicted) => evicted,
        Err(refused) => {
            table.pool.put_back(ready);
            return Err(refused.to_string());
        }
    };
    for sandbox in going {
        table.retire(&sandbox, "another pack needs its place");
    }
    table.evict(evicted);
    let id = match &ready {
        Some(ready) => ready.sandbox.id().to_string(),
        None => format!("pack-{:016x}", rand::random::<u64>()),
    };
    let (entry, unit) = unit::create(agent, id.clone(), key, limits);
    table.packs.insert(id.clone(), entry);
    agent.tasks.spawn_once("pack", unit.begin(content, ready));
    agent.nudges.advertise.notify_one();
    Ok(id)
}

fn stop(agent: &Arc<Agent>, received: Received<StopAction>) {
    let (message, from) = received.open();
    let StopAction {
        execution,
        attempt,
        reason,
        grace_ms,
    } = message;
    let place = (execution, attempt);
    let id = action::id(&place.0, attempt);
    let mut table = agent.table();
    if table.actions.contains_key(&place) {
        table.stop_action(&place, &reason, grace_ms);
    } else if !table.ended_actions.knows(&id) {
        // The order to run it may still be on its way: two subjects have no order between them.
        table.stopped_actions.remember(&id);
        from.ignore("nothing of it is here", format_args!("action {id}"));
    } else {
        from.pass_over("it has ended");
    }
}

impl Table {
    /// Sandboxes of packs that are there to stay.
    pub fn warm(&self) -> Vec<Warm> {
        let staying = self.packs.values().filter(|entry| !entry.closing);
        staying.map(|entry| entry.warm.clone()).collect()
    }

    /// The sandbox in which actions of this pack run, if there is one.
    fn sandbox_for(&self, key: &PackKey) -> Result<Option<String>, String> {
        let fits = |entry: &&PackEntry| !entry.closing && entry.warm.key == *key;
        match self.packs.values().find(fits) {
            Some(entry) if entry.running >= MOST_RUNNING => {
                Err(format!("{MOST_RUNNING} actions of its pack run here"))
            }
            found => Ok(found.map(|entry| entry.warm.id.clone())),
        }
    }

    fn newest_attempt(&self, execution: &str) -> Option<u32> {
        let attempts = (execution.to_string(), 0)..=(execution.to_string(), u32::MAX);
        let newest = self.actions.range(attempts).next_back();
        newest.map(|((_, attempt), _)| *attempt)
    }

    fn stop_action(&self, place: &(String, u32), reason: &str, grace_ms: u64) {
        let entry = self
            .actions
            .get(place)
            .and_then(|sandbox| self.packs.get(sandbox));
        let Some(entry) = entry else { return };
        let command = PackCommand::Stop {
            id: action::id(&place.0, place.1),
            reason: reason.to_string(),
            grace_ms,
        };
        if entry.commands.try_send(command).is_err() {
            // Whoever wants it stopped says so again until its end is known.
            tracing::warn!(execution = place.0, "an action could not be told to stop");
        }
    }
}
