//! A controller: its picture and its decisions are the real ones; rounds, rows and the bus are
//! simulated. Several share the rows; one leads.

use super::apps::{Apps, Fact};
use super::message::Message;
use super::random::Random;
use super::{Millis, unix};
use controller::domain::dispatch::{Action, Desired, Sight};
use controller::domain::picture::{Asked, Candidate, Picture};
use controller::domain::placement::{Decision, PlacementRequest};
use proto::bus::dea::StopInstances;
use proto::bus::health::{ExitReason, Exited, HealthRequest, RecordedCrash, Updated};
use proto::ids::{InstanceId, ProcessGuid};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const ADVERTISEMENT_TTL: Duration = Duration::from_millis(12_500);
const LOST_AFTER: Duration = Duration::from_secs(30);
const FULL_ROUND: Millis = 5_000;
const START_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Looks for silent agents, and whether a round is due.
    Sweep,
    Round,
}

pub enum Out {
    Publish(Message),
    After(Millis, Task),
    /// Something was committed that the other controllers see.
    Committed,
}

pub struct Context<'a> {
    pub now: Millis,
    pub apps: &'a mut Apps,
    pub random: &'a mut Random,
    /// Where agents are by their names.
    pub agents: &'a BTreeMap<String, usize>,
    pub out: &'a mut Vec<Out>,
}

#[derive(Default)]
pub struct Controller {
    pub up: bool,
    pub connected: bool,
    pub life: u32,
    pub leads: Option<i64>,
    /// How far its clock is off.
    pub skew: i64,
    /// Commands it still sends before it dies in the middle of a round.
    dies_after: Option<u64>,
    pub picture: Picture,
    dirty: bool,
    last_full: Option<Millis>,
    was_warm: bool,
    round_planned: bool,
    /// Rounds that come together are one.
    pub gather: Millis,
}

fn since_start(now: Millis) -> Duration {
    Duration::from_millis(now)
}

impl Controller {
    pub fn new(gather: Millis) -> Controller {
        Controller {
            gather,
            connected: true,
            ..Controller::default()
        }
    }

    pub fn kill(&mut self) {
        *self = Controller {
            life: self.life + 1,
            connected: self.connected,
            gather: self.gather,
            skew: self.skew,
            ..Controller::default()
        };
    }

    /// The process ends in the middle of a round to come, after so many commands.
    pub fn kill_midway(&mut self, commands: u64) {
        if self.up {
            self.dies_after = Some(commands);
        }
    }

    /// It does not die in the middle of anything.
    pub fn spare(&mut self) {
        self.dies_after = None;
    }

    /// It was in the middle of a round, and has come to its last command.
    pub fn is_dead(&self) -> bool {
        self.dies_after == Some(0)
    }

    pub fn restart(&mut self, ctx: &mut Context<'_>) {
        self.up = true;
        ctx.out.push(Out::After(1_000, Task::Sweep));
        if self.connected {
            self.bus_came(ctx);
        }
    }

    pub fn bus_came(&mut self, ctx: &mut Context<'_>) {
        self.connected = true;
        if self.up {
            self.picture.bus_came(since_start(ctx.now));
            ctx.out.push(Out::Publish(Message::Locate));
            self.wake(ctx);
        }
    }

    pub fn bus_went(&mut self) {
        self.connected = false;
        self.picture.bus_went();
    }

    /// Leads from now on; who led before writes nothing any more.
    pub fn begin(&mut self, epoch: i64, ctx: &mut Context<'_>) {
        self.leads = Some(epoch);
        self.picture.forget_term();
        self.last_full = None;
        self.was_warm = false;
        ctx.apps.fence = ctx.apps.fence.max(epoch);
        self.wake(ctx);
    }

    pub fn lead_no_more(&mut self) {
        self.leads = None;
        self.picture.forget_term();
    }

    pub fn wake(&mut self, ctx: &mut Context<'_>) {
        self.dirty = true;
        if !self.round_planned && self.leads.is_some() {
            self.round_planned = true;
            ctx.out.push(Out::After(self.gather, Task::Round));
        }
    }

    pub fn hear(&mut self, message: Message, ctx: &mut Context<'_>) {
        let now = since_start(ctx.now);
        match message {
            Message::Hello(hello) => {
                self.picture.came_up(&hello.id);
                self.wake(ctx);
            }
            Message::Leaving(leaving) => {
                self.picture.leaving(leaving, now);
            }
            Message::Advertise(ad) => {
                if self.picture.advertised(ad, now, ADVERTISEMENT_TTL) {
                    self.wake(ctx);
                }
            }
            Message::Beat(beat) => {
                if self.picture.beat(&beat, now) {
                    self.wake(ctx);
                }
            }
            Message::Exited(exit) => {
                self.picture.exited(&exit, now);
                self.wake(ctx);
            }
            Message::Record {
                agent,
                number,
                exit,
            } => {
                self.record(&exit, ctx);
                ctx.out
                    .push(Out::Publish(Message::Recorded { agent, number }));
            }
            Message::Ask(request) => self.asked(request, ctx),
            Message::Recorded { .. }
            | Message::Start(..)
            | Message::Stop(_)
            | Message::Locate
            | Message::Register(_)
            | Message::Unregister(_)
            | Message::RouterStart
            | Message::ManagerStart
            | Message::Updated(_) => {}
        }
    }

    fn record(&self, exit: &Exited, ctx: &mut Context<'_>) {
        if exit.reason != ExitReason::Crashed {
            return;
        }
        let unix = unix(ctx.now, self.skew);
        let ran = self
            .picture
            .observed
            .instance(&exit.instance)
            .and_then(|one| one.running_since)
            .map(|since| since_start(ctx.now).saturating_sub(since).as_secs_f64());
        let crash = RecordedCrash {
            droplet: exit.droplet.clone(),
            version: exit.version.clone(),
            instance: exit.instance.clone(),
            index: exit.index,
            at: exit.crash_timestamp.unwrap_or(unix),
            ran,
        };
        ctx.apps.record(crash, ctx.now);
    }

