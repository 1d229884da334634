//! A router: its table is the real one, and so is what it saves of it.

use super::message::Message;
use super::{Millis, Sabotage};
use proto::bus::router::Registration;
use router::adapters::table_file::registrations;
use router::domain::announcement::Announcement;
use router::domain::table::{Changed, Registry};
use std::collections::{BTreeMap, BTreeSet};

pub const SWEEP: Millis = 30_000;
pub const SAVE: Millis = 5_000;
const STALE_AFTER: Millis = 120_000;

#[derive(Default)]
pub struct Gateway {
    pub up: bool,
    pub connected: bool,
    pub life: u32,
    registry: Registry,
    /// Names under which an address was registered; some may be gone since.
    names: BTreeMap<String, BTreeSet<String>>,
    saved: Vec<Registration>,
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
            saved: std::mem::take(&mut self.saved),
            ..Gateway::default()
        };
    }

    /// It knows what it saved.
    pub fn restart(&mut self, now: Millis) {
        self.up = true;
        for registration in std::mem::take(&mut self.saved) {
            self.register(&registration, now);
        }
        self.save();
    }

    pub fn save(&mut self) {
        self.saved = registrations(self.registry.table()).collect();
    }

    /// True: it asks to be told everything.
    pub fn bus_came(&mut self, now: Millis) -> bool {
        self.connected = true;
        self.registry.refresh_all(now);
        self.up
    }

    fn register(&mut self, registration: &Registration, now: Millis) {
        let Ok(announcement) = Announcement::read(registration, false) else {
            return;
        };
        self.registry.register(&announcement, now);
        let address = announcement.identity.at().to_string();
        let names = announcement
            .names
            .iter()
            .map(|name| name.host().to_string());
        self.names.entry(address).or_default().extend(names);
    }

    pub fn hear(&mut self, message: &Message, now: Millis, sabotage: Option<Sabotage>) {
        match message {
            Message::Register(registration) => {
                self.register(registration, now);
                if sabotage == Some(Sabotage::RouterMixesNames) {
                    let mut mixed = registration.clone();
                    mixed.uris = vec!["process-0.yard.internal".to_string()];
                    self.register(&mixed, now);
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

    /// The names that lead to an address now.
    pub fn names_of(&mut self, address: &str) -> Vec<String> {
        let Some(names) = self.names.get_mut(address) else {
            return Vec::new();
        };
        let table = self.registry.table();
        names.retain(|name| {
            table.lookup(name, "/").is_some_and(|pool| {
                let mut members = pool.members.iter();
                members.any(|member| member.endpoint.identity.at().to_string() == address)
            })
        });
        names.iter().cloned().collect()
    }

    /// Names and addresses.
    pub fn routes(&self) -> BTreeSet<(String, String)> {
        self.registry
            .table()
            .iter()
            .flat_map(|pool| {
                pool.members.iter().map(|member| {
                    (
                        pool.name.host().to_string(),
                        member.endpoint.identity.at().to_string(),
                    )
                })
            })
            .collect()
    }
}
