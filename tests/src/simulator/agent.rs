//! An agent: the machines of its instances, its admission and its spool are the real ones; containers,
//! disk and clock are simulated. What its adapters do with effects is done here, in the same order.
//!
//! Three lives are kept apart. The *process* of the agent dies and comes back ([`Agent::kill`],
//! [`Agent::restart`]). Its *containers* go on without it. Its *disk* (labels of the containers, accepted
//! starts, spooled exits) survives both, unless the machine is lost ([`Agent::wipe`]).

mod lives;
mod voice;
mod words;

pub use words::{Cause, Context, Out, Slot, Task, Truth};

use super::message::Message;
use super::{Millis, Sabotage, unix};
use dea::domain::Now;
use dea::domain::capacity::{self, Claim, Hold, Resources};
use dea::domain::crash::{CrashCause, Ending, Exit, fact};
use dea::domain::epoch::{Command, Epochs};
use dea::domain::evacuation::Evacuation;
use dea::domain::instance::{Effect, Event, Instance, Pace, State, StopCause, Terms};
use dea::domain::probe::Check;
use dea::domain::record::{InstanceRecord, Record, SavedState};
use dea::domain::remembered::Remembered;
use dea::domain::retention;
use dea::domain::selection::{Candidate, Selection};
use dea::domain::spool::{MOST, Queue};
use dea::sandbox::{Numbers, host_port};
use proto::bus::dea::{StartInstance, StopInstances};
use proto::bus::health::{ExitReason, Exited};
use proto::ids::{DeaId, InstanceId, ProcessGuid};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub const BEAT_PERIOD: Millis = 10_000;
pub const ADVERTISE_PERIOD: Millis = 5_000;
pub const REGISTER_PERIOD: Millis = 20_000;
const ADVERTISE_GATHER: Millis = 20;
const SPOOL_LOOK: Millis = 500;
/// Facts sent at once.
const SPOOL_BATCH: usize = 16;
const CRASH_RETENTION: Duration = Duration::from_secs(3600);

/// A container on the machine.
#[derive(Debug, Clone)]
struct Container {
    label: Option<String>,
    number: u32,
    healthy_at: Option<Millis>,
    exited: Option<Exit>,
    ordered: bool,
}

#[derive(Debug)]
struct Unit {
    record: InstanceRecord,
    machine: Instance,
    registered: bool,
    wake_at: Option<Millis>,
    told: Option<Cause>,
}

#[derive(Debug, Default)]
struct Disk {
    containers: BTreeMap<InstanceId, Container>,
    accepted: BTreeMap<InstanceId, InstanceRecord>,
    epochs: Epochs,
    spool: BTreeMap<u64, Exited>,
}

pub struct Agent {
    pub id: DeaId,
    number: usize,
    zone: String,
    pub offered: Resources,
    /// How far its clock is off.
    skew: i64,
    skew_at_birth: i64,
    /// Which life of its process this is.
    pub life: u32,
    pub up: bool,
    pub connected: bool,
    born_at: Millis,
    table: BTreeMap<InstanceId, Unit>,
    epochs: Epochs,
    ended: Remembered,
    pub draining: bool,
    queue: Queue<Exited>,
    disk: Disk,
    /// Numbers of sandboxes; their ports follow from them.
    numbers: Numbers,
    evacuation: Evacuation,
    advertise_planned: bool,
    /// Effects it still carries out before it dies in the middle of a step.
    dies_after: Option<u64>,
}

impl Agent {
    pub fn new(number: usize, zone: String, offered: Resources, skew: i64) -> Agent {
        Agent {
            id: DeaId::new(format!("dea-{number}")).expect("letters and digits"),
            number,
            zone,
            offered,
            skew,
            skew_at_birth: skew,
            life: 0,
            up: false,
            connected: false,
            born_at: 0,
            table: BTreeMap::new(),
            epochs: Epochs::default(),
            ended: Remembered::default(),
            draining: false,
            queue: Queue::new(MOST),
            disk: Disk::default(),
            numbers: numbers(0),
            evacuation: Evacuation::default(),
            advertise_planned: false,
            dies_after: None,
        }
    }

