//! What an agent tells: what it has free, what it runs, and where its instances are to be found.

use super::lives::DRAIN_TIMEOUT;
use super::{ADVERTISE_GATHER, Agent, BEAT_PERIOD, Context, Task, Unit};
use crate::simulator::message::Message;
use crate::simulator::{Millis, Sabotage};
use dea::domain::capacity;
use dea::sandbox::host_port;
use proto::bus::dea::{Advertisement, Drain, PlacementProperties, Shutdown};
use proto::bus::health::{Beat, Heartbeat, InstanceState};
use proto::bus::router::Registration;
use proto::ids::{InstanceId, ProcessGuid};
use std::collections::BTreeMap;

impl Agent {
    pub(super) fn advertise_soon(&mut self, ctx: &mut Context<'_>) {
        if !self.advertise_planned {
            self.advertise_planned = true;
            ctx.after(ADVERTISE_GATHER, Task::AdvertiseSoon);
        }
    }

    pub(super) fn advertise(&self, ctx: &mut Context<'_>) {
        if self.draining {
            return;
        }
        let left = self.table.len() as u32;
        if let Some(drain) = self.evacuation.told(DRAIN_TIMEOUT, left) {
            return ctx.publish(Message::Leaving(goodbye(self, Some(drain))));
        }
        let free = capacity::available(self.offers(ctx.sabotage), &self.claims());
        let mut counts: BTreeMap<ProcessGuid, u32> = BTreeMap::new();
        for unit in self.table.values() {
            if matches!(
                unit.machine.beat_state(),
                Some(InstanceState::Starting | InstanceState::Running | InstanceState::Evacuating)
            ) {
                *counts.entry(unit.record.start.droplet.clone()).or_default() += 1;
            }
        }
        ctx.publish(Message::Advertise(Advertisement {
            id: self.id.clone(),
            stacks: vec!["host".to_string()],
            available_memory: free.memory_mb,
            available_disk: free.disk_mb,
            app_id_to_count: counts,
            placement_properties: PlacementProperties {
                zone: self.zone.clone(),
            },
            url: None,
            yard_total_memory: Some(self.offered.memory_mb),
            yard_total_disk: Some(self.offered.disk_mb),
        }));
    }

    pub(super) fn heartbeat(&self, droplets: Vec<Beat>, complete: bool) -> Heartbeat {
        Heartbeat {
            dea: self.id.clone(),
            droplets,
            yard_complete: Some(complete),
            yard_period: Some(BEAT_PERIOD as f64 / 1000.0),
            yard_zone: Some(self.zone.clone()),
            yard_tasks: complete.then(Vec::new),
        }
    }

    pub(super) fn full_beat(&self, ctx: &mut Context<'_>) {
        let units = self.table.values();
        let mut beats: Vec<Beat> = units.filter_map(|unit| self.beat_of(unit)).collect();
        if ctx.sabotage == Some(Sabotage::BeatsLeaveOut) {
            beats.pop();
        }
        let beat = self.heartbeat(beats, true);
        ctx.publish(Message::Beat(beat));
    }

    pub(super) fn registration(&self, id: &InstanceId, now: Millis) -> Option<Registration> {
        let unit = self.table.get(id)?;
        let port = host_port(self.disk.containers.get(id)?.number);
        if unit.record.uris.is_empty() {
            return None;
        }
        let uris = unit.record.uris.clone();
        let mut registration =
            unit.record
                .registration(uris, &self.id, &self.zone, &self.host(), port);
        registration.endpoint_updated_at_ns = Some(self.steady_unix_ns(now));
        Some(registration)
    }

    pub(super) fn announce(&self, id: &InstanceId, ctx: &mut Context<'_>) {
        if let Some(registration) = self.registration(id, ctx.now) {
            ctx.publish(Message::Register(registration));
        }
    }

    pub(super) fn announce_all(&self, ctx: &mut Context<'_>) {
        for (id, unit) in &self.table {
            if unit.registered {
                self.announce(id, ctx);
            }
        }
    }

    /// Names and addresses under which its instances are to be found.
    pub fn routes(&self) -> impl Iterator<Item = (String, String)> {
        self.table
            .iter()
            .filter(|(_, unit)| unit.registered)
            .filter_map(|(id, unit)| {
                let number = self.disk.containers.get(id)?.number;
                Some((unit.record.uris.clone(), self.address(number)))
            })
            .flat_map(|(uris, address)| uris.into_iter().map(move |uri| (uri, address.clone())))
    }

    pub(super) fn beat_of(&self, unit: &Unit) -> Option<Beat> {
        let start = &unit.record.start;
        let state = unit.machine.beat_state()?;
        Some(Beat {
            droplet: start.droplet.clone(),
            version: start.version.clone(),
            instance: unit.record.instance.clone(),
            index: start.index,
            state: self.evacuation.seen_as(state),
            state_timestamp: unit.machine.since(),
            cc_partition: None,
            yard_stats: None,
            yard_details: unit
                .machine
                .ending()
                .map(|ending| ending.description.clone()),
        })
    }
}

/// It takes no more work: for good, or while it is emptied.
pub(super) fn goodbye(agent: &Agent, drain: Option<Drain>) -> Shutdown {
    Shutdown {
        id: agent.id.clone(),
        ip: agent.host(),
        version: 0.1,
        app_id_to_count: BTreeMap::new(),
        yard_zone: Some(agent.zone.clone()),
        yard_drain: drain,
    }
}
