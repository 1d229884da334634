//! How an agent begins, what it finds then, and how it ends: with its process alone, with its machine,
//! in order, or after it was emptied.

use super::voice::goodbye;
use super::{
    ADVERTISE_PERIOD, Agent, BEAT_PERIOD, Cause, Container, Context, REGISTER_PERIOD, SPOOL_LOOK,
    Task, Truth, Unit, elsewhere, numbers, private_id, slot_of, terms,
};
use crate::simulator::message::Message;
use dea::domain::epoch::Command;
use dea::domain::evacuation::Evacuation;
use dea::domain::instance::{Event, State, StopCause};
use dea::domain::record::{InstanceRecord, Record, SavedState};
use dea::domain::remembered::Remembered;
use dea::domain::spool::{MOST, Queue};
use proto::bus::dea::{Hello, StartInstance};
use proto::bus::health::ExitReason;
use proto::ids::InstanceId;
use std::time::Duration;

/// What it may take to be emptied.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);

impl Agent {
    /// The process ends; containers and disk stay.
    pub fn kill(&mut self) {
        self.up = false;
        self.life += 1;
        self.table.clear();
        self.dies_after = None;
    }

    /// The process ends in the middle of a step to come, after so many effects.
    pub fn kill_midway(&mut self, effects: u64) {
        if self.up {
            self.dies_after = Some(effects);
        }
    }

    /// It does not die in the middle of anything.
    pub fn spare(&mut self) {
        self.dies_after = None;
    }

    /// It was in the middle of a step, and has come to its last effect.
    pub fn is_dead(&self) -> bool {
        self.dies_after == Some(0)
    }

    /// The machine ends; nothing stays. Its containers, which ended.
    pub fn wipe(&mut self) -> Vec<InstanceId> {
        self.kill();
        let gone = std::mem::take(&mut self.disk);
        gone.containers.into_keys().collect()
    }

    /// The process begins, and takes over what is there.
    pub fn restart(&mut self, ctx: &mut Context<'_>) {
        self.up = true;
        self.draining = false;
        self.evacuation = Evacuation::default();
        self.born_at = ctx.now;
        self.skew_at_birth = self.skew;
        self.numbers = numbers(ctx.random.number() as u32);
        self.epochs = self.disk.epochs.clone();
        self.ended = Remembered::default();
        self.advertise_planned = false;
        self.queue = Queue::new(MOST);
        for (number, fact) in &self.disk.spool {
            self.queue.restore(*number, fact.clone());
        }
        let found: Vec<(InstanceId, u32, Option<String>)> = self
            .disk
            .containers
            .iter()
            .map(|(id, container)| (id.clone(), container.number, container.label.clone()))
            .collect();
        for (id, number, _) in &found {
            self.numbers.adopt(*number, id.as_str());
        }
        for (id, number, label) in found {
            match label.as_deref().and_then(Record::of_text) {
                Some(Record::Instance(record)) => self.adopt(*record, ctx),
                _ => {
                    self.disk.containers.remove(&id);
                    self.numbers.release(number, id.as_str());
                    ctx.truth(Truth::Over { instance: id });
                }
            }
        }
        for (id, record) in std::mem::take(&mut self.disk.accepted) {
            if !self.table.contains_key(&id) {
                let at = self.unix(ctx.now);
                let why = "the agent was restarted before the instance started";
                let ending = elsewhere(ExitReason::DeaShutdown, why, at);
                self.report(&record, &ending, ctx);
            }
        }
        ctx.after(BEAT_PERIOD, Task::Beat);
        ctx.after(ADVERTISE_PERIOD, Task::Advertise);
        ctx.after(REGISTER_PERIOD, Task::Register);
        ctx.after(SPOOL_LOOK, Task::Spool);
        if self.connected {
            self.bus_came(ctx);
        }
    }

