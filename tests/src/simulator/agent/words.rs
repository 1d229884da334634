//! The words between an agent and its surroundings: what it plans, what it wants done, and what really
//! happened in its containers.

use crate::simulator::apps::Apps;
use crate::simulator::message::Message;
use crate::simulator::random::Random;
use crate::simulator::{Millis, Sabotage};
use dea::domain::crash::Exit;
use dea::domain::epoch::Command;
use proto::ids::{InstanceId, ProcessGuid, Version};

/// What the agent set itself to do later.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    Beat,
    Advertise,
    AdvertiseSoon,
    Register,
    Spool,
    /// Preparing a sandbox has ended.
    Prepared(InstanceId, bool),
    Check(InstanceId),
    Wake(InstanceId, Millis),
    /// The time to be emptied is over.
    DrainOver,
}

/// What really happened, for the invariants.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    Begun {
        instance: InstanceId,
        slot: Slot,
        /// Where routers would find it.
        address: String,
    },
    /// Its program runs.
    Ordered {
        instance: InstanceId,
    },
    Healthy {
        instance: InstanceId,
    },
    /// It is being stopped.
    Stopping {
        instance: InstanceId,
        cause: Cause,
    },
    Over {
        instance: InstanceId,
    },
    /// A command was followed.
    Obeyed {
        command: Command,
        epoch: i64,
    },
}

/// Why an agent ends an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Told,
    AgentShutdown,
    Unhealthy,
    /// Nobody asked for it: the machine gave the order by itself.
    Unknown,
}

/// A place for one instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    pub process: ProcessGuid,
    pub version: Version,
    pub index: u32,
}

/// What an agent wants of its surroundings.
pub enum Out {
    Publish(Message),
    After(Millis, Task),
    /// The process in a container ends then, whether the agent lives or not.
    ContainerEnds(Millis, InstanceId, Exit),
    Truth(Truth),
}

/// What is passed into every step.
pub struct Context<'a> {
    pub now: Millis,
    pub apps: &'a Apps,
    pub random: &'a mut Random,
    pub sabotage: Option<Sabotage>,
    pub out: &'a mut Vec<Out>,
}

impl Context<'_> {
    pub fn publish(&mut self, message: Message) {
        self.out.push(Out::Publish(message));
    }
    pub fn after(&mut self, wait: Millis, task: Task) {
        self.out.push(Out::After(wait, task));
    }
    pub fn truth(&mut self, truth: Truth) {
        self.out.push(Out::Truth(truth));
    }
}
