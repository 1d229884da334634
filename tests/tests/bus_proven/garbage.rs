//! On each subject a thousand random messages, a thousand that nearly make sense, some nested a hundred
//! thousand deep and one as large as the bus takes: every receiver counts each of them, none dies, and
//! nothing that users made changes.
//!
//! They are sent with the credential of a component that may send them: the matrix shows that nobody else
//! can. What the receivers must have counted follows from the bytes and the types of the table.

use crate::phantoms::{Judgement, Phantom, phantoms};
use crate::scenarios::sender_of;
use crate::trace::entry_of;
use crate::wire::{Heard, Wire};
use crate::{DAEMONS, LONG, Yard};
use anyhow::{Context, ensure};
use proto::bus::{Encoding, Entry, Role};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tests::eventually;
use tests::inside::role_of;

/// Of each kind, on each subject.
const COUNT: usize = 1000;
/// Tries for a mutation that concerns nobody.
const TRIES: usize = 200;
const DEEP: usize = 100_000;
/// `max_payload` of the cluster's nats-server.
const LARGEST: usize = 4 << 20;

fn random(generator: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; generator.random_range(0..512)];
    generator.fill(&mut bytes[..]);
    bytes
}

/// The message with up to four faults.
fn mutated(generator: &mut StdRng, message: &[u8]) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for _ in 0..generator.random_range(1..=4) {
        if bytes.is_empty() {
            return vec![generator.random()];
        }
        let at = generator.random_range(0..bytes.len());
        match generator.random_range(0..6) {
            0 => bytes[at] = generator.random(),
            1 => bytes[at] ^= 1 << generator.random_range(0..8),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, generator.random()),
            4 => bytes.truncate(at),
            _ => {
                let end = generator.random_range(at..bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

fn deep(encoding: Encoding) -> Vec<Vec<u8>> {
    match encoding {
        Encoding::Json => vec![
            vec![b'['; DEEP],
            b"{\"droplet\":".repeat(DEEP / 4),
            [b"{\"a\":".repeat(DEEP), b"1".to_vec(), b"}".repeat(DEEP)].concat(),
        ],
        // The begin of a group within a group, and of a message within a message.
        Encoding::Protobuf => vec![vec![0x0b; DEEP], [0x0a, 0x7f].repeat(DEEP)],
    }
}

fn largest() -> Vec<u8> {
    let (begin, end) = (b"{\"yard_unknown\":\"", b"\"}");
    let filling = vec![b'x'; LARGEST - begin.len() - end.len()];
    [&begin[..], &filling, &end[..]].concat()
}

/// What is sent to a subject, and what its receivers have to make of it.
struct Load {
    messages: Vec<Vec<u8>>,
    malformed: u64,
    vain: u64,
}

fn load(generator: &mut StdRng, phantom: &Phantom, encoding: Encoding) -> anyhow::Result<Load> {
    let mut messages = deep(encoding);
    messages.push(largest());
    for make in [
        (|generator: &mut StdRng, _: &[u8]| random(generator)) as fn(&mut StdRng, &[u8]) -> Vec<u8>,
        mutated,
    ] {
        for _ in 0..COUNT {
            let mut tries = (0..TRIES).map(|_| make(generator, &phantom.bytes));
            let found = tries.find(|bytes| phantom.judge(bytes) != Judgement::Real);
            messages.push(found.with_context(|| format!("{}: all are real", phantom.pattern))?);
        }
    }
    let mut load = Load {
        messages,
        malformed: 0,
        vain: 0,
    };
    for message in &load.messages {
        match phantom.judge(message) {
            Judgement::Malformed => load.malformed += 1,
            Judgement::Vain => load.vain += 1,
            Judgement::Real => anyhow::bail!("{}: deep or large, and real", phantom.pattern),
        }
    }
    Ok(load)
}

/// What a daemon has counted of one subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    pub received: u64,
    pub malformed: u64,
    pub ignored: u64,
    /// Of all subjects.
    lost: u64,
}

pub async fn counted(yard: &Yard, daemon: &str, subject: &str) -> anyhow::Result<Counted> {
    let text = yard.cluster.status_text(daemon, "/metrics").await?;
    let of = format!("subject=\"{subject}\"");
    let sum = |name: &str, label: &str| -> u64 {
        let lines = text.lines().filter(|line| {
            let end = line.find(['{', ' ']).unwrap_or(line.len());
            &line[..end] == name && line.contains(label)
        });
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>() as u64
    };
    Ok(Counted {
        received: sum("bus_received_total", &of),
        malformed: sum("bus_malformed_total", &of),
        ignored: sum("bus_ignored_total", &of),
        lost: sum("bus_slow_consumer_total", ""),
    })
}

/// The subject as its receivers subscribe to it.
fn subscribed(entry: &Entry) -> String {
    match entry.names_sender() {
        true => entry.subject("*", "*"),
        false => entry.subject("dea-1", "default"),
    }
}

/// Whether this daemon has counted what it was sent.
fn judge(
    daemon: &str,
    load: &Load,
    phantom: &Phantom,
    before: Counted,
    after: Counted,
) -> anyhow::Result<()> {
    let received = after.received - before.received;
    let malformed = after.malformed - before.malformed;
    let ignored = after.ignored - before.ignored;
    ensure!(
        received >= load.messages.len() as u64,
        "{daemon} received {received} of {}",
        load.messages.len()
    );
    // Who subscribes twice (to hear all, and to share) counts twice.
    let counts = match load.malformed {
        0 => malformed == 0,
        expected => malformed > 0 && malformed.is_multiple_of(expected),
    };
    ensure!(
        counts,
        "{daemon} took {malformed} for malformed, {} were",
        load.malformed
    );
    if phantom.ignored_by.is_some() && phantom.ignored_by == role_of(daemon) {
        ensure!(
            ignored >= load.vain,
            "{daemon} ignored {ignored} of {}",
            load.vain
        );
    }
    ensure!(after.lost == before.lost, "{daemon} lost messages");
    Ok(())
}

/// What users made and would miss.
async fn state(yard: &Yard) -> anyhow::Result<Value> {
    let list = async |words: &[&str], fields: &[&str]| -> anyhow::Result<Vec<Value>> {
        let listed = yard.cluster.ok(words).await?.json()?;
        let rows = listed.as_array().into_iter().flatten();
        Ok(rows
            .map(|row| fields.iter().map(|field| row[field].clone()).collect())
            .collect())
    };
    let apps = list(&["apps", "--json"], &["name", "guid", "state", "urls"]).await?;
    let mut instances = Vec::new();
    for app in &apps {
        let name = app[0].as_str().context("a name")?;
        let shown = yard.cluster.ok(["app", name, "--json"]).await?.json()?;
        for process in shown["processes"].as_array().into_iter().flatten() {
            for instance in process["instances"].as_array().into_iter().flatten() {
                instances.push(json!([
                    name,
                    process["type"],
                    instance["index"],
                    instance["guid"],
                    instance["state"],
                ]));
            }
        }
    }
    Ok(json!({
        "apps": apps,
        "instances": instances,
        "routes": list(&["routes", "--json"], &["guid", "url", "apps"]).await?,
        "executions": list(&["execution", "list", "--json"], &["id", "status"]).await?,
        "packs": list(&["pack", "list", "--json"], &["ref", "version"]).await?,
        "rules": list(&["rule", "list", "--json"], &["ref", "enabled"]).await?,
        "sensors": list(&["sensor", "list", "--json"], &["ref", "enabled"]).await?,
        "settings": list(&["config", "list", "--json"], &["path", "value"]).await?,
    }))
}

async fn attack(
    yard: &Yard,
    generator: &mut StdRng,
    clients: &mut BTreeMap<&'static str, async_nats::Client>,
    phantom: &Phantom,
) -> anyhow::Result<(u64, u64)> {
    let entry = entry_of(phantom.pattern).context("it is in the table")?;
    let load = load(generator, phantom, entry.encoding)?;
    let sender = sender_of(entry.publishers).context("somebody may send it")?;
    if !clients.contains_key(sender) {
        clients.insert(sender, yard.cluster.bus(sender).await?);
    }
    let client = &clients[sender];
    let is_heard = |role: Option<Role>| role.is_some_and(|role| entry.subscribers.contains(&role));
    let receivers: Vec<&str> = DAEMONS
        .into_iter()
        .filter(|daemon| is_heard(role_of(daemon)))
        .collect();
    let counts_of = subscribed(entry);
    let mut before = BTreeMap::new();
    for daemon in &receivers {
        before.insert(*daemon, counted(yard, daemon, &counts_of).await?);
    }
    let subject = match entry.names_sender() {
        true => entry.subject(sender, "default"),
        false => counts_of.clone(),
    };
    for message in &load.messages {
        client
            .publish(subject.clone(), message.clone().into())
            .await?;
    }
    client.flush().await?;
    eventually("every receiver counted it", 2 * LONG, || async {
        for daemon in &receivers {
            let after = counted(yard, daemon, &counts_of).await?;
            judge(daemon, &load, phantom, before[daemon], after)?;
        }
        Ok(())
    })
    .await?;
    Ok((load.malformed, load.vain))
}

pub async fn garbage_on_every_subject_is_counted_and_changes_nothing(
    yard: &Yard,
) -> anyhow::Result<()> {
    let pids = yard.pids()?;
    let before = state(yard).await?;
    let mut generator = StdRng::seed_from_u64(yard.seed);
    let mut clients = BTreeMap::new();
    let (mut malformed, mut vain) = (0, 0);
    for phantom in phantoms() {
        let sent = attack(yard, &mut generator, &mut clients, &phantom).await;
        let sent =
            sent.with_context(|| format!("{}, STACKYARD_SEED={}", phantom.pattern, yard.seed))?;
        malformed += sent.0;
        vain += sent.1;
    }
    println!("    {malformed} malformed messages, {vain} that concern nobody");
    let now = yard.pids()?;
    ensure!(pids == now, "a daemon died: {pids:?}, now {now:?}");
    for daemon in DAEMONS {
        let log = yard.cluster.log(daemon);
        ensure!(!log.contains("panicked"), "{daemon} panicked");
        let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
        let (made_no_sense, ignored) = (lines("made no sense"), lines("was ignored"));
        ensure!(
            made_no_sense < 2000 && ignored < 500,
            "{daemon} wrote {made_no_sense} and {ignored} lines about it"
        );
    }
    let after = state(yard).await?;
    ensure!(before == after, "before {before}\nafter {after}");
    let host = yard.cluster.host("proven");
    yard.cluster.body(&host, "/").await.map(drop)
}

pub async fn what_is_larger_than_the_bus_takes_ends_its_sender_alone(
    yard: &Yard,
) -> anyhow::Result<()> {
    let pids = yard.pids()?;
    let login = yard.cluster.bus_login("dea-1")?;
    let mut wire = Wire::connect(&login.address, &login).await?;
    wire.send(format!("PUB dea.heartbeat {}\r\n", LARGEST + 1).as_bytes())
        .await?;
    let refused = match wire.next().await? {
        Some(Heard::Refused(why)) => why,
        other => anyhow::bail!("it was not refused: {other:?}"),
    };
    ensure!(refused.contains("Maximum Payload"), "{refused}");
    ensure!(wire.settle().await.is_err(), "the connection goes on");
    ensure!(pids == yard.pids()?, "a daemon died");
    let connected = yard.cluster.status_text("dea-1", "/metrics").await?;
    ensure!(
        connected.lines().any(|line| line == "bus_connected 1"),
        "the agent is not on the bus"
    );
    Ok(())
}
