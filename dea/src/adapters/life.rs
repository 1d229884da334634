//! One instance, from its acceptance to its end: the unit that owns it.
//!
//! A loop that turns what happens (the sandbox, a check, a wish, the clock) into events for the
//! machine ([`crate::domain::instance`]) and carries out the effects, in order. It has no choices
//! of its own. When the daemon is cut short the unit is dropped and leaves the sandbox as it is:
//! the next agent adopts it.

use super::agent::{Agent, Entry, Wish};
use super::chain;
use super::droplets::{DropletUse, Wanted};
use super::health;
use super::preparing::{self, Ready};
use super::spool::Fact;
use super::voice::Voice;
use crate::domain::crash::{Ending, Exit, fact};
use crate::domain::environment::{self, HOME, Place};
use crate::domain::instance::{Effect, Event, Instance, State};
use crate::domain::record::{InstanceRecord, Record, SavedState, renamed};
use crate::domain::{launcher, selection};
use crate::sandbox::{Events, ExitStatus, Orders, Sandbox, SandboxEvent, Signal, Source, VCAP};
use futures_util::future::BoxFuture;
use proto::bus::router::RouteTerms;
use proto::config::Settings;
use proto::ids::InstanceId;
use proto::services;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Wishes that may wait for one instance.
const WISHES: usize = 32;
/// How often what the rate limit held back is told when no line follows.
const SETTLE: Duration = Duration::from_secs(1);
/// How long one operation on the sandbox may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Life {
    agent: Arc<Agent>,
    record: InstanceRecord,
    machine: Instance,
    wishes: mpsc::Receiver<Wish>,
    settings: watch::Receiver<Arc<Settings>>,
    /// The limit its sandbox has, as far as this agent set it.
    max_pids: Option<u64>,
    voice: Voice,
    preparing: Option<BoxFuture<'static, Result<Ready, String>>>,
    cancel: CancellationToken,
    sandbox: Option<Sandbox>,
    events: Option<Events>,
    droplet: Option<DropletUse>,
    checking: Option<BoxFuture<'static, Result<(), String>>>,
    /// Its acceptance is noted in a file.
    noted: bool,
    over: bool,
    /// When its start was taken up, for the measure of starts.
    begun: std::time::Instant,
}

/// What woke the loop.
enum Happening {
    Event(Event),
    Prepared(Result<Ready, String>),
    Sandbox(Option<SandboxEvent>),
    Wish(Option<Wish>),
    SettingsChanged,
    Quiet,
}

impl Life {
    /// A new instance: shown in the table when this returns; [`Life::run`] begins to prepare it.
    pub fn born(agent: &Arc<Agent>, record: InstanceRecord, machine: Instance) -> Life {
        Life::shown(agent, record, machine, None)
    }

    /// An instance found by a restarted agent.
    pub fn adopted(
        agent: &Arc<Agent>,
        record: InstanceRecord,
        machine: Instance,
        sandbox: Sandbox,
    ) -> Life {
        let mut life = Life::shown(agent, record, machine, Some(sandbox));
        life.droplet = agent.droplets.adopt(Wanted::droplet(&life.record.start));
        life
    }

    fn shown(
        agent: &Arc<Agent>,
        record: InstanceRecord,
        machine: Instance,
        sandbox: Option<Sandbox>,
    ) -> Life {
        let (sender, wishes) = mpsc::channel(WISHES);
        let voice = Voice::new(
            agent.logs.clone(),
            record.app(),
            record.start.index.to_string(),
            proto::log::source_of_process(record.process_type()),
            record.tags(),
        );
        let entry = Entry {
            record: record.clone(),
            machine: machine.clone(),
            wishes: sender,
            sandbox: sandbox.clone(),
            registered: false,
            reading: None,
            usage: None,
        };
        agent
            .table()
            .instances
            .insert(record.instance.clone(), entry);
        Life {
            agent: agent.clone(),
            record,
            machine,
            wishes,
            settings: agent.settings.clone(),
            max_pids: None,
            voice,
            preparing: None,
            cancel: CancellationToken::new(),
            sandbox,
            events: None,
            droplet: None,
            checking: None,
            noted: true,
            over: false,
            begun: std::time::Instant::now(),
        }
    }

    fn id(&self) -> &InstanceId {
        &self.record.instance
    }