    fn asked(&mut self, request: HealthRequest, ctx: &mut Context<'_>) {
        if self.leads.is_some() {
            self.picture.ask(since_start(ctx.now), request);
            self.wake(ctx);
        } else {
            ctx.apps.facts.push(Fact::HandedOn(request));
            ctx.out.push(Out::Committed);
        }
    }

    pub fn task(&mut self, task: Task, ctx: &mut Context<'_>) {
        match task {
            Task::Sweep => {
                ctx.out.push(Out::After(1_000, Task::Sweep));
                if self.connected {
                    let lost = self.picture.sweep(since_start(ctx.now), LOST_AFTER);
                    if !lost.is_empty() {
                        self.wake(ctx);
                    }
                }
                let full = self
                    .last_full
                    .is_none_or(|at| ctx.now.saturating_sub(at) >= FULL_ROUND);
                let told = ctx.apps.cursor < ctx.apps.facts.len();
                if full || told || !self.was_warm {
                    self.wake(ctx);
                }
            }
            Task::Round => {
                self.round_planned = false;
                if let (true, Some(epoch)) = (self.connected, self.leads) {
                    self.round(epoch, ctx);
                }
            }
        }
    }

    fn round(&mut self, epoch: i64, ctx: &mut Context<'_>) {
        let now = since_start(ctx.now);
        let full = self
            .last_full
            .is_none_or(|at| ctx.now.saturating_sub(at) >= FULL_ROUND);
        let facts: Vec<Fact> = ctx.apps.facts[ctx.apps.cursor..].to_vec();
        if facts.is_empty() && !full && !std::mem::take(&mut self.dirty) && self.was_warm {
            return;
        }
        self.dirty = false;
        let read = ctx.apps.facts.len();
        let wanted: BTreeMap<ProcessGuid, Desired> = ctx
            .apps
            .rows
            .iter()
            .map(|(process, row)| {
                let desired = Desired {
                    version: row.version.clone(),
                    instances: row.instances,
                    run: row.run,
                    asleep: false,
                    untried: row.untried,
                };
                (process.clone(), desired)
            })
            .collect();
        let handed_on = facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::HandedOn(request) => Some(request.clone()),
                Fact::Changed(_) => None,
            })
            .collect();
        let asked = Asked {
            handed_on,
            restarts: Vec::new(),
        };
        let sight = Sight {
            now,
            warm: self.picture.is_warm(now, ADVERTISEMENT_TTL),
            fresh: LOST_AFTER,
        };
        let decided = self.picture.decide(&wanted, asked, sight);
        for action in decided.actions {
            if self.is_dead() {
                return;
            }
            self.dies_after = self.dies_after.map(|left| left - 1);
            match action {
                Action::Stop {
                    process, instances, ..
                } => {
                    self.picture.stopping(&instances, now);
                    ctx.out.push(Out::Publish(Message::Stop(StopInstances {
                        droplet: process,
                        version: None,
                        instances: Some(instances),
                        indices: None,
                        states: None,
                        yard_epoch: Some(epoch),
                    })));
                }
                Action::Start { process, index, .. } => {
                    if !self.start(&process, index, epoch, ctx) {
                        return;
                    }
                }
            }
        }
        for fact in &facts {
            if let Fact::Changed(process) = fact {
                ctx.out.push(Out::Publish(Message::Updated(Updated {
                    droplet: process.clone(),
                    cc_partition: None,
                })));
            }
        }
        if !facts.is_empty() && epoch >= ctx.apps.fence {
            ctx.apps.cursor = ctx.apps.cursor.max(read);
        }
        self.was_warm = sight.warm;
        if full {
            self.last_full = Some(ctx.now);
        }
    }

    /// False: this controller leads no more, as the store says.
    fn start(
        &mut self,
        process: &ProcessGuid,
        index: u32,
        epoch: i64,
        ctx: &mut Context<'_>,
    ) -> bool {
        let Some(row) = ctx.apps.rows.get(process) else {
            return true;
        };
        let now = since_start(ctx.now);
        let request = PlacementRequest {
            stack: "host".to_string(),
            memory_mb: row.memory_mb,
            disk_mb: row.disk_mb,
            siblings: BTreeSet::from([process.clone()]),
        };
        let instance = InstanceId::new(ctx.random.id()).expect("hex digits are an id");
        let candidate = Candidate {
            instance: instance.clone(),
            process: process.clone(),
            version: row.version.clone(),
            index,
            give_up_at: now + START_TIMEOUT,
        };
        let untried = row.untried;
        let decision = self.picture.place(
            candidate,
            &request,
            ADVERTISEMENT_TTL,
            now,
            ctx.random.number(),
        );
        match decision {
            Decision::Place { dea, .. } => {
                if untried {
                    if epoch < ctx.apps.fence {
                        self.picture.withdraw(&instance);
                        return false;
                    }
                    if let Some(row) = ctx.apps.rows.get_mut(process) {
                        row.untried = false;
                    }
                }
                let command = ctx.apps.command(process, index, instance, epoch);
                if let (Some(command), Some(agent)) = (command, ctx.agents.get(dea.as_str())) {
                    ctx.out.push(Out::Publish(Message::Start(*agent, command)));
                }
            }
            Decision::Refuse(refusal) => {
                self.picture
                    .waits(process, index, &refusal.to_string(), now);
            }
        }
        true
    }
}
