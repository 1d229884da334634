//! One sandbox of a pack and everything that runs in it: the unit that owns both.
//!
//! ```text
//!   accepted ──▶ waiting ──(a worker is there)──▶ given ──▶ began ──▶ ended ──▶ conclude
//!                   ▲            the host did not take it │
//!                   └─────────────────────────────────────┘
//! ```
//!
//! A loop that turns what happens (a command, the host, the sandbox, the clock) into changes of its
//! executions. It never waits for one of them: what takes time (making the sandbox, storing a result,
//! reaching the host again) runs beside it.
//!
//! What a newcomer gets wrong:
//! - The host tells its events in order and answers a ping behind them. Only after that answer is it
//!   certain that an execution which the host does not name is unknown to it.
//! - An execution is given to a worker that has its control group already; without one it waits for
//!   the next, a few milliseconds.

mod executions;
mod sides;

use super::host::{Broken, HostConnection};
use super::making::{self, Made};
use super::notes::Found;
use super::requests::{self, Asker};
use crate::adapters::agent::{Agent, PackEntry};
use crate::adapters::chain;
use crate::adapters::droplets::DropletUse;
use crate::adapters::life::reached;
use crate::adapters::pool::Ready;
use crate::domain::action::{ActionRecord, Outcome};
use crate::domain::action_output::Output;
use crate::domain::capacity::Resources;
use crate::domain::pack::{PackKey, Warm};
use crate::domain::pack_host::{self, HostEvent, HostKind};
use crate::domain::record::PackRecord;
use crate::sandbox::{Events, ExitStatus, Sandbox, SandboxEvent, SandboxLimits, Signal};
use executions::{Execution, Phase, WORKER_WITHIN};
use futures_util::future::BoxFuture;
use proto::bus::automation::PackContent;
use serde_json::{Map, Value};
use sides::Side;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Commands that may wait for a sandbox.
const COMMANDS: usize = 1024;
/// Most actions at once in a sandbox; its host takes as many.
pub const MOST_RUNNING: usize = 512;
/// Between TERM and KILL when the agent ends.
const FAREWELL_GRACE_MS: u64 = 2000;
/// How often groups of ended workers are looked at again.
const SWEEP: Duration = Duration::from_millis(200);

