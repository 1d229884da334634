//! The queue of everything that is going to happen, and who it happens to.

mod election;
mod misfortune;

use super::agent::{self, Agent, Truth, private_id};
use super::apps::Apps;
use super::controller::{self, Controller};
pub use super::event::{Event, Mishap, Wish};
use super::gateway::{self, Gateway};
use super::invariants::{Invariants, Violation};
use super::manager::{self, Manager};
use super::message::{Message, Place};
use super::network::{Fate, Network};
use super::random::Random;
use super::scenario::Scenario;
use super::trace::Trace;
use super::{Millis, Sabotage};
use health_manager::domain::policy::Policy;
use proto::bus::router::Registration;
use proto::config::Settings;
use proto::ids::InstanceId;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const ELECTION: Millis = 1_000;
const ANNOUNCE_AGAIN: Millis = 2_000;
/// A message later than this explains what goes wrong by it.
const LATE: Millis = 500;

/// The cluster, its users and its bad luck.
pub struct Simulation {
    pub now: Millis,
    number: u64,
    queue: BTreeMap<(Millis, u64), Event>,
    pub random: Random,
    pub apps: Apps,
    pub agents: Vec<Agent>,
    agent_numbers: BTreeMap<String, usize>,
    controllers: Vec<Controller>,
    managers: Vec<Manager>,
    routers: Vec<Gateway>,
    network: Network,
    pub invariants: Invariants,
    pub trace: Trace,
    suspended: BTreeMap<Place, Millis>,
    epoch: i64,
    controller_away: Option<Millis>,
    manager_away: Option<Millis>,
    wire: bool,
    sabotage: Option<Sabotage>,
    pub delivered: u64,
    /// Mishaps are over: nothing that was planned before happens any more.
    pub calm: bool,
}

impl Simulation {
    pub fn new(scenario: &Scenario, seed: u64) -> Simulation {
        let mut random = Random::of(seed);
        let agents: Vec<Agent> = (0..scenario.agents)
            .map(|number| {
                let zone = format!("zone-{}", number % scenario.zones.max(1));
                let skew = random.between(0, 4_000) as i64 - 2_000;
                Agent::new(number, zone, scenario.offered, skew)
            })
            .collect();
        let agent_numbers = agents
            .iter()
            .enumerate()
            .map(|(number, agent)| (agent.id.to_string(), number))
            .collect();
        let policy = Policy::read(&Settings::default());
        let mut simulation = Simulation {
            now: 0,
            number: 0,
            queue: BTreeMap::new(),
            random,
            apps: Apps::failing(scenario.failing_preparations),
            agents,
            agent_numbers,
            controllers: Vec::new(),
            managers: Vec::new(),
            routers: Vec::new(),
            network: Network::default(),
            invariants: Invariants::default(),
            trace: Trace::new(scenario.in_words, scenario.lines),
            suspended: BTreeMap::new(),
            epoch: 0,
            controller_away: None,
            manager_away: None,
            wire: scenario.wire,
            sabotage: scenario.sabotage,
            delivered: 0,
            calm: false,
        };
        for _ in 0..scenario.controllers {
            simulation
                .controllers
                .push(Controller::new(scenario.gather));
        }
        for _ in 0..scenario.managers {
            let mut manager = Manager::new(policy.clone());
            manager.connected = true;
            simulation.managers.push(manager);
        }
        for _ in 0..scenario.routers {
            simulation.routers.push(Gateway::new());
        }
        for agent in &mut simulation.agents {
            agent.connected = true;
        }
        simulation
    }