    /// Lives until the instance is over, or the agent leaves it.
    pub async fn run(mut self, first: Vec<Effect>) {
        match self.machine.state() {
            State::Born => {
                let preparing = preparing::prepare(
                    self.agent.clone(),
                    self.record.clone(),
                    self.cancel.clone(),
                );
                self.preparing = Some(Box::pin(preparing));
            }
            State::Crashed { .. } => {}
            State::Starting { .. }
            | State::Running { .. }
            | State::Stopping { .. }
            | State::Stopped => self.listen().await,
        }
        self.carry_out(first).await;
        self.follow_settings().await;
        while !self.over {
            match self.next().await {
                Happening::Event(event) => self.step(event).await,
                Happening::Prepared(Ok(ready)) => {
                    self.max_pids = Some(ready.sandbox.limits().pids);
                    self.sandbox = Some(ready.sandbox);
                    self.droplet = Some(ready.droplet);
                    self.follow_settings().await;
                    self.step(Event::SandboxReady).await;
                    // After the orders: what happens meanwhile waits for whoever listens.
                    if is_alive(self.machine.state()) {
                        self.listen().await;
                    }
                }
                Happening::Prepared(Err(why)) => self.step(Event::PreparationFailed(why)).await,
                Happening::Sandbox(event) => self.hear(event).await,
                Happening::Wish(Some(Wish::Stop(cause))) => {
                    self.step(Event::StopRequested(cause)).await
                }
                Happening::Wish(Some(Wish::Evict)) => self.step(Event::Evicted).await,
                Happening::Wish(Some(Wish::Rename(uris, terms))) => self.rename(uris, terms).await,
                Happening::Wish(Some(Wish::Leave) | None) => return,
                Happening::SettingsChanged => self.follow_settings().await,
                Happening::Quiet => self.voice.settle(),
            }
        }
    }

    async fn next(&mut self) -> Happening {
        let wake = self
            .machine
            .next_wake()
            .map(|wake| self.agent.clock.at(wake));
        tokio::select! {
            result = present(&mut self.preparing) => {
                self.preparing = None;
                Happening::Prepared(result)
            }
            result = present(&mut self.checking) => {
                self.checking = None;
                Happening::Event(Event::Checked(result))
            }
            event = hear(&mut self.events) => Happening::Sandbox(event),
            wish = self.wishes.recv() => Happening::Wish(wish),
            () = reached(wake) => Happening::Event(Event::TimePassed),
            () = changed(&mut self.settings) => Happening::SettingsChanged,
            () = tokio::time::sleep(SETTLE), if self.voice.owes() => Happening::Quiet,
        }
    }

    /// Gives the instance the terms of now; its waits are planned anew from them.
    async fn follow_settings(&mut self) {
        self.settings.mark_unchanged();
        let terms = self.agent.terms(&self.record.start);
        if self.machine.terms != terms {
            self.machine.terms = terms;
            self.show_machine();
        }
        let max_pids = self.agent.max_pids();
        if self.max_pids == Some(max_pids) {
            return;
        }
        let Some(sandbox) = &self.sandbox else { return };
        match sandbox.limit_processes(max_pids).await {
            Ok(()) => self.max_pids = Some(max_pids),
            Err(error) => {
                tracing::warn!(instance = %self.id(), error = chain(&error), "the limit of processes of an instance could not be set")
            }
        }
    }

    /// Begins to hear the sandbox's events.
    async fn listen(&mut self) {
        let Some(sandbox) = &self.sandbox else { return };
        match sandbox.events().await {
            Ok(events) => self.events = Some(events),
            Err(error) => {
                tracing::warn!(instance = %self.id(), error = chain(&error), "the sandbox of an instance is gone");
                self.step(Event::Exited {
                    exit: Exit::Unknown,
                    out_of_memory: false,
                })
                .await;
            }
        }
    }

    async fn hear(&mut self, event: Option<SandboxEvent>) {
        match event {
            Some(SandboxEvent::Line {
                stderr,
                at_unix_ns,
                payload,
            }) => {
                let most = u64::try_from(self.agent.setting().integer("dea/log/max_line_rate"))
                    .unwrap_or(u64::MAX);
                self.voice
                    .line(stderr, at_unix_ns, payload, self.agent.now().uptime, most);
            }
            Some(SandboxEvent::LinesLost { count }) => self.voice.lost(count),
            Some(SandboxEvent::Exited {
                status,
                out_of_memory,
                ..
            }) => {
                self.events = None;
                self.voice.settle();
                self.step(Event::Exited {
                    exit: exit_of(status),
                    out_of_memory,
                })
                .await;
            }
            None => {
                self.events = None;
                self.step(Event::Exited {
                    exit: Exit::Unknown,
                    out_of_memory: false,
                })
                .await;
            }
        }
    }