    fn now(&self, now: Millis) -> Now {
        Now {
            uptime: Duration::from_millis(now - self.born_at),
            unix: self.unix(now),
        }
    }

    fn unix(&self, now: Millis) -> f64 {
        unix(now, self.skew)
    }

    /// Like its clock when its process began, and never set.
    fn steady_unix_ns(&self, now: Millis) -> i64 {
        (unix(now, self.skew_at_birth) * 1e9) as i64
    }

    /// Its clock is set.
    pub fn set_clock(&mut self, by: i64) {
        self.skew += by;
    }

    fn address(&self, number: u32) -> String {
        format!("{}:{}", self.host(), host_port(number))
    }

    fn host(&self) -> String {
        format!("10.{}.{}.1", self.number / 250, self.number % 250)
    }

    pub fn hear(&mut self, message: Message, ctx: &mut Context<'_>) {
        match message {
            Message::Start(_, start) => self.accept(start, ctx),
            Message::Stop(stop) => self.stop(stop, ctx),
            Message::Recorded { number, .. } => {
                let now = self.now(ctx.now).uptime;
                if self.queue.settle(number, true, now) {
                    self.disk.spool.remove(&number);
                }
            }
            Message::Locate => {
                self.advertise(ctx);
                self.full_beat(ctx);
            }
            Message::ManagerStart => self.full_beat(ctx),
            Message::RouterStart => self.announce_all(ctx),
            Message::Hello(_)
            | Message::Advertise(_)
            | Message::Leaving(_)
            | Message::Beat(_)
            | Message::Exited(_)
            | Message::Record { .. }
            | Message::Register(_)
            | Message::Unregister(_)
            | Message::Ask(_)
            | Message::Updated(_) => {}
        }
    }

    pub fn task(&mut self, task: Task, ctx: &mut Context<'_>) {
        match task {
            Task::Beat => {
                self.full_beat(ctx);
                ctx.after(BEAT_PERIOD, Task::Beat);
            }
            Task::Advertise => {
                self.advertise(ctx);
                ctx.after(ADVERTISE_PERIOD, Task::Advertise);
            }
            Task::AdvertiseSoon => {
                self.advertise_planned = false;
                self.advertise(ctx);
            }
            Task::Register => {
                self.announce_all(ctx);
                ctx.after(REGISTER_PERIOD, Task::Register);
            }
            Task::Spool => {
                self.send_facts(ctx);
                ctx.after(SPOOL_LOOK, Task::Spool);
            }
            Task::DrainOver => self.stop_rest(ctx),
            Task::Prepared(id, well) => {
                let event = if well {
                    Event::SandboxReady
                } else {
                    Event::PreparationFailed("the droplet cannot be fetched".to_string())
                };
                if let Some(unit) = self.table.get(&id)
                    && well
                    && matches!(unit.machine.state(), State::Born)
                {
                    let slot = slot_of(&unit.record.start);
                    let Some(number) = self.numbers.take(id.as_str()) else {
                        let none = "there is no number left".to_string();
                        return self.step(&id, Event::PreparationFailed(none), ctx);
                    };
                    let container = Container {
                        label: None,
                        number,
                        healthy_at: None,
                        exited: None,
                        ordered: false,
                    };
                    self.disk.containers.insert(id.clone(), container);
                    ctx.truth(Truth::Begun {
                        instance: id.clone(),
                        slot,
                        address: self.address(number),
                    });
                }
                self.step(&id, event, ctx);
            }
            Task::Check(id) => {
                let answers = self.disk.containers.get(&id).is_some_and(|container| {
                    container.exited.is_none()
                        && container.healthy_at.is_some_and(|at| at <= ctx.now)
                });
                let result = if answers {
                    Ok(())
                } else {
                    Err("connection refused".to_string())
                };
                self.step(&id, Event::Checked(result), ctx);
            }
            Task::Wake(id, at) => {
                if let Some(unit) = self.table.get_mut(&id)
                    && unit.wake_at == Some(at)
                {
                    unit.wake_at = None;
                    self.step(&id, Event::TimePassed, ctx);
                }
            }
        }
    }