    /// Apps that run already, as agents that begin find them.
    pub fn plant(&mut self, apps: usize, instances: u32, memory_mb: u64) -> Result<(), Violation> {
        let mut next = 0;
        for number in 0..apps {
            let process = self
                .apps
                .push(instances, number % 4 != 0, memory_mb, self.now);
            if let Some(row) = self.apps.rows.get_mut(&process) {
                row.untried = false;
            }
            for index in 0..instances {
                let id = InstanceId::new(self.random.id()).expect("hex digits are an id");
                let agent = next % self.agents.len();
                next += 1;
                if let Some(start) = self.apps.command(&process, index, id, 1) {
                    self.with_agent(agent, |agent, ctx| agent.plant(start, ctx))?;
                }
            }
        }
        self.apps.cursor = self.apps.facts.len();
        Ok(())
    }

    /// Everybody begins, at slightly different times.
    pub fn begin(&mut self) {
        let mut places: Vec<Place> = (0..self.agents.len()).map(Place::Agent).collect();
        places.extend((0..self.controllers.len()).map(Place::Controller));
        places.extend((0..self.managers.len()).map(Place::Manager));
        places.extend((0..self.routers.len()).map(Place::Router));
        for place in places {
            let wait = self.random.between(0, 3_000);
            self.after(wait, Event::Return(place));
        }
        self.after(ELECTION, Event::Elect);
    }

    fn after(&mut self, wait: Millis, event: Event) {
        self.number += 1;
        self.queue.insert((self.now + wait, self.number), event);
    }

    pub fn wish_at(&mut self, at: Millis, wish: Wish) {
        self.after(at.saturating_sub(self.now), Event::Wish(wish));
    }

    pub fn mishap_at(&mut self, at: Millis, mishap: Mishap) {
        self.after(at.saturating_sub(self.now), Event::Mishap(mishap));
    }

    /// Runs until then.
    pub fn run_until(&mut self, until: Millis) -> Result<(), Violation> {
        while let Some((key, _)) = self.queue.first_key_value() {
            if key.0 > until {
                break;
            }
            self.step()?;
        }
        self.now = until;
        Ok(())
    }

    fn step(&mut self) -> Result<(), Violation> {
        let Some(((at, number), event)) = self.queue.pop_first() else {
            return Ok(());
        };
        self.now = at;
        if let Some(until) = self
            .place_of(&event)
            .and_then(|place| self.stands_still(place))
        {
            self.after(until - at, event);
            return Ok(());
        }
        self.trace.note(at, number, &event);
        match event {
            Event::Deliver(to, message) => self.deliver(to, Rc::unwrap_or_clone(message)),
            Event::Agent(which, life, task) => {
                if self.agents[which].life == life && self.agents[which].up {
                    self.with_agent(which, |agent, ctx| agent.task(task, ctx))?;
                    self.left(which);
                }
                Ok(())
            }
            Event::ContainerEnds(which, id, exit) => {
                self.with_agent(which, |agent, ctx| agent.container_ends(&id, exit, ctx))?;
                self.left(which);
                Ok(())
            }
            Event::Controller(which, life, task) => {
                if self.controllers[which].life == life && self.controllers[which].up {
                    self.with_controller(which, |one, ctx| one.task(task, ctx))?;
                }
                Ok(())
            }
            Event::Committed(which) => {
                if self.controllers[which].up {
                    self.with_controller(which, |one, ctx| one.wake(ctx))?;
                }
                Ok(())
            }
            Event::LeadNoMore(which, epoch) => {
                if self.controllers[which].leads == Some(epoch) {
                    self.controllers[which].lead_no_more();
                }
                Ok(())
            }
            Event::Manager(which, life, task) => {
                if self.managers[which].life == life && self.managers[which].up {
                    self.with_manager(which, |one, ctx| one.task(task, ctx))?;
                }
                Ok(())
            }
            Event::FollowNow(which) => {
                self.with_manager(which, |one, ctx| one.set_leads(false, ctx))
            }
            Event::RouterSweep(which, life) => self.sweep(which, life),
            Event::RouterAnnounce(which, life) => {
                if self.routers[which].life == life && self.routers[which].connected {
                    self.publish(Place::Router(which), Message::RouterStart)?;
                }
                Ok(())
            }
            Event::RouterSave(which, life) => {
                if self.routers[which].life == life {
                    self.routers[which].save();
                    self.after(gateway::SAVE, Event::RouterSave(which, life));
                }
                Ok(())
            }
            Event::Elect => self.elect(),
            Event::BusWent(place) => self.bus_went(place),
            Event::BusCame(place) => self.bus_came(place),
            Event::Return(place) => self.begin_one(place),
            Event::Mishap(mishap) => {
                if self.calm {
                    Ok(())
                } else {
                    self.happen(mishap)
                }
            }
            Event::Wish(wish) => {
                self.wish(wish);
                Ok(())
            }
        }
    }

