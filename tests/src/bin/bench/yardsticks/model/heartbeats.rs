//! A round of heartbeats as somebody would read it who only wants to know who lives.

use std::collections::HashMap;
use std::time::Instant;

pub const AGENTS: usize = 1000;
/// Of each agent.
pub const INSTANCES: usize = 100;

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

/// The beats of all agents, as agents of Cloud Foundry write them. Four instances a process.
pub fn round() -> Vec<String> {
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
pub struct Seen {
    instances: HashMap<Box<str>, (Box<str>, u32, u64)>,
    rounds: u64,
}

impl Seen {
    /// Reads the beats and takes them in; seconds that it took.
    pub fn take(&mut self, beats: &[String]) -> f64 {
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
