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

use super::host::{Broken, HostConnection};
use super::making::{self, Made};
use super::notes::Found;
use super::workers::Workers;
use crate::adapters::agent::{Agent, PackEntry};
use crate::adapters::chain;
use crate::adapters::droplets::DropletUse;
use crate::adapters::life::reached;
use crate::domain::action::{ActionRecord, Outcome};
use crate::domain::action_output::{Output, Printed};
use crate::domain::capacity::Resources;
use crate::domain::pack::{PackKey, Warm};
use crate::domain::pack_host::{self, HostEvent, RunningWorker};
use crate::sandbox::{Events, ExitStatus, Sandbox, SandboxEvent, SandboxLimits, Signal};
use executions::{Execution, Phase, WORKER_WITHIN};
use futures_util::future::BoxFuture;
use proto::bus::automation::PackContent;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Commands that may wait for a sandbox.
const COMMANDS: usize = 1024;
/// Most actions at once in a sandbox; its host takes as many.
pub const MOST_RUNNING: usize = 512;
/// How long a host may be away before its sandbox is given up.
const BACK_WITHIN: Duration = Duration::from_secs(20);
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
    /// The end of this one is in the spool.
    Concluded(String),
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
    reaching: Option<BoxFuture<'static, Result<HostConnection, String>>>,
    sandbox: Option<Sandbox>,
    events: Option<Events>,
    host: Option<HostConnection>,
    uses: Vec<DropletUse>,
    workers: Option<Workers>,
    executions: BTreeMap<String, Execution>,
    waiting: VecDeque<String>,
    /// Ended, and their ends not in the spool yet.
    concluding: BTreeSet<String>,
    /// What the host said to run when it was reached, until it is clear that it said everything.
    greeting: Option<Vec<RunningWorker>>,
    ready: bool,
    /// Until when more idle workers are wanted than usual.
    busy_until: Option<Duration>,
    over: bool,
}

enum Happening {
    Command(Option<PackCommand>),
    Made(Result<Made, String>),
    Reached(Result<HostConnection, String>),
    Host(Result<HostEvent, Broken>),
    Sandbox(Option<SandboxEvent>),
    TimePassed,
}