    /// Hands an event to the machine and does what it says.
    async fn step(&mut self, event: Event) {
        match self.machine.handle(event, self.agent.now()) {
            Ok(effects) => self.carry_out(effects).await,
            Err(ignored) => {
                tracing::trace!(instance = %self.id(), because = ignored.0, "an event was ignored")
            }
        }
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            self.show(&effect);
            if let Some(event) = self.carry_out_one(effect).await {
                match self.machine.handle(event, self.agent.now()) {
                    Ok(more) => effects.extend(more),
                    Err(ignored) => {
                        tracing::trace!(instance = %self.id(), because = ignored.0, "an event was ignored")
                    }
                }
            }
        }
        self.show_machine();
    }

    /// Shows the machine as it is, before others are told about it.
    fn show(&self, effect: &Effect) {
        let mut table = self.agent.table();
        if let Some(entry) = table.instances.get_mut(self.id()) {
            entry.machine = self.machine.clone();
            entry.sandbox = self.sandbox.clone();
            match effect {
                Effect::Register => entry.registered = true,
                Effect::Unregister => entry.registered = false,
                _ => {}
            }
        }
    }

    fn show_machine(&self) {
        if let Some(entry) = self.agent.table().instances.get_mut(self.id()) {
            entry.machine = self.machine.clone();
        }
    }

    /// Does one thing; what came of it, if the machine must know.
    async fn carry_out_one(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::CancelPreparation => self.cancel.cancel(),
            Effect::GiveOrders => {
                return Some(match self.order().await {
                    Ok(()) => Event::Ordered,
                    Err(why) => Event::PreparationFailed(why),
                });
            }
            Effect::CheckHealth => self.check(),
            Effect::Register => self.agent.announce_routes(&self.record.instance).await,
            Effect::Unregister => {
                // Asked to stop: gone for good. Anything else: another one is on its way, and
                // routers ask clients to come back instead of denying the name.
                let returns = !matches!(self.machine.state(), State::Stopping { .. });
                self.agent
                    .withdraw_routes(&self.record.instance, None, returns)
                    .await
            }
            Effect::Terminate => self.signal(Signal::Terminate).await,
            Effect::Kill => self.signal(Signal::Kill).await,
            Effect::Remember => self.remember().await,
            Effect::Beat => self.agent.beat_one(&self.record.instance).await,
            Effect::Report(ending) => self.report(&ending),
            Effect::Say(text) => self.voice.say(&text),
            Effect::Destroy => self.destroy().await,
            Effect::Forget => self.forget(),
        }
        None
    }

    async fn order(&mut self) -> Result<(), String> {
        let Some(sandbox) = &self.sandbox else {
            return Err("it has no sandbox".to_string());
        };
        let start = &self.record.start;
        put_services(sandbox, &start.services).await?;
        let place = Place {
            instance: &self.record.instance,
            host: self.agent.config.host(),
            host_port: sandbox.host_port(),
            address: sandbox.address(),
            started_at: self.agent.now().unix,
        };
        let env = environment::build(start, &place)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let orders = Orders {
            argv: launcher::arguments(&start.start_command),
            env,
            cwd: HOME.to_string(),
            uid: VCAP,
            gid: VCAP,
            fds: start.limits.fds,
        };
        match tokio::time::timeout(PATIENCE, sandbox.order(orders)).await {
            Ok(Ok(())) => {
                metrics::histogram!("dea_instance_start_seconds").record(self.begun.elapsed());
                Ok(())
            }
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!(
                "the sandbox did not take its orders within {PATIENCE:?}"
            )),
        }
    }

    fn check(&mut self) {
        let Some(sandbox) = &self.sandbox else { return };
        let (web, check, address) = (
            self.agent.web.clone(),
            self.machine.terms.check.clone(),
            sandbox.address(),
        );
        self.checking = Some(Box::pin(async move {
            health::check(&web, &check, address).await
        }));
    }

    async fn signal(&mut self, signal: Signal) {
        let Some(sandbox) = &self.sandbox else { return };
        match tokio::time::timeout(PATIENCE, sandbox.signal(signal)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(instance = %self.id(), ?signal, error = chain(&error), "an instance could not be signalled")
            }
            Err(_) => tracing::warn!(instance = %self.id(), ?signal, "an instance took no signal"),
        }
    }

    /// Writes the record for a successor.
    async fn remember(&mut self) {
        self.record.state = SavedState::of(&self.machine);
        self.record.since = self.machine.since();
        let Some(sandbox) = &self.sandbox else { return };
        let label = Record::Instance(Box::new(self.record.clone())).to_text();
        match sandbox.set_label(&label).await {
            Ok(()) => self.settle(),
            Err(error) => {
                tracing::warn!(instance = %self.id(), error = chain(&error), "the record of an instance could not be written");
            }
        }
        if matches!(self.machine.state(), State::Crashed { .. }) {
            self.agent.evict_superseded();
        }
    }

    /// Its acceptance need not be noted any more: its sandbox or its end tells of it.
    fn settle(&mut self) {
        if std::mem::take(&mut self.noted) {
            self.agent.accepted.settle(self.record.instance.as_str());
        }
    }

    fn report(&mut self, ending: &Ending) {
        self.agent.spool.put(Fact::Exited(fact(
            ending,
            self.record.whose(&self.agent.id),
        )));
        self.settle();
        self.agent.nudges.advertise.notify_one();
        tracing::info!(
            instance = %self.id(),
            process = %self.record.start.droplet,
            index = self.record.start.index,
            reason = ?ending.reason,
            description = ending.description,
            "an instance ended"
        );
    }

    async fn destroy(&mut self) {
        self.voice.settle();
        self.events = None;
        self.checking = None;
        if let Some(sandbox) = &self.sandbox {
            match tokio::time::timeout(PATIENCE, sandbox.destroy()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(instance = %self.id(), error = chain(&error), "a sandbox could not be removed")
                }
                Err(_) => {
                    tracing::error!(instance = %self.id(), "a sandbox was not removed in time")
                }
            }
        }
        self.droplet = None;
    }

    fn forget(&mut self) {
        let mut table = self.agent.table();
        table.instances.remove(&self.record.instance);
        table.ended(self.record.instance.as_str());
        drop(table);
        self.over = true;
        self.agent.nudges.advertise.notify_one();
    }

    async fn rename(&mut self, uris: Vec<String>, terms: BTreeMap<String, RouteTerms>) {
        let (_, lost) = renamed(&self.record.uris, &uris);
        self.record.uris = uris.clone();
        self.record.terms = terms.clone();
        let routed = {
            let mut table = self.agent.table();
            match table.instances.get_mut(&self.record.instance) {
                Some(entry) => {
                    entry.record.uris = uris;
                    entry.record.terms = terms;
                    entry.registered
                }
                None => false,
            }
        };
        if routed {
            self.agent.announce_routes(&self.record.instance).await;
            if !lost.is_empty() {
                self.agent
                    .withdraw_routes(&self.record.instance, Some(lost), false)
                    .await;
            }
        }
        // Before the orders there is nothing to remember: a successor would wait for an app that was
        // never started.
        if !matches!(self.machine.state(), State::Born) {
            self.remember().await;
        }
    }
}