    /// The process in a container has ended.
    pub fn container_ends(&mut self, id: &InstanceId, exit: Exit, ctx: &mut Context<'_>) {
        let Some(container) = self.disk.containers.get_mut(id) else {
            return;
        };
        if container.exited.is_some() {
            return;
        }
        container.exited = Some(exit);
        ctx.truth(Truth::Over {
            instance: id.clone(),
        });
        if self.up {
            let out_of_memory = false;
            self.step(
                id,
                Event::Exited {
                    exit,
                    out_of_memory,
                },
                ctx,
            );
        }
    }

    /// The containers whose process runs, in the order of their ids.
    pub fn running(&self) -> impl Iterator<Item = &InstanceId> {
        self.disk
            .containers
            .iter()
            .filter(|(_, container)| container.exited.is_none() && container.ordered)
            .map(|(id, _)| id)
    }

    /// Whether a command of this epoch is followed.
    fn obeys(&mut self, command: Command, epoch: Option<i64>, ctx: &mut Context<'_>) -> bool {
        let outdated = self.epochs.check(command, epoch).is_err();
        self.disk.epochs = self.epochs.clone();
        if outdated && ctx.sabotage != Some(Sabotage::AgentObeysAnybody) {
            return false;
        }
        if let Some(epoch) = epoch {
            ctx.truth(Truth::Obeyed { command, epoch });
        }
        true
    }

    fn accept(&mut self, start: StartInstance, ctx: &mut Context<'_>) {
        let Some(instance) = start.yard_instance.clone() else {
            return;
        };
        let now = self.now(ctx.now);
        if !self.obeys(Command::Start, start.yard_epoch, ctx) {
            return;
        }
        let known = self.ended.knows(instance.as_str()) || self.table.contains_key(&instance);
        if known && ctx.sabotage != Some(Sabotage::AgentForgetsIds) {
            return;
        }
        let wanted = Resources {
            memory_mb: start.limits.mem,
            disk_mb: start.limits.disk,
        };
        let record = InstanceRecord {
            private_id: private_id(&instance),
            uris: start.uris.clone(),
            terms: start.yard_routes.clone(),
            state: SavedState::Starting,
            since: now.unix,
            accepted_at: now.unix,
            instance: instance.clone(),
            start,
        };
        let offered = self.offers(ctx.sabotage);
        let refusal = if self.draining {
            let reason = ExitReason::DeaShutdown;
            Some(elsewhere(reason, "the agent is shutting down", now.unix))
        } else if self.evacuation.is_on() {
            let reason = ExitReason::DeaEvacuation;
            Some(elsewhere(reason, "the agent is being emptied", now.unix))
        } else {
            match capacity::admit(offered, &self.claims(), wanted) {
                Ok(evicted) => {
                    for id in evicted {
                        self.step(&id, Event::Evicted, ctx);
                    }
                    None
                }
                Err(refused) => Some(CrashCause::Refused(refused.to_string()).ending(
                    Exit::Unknown,
                    "starting",
                    now.unix,
                )),
            }
        };
        if let Some(ending) = refusal {
            self.ended.remember(instance.as_str());
            self.report(&record, &ending, ctx);
            return;
        }
        self.disk.accepted.insert(instance.clone(), record.clone());
        let (machine, effects) = Instance::born(terms(&record.start), now);
        let unit = Unit {
            record,
            machine,
            registered: false,
            wake_at: None,
            told: None,
        };
        self.table.insert(instance.clone(), unit);
        self.advertise_soon(ctx);
        self.carry_out(&instance, effects, ctx);
        let wait = ctx.random.between(3, 60);
        let well = !ctx.random.chance(ctx.apps.failing_preparations);
        ctx.after(wait, Task::Prepared(instance, well));
    }