/// Makes the entry of a new sandbox, and its unit. The caller holds the agent's lock and has made
/// room.
pub fn create(agent: &Arc<Agent>, key: PackKey, limits: SandboxLimits) -> (PackEntry, Unit) {
    let id = format!("pack-{:016x}", rand::random::<u64>());
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
pub fn adopt(agent: &Arc<Agent>, key: PackKey, sandbox: Sandbox, found: Vec<Found>) {
    let limits = sandbox.limits();
    let (mut entry, mut unit) = create(agent, key.clone(), limits);
    entry.warm.id = sandbox.id().to_string();
    unit.id = sandbox.id().to_string();
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
            let mut execution = Execution::new(record, Map::new());
            execution.phase = Phase::Given;
            execution.output = Output::resumed(execution.record.output_limit, printed);
            unit.executions.insert(execution.record.id(), execution);
        }
        table.packs.insert(unit.id.clone(), entry);
    }
    unit.workers = Some(Workers::new(sandbox.group()));
    unit.sandbox = Some(sandbox);
    agent.tasks.spawn_once("pack", async move {
        unit.listen().await;
        unit.reach_host();
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
            reaching: None,
            sandbox: None,
            events: None,
            host: None,
            uses: Vec::new(),
            workers: None,
            executions: BTreeMap::new(),
            waiting: VecDeque::new(),
            concluding: BTreeSet::new(),
            greeting: None,
            ready: false,
            busy_until: None,
            over: false,
        }
    }

    /// Makes the sandbox and lives until it is gone.
    pub async fn begin(mut self, content: PackContent) {
        tracing::info!(
            pack = self.pack,
            sandbox = self.id,
            "a sandbox is made for a pack"
        );
        let made = making::make(self.agent.clone(), self.id.clone(), self.limits, content);
        self.making = Some(Box::pin(made));
        self.run().await;
    }

    async fn run(mut self) {
        while !self.over {
            match self.next().await {
                Happening::Command(Some(PackCommand::Leave) | None) => return,
                Happening::Command(Some(command)) => self.obey(command),
                Happening::Made(made) => self.made(made),
                Happening::Reached(Ok(host)) => self.host = Some(host),
                Happening::Reached(Err(why)) => self.give_up(&why).await,
                Happening::Host(Ok(event)) => self.hear(event),
                Happening::Host(Err(broken)) => self.host_went(&broken),
                Happening::Sandbox(event) => self.hear_sandbox(event),
                Happening::TimePassed => self.time_passed().await,
            }
            self.dispatch();
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
            reached = present(&mut self.reaching) => {
                self.reaching = None;
                Happening::Reached(reached)
            }
            event = hear_host(&mut self.host) => Happening::Host(event),
            event = hear_events(&mut self.events) => Happening::Sandbox(event),
            () = reached(wake) => Happening::TimePassed,
        }
    }

    fn next_wake(&self) -> Option<Duration> {
        let executions = self
            .executions
            .values()
            .flat_map(|execution| [execution.guard, execution.output.due()]);
        let sweep = self
            .workers
            .as_ref()
            .filter(|workers| workers.has_leaving())
            .map(|_| self.agent.now().uptime + SWEEP);
        executions.chain([self.busy_until, sweep]).flatten().min()
    }

    fn obey(&mut self, command: PackCommand) {
        match command {
            PackCommand::Run(action) => {
                let mut execution = Execution::new(action.record, action.orders);
                execution.guard = self.ready.then(|| self.agent.now().uptime + WORKER_WITHIN);
                let id = execution.record.id();
                self.executions.insert(id.clone(), execution);
                self.waiting.push_back(id);
            }
            PackCommand::Stop {
                id,
                reason,
                grace_ms,
            } => self.stop(&id, reason, grace_ms),
            PackCommand::Concluded(id) => {
                self.concluding.remove(&id);
                self.tell(&pack_host::forget(&id));
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
                self.tell(&pack_host::stop(&id, FAREWELL_GRACE_MS));
            }
        }
    }

    /// Sends a frame to the host, if it is there; whoever is told on a new connection what runs
    /// repeats what matters.
    fn tell(&mut self, frame: &[u8]) {
        if let Some(host) = &mut self.host {
            host.send(frame);
        }
    }

    fn made(&mut self, made: Result<Made, String>) {
        match made {
            Ok(made) => {
                self.workers = Some(Workers::new(made.sandbox.group()));
                self.sandbox = Some(made.sandbox);
                self.events = Some(made.events);
                self.host = Some(made.host);
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

    fn reach_host(&mut self) {
        let Some(sandbox) = self.sandbox.clone() else {
            return;
        };
        self.reaching = Some(Box::pin(async move {
            making::reach(&sandbox, BACK_WITHIN).await
        }));
    }

    fn host_went(&mut self, broken: &Broken) {
        tracing::warn!(
            pack = self.pack,
            sandbox = self.id,
            error = chain(broken),
            "the connection to the host of a pack broke"
        );
        self.host = None;
        self.ready = false;
        self.greeting = None;
        if let Some(workers) = &mut self.workers {
            workers.forget();
        }
        self.reach_host();
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
        self.host = None;
        self.reaching = None;
        self.ready = false;
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

    fn hear(&mut self, event: HostEvent) {
        match event {
            HostEvent::Hello {
                version,
                running,
                idle,
            } => self.greeted(version, running, &idle),
            HostEvent::Worker { pid } => {
                if let Some(workers) = &mut self.workers {
                    workers.came(pid);
                }
            }
            HostEvent::WorkerLost { pid } => {
                if let Some(workers) = &mut self.workers {
                    workers.went(pid);
                }
            }
            HostEvent::Started { id, at } => self.began(&id, at.saturating_mul(1000)),
            HostEvent::Output {
                id,
                stream,
                seq,
                data,
            } => self.printed(&id, Printed { stream, seq, data }),
            HostEvent::Exited { id, rest } => self.exited(&id, rest),
            HostEvent::Refused {
                request,
                id,
                code,
                problems,
            } => {
                if request.as_deref() == Some("run")
                    && let Some(id) = id
                {
                    self.refused(&id, &code, problems);
                }
            }
            HostEvent::Pong => self.heard_everything(),
            HostEvent::Unknown => {}
        }
    }

    fn greeted(&mut self, version: u64, running: Vec<RunningWorker>, idle: &[i32]) {
        if version != pack_host::VERSION {
            tracing::warn!(
                pack = self.pack,
                version,
                "the host of a pack speaks another version"
            );
        }
        if let Some(workers) = &mut self.workers {
            workers.forget();
            for pid in idle {
                workers.came(*pid);
            }
        }
        self.greeting = Some(running);
        self.tell(&pack_host::ping());
    }

    /// The host has told everything from before this connection: what it does not know of by now it
    /// will never tell.
    fn heard_everything(&mut self) {
        let Some(running) = self.greeting.take() else {
            return;
        };
        let known: BTreeMap<&str, i32> = running
            .iter()
            .map(|worker| (worker.id.as_str(), worker.pid))
            .collect();
        let mut unknown = Vec::new();
        let mut to_stop = Vec::new();
        let now = self.agent.now().uptime;
        for (id, execution) in &mut self.executions {
            if execution.phase == Phase::Waiting {
                execution.guard = Some(now + WORKER_WITHIN);
                continue;
            }
            let Some(pid) = known.get(id.as_str()) else {
                unknown.push(id.clone());
                continue;
            };
            if execution.group.is_none()
                && let Some(workers) = &self.workers
            {
                execution.group = workers.of_running(*pid);
            }
            if execution.phase == Phase::Given {
                execution.phase = Phase::Began;
                execution.guard = execution.record.guard().map(|guard| now + guard);
            }
            if execution.started_at == 0 {
                // Its start was told to an earlier agent; it was soon after it was accepted.
                execution.started_at = (execution.record.accepted_at * 1e6) as i64;
            }
            if execution.stop_reason.is_some() || execution.farewell {
                to_stop.push(id.clone());
            }
        }
        for id in unknown {
            let why = "the host of its sandbox does not know it".to_string();
            self.end(&id, Outcome::Lost { why });
        }
        for id in to_stop {
            self.tell(&pack_host::stop(&id, FAREWELL_GRACE_MS));
        }
        self.ready = true;
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
        if self.busy_until.is_some_and(|until| until <= now) {
            self.busy_until = None;
            self.tell(&pack_host::prefork(making::IDLE_WORKERS));
        }
        if let Some(workers) = &mut self.workers {
            workers.sweep();
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