impl Agent {
    /// Lets go of crashed sandboxes that a newer crash made superfluous.
    pub fn evict_superseded(&self) {
        let table = self.table();
        for instance in table.superseded() {
            table.wish(&instance, Wish::Evict);
        }
    }

    /// The instances a selection means.
    pub fn selected(&self, selection: &selection::Selection) -> Vec<InstanceId> {
        let table = self.table();
        table
            .instances
            .values()
            .filter(|entry| selection.matches(entry.candidate(&table.evacuation)))
            .map(|entry| entry.record.instance.clone())
            .collect()
    }
}

/// Puts the files of what is bound into a sandbox, before its orders.
async fn put_services(sandbox: &Sandbox, bindings: &[serde_json::Value]) -> Result<(), String> {
    for file in services::files(bindings) {
        sandbox
            .put(&file.path, Source::Bytes(file.content), services::FILE_MODE)
            .await
            .map_err(|error| chain(&error))?;
    }
    Ok(())
}

/// Whether something of it may run.
fn is_alive(state: &State) -> bool {
    match state {
        State::Starting { .. } | State::Running { .. } | State::Stopping { .. } => true,
        State::Born | State::Crashed { .. } | State::Stopped => false,
    }
}

pub fn exit_of(status: ExitStatus) -> Exit {
    match status {
        ExitStatus::Code(code) => Exit::Status(code),
        ExitStatus::Signal(signal) => Exit::Signal(signal),
    }
}

/// The result of what is under way, if something is.
pub async fn present<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn hear(events: &mut Option<Events>) -> Option<SandboxEvent> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// The next change of the settings. They outlive every instance but in an agent that ends.
async fn changed(settings: &mut watch::Receiver<Arc<Settings>>) {
    if settings.changed().await.is_err() {
        std::future::pending().await
    }
}

pub async fn reached(wake: Option<tokio::time::Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