/// What others want of a sandbox.
pub enum PackCommand {
    Run(Box<NewAction>),
    Stop {
        id: String,
        reason: String,
        grace_ms: u64,
    },
    /// The end of this one, which its host told, is in the spool.
    Concluded(String, HostKind),
    /// Go when the last action has ended.
    Retire(&'static str),
    /// The agent ends, and with it everything here.
    Shutdown,
    /// The agent ends, everything here goes on.
    Leave,
}

/// An accepted execution.
pub struct NewAction {
    pub record: ActionRecord,
    pub orders: Map<String, Value>,
    pub from: Asker,
}

pub struct Unit {
    agent: Arc<Agent>,
    id: String,
    pack: String,
    limits: SandboxLimits,
    commands: mpsc::Receiver<PackCommand>,
    /// For those that work beside it.
    myself: mpsc::Sender<PackCommand>,
    making: Option<BoxFuture<'static, Result<Made, String>>>,
    sandbox: Option<Sandbox>,
    events: Option<Events>,
    uses: Vec<DropletUse>,
    /// Its hosts.
    python: Side,
    shell: Side,
    /// It has a host for shell actions; one that an older agent made has none.
    has_shell_host: bool,
    executions: BTreeMap<String, Execution>,
    /// Who waits to hear that executions are taken.
    unanswered: Vec<Asker>,
    /// Ended, and their ends not in the spool yet.
    concluding: BTreeSet<String>,
    over: bool,
}

enum Happening {
    Command(Option<PackCommand>),
    Made(Result<Made, String>),
    Reached(HostKind, Result<HostConnection, String>),
    Host(HostKind, Result<HostEvent, Broken>),
    Sandbox(Option<SandboxEvent>),
    TimePassed,
}

/// Makes the entry of a new sandbox, and its unit. The caller holds the agent's lock and has made
/// room.
pub fn create(
    agent: &Arc<Agent>,
    id: String,
    key: PackKey,
    limits: SandboxLimits,
) -> (PackEntry, Unit) {
    let (commands, receiver) = mpsc::channel(COMMANDS);
    let now = agent.now().uptime;
    let entry = PackEntry {
        warm: Warm {
            id: id.clone(),
            limits: Resources {
                memory_mb: limits.memory_mb,
                disk_mb: limits.disk_mb,
            },
            since: now,
            idle_since: Some(now),
            key: key.clone(),
        },
        running: 0,
        closing: false,
        commands: commands.clone(),
    };
    let unit = Unit::new(agent, id, key.pack, limits, commands, receiver);
    (entry, unit)
}

/// Goes on with a sandbox that an earlier agent made, and with what it had given to it.
pub fn adopt(agent: &Arc<Agent>, made: PackRecord, sandbox: Sandbox, found: Vec<Found>) {
    let PackRecord { key, shell_host } = made;
    let limits = sandbox.limits();
    let id = sandbox.id().to_string();
    let (mut entry, mut unit) = create(agent, id, key.clone(), limits);
    unit.has_shell_host = shell_host;
    unit.uses = making::Files::adopt(agent, &key);
    {
        let mut table = agent.table();
        for Found {
            record, printed, ..
        } in found
        {
            entry.running += 1;
            entry.warm.idle_since = None;
            let place = (record.execution.clone(), record.attempt);
            table.actions.insert(place, unit.id.clone());
            let host = unit.host_for(&record);
            let mut execution = Execution::new(record, Map::new(), host);
            execution.phase = Phase::Given;
            execution.output = Output::resumed(execution.record.output_limit, printed);
            unit.executions.insert(execution.record.id(), execution);
        }
        table.packs.insert(unit.id.clone(), entry);
    }
    for side in [&mut unit.python, &mut unit.shell] {
        side.is_in(&sandbox);
    }
    unit.sandbox = Some(sandbox);
    agent.tasks.spawn_once("pack", async move {
        unit.listen().await;
        unit.reach_host(HostKind::Python);
        if unit.has_shell_host {
            unit.reach_host(HostKind::Shell);
        }
        unit.run().await;
    });
}

impl Unit {
    fn new(
        agent: &Arc<Agent>,
        id: String,
        pack: String,
        limits: SandboxLimits,
        myself: mpsc::Sender<PackCommand>,
        commands: mpsc::Receiver<PackCommand>,
    ) -> Unit {
        Unit {
            agent: agent.clone(),
            id,
            pack,
            limits,
            commands,
            myself,
            making: None,
            sandbox: None,
            events: None,
            uses: Vec::new(),
            python: Side::default(),
            shell: Side::default(),
            has_shell_host: true,
            executions: BTreeMap::new(),
            unanswered: Vec::new(),
            concluding: BTreeSet::new(),
            over: false,
        }
    }

    /// Gets the sandbox, the one that waits or a new one, and lives until it is gone.
    pub async fn begin(mut self, content: PackContent, ready: Option<Ready>) {
        tracing::info!(
            pack = self.pack,
            sandbox = self.id,
            was_prepared = ready.is_some(),
            "a pack gets a sandbox"
        );
        let (agent, id) = (self.agent.clone(), self.id.clone());
        let made = making::make(agent, id, self.limits, content, ready);
        self.making = Some(Box::pin(made));
        self.run().await;
    }

    async fn run(mut self) {
        while !self.over {
            match self.next().await {
                Happening::Command(Some(PackCommand::Leave) | None) => return,
                Happening::Command(Some(command)) => self.obey(command),
                Happening::Made(made) => self.made(made),
                Happening::Reached(kind, Ok(host)) => self.side(kind).connection = Some(host),
                Happening::Reached(_, Err(why)) => self.give_up(&why).await,
                Happening::Host(kind, Ok(event)) => self.hear(kind, event),
                Happening::Host(kind, Err(broken)) => self.host_went(kind, &broken),
                Happening::Sandbox(event) => self.hear_sandbox(event),
                Happening::TimePassed => self.time_passed().await,
            }
            self.dispatch();
            self.answer();
            if self.is_done() {
                self.leave().await;
            }
        }
    }

