//! Placement as one would write it first: every agent is looked at for every instance.

use std::collections::HashMap;
use std::time::Instant;

/// The cluster of both contenders.
pub const AGENTS: usize = 1000;
pub const ZONES: usize = 3;
pub const MEMORY_MB: u64 = 64 * 1024;
pub const DISK_MB: u64 = 512 * 1024;

/// The app, the memory and the disk of the instance with this number: four instances an app.
pub fn wanted(number: u64) -> (u64, u64, u64) {
    (number / 4, 128 + (number * 37) % 1024, 1024)
}

struct Agent {
    memory_free: u64,
    disk_free: u64,
    of_app: HashMap<u64, u32>,
    zone: usize,
}

/// Places so many instances; seconds that it took.
pub fn scan(count: u64) -> f64 {
    let agent = |number| Agent {
        memory_free: MEMORY_MB,
        disk_free: DISK_MB,
        of_app: HashMap::new(),
        zone: number % ZONES,
    };
    let mut agents: Vec<Agent> = (0..AGENTS).map(agent).collect();
    let mut in_zone: HashMap<(u64, usize), u32> = HashMap::new();
    let begun = Instant::now();
    for number in 0..count {
        let (app, memory, disk) = wanted(number);
        let roomy = agents
            .iter()
            .enumerate()
            .filter(|(_, agent)| agent.memory_free >= memory && agent.disk_free >= disk);
        let best = roomy
            .min_by_key(|(place, agent)| {
                let here = agent.of_app.get(&app).copied().unwrap_or(0);
                let near = in_zone.get(&(app, agent.zone)).copied().unwrap_or(0);
                (near, here, u64::MAX - agent.memory_free, *place)
            })
            .map(|(place, _)| place)
            .expect("there is room for all of them");
        let agent = &mut agents[best];
        agent.memory_free -= memory;
        agent.disk_free -= disk;
        *agent.of_app.entry(app).or_default() += 1;
        *in_zone.entry((app, agent.zone)).or_default() += 1;
    }
    begun.elapsed().as_secs_f64()
}
