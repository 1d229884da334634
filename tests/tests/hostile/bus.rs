//! Garbage on the bus.

use crate::support::Yard;
use anyhow::ensure;
use proto::bus::catalogue::{self, Role};
use proto::ids::ComponentId;
use rand::Rng;
use std::collections::BTreeMap;
use std::time::Duration;
use tests::{Cluster, eventually};

/// What a confused or broken component could send.
fn garbage(generator: &mut impl Rng) -> Vec<Vec<u8>> {
    let mut random = vec![0; 300];
    generator.fill_bytes(&mut random);
    let mut messages = vec![
        random,
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"\"text\"".to_vec(),
        b"{\"id\":\"\xff\xfe\"}".to_vec(),
        vec![b'['; 100_000],
        b"{\"droplets\":[{\"droplet\":42,\"state\":\"SLEEPING\",\"index\":-1}]}".to_vec(),
        b"{\"host\":\"256.1.1.1\",\"port\":99999,\"uris\":[\"\\u0000\",\"*.*\"]}".to_vec(),
        vec![0xff; 20],
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ];
    // Near misses of something real.
    let real = br#"{"dea":"dea-1","droplets":[{"droplet":"5a8a3c4e-0000-4000-8000-000000000000","version":"1","instance":"x","index":0,"state":"RUNNING","state_timestamp":1.0}]}"#;
    for _ in 0..5 {
        let mut mutated = real.to_vec();
        for _ in 0..4 {
            let at = generator.random_range(0..mutated.len());
            mutated[at] = generator.random();
        }
        mutated.truncate(generator.random_range(1..mutated.len()));
        messages.push(mutated);
    }
    messages
}

const COMPONENTS: [(&str, Role); 6] = [
    ("controller-1", Role::Controller),
    ("router-1", Role::Router),
    ("dea-1", Role::Dea),
    ("health-manager-1", Role::HealthManager),
    ("stager-1", Role::Stager),
    ("collector-1", Role::Collector),
];

pub async fn garbage_on_the_bus_is_counted_and_harms_nobody(yard: &Yard) -> anyhow::Result<()> {
    let pids = || -> anyhow::Result<Vec<i32>> {
        COMPONENTS
            .iter()
            .map(|(name, _)| yard.cluster.pid(name))
            .collect()
    };
    let before_pids = pids()?;
    let before = malformed(&yard.cluster).await?;
    let mut generator = rand::rng();
    let mut sent = 0;
    for (name, role) in COMPONENTS {
        let id = ComponentId::new(name)?;
        let client = yard.cluster.bus(name).await?;
        for pattern in catalogue::permissions(role, &id).publish {
            let subject = match pattern.as_str() {
                "vcap.stager.*" => "vcap.stager.default".to_string(),
                other => other.replace('*', "dea-1"),
            };
            for message in garbage(&mut generator) {
                client.publish(subject.clone(), message.into()).await?;
                sent += 1;
            }
        }
        client.flush().await?;
    }
    eventually(
        "every receiver counted",
        Duration::from_secs(10),
        || async {
            let after = malformed(&yard.cluster).await?;
            for (name, _) in COMPONENTS {
                ensure!(
                    after[name] >= before[name] + 5,
                    "{name} counted {} before and {} after {sent} messages",
                    before[name],
                    after[name]
                );
            }
            Ok(())
        },
    )
    .await?;
    ensure!(
        before_pids == pids()?,
        "a daemon died: {before_pids:?}, now {:?}",
        pids()?
    );
    // Logged, but not once per message.
    for (name, _) in COMPONENTS {
        let log = yard.cluster.log(name);
        ensure!(!log.contains("panicked"), "{name} panicked");
        let lines = log
            .lines()
            .filter(|line| line.contains("malformed"))
            .count();
        ensure!(lines < 400, "{name} wrote {lines} lines about it");
    }
    yard.neighbour_is_well().await?;
    // And the cluster works as before.
    yard.server("afterwards", &[]).await?;
    yard.delete("afterwards").await
}

/// `bus_malformed_total` of each component.
async fn malformed(cluster: &Cluster) -> anyhow::Result<BTreeMap<&'static str, u64>> {
    let mut counts = BTreeMap::new();
    for (name, _) in COMPONENTS {
        let text = cluster.status_text(name, "/metrics").await?;
        let count = text
            .lines()
            .filter(|line| line.starts_with("bus_malformed_total"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>();
        counts.insert(name, count as u64);
    }
    Ok(counts)
}
