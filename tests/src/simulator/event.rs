//! What can happen: to the cluster from outside, and inside it.

use super::apps::Conduct;
use super::message::{Message, Place};
use super::network::Weather;
use super::{Millis, agent, controller, manager};
use dea::domain::crash::Exit;
use proto::ids::InstanceId;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Mishap {
    /// Cut from the bus for so long, which it notices after a while.
    Cut(Place, Millis, Millis),
    /// The bus is away.
    BusAway(Millis),
    /// The process is killed, and comes back after so long.
    Kill(Place, Millis),
    /// A machine is lost with its containers; an empty one comes after so long.
    Wipe(usize, Millis),
    /// An agent is shut down with its instances, and begins again after so long.
    Leave(usize, Millis),
    /// A process stands still.
    Suspend(Place, Millis),
    /// The program in one container ends.
    Crash(usize),
    /// The bus falls into two parts: these, and all others.
    Part(BTreeSet<Place>, Millis),
    /// The process is killed in the middle of what it does next, after so many effects, and comes back.
    KillMidway(Place, u64, Millis),
    /// A clock is set, by so many milliseconds.
    Clock(Place, i64),
    /// An agent is emptied, and takes work again after so long.
    Drain(usize, Millis),
    Undrain(usize),
    Weather(Weather),
}

/// What users want.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    Push { instances: u32, web: bool },
    Scale { app: usize, instances: u32 },
    Stop(usize),
    Start(usize),
    Remove(usize),
    Replace(usize, Conduct),
}

pub enum Event {
    Deliver(Place, Rc<Message>),
    Agent(usize, u32, agent::Task),
    ContainerEnds(usize, InstanceId, Exit),
    Controller(usize, u32, controller::Task),
    Committed(usize),
    LeadNoMore(usize, i64),
    Manager(usize, u32, manager::Task),
    FollowNow(usize),
    RouterSweep(usize, u32),
    RouterAnnounce(usize, u32),
    RouterSave(usize, u32),
    Elect,
    /// It notices that the bus is away …
    BusWent(Place),
    /// … and that it is there again.
    BusCame(Place),
    Return(Place),
    Mishap(Mishap),
    Wish(Wish),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Deliver(to, message) => write!(f, "{to:?} hears {message}"),
            Event::Agent(agent, _, task) => write!(f, "agent {agent}: {task:?}"),
            Event::ContainerEnds(agent, id, exit) => {
                write!(f, "agent {agent}: the program of {id} ends: {exit:?}")
            }
            Event::Controller(which, _, task) => write!(f, "controller {which}: {task:?}"),
            Event::Committed(which) => write!(f, "controller {which} is nudged"),
            Event::LeadNoMore(which, epoch) => {
                write!(f, "controller {which} leads no more in epoch {epoch}")
            }
            Event::Manager(which, _, task) => write!(f, "manager {which}: {task:?}"),
            Event::FollowNow(which) => write!(f, "manager {which} leads no more"),
            Event::RouterSweep(which, _) => write!(f, "router {which} sweeps"),
            Event::RouterAnnounce(which, _) => write!(f, "router {which} announces itself"),
            Event::RouterSave(which, _) => write!(f, "router {which} saves its table"),
            Event::Elect => f.write_str("election"),
            Event::BusWent(place) => write!(f, "{place:?} misses the bus"),
            Event::BusCame(place) => write!(f, "{place:?} has the bus again"),
            Event::Return(place) => write!(f, "{place:?} begins"),
            Event::Mishap(mishap) => write!(f, "MISHAP {mishap:?}"),
            Event::Wish(wish) => write!(f, "WISH {wish:?}"),
        }
    }
}
