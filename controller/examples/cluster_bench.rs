//! What a controller takes to know and to use a large cluster, in memory, on one thread: how many instances a second
//! it places on 1,000 agents, and what a round of their heartbeats costs (1,000 agents with 100 instances each).
//!
//!     cargo run --release -p controller --example cluster_bench -- [--json]
//!
//! Yardsticks: a plain scan of all agents for each instance; reading the same heartbeats into a map. Both take turns
//! with ours; `--json` prints one object, for programs.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement"
)]

#[path = "../../tests/src/bin/bench/yardsticks/model/heartbeats.rs"]
mod heartbeats;
#[path = "../../tests/src/bin/bench/yardsticks/model/memory.rs"]
mod memory;
#[path = "../../tests/src/bin/bench/yardsticks/model/placements.rs"]
mod placements;

use controller::domain::picture::{Candidate, Picture};
use controller::domain::placement::{Decision, PlacementRequest};
use proto::bus::Payload;
use proto::bus::dea::{Advertisement, PlacementProperties};
use proto::bus::health::Heartbeat;
use proto::ids::{DeaId, InstanceId, ProcessGuid, Version};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
/// Of one round.
const PLACED: u64 = 20_000;
const FRESH: Duration = Duration::from_secs(10);

fn main() {
    let json = std::env::args().any(|word| word == "--json");
    // First: its memory is that of a process that did nothing else.
    let (beats, scans) = (beats(), scans());
    let document = json!({ "heartbeats": beats, "placements": scans });
    match json {
        true => println!("{document}"),
        false => println!("{document:#}"),
    }
}

fn beats() -> serde_json::Value {
    let mut picture = Picture::default();
    heartbeats::measure(|round, beat| {
        let beat = Heartbeat::decode(beat.as_bytes()).unwrap();
        picture.beat(&beat, Duration::from_secs(10 * round));
    })
}

fn scans() -> serde_json::Value {
    let (mut yardstick, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        yardstick.push(PLACED as f64 / placements::scan(PLACED));
        ours.push(PLACED as f64 / place());
    }
    json!({ "yardstick_per_s": yardstick, "ours_per_s": ours })
}

fn place() -> f64 {
    let mut picture = Picture::default();
    for number in 0..placements::AGENTS {
        let ad = Advertisement {
            id: DeaId::new(format!("dea-{number}")).unwrap(),
            stacks: vec!["host".to_string()],
            available_memory: placements::MEMORY_MB,
            available_disk: placements::DISK_MB,
            app_id_to_count: BTreeMap::new(),
            placement_properties: PlacementProperties {
                zone: format!("zone-{}", number % placements::ZONES),
            },
            url: None,
            yard_total_memory: Some(placements::MEMORY_MB),
            yard_total_disk: Some(placements::DISK_MB),
        };
        picture.advertised(ad, Duration::ZERO, FRESH);
    }
    let wanted: Vec<(Candidate, PlacementRequest)> = (0..PLACED).map(wanted).collect();
    let begun = Instant::now();
    for (number, (candidate, request)) in wanted.into_iter().enumerate() {
        let randomness = number as u64 * 0x9e37_79b9_7f4a_7c15;
        let decision = picture.place(candidate, &request, FRESH, Duration::ZERO, randomness);
        assert!(matches!(decision, Decision::Place { .. }), "{decision:?}");
    }
    begun.elapsed().as_secs_f64()
}

fn wanted(number: u64) -> (Candidate, PlacementRequest) {
    let (app, memory_mb, disk_mb) = placements::wanted(number);
    let process = ProcessGuid::new(format!("5eed0000-0000-4000-8000-{app:012x}")).unwrap();
    let request = PlacementRequest {
        stack: "host".to_string(),
        memory_mb,
        disk_mb,
        siblings: BTreeSet::from([process.clone()]),
    };
    let candidate = Candidate {
        instance: InstanceId::new(format!("{number:032x}")).unwrap(),
        version: Version::new(format!("5eed0000-0000-4000-9000-{app:012x}")).unwrap(),
        process,
        index: (number % 4) as u32,
        give_up_at: Duration::from_secs(60),
    };
    (candidate, request)
}
