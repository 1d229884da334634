//! A router: its table is the real one.

use super::message::Message;
use super::{Millis, Sabotage};
use router::domain::announcement::Announcement;
use router::domain::table::{Changed, Registry};
use std::collections::BTreeSet;

pub const SWEEP: Millis = 30_000;
const STALE_AFTER: Millis = 120_000;

#[derive(Default)]
pub struct Gateway {
    pub up: bool,
    pub connected: bool,
    pub life: u32,
    registry: Registry,
}

impl Gateway {
    pub fn new() -> Gateway {
        Gateway {
            connected: true,
            ..Gateway::default()
        }
    }

    pub fn kill(&mut self) {
        *self = Gateway {
            life: self.life + 1,
            connected: self.connected,
            ..Gateway::default()
        };
    }

    /// True: it asks to be told everything.
    pub fn bus_came(&mut self, now: Millis) -> bool {
        self.connected = true;
        self.registry.refresh_all(now);
        self.up
    }

    pub fn hear(&mut self, message: &Message, now: Millis) {
        match message {
            Message::Register(registration) => {
                if let Ok(announcement) = Announcement::read(registration, false) {
                    self.registry.register(&announcement, now);
                }
            }
            Message::Unregister(registration) => {
                if let Ok(announcement) = Announcement::read(registration, false) {
                    self.registry.unregister(&announcement, now);
                }
            }
            _ => {}
        }
    }

    pub fn sweep(&mut self, now: Millis, sabotage: Option<Sabotage>) -> Changed {
        if self.connected || sabotage == Some(Sabotage::RouterPrunesAlone) {
            self.registry.sweep(now, SWEEP, STALE_AFTER)
        } else {
            Changed::default()
        }
    }

    /// Names and addresses.
    pub fn routes(&self) -> BTreeSet<(String, String)> {
        self.registry
            .table()
            .iter()
            .flat_map(|pool| {
                pool.members.iter().map(|member| {
                    (
                        pool.name.host.to_string(),
                        member.endpoint.identity.address.to_string(),
                    )
                })
            })
            .collect()
    }
}