    async fn next(&mut self) -> Happening {
        let wake = self.next_wake().map(|wake| self.agent.clock.at(wake));
        tokio::select! {
            command = self.commands.recv() => Happening::Command(command),
            made = present(&mut self.making) => {
                self.making = None;
                Happening::Made(made)
            }
            reached = present(&mut self.python.reaching) => {
                self.python.reaching = None;
                Happening::Reached(HostKind::Python, reached)
            }
            reached = present(&mut self.shell.reaching) => {
                self.shell.reaching = None;
                Happening::Reached(HostKind::Shell, reached)
            }
            event = hear_host(&mut self.python.connection) => Happening::Host(HostKind::Python, event),
            event = hear_host(&mut self.shell.connection) => Happening::Host(HostKind::Shell, event),
            event = hear_events(&mut self.events) => Happening::Sandbox(event),
            () = reached(wake) => Happening::TimePassed,
        }
    }

    fn next_wake(&self) -> Option<Duration> {
        let executions = self
            .executions
            .values()
            .flat_map(|execution| [execution.guard, execution.output.due()]);
        let now = self.agent.now().uptime;
        let sides = [&self.python, &self.shell];
        let sides = sides
            .into_iter()
            .filter_map(|side| side.next_wake(now + SWEEP));
        executions.flatten().chain(sides).min()
    }

    fn obey(&mut self, command: PackCommand) {
        match command {
            PackCommand::Run(action) => {
                self.unanswered.push(action.from);
                let host = self.host_for(&action.record);
                let now = self.agent.now().uptime;
                let mut execution = Execution::new(action.record, action.orders, host);
                execution.guard = self.side(host).ready.then(|| now + WORKER_WITHIN);
                let id = execution.record.id();
                self.executions.insert(id.clone(), execution);
                self.side(host).waiting.push_back(id);
            }
            PackCommand::Stop {
                id,
                reason,
                grace_ms,
            } => self.stop(&id, reason, grace_ms),
            PackCommand::Concluded(id, host) => {
                self.concluding.remove(&id);
                let now = self.agent.now().uptime;
                self.side(host).tell_later(&pack_host::forget(&id), now);
            }
            PackCommand::Retire(why) => {
                tracing::info!(
                    pack = self.pack,
                    sandbox = self.id,
                    why,
                    "the sandbox of a pack goes"
                );
            }
            PackCommand::Shutdown => self.shut_down(),
            PackCommand::Leave => {}
        }
    }

    /// Tells who waits for it that executions are taken, and the report that there are more.
    fn answer(&mut self) {
        if self.unanswered.is_empty() {
            return;
        }
        for from in self.unanswered.drain(..) {
            requests::answer(&self.agent, from, Ok(()));
        }
        self.agent.nudges.report.notify_one();
    }

    fn shut_down(&mut self) {
        let ids: Vec<String> = self.executions.keys().cloned().collect();
        for id in ids {
            let Some(execution) = self.executions.get_mut(&id) else {
                continue;
            };
            if execution.phase == Phase::Waiting {
                let why = "the agent is shutting down".to_string();
                self.end(&id, Outcome::NotStarted { why });
            } else {
                execution.farewell = true;
                let host = execution.host;
                self.side(host)
                    .tell(&pack_host::stop(&id, FAREWELL_GRACE_MS));
            }
        }
    }

    fn made(&mut self, made: Result<Made, String>) {
        match made {
            Ok(made) => {
                for side in [&mut self.python, &mut self.shell] {
                    side.is_in(&made.sandbox);
                }
                self.sandbox = Some(made.sandbox);
                self.events = Some(made.events);
                self.python.connection = Some(made.python);
                self.shell.connection = Some(made.shell);
                self.uses = made.uses;
            }
            Err(why) => {
                tracing::warn!(
                    pack = self.pack,
                    why,
                    "the sandbox of a pack could not be made"
                );
                self.close();
                self.end_all(|_| Outcome::NotStarted { why: why.clone() });
            }
        }
    }

    /// New requests go to another sandbox.
    fn close(&self) {
        if let Some(entry) = self.agent.table().packs.get_mut(&self.id) {
            entry.closing = true;
        }
    }