    fn stop(&mut self, stop: StopInstances, ctx: &mut Context<'_>) {
        if !self.obeys(Command::Stop, stop.yard_epoch, ctx) {
            return;
        }
        let selection = Selection::from(stop);
        let selected: Vec<InstanceId> = self
            .table
            .values()
            .filter(|unit| {
                selection.matches(Candidate {
                    droplet: &unit.record.start.droplet,
                    version: &unit.record.start.version,
                    instance: &unit.record.instance,
                    index: unit.record.start.index,
                    state: unit.machine.name(),
                })
            })
            .map(|unit| unit.record.instance.clone())
            .collect();
        for id in selected {
            if let Some(unit) = self.table.get_mut(&id) {
                unit.told.get_or_insert(Cause::Told);
            }
            self.step(&id, Event::StopRequested(StopCause::Requested), ctx);
        }
    }

    /// It has, or had a moment ago, an instance of this process.
    pub fn holds(&self, process: &ProcessGuid) -> bool {
        self.table
            .values()
            .any(|unit| unit.record.start.droplet == *process)
    }

    fn offers(&self, sabotage: Option<Sabotage>) -> Resources {
        if sabotage == Some(Sabotage::AgentTakesTooMuch) {
            Resources {
                memory_mb: 10 * self.offered.memory_mb,
                disk_mb: 10 * self.offered.disk_mb,
            }
        } else {
            self.offered
        }
    }

    fn claims(&self) -> Vec<Claim<InstanceId>> {
        self.table
            .iter()
            .map(|(id, unit)| Claim {
                key: id.clone(),
                limits: unit.record.limits(),
                hold: match unit.machine.state() {
                    State::Crashed { .. } => Hold::Kept {
                        since: unit.machine.since(),
                    },
                    State::Born
                    | State::Starting { .. }
                    | State::Running { .. }
                    | State::Stopping { .. }
                    | State::Stopped => Hold::Live,
                },
            })
            .collect()
    }

    /// What its containers may use, counted from the containers themselves.
    pub fn used(&self) -> Resources {
        let mut used = Resources::default();
        for (id, container) in &self.disk.containers {
            let Some(unit) = self.table.get(id) else {
                continue;
            };
            let limits = unit.record.limits();
            if container.exited.is_none() {
                used.memory_mb += limits.memory_mb;
            }
            used.disk_mb += limits.disk_mb;
        }
        used
    }

    fn step(&mut self, id: &InstanceId, event: Event, ctx: &mut Context<'_>) {
        let now = self.now(ctx.now);
        let Some(unit) = self.table.get_mut(id) else {
            return;
        };
        if let Ok(effects) = unit.machine.handle(event, now) {
            self.carry_out(id, effects, ctx);
        } else {
            self.plan_wake(id, ctx);
        }
    }

