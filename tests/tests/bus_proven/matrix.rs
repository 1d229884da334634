//! Every credential against every subject, on a nats-server with the configuration that the node
//! wrote: it may do exactly what the table of subjects says.
//!
//! The server is a second one beside the cluster's, on a port of its own, so that nobody receives what is
//! only sent to be refused. What is expected is read from the rows of the table, not from the
//! permissions made of them.

use crate::Yard;
use crate::wire::{Heard, Wire};
use anyhow::{Context, ensure};
use proto::bus::{CATALOGUE, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::eventually;
use tests::inside::BusLogin;

/// Everybody that this cluster has.
pub const EVERYBODY: [&str; 8] = [
    "controller-1",
    "router-1",
    "dea-1",
    "health-manager-1",
    "stager-1",
    "collector-1",
    "registrar",
    "tool",
];
/// Ids that subjects are made of: one's own, another's, and somebody's who is not there.
const IDS: [&str; 9] = [
    "controller-1",
    "router-1",
    "dea-1",
    "dea-2",
    "health-manager-1",
    "stager-1",
    "collector-1",
    "registrar",
    "tool",
];
const QUEUES: [&str; 2] = ["default", "other"];
/// Listening in on more than one subject. Nobody may, unless the table says so below.
const EAVESDROPPING: [&str; 18] = [
    ">",
    "*",
    "*.*",
    "*.*.*",
    "dea.>",
    "dea.*",
    "dea.*.start",
    "router.*",
    "vcap.>",
    "yard.>",
    "yard.log.*",
    "yard.dea.*.task.run",
    "yard.dea.*.action.run",
    "_INBOX.>",
    "_INBOX_dea-1.>",
    "_INBOX_controller-1.>",
    "$SYS.>",
    "$JS.API.>",
];
/// What is in no row.
const UNDECLARED: [&str; 6] = [
    "anything",
    "dea",
    "yard.dea.dea-1.format",
    "$SYS.REQ.SERVER.PING",
    "$JS.API.STREAM.CREATE.all",
    "_INBOX_dea-2.answer",
];

/// Ends with the test, however that ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The cluster's own configuration on another port.
async fn second_server(yard: &Yard) -> anyhow::Result<(Server, String)> {
    let path = yard.cluster.home.join("nats/nats.conf");
    let text = std::fs::read_to_string(&path)?;
    let address = format!("127.0.0.1:{}", tests::cluster::free_port()?);
    let listens = text
        .lines()
        .find(|line| line.starts_with("listen:"))
        .context("the configuration says where the server listens")?;
    let text = text
        .replace(listens, &format!("listen: \"{address}\""))
        .replace("trace: true", "trace: false");
    ensure!(text.contains(&address), "the port is another");
    let folder = yard.cluster.root().join("second-server");
    std::fs::create_dir_all(&folder)?;
    let server = start(&folder, &text)?;
    eventually("the second server", Duration::from_secs(30), || async {
        tokio::net::TcpStream::connect(&address).await?;
        Ok(())
    })
    .await?;
    Ok((server, address))
}

fn start(folder: &Path, text: &str) -> anyhow::Result<Server> {
    use std::os::unix::fs::PermissionsExt;
    let log = format!("log_file: \"{}\"", folder.join("log").display());
    let own: Vec<&str> = text
        .lines()
        .map(|line| match line.starts_with("log_file:") {
            true => log.as_str(),
            false => line,
        })
        .collect();
    let config = folder.join("nats.conf");
    std::fs::write(&config, own.join("\n"))?;
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600))?;
    let child = Command::new("nats-server")
        .arg("-c")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting nats-server")?;
    Ok(Server(child))
}

/// What the rows say that somebody may publish and subscribe.
fn declared(role: Role, own: &str) -> BTreeMap<String, (bool, bool)> {
    let mut declared = BTreeMap::new();
    for entry in CATALOGUE {
        for id in IDS {
            for queue in QUEUES {
                let is_own = !entry.pattern.contains("{id}") || id == own;
                let publishes = entry.publishers.contains(&role);
                let subscribes = entry.subscribers.contains(&role);
                // The sender's id binds who sends, the addressee's binds who hears.
                let may = match entry.names_sender() {
                    true => (publishes && is_own, subscribes),
                    false => (publishes, subscribes && is_own),
                };
                declared.insert(entry.subject(id, queue), may);
            }
        }
    }
    declared
}