    fn place_of(&self, event: &Event) -> Option<Place> {
        match event {
            Event::Deliver(place, _) => Some(*place),
            Event::Agent(which, ..) | Event::ContainerEnds(which, ..) => Some(Place::Agent(*which)),
            Event::Controller(which, ..)
            | Event::Committed(which)
            | Event::LeadNoMore(which, _) => Some(Place::Controller(*which)),
            Event::Manager(which, ..) | Event::FollowNow(which) => Some(Place::Manager(*which)),
            Event::RouterSweep(which, _)
            | Event::RouterAnnounce(which, _)
            | Event::RouterSave(which, _) => Some(Place::Router(*which)),
            Event::BusWent(place) | Event::BusCame(place) => Some(*place),
            Event::Elect | Event::Return(_) | Event::Mishap(_) | Event::Wish(_) => None,
        }
    }

    fn stands_still(&self, place: Place) -> Option<Millis> {
        self.suspended
            .get(&place)
            .copied()
            .filter(|until| *until > self.now)
    }

    fn violation(&self, what: String) -> Violation {
        Violation { at: self.now, what }
    }

    fn with_agent(
        &mut self,
        which: usize,
        act: impl FnOnce(&mut Agent, &mut agent::Context<'_>),
    ) -> Result<(), Violation> {
        let mut out = Vec::new();
        let mut ctx = agent::Context {
            now: self.now,
            apps: &self.apps,
            random: &mut self.random,
            sabotage: self.sabotage,
            out: &mut out,
        };
        let one = &mut self.agents[which];
        act(one, &mut ctx);
        let life = one.life;
        for out in out {
            match out {
                agent::Out::Publish(message) => self.publish(Place::Agent(which), message)?,
                agent::Out::After(wait, task) => self.after(wait, Event::Agent(which, life, task)),
                agent::Out::ContainerEnds(wait, id, exit) => {
                    self.after(wait, Event::ContainerEnds(which, id, exit));
                }
                agent::Out::Truth(truth) => self.happened(which, truth)?,
            }
        }
        if self.agents[which].is_dead() {
            self.agents[which].kill();
            self.trouble_at(Place::Agent(which));
        }
        let emptied = self.agents[which].is_emptied();
        self.invariants.emptied(which, emptied, self.now);
        let (used, offered) = (self.agents[which].used(), self.agents[which].offered);
        if used.memory_mb > offered.memory_mb || used.disk_mb > offered.disk_mb {
            return Err(
                self.violation(format!("agent {which} holds {used:?}, and has {offered:?}"))
            );
        }
        Ok(())
    }

    /// Judges what really happened on an agent.
    fn happened(&mut self, which: usize, truth: Truth) -> Result<(), Violation> {
        let ordered = match &truth {
            Truth::Ordered { instance } => Some(instance.clone()),
            _ => None,
        };
        self.invariants
            .truth(which, truth, self.now)
            .map_err(|what| self.violation(what))?;
        // A process that begins cannot know which addresses routers still have in mind; one that went on does.
        if let Some(instance) = ordered
            && !self.invariants.is_anew(which, self.now)
            && let Some(address) = self.invariants.address_of(&instance)
        {
            for router in 0..self.routers.len() {
                self.judge_routes(router, &address)?;
            }
        }
        Ok(())
    }

    fn judge_routes(&mut self, router: usize, address: &str) -> Result<(), Violation> {
        let names = self.routers[router].names_of(address);
        self.invariants
            .leads_to(&names, address)
            .map_err(|what| self.violation(format!("router {router}: {what}")))
    }

    fn with_controller(
        &mut self,
        which: usize,
        act: impl FnOnce(&mut Controller, &mut controller::Context<'_>),
    ) -> Result<(), Violation> {
        let mut out = Vec::new();
        let mut ctx = controller::Context {
            now: self.now,
            apps: &mut self.apps,
            random: &mut self.random,
            agents: &self.agent_numbers,
            out: &mut out,
        };
        let one = &mut self.controllers[which];
        act(one, &mut ctx);
        let life = one.life;
        for out in out {
            match out {
                controller::Out::Publish(message) => {
                    if let Message::Stop(stop) = &message {
                        self.invariants
                            .stop_sent(stop, &self.apps, self.now)
                            .map_err(|what| self.violation(what))?;
                    }
                    self.publish(Place::Controller(which), message)?;
                }
                controller::Out::After(wait, task) => {
                    self.after(wait, Event::Controller(which, life, task));
                }
                controller::Out::Committed => self.committed(),
            }
        }
        if self.controllers[which].is_dead() {
            self.controllers[which].kill();
            self.trouble_at(Place::Controller(which));
        }
        Ok(())
    }

    fn with_manager(
        &mut self,
        which: usize,
        act: impl FnOnce(&mut Manager, &mut manager::Context<'_>),
    ) -> Result<(), Violation> {
        let mut out = Vec::new();
        let readable = (0..self.controllers.len()).any(|one| {
            self.controllers[one].up && self.stands_still(Place::Controller(one)).is_none()
        });
        let mut ctx = manager::Context {
            now: self.now,
            apps: &self.apps,
            random: &mut self.random,
            readable,
            sabotage: self.sabotage,
            out: &mut out,
        };
        let one = &mut self.managers[which];
        act(one, &mut ctx);
        let (life, connected) = (one.life, one.connected);
        for out in out {
            match out {
                manager::Out::Publish(message) => self.publish(Place::Manager(which), message)?,
                manager::Out::After(wait, task) => {
                    self.after(wait, Event::Manager(which, life, task));
                }
                manager::Out::Planned(requests) => {
                    if requests > 0 && !connected {
                        return Err(self.violation(format!(
                            "health manager {which} asks for {requests} things while its bus is away"
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    fn committed(&mut self) {
        for which in 0..self.controllers.len() {
            let wait = self.random.between(1, 20);
            self.after(wait, Event::Committed(which));
        }
    }

    fn receivers(&mut self, from: Place, message: &Message) -> Vec<Place> {
        let controllers = || (0..self.controllers.len()).map(Place::Controller);
        let managers = || (0..self.managers.len()).map(Place::Manager);
        let agents = || (0..self.agents.len()).map(Place::Agent);
        match message {
            Message::Hello(_) | Message::Advertise(_) | Message::Leaving(_) => {
                controllers().collect()
            }
            Message::Beat(_) | Message::Exited(_) => controllers().chain(managers()).collect(),
            Message::Record { .. } | Message::Ask(_) => {
                let there: Vec<Place> = controllers()
                    .filter(|place| self.is_up(*place) && self.is_reached(from, *place))
                    .collect();
                let chosen = self.random.index(there.len());
                there.get(chosen).copied().into_iter().collect()
            }
            Message::Recorded { agent, .. } | Message::Start(agent, _) => {
                vec![Place::Agent(*agent)]
            }
            // The others would only note the epoch; in a large cluster they are spared.
            Message::Stop(stop) if self.agents.len() > 50 => agents()
                .filter(|place| matches!(place, Place::Agent(which) if self.agents[*which].holds(&stop.droplet)))
                .collect(),
            Message::Stop(_) | Message::Locate | Message::ManagerStart | Message::RouterStart => {
                agents().collect()
            }
            Message::Register(_) | Message::Unregister(_) => {
                (0..self.routers.len()).map(Place::Router).collect()
            }
            Message::Updated(_) => managers().collect(),
        }
    }

    fn publish(&mut self, from: Place, message: Message) -> Result<(), Violation> {
        let receivers = self.receivers(from, &message);
        let cut = self.network.is_cut(from, self.now);
        let spoil = (self.sabotage == Some(Sabotage::SpoiltBytes) && self.random.chance(300))
            .then(|| self.random.number());
        let message = if self.wire || spoil.is_some() {
            match message.over_the_wire(spoil) {
                Some(message) => message,
                None => return Ok(()),
            }
        } else {
            message
        };
        let message = Rc::new(message);
        for to in receivers {
            if cut || !self.is_reached(from, to) {
                self.trouble(from, to);
                continue;
            }
            match self.network.fate(&mut self.random) {
                Fate::Lost => self.trouble(from, to),
                Fate::Arrives(wait, again) => {
                    if wait > LATE || again.is_some_and(|again| again > LATE) {
                        self.trouble(from, to);
                    }
                    self.after(wait, Event::Deliver(to, message.clone()));
                    if let Some(again) = again {
                        self.after(again, Event::Deliver(to, message.clone()));
                    }
                }
            }
        }
        Ok(())
    }

    fn is_reached(&self, from: Place, to: Place) -> bool {
        !self.network.is_cut(to, self.now) && !self.network.is_parted(from, to, self.now)
    }

    fn trouble(&mut self, from: Place, to: Place) {
        match (from, to) {
            (Place::Agent(agent), _) | (_, Place::Agent(agent)) => {
                self.invariants.trouble_with_agent(agent, self.now);
            }
            _ => self.invariants.trouble_in_the_core(self.now),
        }
    }

    fn trouble_at(&mut self, place: Place) {
        match place {
            Place::Agent(agent) => self.invariants.trouble_with_agent(agent, self.now),
            Place::Controller(_) | Place::Manager(_) => {
                self.invariants.trouble_in_the_core(self.now);
            }
            Place::Router(_) => {}
        }
    }

    fn is_up(&self, place: Place) -> bool {
        match place {
            Place::Agent(which) => self.agents[which].up,
            Place::Controller(which) => self.controllers[which].up,
            Place::Manager(which) => self.managers[which].up,
            Place::Router(which) => self.routers[which].up,
        }
    }

    fn deliver(&mut self, to: Place, message: Message) -> Result<(), Violation> {
        if !self.is_up(to) || self.network.is_cut(to, self.now) {
            self.trouble_at(to);
            return Ok(());
        }
        self.delivered += 1;
        match to {
            Place::Agent(which) => {
                self.with_agent(which, |one, ctx| one.hear(message, ctx))?;
                self.left(which);
                Ok(())
            }
            Place::Controller(which) => {
                self.with_controller(which, |one, ctx| one.hear(message, ctx))
            }
            Place::Manager(which) => self.with_manager(which, |one, ctx| one.hear(message, ctx)),
            Place::Router(which) => {
                self.routers[which].hear(&message, self.now, self.sabotage);
                match &message {
                    Message::Register(registration) => self.judge_registered(which, registration),
                    _ => Ok(()),
                }
            }
        }
    }

    /// The router knows from now on who listens there.
    fn judge_registered(
        &mut self,
        router: usize,
        registration: &Registration,
    ) -> Result<(), Violation> {
        let Some(port) = registration.port else {
            return Ok(());
        };
        let address = format!("{}:{port}", registration.host);
        let own = self
            .invariants
            .program_at(&address)
            .is_some_and(|id| registration.private_instance_id.as_deref() == Some(&private_id(id)));
        if own {
            self.judge_routes(router, &address)?;
        }
        Ok(())
    }

    /// An agent that was shut down and has nothing left ends.
    fn left(&mut self, which: usize) {
        if self.agents[which].up && self.agents[which].has_left() {
            self.agents[which].kill();
            self.invariants.trouble_with_agent(which, self.now);
        }
    }

    fn sweep(&mut self, which: usize, life: u32) -> Result<(), Violation> {
        let sabotage = self.sabotage;
        let one = &mut self.routers[which];
        if one.life != life || !one.up {
            return Ok(());
        }
        let before = one.routes();
        let swept = one.sweep(self.now, sabotage);
        if swept.removed > 0 {
            let after = one.routes();
            for (name, address) in before.difference(&after) {
                self.invariants
                    .forgotten(name, address, self.now)
                    .map_err(|what| self.violation(format!("router {which} forgets {what}")))?;
            }
        }
        let one = &self.routers[which];
        if swept.removed > 0 && !one.connected {
            return Err(self.violation(format!(
                "router {which} forgets {} endpoints while its bus is away",
                swept.removed
            )));
        }
        self.after(gateway::SWEEP, Event::RouterSweep(which, life));
        Ok(())
    }

    fn begin_one(&mut self, place: Place) -> Result<(), Violation> {
        if self.is_up(place) {
            return Ok(());
        }
        self.trouble_at(place);
        match place {
            Place::Agent(which) => {
                self.invariants.agent_began(which, self.now);
                self.with_agent(which, |one, ctx| one.restart(ctx))
            }
            Place::Controller(which) => self.with_controller(which, |one, ctx| one.restart(ctx)),
            Place::Manager(which) => self.with_manager(which, |one, ctx| one.restart(ctx)),
            Place::Router(which) => {
                self.routers[which].restart(self.now);
                let life = self.routers[which].life;
                self.after(gateway::SWEEP, Event::RouterSweep(which, life));
                self.after(gateway::SAVE, Event::RouterSave(which, life));
                if self.routers[which].connected {
                    self.bus_came(place)?;
                }
                Ok(())
            }
        }
    }

    fn bus_went(&mut self, place: Place) -> Result<(), Violation> {
        if !self.network.is_cut(place, self.now) {
            return Ok(());
        }
        self.trouble_at(place);
        match place {
            Place::Agent(which) => self.agents[which].connected = false,
            Place::Controller(which) => self.controllers[which].bus_went(),
            Place::Manager(which) => self.with_manager(which, |one, ctx| one.bus_went(ctx))?,
            Place::Router(which) => self.routers[which].connected = false,
        }
        Ok(())
    }

    fn bus_came(&mut self, place: Place) -> Result<(), Violation> {
        if self.network.is_cut(place, self.now) {
            return Ok(());
        }
        self.trouble_at(place);
        match place {
            Place::Agent(which) => self.with_agent(which, |one, ctx| one.bus_came(ctx)),
            Place::Controller(which) => self.with_controller(which, |one, ctx| one.bus_came(ctx)),
            Place::Manager(which) => self.with_manager(which, |one, ctx| one.bus_came(ctx)),
            Place::Router(which) => {
                let life = self.routers[which].life;
                if self.routers[which].bus_came(self.now) {
                    self.publish(place, Message::RouterStart)?;
                    self.after(ANNOUNCE_AGAIN, Event::RouterAnnounce(which, life));
                }
                Ok(())
            }
        }
    }

    /// What is not as it should be; `None`: everything is.
    pub fn difference(&self) -> Option<String> {
        if let Some(difference) = self.invariants.difference(&self.apps) {
            return Some(difference);
        }
        let real: BTreeSet<(String, String)> = self
            .agents
            .iter()
            .flat_map(|agent| agent.routes())
            .collect();
        self.routers.iter().enumerate().find_map(|(which, router)| {
            let known = router.routes();
            let missing = real.difference(&known).next();
            let stale = known.difference(&real).next();
            (missing.is_some() || stale.is_some()).then(|| {
                format!("router {which}: misses {missing:?}, knows {stale:?} which is not there")
            })
        })
    }
}
