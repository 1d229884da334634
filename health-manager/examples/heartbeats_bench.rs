//! What a round of heartbeats costs the health manager: 1,000 agents with 100 instances each, read and taken in, on
//! one thread.
//!
//!     cargo run --release -p health-manager --example heartbeats_bench -- [--json]
//!
//! Yardstick: reading the same heartbeats into a map, in turns with ours; `--json` prints one object, for programs.

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

use health_manager::domain::policy::Policy;
use health_manager::domain::world::World;
use proto::bus::Payload;
use proto::bus::health::Heartbeat;
use proto::config::Settings;
use serde_json::json;
use std::time::Instant;

const ROUNDS: usize = 7;

fn main() {
    let beats = heartbeats::round();
    let (mut world, policy) = (World::default(), Policy::read(&Settings::default()));
    let take = |world: &mut World, round: u64| {
        let (now, unix) = (10_000 * round, 1_700_000_100.0 + 10.0 * round as f64);
        let begun = Instant::now();
        for beat in &beats {
            let beat = Heartbeat::decode(beat.as_bytes()).unwrap();
            world.heartbeat(&beat, now, unix, &policy);
        }
        begun.elapsed().as_secs_f64() * 1000.0
    };
    let before = memory::megabytes();
    let first_ms = take(&mut world, 0);
    let memory_mb = memory::megabytes() - before;
    let mut seen = heartbeats::Seen::default();
    seen.take(&beats);
    let (mut yardstick, mut ours) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS as u64 {
        yardstick.push(seen.take(&beats) * 1000.0);
        ours.push(take(&mut world, round));
    }
    let document = json!({ "heartbeats": {
        "yardstick_ms": yardstick, "ours_ms": ours, "first_ms": first_ms, "memory_mb": memory_mb
    } });
    match std::env::args().any(|word| word == "--json") {
        true => println!("{document}"),
        false => println!("{document:#}"),
    }
}
