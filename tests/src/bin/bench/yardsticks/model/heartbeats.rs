//! A round of heartbeats as somebody would read it who only wants to know who lives, and in turns with that as somebody
//! else does.

use super::memory;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Instant;

const ROUNDS: u64 = 7;
const AGENTS: usize = 1000;
/// Of each agent.
const INSTANCES: usize = 100;

#[derive(serde::Deserialize)]
struct Heartbeat<'a> {
    #[serde(borrow)]
    droplets: Vec<Instance<'a>>,
}

#[derive(serde::Deserialize)]
struct Instance<'a> {
    droplet: &'a str,
    instance: &'a str,
    index: u32,
}

/// Times of rounds, which `take` takes in by their number, and what a process has more in memory after the first.
pub fn measure(mut take: impl FnMut(u64, &str)) -> Value {
    let beats = round();
    let mut timed = |round| {
        let begun = Instant::now();
        for beat in &beats {
            take(round, beat);
        }
        begun.elapsed().as_secs_f64() * 1000.0
    };
    let before = memory::megabytes();
    let first_ms = timed(0);
    let memory_mb = memory::megabytes() - before;
    let mut seen = Seen::default();
    seen.take(&beats);
    let (mut yardstick, mut ours) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        yardstick.push(seen.take(&beats) * 1000.0);
        ours.push(timed(round));
    }
    json!({ "yardstick_ms": yardstick, "ours_ms": ours, "first_ms": first_ms, "memory_mb": memory_mb })
}

/// The beats of all agents, as agents of Cloud Foundry write them. Four instances a process.
fn round() -> Vec<String> {
    let instance = |number: usize| {
        let (process, index) = (number / 4, number % 4);
        format!(
            r#"{{"cc_partition":"default","droplet":"app-{process:032x}","version":"v-{process:032x}","instance":"{number:032x}","index":{index},"state":"RUNNING","state_timestamp":1700000000.25}}"#
        )
    };
    let agent = |agent: usize| {
        let numbers = agent * INSTANCES..(agent + 1) * INSTANCES;
        let instances: Vec<String> = numbers.map(instance).collect();
        format!(
            r#"{{"dea":"{agent:04}-{agent:032x}","prod":false,"droplets":[{}]}}"#,
            instances.join(",")
        )
    };
    (0..AGENTS).map(agent).collect()
}

/// When each instance was last seen.
#[derive(Default)]
struct Seen {
    instances: HashMap<Box<str>, (Box<str>, u32, u64)>,
    rounds: u64,
}

impl Seen {
    /// Reads the beats and takes them in; seconds that it took.
    fn take(&mut self, beats: &[String]) -> f64 {
        self.rounds += 1;
        let now = self.rounds;
        let begun = Instant::now();
        for beat in beats {
            let beat: Heartbeat<'_> = serde_json::from_str(beat).expect("it is a beat");
            for one in beat.droplets {
                match self.instances.get_mut(one.instance) {
                    Some(known) => known.2 = now,
                    None => {
                        let told = (one.droplet.into(), one.index, now);
                        self.instances.insert(one.instance.into(), told);
                    }
                }
            }
        }
        begun.elapsed().as_secs_f64()
    }
}