    fn carry_out(&mut self, id: &InstanceId, effects: Vec<Effect>, ctx: &mut Context<'_>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match &mut self.dies_after {
                Some(0) => return,
                Some(left) => *left -= 1,
                None => {}
            }
            let event = self.carry_out_one(id, effect, ctx);
            let now = self.now(ctx.now);
            if let Some(event) = event
                && let Some(unit) = self.table.get_mut(id)
                && let Ok(more) = unit.machine.handle(event, now)
            {
                effects.extend(more);
            }
        }
        self.plan_wake(id, ctx);
    }

    fn plan_wake(&mut self, id: &InstanceId, ctx: &mut Context<'_>) {
        let born_at = self.born_at;
        let Some(unit) = self.table.get_mut(id) else {
            return;
        };
        let due = unit
            .machine
            .next_wake()
            .map(|wake| (born_at + wake.as_millis() as Millis).max(ctx.now));
        if let Some(at) = due
            && unit.wake_at != Some(at)
        {
            unit.wake_at = Some(at);
            ctx.after(at - ctx.now, Task::Wake(id.clone(), at));
        }
    }

    fn carry_out_one(
        &mut self,
        id: &InstanceId,
        effect: Effect,
        ctx: &mut Context<'_>,
    ) -> Option<Event> {
        match effect {
            Effect::CancelPreparation => {
                // Its end is told as a failure, whatever came of it.
                ctx.after(5, Task::Prepared(id.clone(), false));
            }
            Effect::GiveOrders => return Some(self.order(id, ctx)),
            Effect::CheckHealth => {
                let wait = ctx.random.between(1, 15);
                ctx.after(wait, Task::Check(id.clone()));
            }
            Effect::Register => {
                if let Some(unit) = self.table.get_mut(id) {
                    unit.registered = true;
                }
                ctx.truth(Truth::Healthy {
                    instance: id.clone(),
                });
                self.announce(id, ctx);
            }
            Effect::Unregister => {
                if let Some(unit) = self.table.get_mut(id) {
                    unit.registered = false;
                }
                let returns = self
                    .table
                    .get(id)
                    .is_some_and(|unit| !matches!(unit.machine.state(), State::Stopping { .. }));
                if let Some(mut registration) = self.registration(id, ctx.now) {
                    registration.yard_returns = Some(returns).filter(|returns| *returns);
                    ctx.publish(Message::Unregister(registration));
                }
            }
            Effect::Terminate => {
                self.tell_stop(id, ctx);
                let stubborn = ctx.random.chance(50);
                if !stubborn {
                    let wait = ctx.random.between(5, 2_000);
                    ctx.out
                        .push(Out::ContainerEnds(wait, id.clone(), Exit::Status(143)));
                }
            }
            Effect::Kill => {
                self.tell_stop(id, ctx);
                let wait = ctx.random.between(1, 20);
                ctx.out
                    .push(Out::ContainerEnds(wait, id.clone(), Exit::Signal(9)));
            }
            Effect::Remember => self.remember(id, ctx),
            Effect::Beat => {
                if let Some(beat) = self.table.get(id).and_then(|unit| self.beat_of(unit)) {
                    let beat = self.heartbeat(vec![beat], false);
                    ctx.publish(Message::Beat(beat));
                }
            }
            Effect::Report(ending) => {
                if let Some(record) = self.table.get(id).map(|unit| unit.record.clone()) {
                    self.report(&record, &ending, ctx);
                }
                self.disk.accepted.remove(id);
                self.advertise_soon(ctx);
            }
            Effect::Say(_) => {}
            Effect::Destroy => {
                if let Some(container) = self.disk.containers.remove(id) {
                    self.numbers.release(container.number, id.as_str());
                    if container.exited.is_none() {
                        ctx.truth(Truth::Over {
                            instance: id.clone(),
                        });
                    }
                }
            }
            Effect::Forget => {
                self.table.remove(id);
                self.ended.remember(id.as_str());
                self.advertise_soon(ctx);
            }
        }
        None
    }

    fn tell_stop(&self, id: &InstanceId, ctx: &mut Context<'_>) {
        let cause = match self.table.get(id) {
            Some(unit) => match (unit.told, unit.machine.state()) {
                (Some(told), _) => told,
                (
                    None,
                    State::Stopping {
                        purpose: dea::domain::instance::Purpose::Crash { .. },
                        ..
                    },
                ) => Cause::Unhealthy,
                (None, _) => Cause::Unknown,
            },
            None => Cause::Unknown,
        };
        ctx.truth(Truth::Stopping {
            instance: id.clone(),
            cause,
        });
    }

    fn order(&mut self, id: &InstanceId, ctx: &mut Context<'_>) -> Event {
        let Some(unit) = self.table.get(id) else {
            return Event::PreparationFailed("it is gone".to_string());
        };
        let start = &unit.record.start;
        let conduct = ctx.apps.conduct(&start.droplet, &start.version);
        let Some(container) = self.disk.containers.get_mut(id) else {
            return Event::PreparationFailed("it has no sandbox".to_string());
        };
        container.ordered = true;
        ctx.truth(Truth::Ordered {
            instance: id.clone(),
        });
        container.healthy_at = Some(ctx.now + ctx.random.between(1, conduct.boot.max(1)));
        if let Some(after) = conduct.crashes_after {
            let wait = ctx.random.between(after / 2, after);
            ctx.out
                .push(Out::ContainerEnds(wait, id.clone(), Exit::Status(1)));
        }
        Event::Ordered
    }

    fn remember(&mut self, id: &InstanceId, ctx: &mut Context<'_>) {
        let Some(unit) = self.table.get_mut(id) else {
            return;
        };
        unit.record.state = SavedState::of(&unit.machine);
        unit.record.since = unit.machine.since();
        let crashed = matches!(unit.machine.state(), State::Crashed { .. });
        if let Some(container) = self.disk.containers.get_mut(id) {
            container.label = Some(Record::Instance(Box::new(unit.record.clone())).to_text());
            self.disk.accepted.remove(id);
        }
        if crashed {
            let superseded = retention::superseded(
                self.table
                    .iter()
                    .filter(|(_, unit)| matches!(unit.machine.state(), State::Crashed { .. }))
                    .map(|(id, unit)| {
                        let group = unit.record.start.droplet.clone();
                        (id.clone(), group, unit.machine.since())
                    }),
            );
            for gone in superseded {
                self.step(&gone, Event::Evicted, ctx);
            }
        }
    }

    fn report(&mut self, record: &InstanceRecord, ending: &Ending, ctx: &mut Context<'_>) {
        let exit = fact(ending, record.whose(&self.id));
        let number = self.queue.reserve();
        self.disk.spool.insert(number, exit.clone());
        for given_up in self.queue.put(number, exit) {
            self.disk.spool.remove(&given_up);
        }
        self.send_facts(ctx);
    }

    fn send_facts(&mut self, ctx: &mut Context<'_>) {
        let now = self.now(ctx.now).uptime;
        for (number, exit) in self.queue.take_due(now, SPOOL_BATCH) {
            // Unanswered until an answer comes: due again after its pace.
            self.queue.settle(number, false, now);
            ctx.publish(Message::Exited(exit.clone()));
            ctx.publish(Message::Record {
                agent: self.number,
                number,
                exit,
            });
        }
    }
}

/// Those of one agent, as its engine counts them, from any of them on.
fn numbers(start: u32) -> Numbers {
    let subnet = "10.1.0.0/24".parse().expect("a network");
    Numbers::new(subnet, 1_000_000, start)
}

/// The id under which routers know an instance.
pub fn private_id(instance: &InstanceId) -> String {
    format!("private-{instance}")
}

fn slot_of(start: &StartInstance) -> Slot {
    Slot {
        process: start.droplet.clone(),
        version: start.version.clone(),
        index: start.index,
    }
}

fn terms(start: &StartInstance) -> Terms {
    Terms {
        check: Check::of(start),
        start_timeout: Duration::from_secs(60),
        pace: Pace {
            drain: Duration::from_secs(1),
            grace: Duration::from_secs(10),
        },
        crash_retention: CRASH_RETENTION,
        memory_mb: start.limits.mem,
        index: start.index,
    }
}

/// No crash of the app: it is to be started elsewhere.
fn elsewhere(reason: ExitReason, why: &str, at: f64) -> Ending {
    Ending {
        reason,
        description: why.to_string(),
        exit_status: -1,
        signal: None,
        out_of_memory: false,
        phase: Some("starting".to_string()),
        at,
    }
}
