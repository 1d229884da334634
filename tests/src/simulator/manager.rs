//! A health manager: its world and its plans are the real ones; readings of the bulk API, its rhythm
//! and the bus are simulated. Two may run; one leads.

use super::apps::Apps;
use super::message::Message;
use super::random::Random;
use super::{Millis, Sabotage, unix};
use health_manager::domain::desired::Wanted;
use health_manager::domain::policy::Policy;
use health_manager::domain::round::{Due, messages, round};
use health_manager::domain::world::World;
use proto::bus::health::RecordedCrash;
use proto::ids::ProcessGuid;
use std::collections::{BTreeMap, BTreeSet};

/// What happened before it began has its time too.
const BEFORE: Millis = 366 * 24 * 3600 * 1000;
const FULL_PLAN: Millis = 10_000;
const GATHER: Millis = 2;
const SWEEP: Millis = 1_000;
const REFRESH: Millis = 60_000;
const RETRY: Millis = 500;

#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    Sweep,
    /// The number tells the newest of several.
    Plan(u64),
    Read(u64),
    /// Half of the set was read, the other half follows.
    Pages(u64),
    One(ProcessGuid, Millis),
}

pub enum Out {
    Publish(Message),
    After(Millis, Task),
    /// It planned this many requests.
    Planned(usize),
}

pub struct Context<'a> {
    pub now: Millis,
    pub apps: &'a Apps,
    pub random: &'a mut Random,
    /// Some controller answers.
    pub readable: bool,
    pub sabotage: Option<Sabotage>,
    pub out: &'a mut Vec<Out>,
}

/// A reading of the whole set.
struct Reading {
    begun: Millis,
    first_half: BTreeMap<ProcessGuid, Wanted>,
    up_to: i64,
}

pub struct Manager {
    pub up: bool,
    pub connected: bool,
    pub life: u32,
    pub leads: bool,
    /// How far its clock is off.
    pub skew: i64,
    skew_at_birth: i64,
    world: World,
    policy: Policy,
    due: Due,
    updated: BTreeSet<ProcessGuid>,
    reading: Option<Reading>,
    plan_at: Option<Millis>,
    plan_number: u64,
    read_number: u64,
}

impl Manager {
    pub fn new(policy: Policy) -> Manager {
        Manager {
            up: false,
            connected: false,
            life: 0,
            leads: false,
            skew: 0,
            skew_at_birth: 0,
            world: World::default(),
            policy,
            due: Due::default(),
            updated: BTreeSet::new(),
            reading: None,
            plan_at: None,
            plan_number: 0,
            read_number: 0,
        }
    }

    pub fn kill(&mut self) {
        *self = Manager {
            life: self.life + 1,
            connected: self.connected,
            skew: self.skew,
            ..Manager::new(self.policy.clone())
        };
    }

    pub fn restart(&mut self, ctx: &mut Context<'_>) {
        self.up = true;
        self.skew_at_birth = self.skew;
        ctx.out.push(Out::After(SWEEP, Task::Sweep));
        if self.connected {
            self.bus_came(ctx);
        }
    }

    pub fn bus_came(&mut self, ctx: &mut Context<'_>) {
        self.connected = true;
        if !self.up {
            return;
        }
        self.world.connected(BEFORE + ctx.now);
        self.ask_everything(ctx);
    }

    fn ask_everything(&mut self, ctx: &mut Context<'_>) {
        ctx.out.push(Out::Publish(Message::ManagerStart));
        self.read_in(1, ctx);
        self.plan_all(ctx);
    }

    pub fn bus_went(&mut self, ctx: &mut Context<'_>) {
        self.connected = false;
        if ctx.sabotage != Some(Sabotage::ManagerTrustsSilence) {
            self.world.disconnected();
        }
        self.plan_all(ctx);
    }

    pub fn set_leads(&mut self, leads: bool, ctx: &mut Context<'_>) {
        self.leads = leads;
        self.plan_all(ctx);
    }

    fn plan_all(&mut self, ctx: &mut Context<'_>) {
        self.due.all = true;
        self.plan_in(GATHER, ctx);
    }

    fn plan_in(&mut self, wait: Millis, ctx: &mut Context<'_>) {
        let at = ctx.now + wait;
        // Who is down has no clock: a plan of then would never come.
        if self.up && self.plan_at.is_none_or(|planned| planned > at) {
            self.plan_at = Some(at);
            self.plan_number += 1;
            ctx.out.push(Out::After(wait, Task::Plan(self.plan_number)));
        }
    }

    fn read_in(&mut self, wait: Millis, ctx: &mut Context<'_>) {
        self.read_number += 1;
        self.reading = None;
        ctx.out.push(Out::After(wait, Task::Read(self.read_number)));
    }

