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

fn main() {
    let (mut world, policy) = (World::default(), Policy::read(&Settings::default()));
    let measured = heartbeats::measure(|round, beat| {
        let beat = Heartbeat::decode(beat.as_bytes()).unwrap();
        let (now, unix) = (10_000 * round, 1_700_000_100.0 + 10.0 * round as f64);
        world.heartbeat(&beat, now, unix, &policy);
    });
    let document = json!({ "heartbeats": measured });
    match std::env::args().any(|word| word == "--json") {
        true => println!("{document}"),
        false => println!("{document:#}"),
    }
}
