//! Who leads: a controller and a health manager, of those that are there.

use super::{ELECTION, Event, Simulation};
use crate::simulator::Millis;
use crate::simulator::invariants::Violation;
use crate::simulator::message::Place;

/// How long a leader may be away before another one leads.
const LEASE: Millis = 10_000;

impl Simulation {
    pub(super) fn elect(&mut self) -> Result<(), Violation> {
        self.after(ELECTION, Event::Elect);
        let able = |place| self.is_up(place) && self.stands_still(place).is_none();
        let leader = self
            .controllers
            .iter()
            .position(|one| one.leads == Some(self.epoch) && one.leads.is_some());
        let leads = leader.is_some_and(|which| able(Place::Controller(which)));
        let others: Vec<usize> = (0..self.controllers.len())
            .filter(|which| able(Place::Controller(*which)))
            .collect();
        if leads {
            self.controller_away = None;
        } else {
            let since = *self.controller_away.get_or_insert(self.now);
            let over = self.epoch == 0 || self.now - since >= LEASE;
            if over && !others.is_empty() {
                let chosen = others[self.random.index(others.len())];
                self.invariants.trouble_in_the_core(self.now);
                if let Some(former) = leader {
                    // Told only when it is awake again.
                    let wait = self.random.between(20, 300);
                    self.after(wait, Event::LeadNoMore(former, self.epoch));
                }
                self.epoch += 1;
                self.controller_away = None;
                let epoch = self.epoch;
                self.with_controller(chosen, |one, ctx| one.begin(epoch, ctx))?;
            }
        }
        let able = |place| self.is_up(place) && self.stands_still(place).is_none();
        let leader = self.managers.iter().position(|one| one.leads);
        let leads = leader.is_some_and(|which| able(Place::Manager(which)));
        let others: Vec<usize> = (0..self.managers.len())
            .filter(|which| able(Place::Manager(*which)))
            .collect();
        if leads {
            self.manager_away = None;
        } else {
            let first = self.manager_away.is_none() && self.now < LEASE;
            let since = *self.manager_away.get_or_insert(self.now);
            if (first || self.now - since >= LEASE) && !others.is_empty() {
                let chosen = others[self.random.index(others.len())];
                self.invariants.trouble_in_the_core(self.now);
                if let Some(former) = leader {
                    self.after(100, Event::FollowNow(former));
                }
                self.manager_away = None;
                self.with_manager(chosen, |one, ctx| one.set_leads(true, ctx))?;
            }
        }
        Ok(())
    }
}