    pub fn hear(&mut self, message: Message, ctx: &mut Context<'_>) {
        let (now, unix) = (BEFORE + ctx.now, unix(ctx.now, self.skew_at_birth));
        match message {
            Message::Beat(beat) => {
                let change = self.world.heartbeat(&beat, now, unix, &self.policy);
                if !change.processes.is_empty() {
                    self.due.processes.extend(change.processes);
                    self.plan_in(GATHER, ctx);
                }
            }
            Message::Exited(exit) => {
                if self.world.exited(&exit, now, unix, &self.policy) {
                    self.due.processes.insert(exit.droplet);
                    self.plan_in(GATHER, ctx);
                }
            }
            Message::Updated(updated) => {
                self.updated.insert(updated.droplet.clone());
                let wait = ctx.random.between(1, 20);
                ctx.out
                    .push(Out::After(wait, Task::One(updated.droplet, now)));
            }
            Message::Hello(_)
            | Message::Advertise(_)
            | Message::Leaving(_)
            | Message::Record { .. }
            | Message::Recorded { .. }
            | Message::Start(..)
            | Message::Stop(_)
            | Message::Locate
            | Message::Register(_)
            | Message::Unregister(_)
            | Message::RouterStart
            | Message::ManagerStart
            | Message::Ask(_) => {}
        }
    }

    pub fn task(&mut self, task: Task, ctx: &mut Context<'_>) {
        let (now, unix) = (BEFORE + ctx.now, unix(ctx.now, self.skew_at_birth));
        match task {
            Task::Sweep => {
                ctx.out.push(Out::After(SWEEP, Task::Sweep));
                let trusts = ctx.sabotage == Some(Sabotage::ManagerTrustsSilence);
                if !self.connected && !trusts {
                    return;
                }
                let swept = self.world.sweep(now, unix, &self.policy);
                if !swept.change.processes.is_empty() {
                    self.due.processes.extend(swept.change.processes);
                    self.plan_in(GATHER, ctx);
                }
                if swept.slept {
                    self.world.connected(now);
                    self.ask_everything(ctx);
                }
            }
            Task::Plan(number) => {
                if number == self.plan_number {
                    self.plan_at = None;
                    self.plan(ctx);
                }
            }
            Task::Read(number) => {
                if number == self.read_number {
                    self.begin_reading(ctx);
                }
            }
            Task::Pages(number) => {
                if number == self.read_number {
                    self.end_reading(ctx);
                }
            }
            Task::One(process, begun) => {
                if !self.connected || !ctx.readable {
                    ctx.out.push(Out::After(RETRY, Task::One(process, now)));
                    return;
                }
                if self.updated.remove(&process) {
                    let wanted = ctx
                        .apps
                        .bulk(&process)
                        .map(|(row, read)| Wanted::read(row, &read, begun));
                    self.world.desired.update(&process, wanted);
                    self.due.processes.insert(process);
                    self.plan_in(GATHER, ctx);
                }
            }
        }
    }

    fn begin_reading(&mut self, ctx: &mut Context<'_>) {
        if !self.connected || !ctx.readable {
            self.read_in(RETRY, ctx);
            return;
        }
        self.updated.clear();
        let up_to = ctx
            .apps
            .rows
            .values()
            .map(|row| row.number)
            .max()
            .unwrap_or(0)
            / 2;
        let begun = BEFORE + ctx.now;
        let first_half = page(ctx.apps, begun, |row| row <= up_to);
        self.reading = Some(Reading {
            begun,
            first_half,
            up_to,
        });
        let wait = ctx.random.between(1, 400);
        ctx.out
            .push(Out::After(wait, Task::Pages(self.read_number)));
    }

    fn end_reading(&mut self, ctx: &mut Context<'_>) {
        let Some(reading) = self.reading.take() else {
            return;
        };
        if !self.connected || !ctx.readable {
            self.read_in(RETRY, ctx);
            return;
        }
        let (now, unix) = (BEFORE + ctx.now, unix(ctx.now, self.skew_at_birth));
        let mut set = reading.first_half;
        set.extend(page(ctx.apps, reading.begun, |row| row > reading.up_to));
        let first = self.world.desired.complete_as_of.is_none();
        self.world.desired.replace(set, reading.begun);
        if first {
            let recorded: Vec<RecordedCrash> = ctx.apps.crashes.values().cloned().collect();
            self.world.recall(&recorded, now, unix, &self.policy);
        }
        for process in self.updated.clone() {
            ctx.out.push(Out::After(1, Task::One(process, now)));
        }
        self.plan_all(ctx);
        self.read_in(REFRESH, ctx);
    }

    fn plan(&mut self, ctx: &mut Context<'_>) {
        let now = BEFORE + ctx.now;
        let due = std::mem::take(&mut self.due);
        let made = round(&mut self.world, due, self.leads, now, &self.policy);
        ctx.out.push(Out::Planned(made.plan.requests.len()));
        for message in messages(&made.plan) {
            ctx.out.push(Out::Publish(Message::Ask(message)));
        }
        let wait = made.plan.next.map_or(FULL_PLAN, |at| {
            at.saturating_sub(now).clamp(GATHER, FULL_PLAN)
        });
        // Whatever time changes is found by planning everything.
        self.plan_number += 1;
        self.plan_at = Some(ctx.now + wait);
        self.due.all = true;
        ctx.out.push(Out::After(wait, Task::Plan(self.plan_number)));
    }
}

fn page(apps: &Apps, begun: Millis, wanted: impl Fn(i64) -> bool) -> BTreeMap<ProcessGuid, Wanted> {
    apps.rows
        .keys()
        .filter_map(|process| {
            let (row, read) = apps.bulk(process)?;
            wanted(row).then(|| (process.clone(), Wanted::read(row, &read, begun)))
        })
        .collect()
}
