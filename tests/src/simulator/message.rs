//! What travels over the simulated bus: the messages of the real one.

use proto::bus::Payload;
use proto::bus::dea::{Advertisement, Hello, Shutdown, StartInstance, StopInstances};
use proto::bus::health::{Exited, HealthRequest, Heartbeat, Updated};
use proto::bus::router::Registration;
use std::fmt;

/// Who is connected to the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Agent(usize),
    Controller(usize),
    Manager(usize),
    Router(usize),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// `dea.start`
    Hello(Hello),
    /// `dea.advertise`
    Advertise(Advertisement),
    /// `dea.shutdown`
    Leaving(Shutdown),
    /// `dea.heartbeat`
    Beat(Heartbeat),
    /// `droplet.exited`, to everybody.
    Exited(Exited),
    /// `droplet.exited`, to the one of the controllers that acknowledges it.
    Record {
        agent: usize,
        number: u64,
        exit: Exited,
    },
    /// The answer to it.
    Recorded { agent: usize, number: u64 },
    /// `dea.{id}.start`
    Start(usize, StartInstance),
    /// `dea.stop`
    Stop(StopInstances),
    /// `dea.locate`
    Locate,
    /// `router.register`
    Register(Registration),
    /// `router.unregister`
    Unregister(Registration),
    /// `router.start`
    RouterStart,
    /// `healthmanager.start`
    ManagerStart,
    /// `cloudcontrollers.hm.requests`, to one of the controllers.
    Ask(HealthRequest),
    /// `droplet.updated`
    Updated(Updated),
}

impl Message {
    /// Encodes and decodes, as the real bus does; `spoil` changes a byte in between. `None`: nobody can
    /// read it.
    pub fn over_the_wire(self, spoil: Option<u64>) -> Option<Message> {
        fn pass<M: Payload>(message: &M, spoil: Option<u64>) -> Option<M> {
            let mut bytes = message.encode();
            if let Some(chance) = spoil
                && let Some(at) = usize::try_from(chance >> 8)
                    .ok()
                    .and_then(|at| at.checked_rem(bytes.len()))
            {
                bytes[at] ^= (chance & 0xff) as u8;
            }
            M::decode(&bytes).ok()
        }
        Some(match self {
            Message::Hello(it) => Message::Hello(pass(&it, spoil)?),
            Message::Advertise(it) => Message::Advertise(pass(&it, spoil)?),
            Message::Leaving(it) => Message::Leaving(pass(&it, spoil)?),
            Message::Beat(it) => Message::Beat(pass(&it, spoil)?),
            Message::Exited(it) => Message::Exited(pass(&it, spoil)?),
            Message::Record {
                agent,
                number,
                exit,
            } => Message::Record {
                agent,
                number,
                exit: pass(&exit, spoil)?,
            },
            Message::Start(agent, it) => Message::Start(agent, pass(&it, spoil)?),
            Message::Stop(it) => Message::Stop(pass(&it, spoil)?),
            Message::Register(it) => Message::Register(pass(&it, spoil)?),
            Message::Unregister(it) => Message::Unregister(pass(&it, spoil)?),
            Message::Ask(it) => Message::Ask(pass(&it, spoil)?),
            Message::Updated(it) => Message::Updated(pass(&it, spoil)?),
            empty @ (Message::Recorded { .. }
            | Message::Locate
            | Message::RouterStart
            | Message::ManagerStart) => empty,
        })
    }
}

/// One line of the trace.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Hello(it) => write!(f, "hello {}", it.id),
            Message::Advertise(it) => {
                write!(f, "advertise {} {} MB", it.id, it.available_memory)
            }
            Message::Leaving(it) => write!(f, "leaving {}", it.id),
            Message::Beat(it) => {
                write!(f, "beat {} {:?}", it.dea, it.yard_complete)?;
                for one in &it.droplets {
                    let instance = one.instance.as_str();
                    let name = instance.get(..6).unwrap_or(instance);
                    write!(f, " {name}={:?}", one.state)?;
                }
                Ok(())
            }
            Message::Exited(it) => {
                write!(f, "exited {} {:?}", it.instance, it.reason)
            }
            Message::Record { exit, number, .. } => {
                write!(f, "record {number} {}", exit.instance)
            }
            Message::Recorded { agent, number } => write!(f, "recorded {agent} {number}"),
            Message::Start(agent, it) => write!(
                f,
                "start on {agent}: {} {} {} as {:?} epoch {:?}",
                it.droplet, it.version, it.index, it.yard_instance, it.yard_epoch
            ),
            Message::Stop(it) => write!(
                f,
                "stop {} {:?} epoch {:?}",
                it.droplet, it.instances, it.yard_epoch
            ),
            Message::Locate => f.write_str("locate"),
            Message::Register(it) => {
                write!(f, "register {:?} {}:{:?}", it.uris, it.host, it.port)
            }
            Message::Unregister(it) => {
                write!(f, "unregister {:?} {}:{:?}", it.uris, it.host, it.port)
            }
            Message::RouterStart => f.write_str("router.start"),
            Message::ManagerStart => f.write_str("healthmanager.start"),
            Message::Ask(it) => write!(
                f,
                "ask {:?} {} {:?} {:?}: {}",
                it.op,
                it.droplet,
                it.indices,
                it.instances,
                it.yard_reason.as_deref().unwrap_or_default()
            ),
            Message::Updated(it) => write!(f, "updated {}", it.droplet),
        }
    }
}
