//! What befalls the cluster and what its users wish, carried out.

use super::{Event, Mishap, Simulation, Wish};
use crate::simulator::Millis;
use crate::simulator::agent::Truth;
use crate::simulator::invariants::Violation;
use crate::simulator::message::Place;
use crate::simulator::network::Weather;
use dea::domain::crash::Exit;
use proto::ids::{InstanceId, ProcessGuid};

impl Simulation {
    fn cut(&mut self, place: Place, span: Millis, noticed: Millis) {
        self.trouble_at(place);
        self.network.cut(place, self.now + span);
        if noticed < span {
            self.after(noticed, Event::BusWent(place));
            let back = self.random.between(1, 2_000);
            self.after(span + back, Event::BusCame(place));
        }
    }

    pub(super) fn happen(&mut self, mishap: Mishap) -> Result<(), Violation> {
        match mishap {
            Mishap::Cut(place, span, noticed) => self.cut(place, span, noticed),
            Mishap::BusAway(span) => {
                let mut places: Vec<Place> = (0..self.agents.len()).map(Place::Agent).collect();
                places.extend((0..self.controllers.len()).map(Place::Controller));
                places.extend((0..self.managers.len()).map(Place::Manager));
                places.extend((0..self.routers.len()).map(Place::Router));
                for place in places {
                    self.cut(place, span, 1);
                }
            }
            Mishap::Kill(place, back) => {
                self.trouble_at(place);
                match place {
                    Place::Agent(which) => self.agents[which].kill(),
                    Place::Controller(which) => self.controllers[which].kill(),
                    Place::Manager(which) => self.managers[which].kill(),
                    Place::Router(which) => self.routers[which].kill(),
                }
                self.after(back, Event::Return(place));
            }
            Mishap::Wipe(which, back) => {
                self.invariants.trouble_with_agent(which, self.now);
                for instance in self.agents[which].wipe() {
                    self.happened(which, Truth::Over { instance })?;
                }
                self.invariants.machine_is_new(which);
                self.after(back, Event::Return(Place::Agent(which)));
            }
            Mishap::Part(island, span) => {
                self.invariants.trouble_in_the_core(self.now);
                self.network.part(island, self.now + span);
            }
            Mishap::KillMidway(place, effects, back) => {
                match place {
                    Place::Agent(which) => self.agents[which].kill_midway(effects),
                    Place::Controller(which) => self.controllers[which].kill_midway(effects),
                    // Nothing these do has a middle.
                    Place::Manager(which) => self.managers[which].kill(),
                    Place::Router(which) => self.routers[which].kill(),
                }
                self.after(back, Event::Return(place));
            }
            Mishap::Clock(place, by) => match place {
                Place::Agent(which) => self.agents[which].set_clock(by),
                Place::Controller(which) => self.controllers[which].skew += by,
                Place::Manager(which) => self.managers[which].skew += by,
                // It has none that can be set.
                Place::Router(_) => {}
            },
            Mishap::Drain(which, span) => {
                self.with_agent(which, |one, ctx| one.drain(ctx))?;
                self.after(span, Event::Mishap(Mishap::Undrain(which)));
            }
            Mishap::Undrain(which) => self.with_agent(which, |one, ctx| one.undrain(ctx))?,
            Mishap::Leave(which, back) => {
                if self.agents[which].up {
                    self.invariants.trouble_with_agent(which, self.now);
                    self.with_agent(which, |one, ctx| one.leave(ctx))?;
                    self.left(which);
                    // Whatever it is still at after half a minute is cut short.
                    self.after(
                        40_000,
                        Event::Mishap(Mishap::Kill(Place::Agent(which), back)),
                    );
                }
            }
            Mishap::Suspend(place, span) => {
                self.trouble_at(place);
                self.suspended.insert(place, self.now + span);
            }
            Mishap::Crash(which) => {
                let running: Vec<InstanceId> = self.agents[which].running().cloned().collect();
                let chosen = self.random.index(running.len());
                if let Some(id) = running.get(chosen).cloned() {
                    self.with_agent(which, |one, ctx| {
                        one.container_ends(&id, Exit::Signal(11), ctx)
                    })?;
                }
            }
            Mishap::Weather(weather) => {
                self.invariants.trouble_in_the_core(self.now);
                self.network.weather = weather;
            }
        }
        Ok(())
    }

    fn app(&self, which: usize) -> Option<ProcessGuid> {
        let count = self.apps.rows.len().max(1);
        self.apps.rows.keys().nth(which % count).cloned()
    }

    pub(super) fn wish(&mut self, wish: Wish) {
        let now = self.now;
        match wish {
            Wish::Push { instances, web } => {
                self.apps.push(instances, web, 64, now);
            }
            Wish::Scale { app, instances } => {
                if let Some(process) = self.app(app) {
                    self.apps.scale(&process, instances, now);
                }
            }
            Wish::Stop(app) => {
                if let Some(process) = self.app(app) {
                    self.apps.run(&process, false, now);
                }
            }
            Wish::Start(app) => {
                if let Some(process) = self.app(app) {
                    self.apps.run(&process, true, now);
                }
            }
            Wish::Remove(app) => {
                if let Some(process) = self.app(app) {
                    self.apps.remove(&process);
                }
            }
            Wish::Replace(app, conduct) => {
                if let Some(process) = self.app(app) {
                    self.apps.replace(&process, conduct, now);
                }
            }
        }
        self.committed();
    }

    /// The faults are over: the weather is calm, and everybody is there again.
    pub fn calm_down(&mut self) -> Result<(), Violation> {
        self.calm = true;
        self.network.weather = Weather::CALM;
        let now = self.now;
        let cut = self.network.mend(now);
        for place in cut {
            self.after(1, Event::BusCame(place));
        }
        self.suspended.clear();
        let mut places: Vec<Place> = (0..self.agents.len()).map(Place::Agent).collect();
        places.extend((0..self.controllers.len()).map(Place::Controller));
        places.extend((0..self.managers.len()).map(Place::Manager));
        places.extend((0..self.routers.len()).map(Place::Router));
        for place in places {
            if let Place::Agent(which) = place
                && self.agents[which].draining
            {
                self.agents[which].kill();
            }
            if !self.is_up(place) {
                self.after(1, Event::Return(place));
            }
        }
        for one in &mut self.controllers {
            one.spare();
        }
        for which in 0..self.agents.len() {
            self.agents[which].spare();
            self.with_agent(which, |one, ctx| one.undrain(ctx))?;
        }
        self.apps.mend();
        self.apps.failing_preparations = 0;
        Ok(())
    }
}