    /// A running container with its record, as an earlier agent left it.
    pub fn plant(&mut self, start: StartInstance, ctx: &mut Context<'_>) {
        let Some(instance) = start.yard_instance.clone() else {
            return;
        };
        let since = self.unix(ctx.now) - 3600.0;
        let record = InstanceRecord {
            instance: instance.clone(),
            private_id: private_id(&instance),
            uris: start.uris.clone(),
            terms: start.yard_routes.clone(),
            state: SavedState::Running,
            since,
            accepted_at: since,
            start,
        };
        let slot = slot_of(&record.start);
        let label = Record::Instance(Box::new(record)).to_text();
        let Some(number) = self.numbers.take(instance.as_str()) else {
            return;
        };
        let container = Container {
            label: Some(label),
            number,
            healthy_at: Some(0),
            exited: None,
            ordered: true,
        };
        self.disk.containers.insert(instance.clone(), container);
        ctx.truth(Truth::Begun {
            instance: instance.clone(),
            slot,
            address: self.address(number),
        });
        ctx.truth(Truth::Ordered {
            instance: instance.clone(),
        });
        ctx.truth(Truth::Healthy { instance });
    }

    fn adopt(&mut self, record: InstanceRecord, ctx: &mut Context<'_>) {
        let now = self.now(ctx.now);
        let terms = terms(&record.start);
        let stop = record.state == SavedState::Stopping;
        let (machine, effects) = record.state.adopt(terms, record.since, now);
        self.epochs.seen(Command::Start, record.start.yard_epoch);
        let id = record.instance.clone();
        let lives = !matches!(machine.state(), State::Crashed { .. });
        let unit = Unit {
            record,
            machine,
            registered: false,
            wake_at: None,
            told: stop.then_some(Cause::Told),
        };
        self.table.insert(id.clone(), unit);
        self.carry_out(&id, effects, ctx);
        let exited = self
            .disk
            .containers
            .get(&id)
            .and_then(|container| container.exited);
        if let Some(exit) = exited.filter(|_| lives) {
            let out_of_memory = false;
            self.step(
                &id,
                Event::Exited {
                    exit,
                    out_of_memory,
                },
                ctx,
            );
        } else if stop {
            self.step(&id, Event::StopRequested(StopCause::Requested), ctx);
        }
    }

    /// The bus is there, for the first time or again.
    pub fn bus_came(&mut self, ctx: &mut Context<'_>) {
        self.connected = true;
        if !self.up {
            return;
        }
        ctx.publish(Message::Hello(Hello {
            id: self.id.clone(),
            ip: self.host(),
            port: 0,
            version: 0.1,
        }));
        self.advertise(ctx);
        self.full_beat(ctx);
        self.announce_all(ctx);
        self.queue.hurry();
        self.send_facts(ctx);
    }

    /// The agent is shut down, and takes its instances down with it.
    pub fn leave(&mut self, ctx: &mut Context<'_>) {
        self.draining = true;
        ctx.publish(Message::Leaving(goodbye(self, None)));
        let all: Vec<InstanceId> = self.table.keys().cloned().collect();
        for id in all {
            if let Some(unit) = self.table.get_mut(&id) {
                unit.told.get_or_insert(Cause::AgentShutdown);
            }
            self.step(&id, Event::StopRequested(StopCause::AgentShutdown), ctx);
        }
    }

    /// As [`leave`](Self::leave) is done: nothing is left that runs.
    pub fn has_left(&self) -> bool {
        self.draining
            && self
                .table
                .values()
                .all(|unit| matches!(unit.machine.state(), State::Crashed { .. } | State::Stopped))
    }

    /// It is to be emptied: others are told so, and replace what runs here.
    pub fn drain(&mut self, ctx: &mut Context<'_>) {
        if self.up && self.evacuation.begin(self.now(ctx.now)) {
            let timeout = DRAIN_TIMEOUT.as_millis() as u64;
            ctx.after(timeout, Task::DrainOver);
            self.advertise(ctx);
            self.full_beat(ctx);
        }
    }

    /// It takes work again.
    pub fn undrain(&mut self, ctx: &mut Context<'_>) {
        if self.up && self.evacuation.end() {
            self.advertise(ctx);
            self.full_beat(ctx);
        }
    }

    pub fn is_emptied(&self) -> bool {
        self.evacuation.is_on()
    }

    /// Its time is over: what is left stops.
    pub(super) fn stop_rest(&mut self, ctx: &mut Context<'_>) {
        let now = self.now(ctx.now);
        if !self.evacuation.must_stop_rest(now, DRAIN_TIMEOUT) {
            return;
        }
        let all: Vec<InstanceId> = self.table.keys().cloned().collect();
        for id in all {
            if let Some(unit) = self.table.get_mut(&id) {
                unit.told.get_or_insert(Cause::AgentShutdown);
            }
            self.step(&id, Event::StopRequested(StopCause::AgentEvacuation), ctx);
        }
    }
}