fn may_eavesdrop(role: Role, own: &str, subject: &str) -> bool {
    match subject {
        "yard.log.*" => role == Role::Collector,
        "_INBOX.>" => role.is_stranger(),
        _ => subject == format!("_INBOX_{own}.>"),
    }
}

/// The subjects that the server names in its refusals: of publishing, and of subscribing.
fn refusals(heard: Vec<Heard>) -> anyhow::Result<(BTreeSet<String>, BTreeSet<String>)> {
    let (mut publish, mut subscribe) = (BTreeSet::new(), BTreeSet::new());
    for one in heard {
        let Heard::Refused(text) = one else { continue };
        let text = text.to_string();
        let subject = text.split('"').nth(1).map(str::to_string);
        let list = if text.starts_with("Permissions Violation for Publish") {
            &mut publish
        } else if text.starts_with("Permissions Violation for Subscription") {
            &mut subscribe
        } else {
            anyhow::bail!("another refusal: {text}");
        };
        list.insert(subject.with_context(|| format!("a refusal names no subject: {text}"))?);
    }
    Ok((publish, subscribe))
}

/// What one credential may do and may not, unlike what the rows say.
async fn differences(address: &str, login: &BusLogin) -> anyhow::Result<(usize, Vec<String>)> {
    let (role, own) = (login.role, login.user.as_str());
    let declared = declared(role, own);
    let mut wire = Wire::connect(address, login).await?;
    let mut expected = Vec::new();
    let mut number = 0;
    for (subject, (may_publish, may_subscribe)) in &declared {
        wire.publish(subject, "", b"").await?;
        expected.push((false, subject.clone(), *may_publish));
        number += 1;
        wire.send(format!("SUB {subject} {number}\r\n").as_bytes())
            .await?;
        expected.push((true, subject.clone(), *may_subscribe));
    }
    for subject in UNDECLARED {
        wire.publish(subject, "", b"").await?;
        expected.push((false, subject.to_string(), false));
    }
    for subject in EAVESDROPPING {
        number += 1;
        wire.send(format!("SUB {subject} {number}\r\n").as_bytes())
            .await?;
        expected.push((true, subject.to_string(), may_eavesdrop(role, own, subject)));
    }
    let (publish, subscribe) = refusals(wire.settle().await?)?;
    // The same as a member of a group: a way around the first answer would be one.
    let mut wire = Wire::connect(address, login).await?;
    for subject in declared.keys() {
        number += 1;
        wire.send(format!("SUB {subject} cc {number}\r\n").as_bytes())
            .await?;
    }
    let (_, shared) = refusals(wire.settle().await?)?;
    let mut different = Vec::new();
    for (listens, subject, may) in &expected {
        let verb = if *listens { "subscribe to" } else { "publish" };
        let refused = if *listens { &subscribe } else { &publish }.contains(subject);
        if refused == *may {
            let says = if *may { "may" } else { "may not" };
            different.push(format!("{own} {says} {verb} {subject} by the table"));
        }
    }
    for (subject, (_, may)) in &declared {
        if shared.contains(subject) == *may {
            different.push(format!("{own}, sharing {subject}, is treated unlike alone"));
        }
    }
    Ok((expected.len() + declared.len(), different))
}

pub async fn every_credential_may_do_exactly_what_the_table_says(
    yard: &Yard,
) -> anyhow::Result<()> {
    let (server, address) = second_server(yard).await?;
    let mut tried = 0;
    let mut different = Vec::new();
    for who in EVERYBODY {
        let login = yard.cluster.bus_login(who)?;
        let (count, found) = differences(&address, &login)
            .await
            .with_context(|| format!("as {who}"))?;
        tried += count;
        different.extend(found);
    }
    let mut nobody = yard.cluster.bus_login("tool")?;
    nobody.password = "guessed".to_string();
    ensure!(
        Wire::connect(&address, &nobody).await.is_err(),
        "a wrong password is let in"
    );
    nobody.user = String::new();
    nobody.password = String::new();
    ensure!(
        Wire::connect(&address, &nobody).await.is_err(),
        "nobody is let in"
    );
    drop(server);
    println!("    {tried} answers of {} credentials", EVERYBODY.len());
    ensure!(different.is_empty(), "{}", different.join("\n    "));
    Ok(())
}