    async fn listen(&mut self) {
        let Some(sandbox) = &self.sandbox else { return };
        match sandbox.events().await {
            Ok(events) => self.events = Some(events),
            Err(error) => {
                tracing::warn!(
                    pack = self.pack,
                    error = chain(&error),
                    "the sandbox of a pack is gone"
                );
                self.sandbox_ended(None);
            }
        }
    }

    /// The host does not come back: its sandbox ends, and with it everything in it.
    async fn give_up(&mut self, why: &str) {
        tracing::error!(
            pack = self.pack,
            sandbox = self.id,
            why,
            "the sandbox of a pack is given up"
        );
        self.kill_sandbox().await;
    }

    async fn kill_sandbox(&mut self) {
        let Some(sandbox) = self.sandbox.clone() else {
            return;
        };
        if let Err(error) = sandbox.signal(Signal::Kill).await {
            tracing::warn!(
                pack = self.pack,
                error = chain(&error),
                "the sandbox of a pack could not be killed"
            );
            self.sandbox_ended(None);
        }
    }

    fn hear_sandbox(&mut self, event: Option<SandboxEvent>) {
        match event {
            Some(SandboxEvent::Line { payload, .. }) => {
                let line = String::from_utf8_lossy(&payload).into_owned();
                tracing::info!(
                    pack = self.pack,
                    sandbox = self.id,
                    line,
                    "the host of a pack says"
                );
            }
            Some(SandboxEvent::LinesLost { .. }) => {}
            Some(SandboxEvent::Exited {
                status,
                out_of_memory,
                ..
            }) => self.sandbox_ended(Some((status, out_of_memory))),
            None => self.sandbox_ended(None),
        }
    }

    fn sandbox_ended(&mut self, how: Option<(ExitStatus, bool)>) {
        self.events = None;
        self.python.gone();
        self.shell.gone();
        self.close();
        let (why, out_of_memory) = match how {
            Some((status, out_of_memory)) => (
                format!("the host of its sandbox ended with {status}"),
                out_of_memory,
            ),
            None => ("its sandbox is gone".to_string(), false),
        };
        tracing::warn!(
            pack = self.pack,
            sandbox = self.id,
            why,
            out_of_memory,
            "the sandbox of a pack ended"
        );
        let memory_mb = self.limits.memory_mb;
        self.end_all(|execution| match execution.phase {
            Phase::Waiting => Outcome::NotStarted { why: why.clone() },
            Phase::Given | Phase::Began if out_of_memory => {
                Outcome::SandboxOutOfMemory { memory_mb }
            }
            Phase::Given | Phase::Began => Outcome::Lost { why: why.clone() },
        });
    }

    fn end_all(&mut self, outcome: impl Fn(&Execution) -> Outcome) {
        let ends: Vec<(String, Outcome)> = self
            .executions
            .iter()
            .map(|(id, execution)| (id.clone(), outcome(execution)))
            .collect();
        for (id, outcome) in ends {
            self.end(&id, outcome);
        }
    }

    async fn time_passed(&mut self) {
        let now = self.agent.now().uptime;
        let due: Vec<String> = self
            .executions
            .iter()
            .filter(|(_, execution)| execution.output.due().is_some_and(|due| due <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.pass_on(&id, true);
        }
        for side in [&mut self.python, &mut self.shell] {
            side.time_passed(now);
        }
        self.guard(now).await;
    }

    /// Whether nothing more is to be done here.
    fn is_done(&self) -> bool {
        if !self.executions.is_empty() || !self.concluding.is_empty() || self.making.is_some() {
            return false;
        }
        let table = self.agent.table();
        table
            .packs
            .get(&self.id)
            .is_none_or(|entry| entry.closing && entry.running == 0)
    }

    async fn leave(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            making::destroy(&sandbox).await;
        }
        self.agent.table().packs.remove(&self.id);
        self.agent.nudges.advertise.notify_one();
        self.agent.nudges.report.notify_one();
        self.over = true;
    }
}

async fn present<T>(work: &mut Option<BoxFuture<'static, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

async fn hear_host(host: &mut Option<HostConnection>) -> Result<HostEvent, Broken> {
    match host {
        Some(host) => host.next().await,
        None => std::future::pending().await,
    }
}

async fn hear_events(events: &mut Option<Events>) -> Option<SandboxEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}
