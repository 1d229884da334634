//! A cluster of two machines: one more joins, both serve, the link between them breaks and heals, the machine
//! leaves, and one that is lost is removed.
//!
//! One other machine at a time: they would share a loopback, and the cluster's ports on it.

#![expect(
    clippy::print_stdout,
    reason = "a program of the harness speaks to its user"
)]

mod world;

use anyhow::{Context, bail, ensure};
use proto::api::{NodeList, SeenNode};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tests::apps::{push, server, wait_running};
use tests::leftovers::node_process;
use tests::runner::{run, suite};
use tests::{Cluster, Load, Options, eventually, tests};
use world::{Cable, Machine, token};

const SOON: Duration = Duration::from_secs(40);
const APP: &str = "spread";

struct World {
    cluster: Cluster,
    cable: Cable,
}

impl World {
    fn machine(&self, name: &str) -> Machine<'_> {
        Machine::new(&self.cluster, &self.cable, name)
    }

    async fn seen(&self, machine: &str) -> anyhow::Result<SeenNode> {
        let listed = self.cluster.ok(["node", "list", "--json"]).await?.json()?;
        let list = NodeList {
            resources: serde_json::from_value(listed["machines"].clone())?,
        };
        let mut nodes = list.resources.into_iter();
        nodes
            .find(|node| node.machine == machine)
            .with_context(|| format!("there is no {machine}: {listed}"))
    }

    /// Where the router finds instances of the app, by asking for it often.
    async fn hosts(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut hosts = BTreeMap::new();
        for _ in 0..24 {
            let at = self.answer().await?;
            *hosts.entry(at.ip().to_string()).or_default() += 1;
        }
        Ok(hosts)
    }

    async fn answer(&self) -> anyhow::Result<SocketAddr> {
        let host = self.cluster.host(APP);
        let told = self.cluster.body(&host, "/env/CF_INSTANCE_ADDR").await?;
        Ok(told.trim().parse()?)
    }

    /// Waits until instances on the other machine answer, or none does.
    async fn wait_for_far(&self, wanted: bool) -> anyhow::Result<()> {
        let what = format!("instances on the other machine: {wanted}");
        eventually(&what, SOON, || async {
            let hosts = self.hosts().await?;
            let far = hosts.contains_key(&self.cable.far);
            let near = hosts.keys().any(|host| *host != self.cable.far);
            ensure!(far == wanted && near, "{hosts:?}");
            Ok(())
        })
        .await
    }
}

/// The fields that cli/README.md promises.
fn has(document: &serde_json::Value, fields: &[&str]) -> anyhow::Result<()> {
    let fields = fields.iter().filter(|field| document.get(field).is_none());
    let missing: Vec<&&str> = fields.collect();
    ensure!(missing.is_empty(), "{missing:?} in {document}");
    Ok(())
}

async fn refused(world: &World, words: &[&str], why: &str) -> anyhow::Result<()> {
    let stranger = world.machine("stranger");
    let output = stranger.yard(words).await?;
    ensure!(output.status != 0, "{words:?} was done: {}", output.stdout);
    ensure!(output.stderr.contains(why), "{words:?}: {}", output.stderr);
    ensure!(!stranger.home.exists(), "it left its home");
    Ok(())
}

async fn a_second_machine_joins_and_both_serve(world: &World) -> anyhow::Result<()> {
    let second = world.machine("second");
    let told = second.join(&["--json"]).await?.json()?;
    let of_join = [
        "machine",
        "cluster",
        "home",
        "address",
        "zone",
        "components",
    ];
    has(&told, &of_join)?;
    has(&second.yard(&["up", "--json"]).await?.json()?, &of_join)?;
    let name = second.file()?.machine;
    ensure!(told["machine"] == name.as_str(), "{told}");
    eventually("the machine runs", SOON, || async {
        let node = world.seen(&name).await?;
        ensure!(node.state == "running" && node.roles.len() == 1, "{node:?}");
        Ok(())
    })
    .await?;
    let folder = server(&world.cluster, APP);
    let pushed = push(
        &world.cluster,
        APP,
        &folder,
        &["--memory", "64M", "--instances", "2"],
    );
    pushed.await?.success()?;
    world.wait_for_far(true).await
}

async fn a_token_works_once_in_its_time_and_for_its_roles(world: &World) -> anyhow::Result<()> {
    let used = token(&world.cluster, &["--role", "health-manager"]).await?;
    refused(
        world,
        &["node", "join", &used, "--role", "dea"],
        "for health-manager, not for dea",
    )
    .await?;
    refused(
        world,
        &["node", "join", &used, "--role", "router"],
        "cannot have routers",
    )
    .await?;
    let third = world.machine("third");
    third
        .yard(&["node", "join", &used, "--timeout", "40"])
        .await?
        .success()?;
    refused(world, &["node", "join", &used], "used already, by machine-").await?;
    let file = third.file()?;
    third.yard(&["node", "leave"]).await?.success()?;
    ensure!(third.left(&file).is_empty(), "{:?}", third.left(&file));

    let short = token(&world.cluster, &["--ttl", "1s"]).await?;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    refused(world, &["node", "join", &short], "expired").await?;
    let good = token(&world.cluster, &[]).await?;
    refused(
        world,
        &["node", "join", &good[..good.len() - 2]],
        "copy the whole line",
    )
    .await?;
    let (rest, secret) = good.rsplit_once('/').context("parts")?;
    let wrong = format!("{rest}/{}", "0".repeat(secret.len()));
    refused(world, &["node", "join", &wrong], "not known").await?;
    let told = world
        .cluster
        .ok(["node", "token", "--json"])
        .await?
        .json()?;
    has(
        &told,
        &[
            "token",
            "id",
            "gate",
            "fingerprint",
            "expires",
            "expires_in_seconds",
        ],
    )?;
    let parts: Vec<&str> = good.split('/').collect();
    let stranger = good.replace(parts[3], &"0".repeat(64));
    refused(world, &["node", "join", &stranger], "another fingerprint").await?;
    let router = world
        .cluster
        .yard(["node", "token", "--role", "router"])
        .await?;
    ensure!(
        router.status != 0 && router.stderr.contains("cannot have routers"),
        "{}",
        router.stderr
    );
    Ok(())
}

async fn roles_come_and_go_as_on_the_first_machine(world: &World) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    let machine = world.machine("second").file()?.machine;
    let change = async |verb: &'static str, role: &'static str| {
        cluster.yard(["node", "role", verb, &machine, role]).await
    };
    change("add", "stager").await?.success()?;
    let node = world.seen(&machine).await?;
    let stager = node.daemons.iter().find(|daemon| daemon.role == "stager");
    let name = stager.context("a stager")?.name.clone();
    ensure!(bus_knows(cluster, &name)?, "{name} has no login");
    let router = change("add", "router").await?;
    ensure!(
        router.stderr.contains("cannot have routers"),
        "{}",
        router.stderr
    );
    change("remove", "stager").await?.success()?;
    eventually("its login is withdrawn", SOON, || async {
        ensure!(!bus_knows(cluster, &name)?, "{name} has its login");
        Ok(())
    })
    .await
}

fn bus_knows(cluster: &Cluster, daemon: &str) -> anyhow::Result<bool> {
    let users = std::fs::read_to_string(cluster.home.join("nats/nats.conf"))?;
    let secrets = std::fs::read_to_string(cluster.home.join("node/secrets.json"))?;
    let known = users.contains(&format!("\"{daemon}\""));
    ensure!(
        known == secrets.contains(&format!("\"{daemon}-bus\"")),
        "the bus and the node do not agree on {daemon}"
    );
    Ok(known)
}

async fn a_machine_that_joined_knows_what_it_is(world: &World) -> anyhow::Result<()> {
    let second = world.machine("second");
    let name = second.file()?.machine;
    // Nobody is logged in there, and nobody needs to be.
    let status = second.yard_of_nobody(&["status", "--json"]).await?;
    let told = status.success()?.json()?;
    has(&told, &["joined_as", "healthy", "node", "problems"])?;
    ensure!(
        told["joined_as"] == name.as_str() && told["healthy"] == true,
        "{told}"
    );
    for words in [&["node", "token"][..], &["node", "remove", "machine-9"]] {
        let output = second.yard(words).await?;
        let why = format!("this machine joined its cluster, as {name}");
        ensure!(
            output.status == 1 && output.stderr.contains(&why),
            "{}",
            output.stderr
        );
        ensure!(
            output.stderr.contains(&world.cable.near),
            "{}",
            output.stderr
        );
    }
    Ok(())
}

async fn instances_of_both_machines_are_entered(world: &World) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    let mut hosts = BTreeSet::new();
    for index in ["0", "1"] {
        let command = "echo $CF_INSTANCE_ADDR; exit 3";
        let output = cluster
            .yard(["ssh", APP, "-i", index, "-c", command])
            .await?;
        ensure!(output.status == 3, "{index}: {output:?}");
        let at: SocketAddr = output.stdout.trim().parse().context(output.stderr)?;
        hosts.insert(at.ip().to_string());
    }
    ensure!(
        hosts.len() == 2 && hosts.contains(&world.cable.far),
        "{hosts:?}"
    );

    // There and back, more than any buffer on the way holds.
    let large = cluster.root().join("large");
    let bytes: Vec<u8> = (0..3_000_000u32)
        .flat_map(|number| number.to_be_bytes())
        .collect();
    std::fs::write(&large, &bytes)?;
    let large = large.display().to_string();
    cluster
        .ok(["cp", &large, &format!("{APP}:large"), "--all"])
        .await?;
    for index in ["0", "1"] {
        let listed = cluster.ok(["files", APP, ".", "-i", index]).await?;
        ensure!(listed.stdout.contains("large"), "{}", listed.stdout);
        let back = cluster.root().join(format!("back-{index}"));
        let target = back.display().to_string();
        cluster
            .ok(["cp", &format!("{APP}:large"), &target, "-i", index])
            .await?;
        ensure!(
            std::fs::read(&back)? == bytes,
            "{index}: another file came back"
        );
    }
    let missing = cluster.yard(["ssh", APP, "-i", "7", "-c", "true"]).await?;
    ensure!(
        missing.stderr.contains("no running instance 7"),
        "{}",
        missing.stderr
    );
    Ok(())
}

async fn an_agent_of_another_machine_is_emptied(world: &World) -> anyhow::Result<()> {
    let machine = world.machine("second").file()?.machine;
    let node = world.seen(&machine).await?;
    let agent = node.daemons.iter().find(|daemon| daemon.role == "dea");
    let agent = agent.context("an agent")?.name.clone();
    let load = Load::start(&world.cluster, &world.cluster.host(APP), "/", 2);
    world.cluster.ok(["node", "drain", &agent]).await?;
    world.wait_for_far(false).await?;
    wait_running(&world.cluster, APP, 2, SOON).await?;
    load.stop().await.without_failure(10)?;
    world.cluster.ok(["node", "undrain", &agent]).await?;
    for instances in ["1", "2"] {
        world
            .cluster
            .ok(["scale", APP, "--instances", instances])
            .await?;
    }
    world.wait_for_far(true).await
}

async fn who_says_nothing_at_the_gate_keeps_nobody_waiting(world: &World) -> anyhow::Result<()> {
    let near: IpAddr = world.cable.near.parse()?;
    let gate = SocketAddr::new(near, 7443);
    let mut silent = Vec::new();
    for _ in 0..600 {
        let connected = tokio::net::TcpStream::connect(gate);
        silent.push(tokio::time::timeout(Duration::from_secs(3), connected).await??);
    }
    let token = token(&world.cluster, &["--role", "health-manager"]).await?;
    let begun = Instant::now();
    refused(
        world,
        &["node", "join", &token, "--role", "dea"],
        "not for dea",
    )
    .await?;
    let took = begun.elapsed();
    ensure!(took < Duration::from_secs(4), "it waited {took:?}");
    drop(silent);
    world.wait_for_far(true).await
}

async fn only_the_gate_is_open_and_instances_only_to_routers(world: &World) -> anyhow::Result<()> {
    let near: IpAddr = world.cable.near.parse()?;
    let ports: BTreeMap<String, u16> = {
        let text = std::fs::read_to_string(world.cluster.home.join("node/ports.json"))?;
        serde_json::from_str(&text)?
    };
    for (name, port) in &ports {
        let open = tokio::net::TcpStream::connect((near, *port)).await;
        ensure!(open.is_err(), "{name} is open to other machines at {port}");
    }
    let records = world.cluster.home.join("node/machines.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&records)?.permissions());
    ensure!(mode & 0o777 == 0o600, "{mode:o}");

    let instance = eventually("an instance on the other machine", SOON, || async {
        let at = world.answer().await?;
        ensure!(at.ip().to_string() == world.cable.far, "{at}");
        Ok(at)
    })
    .await?;
    let from = async |address: &str| -> anyhow::Result<()> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(address.parse()?, 0))?;
        tokio::time::timeout(Duration::from_secs(2), socket.connect(instance)).await??;
        Ok(())
    };
    from(&world.cable.near).await.context("as a router")?;
    ensure!(
        from(&world.cable.strange).await.is_err(),
        "a stranger reached an instance"
    );
    let neighbour = sandbox_process(&world.cluster)?.to_string();
    let reach = format!(
        "import socket; socket.create_connection(({:?}, {}), 2)",
        instance.ip().to_string(),
        instance.port()
    );
    let reached = std::process::Command::new("nsenter")
        .args(["-t", &neighbour, "-n", "python3", "-c", &reach])
        .output()?;
    let told = String::from_utf8_lossy(&reached.stderr);
    ensure!(told.contains("refused"), "another app's sandbox: {told}");
    Ok(())
}

/// A process of the app in a sandbox of the first machine.
fn sandbox_process(cluster: &Cluster) -> anyhow::Result<u32> {
    let group = format!("stackyard-{}-1", cluster.cluster_file()?.id);
    let mut processes = std::fs::read_dir("/proc")?.flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).ok();
        let ours = read("cgroup")?.contains(&group) && read("cmdline")?.contains("server.py");
        ours.then_some(pid)
    });
    processes
        .next()
        .context("no instance runs on the first machine")
}

async fn a_link_breaks_and_heals_and_instances_serve_on(world: &World) -> anyhow::Result<()> {
    let second = world.machine("second");
    let load = Load::start(&world.cluster, &world.cluster.host(APP), "/", 2);
    let log = second.home.join("logs/node.log");
    let told =
        |what: &str| Ok::<_, std::io::Error>(std::fs::read_to_string(&log)?.matches(what).count());
    let healed = told("the link to the cluster holds")?;
    world.cable.cut_gate()?;
    eventually("the link is broken", SOON, || async {
        ensure!(told("the link to the cluster is broken")? > 0, "it holds");
        Ok(())
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world
        .wait_for_far(true)
        .await
        .context("while the link is broken")?;
    world.cable.mend_gate()?;
    eventually("the link is mended", SOON, || async {
        ensure!(
            told("the link to the cluster holds")? > healed,
            "it is broken"
        );
        Ok(())
    })
    .await?;

    // A node that is killed leaves its daemons, and the next one their link.
    let home = second.home.display().to_string();
    let node = node_process(&home).context("a node runs there")?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(node),
        nix::sys::signal::Signal::SIGKILL,
    )?;
    second.yard(&["up", "--timeout", "40"]).await?.success()?;
    eventually("the machine is heard again", SOON, || async {
        let node = world.seen(&second.file()?.machine).await?;
        let ready = node.daemons.iter().all(|daemon| daemon.state == "ready");
        ensure!(
            node.state == "running" && ready && node.problem.is_none(),
            "{node:?}"
        );
        Ok(())
    })
    .await?;
    world.wait_for_far(true).await?;
    load.stop().await.without_failure(50)
}

async fn a_machine_leaves_and_nobody_notices(world: &World) -> anyhow::Result<()> {
    let second = world.machine("second");
    let file = second.file()?;
    let load = Load::start(&world.cluster, &world.cluster.host(APP), "/", 2);
    let told = second.yard(&["node", "leave", "--json"]).await?.success()?;
    has(&told.json()?, &["machine", "home", "left", "strangers"])?;
    load.stop().await.without_failure(10)?;
    ensure!(!second.home.exists(), "its home is left");
    let left = second.left(&file);
    ensure!(left.is_empty(), "left behind: {}", left.join("\n"));
    world.wait_for_far(false).await?;
    wait_running(&world.cluster, APP, 2, SOON).await?;
    ensure!(
        world.seen(&file.machine).await.is_err(),
        "it is still listed"
    );
    Ok(())
}

async fn a_machine_that_is_removed_is_cut_off_and_replaced(world: &World) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    cluster
        .ok(["config", "set", "health-manager/agent/lost_after", "5s"])
        .await?;
    let lost = world.machine("lost");
    lost.join(&["--zone", "cellar"]).await?;
    let file = lost.file()?;
    let machine = file.machine.as_str();
    cluster.ok(["scale", APP, "--instances", "4"]).await?;
    world.wait_for_far(true).await?;
    let refused = cluster.yard(["node", "remove", machine]).await?;
    ensure!(
        refused.stderr.contains("is connected"),
        "{}",
        refused.stderr
    );
    let told = cluster
        .ok(["node", "remove", machine, "--force", "--json"])
        .await?;
    has(&told.json()?, &["machine", "removed"])?;
    let agent: BTreeSet<String> = file
        .roles
        .iter()
        .map(|(role, number)| proto::roles::component(role, number).to_string())
        .collect();
    for daemon in &agent {
        ensure!(!bus_knows(cluster, daemon)?, "{daemon} has its login");
    }
    ensure!(world.seen(machine).await.is_err(), "it is still listed");
    eventually("all four run on the first machine", SOON, || async {
        let status = cluster.status_text("dea-1", "/instances").await?;
        match status.matches("\"RUNNING\"").count() {
            4 => Ok(()),
            count => bail!("{count} run there"),
        }
    })
    .await?;
    eventually("the machine knows it", SOON, || async {
        let log = std::fs::read_to_string(lost.home.join("logs/node.log"))?;
        ensure!(log.contains("was removed from its cluster"), "not yet");
        Ok(())
    })
    .await?;
    lost.yard(&["node", "leave"]).await?.success()?;
    let left = lost.left(&file);
    ensure!(left.is_empty(), "left behind: {}", left.join("\n"));
    let unknown = cluster.yard(["node", "remove", machine]).await?;
    ensure!(unknown.stderr.contains("no machine"), "{}", unknown.stderr);
    Ok(())
}

fn main() {
    suite("machines", async |tally| {
        let cable = match Cable::lay() {
            Ok(cable) => cable,
            Err(error) => {
                tally.note("a_cable_is_laid", Err(error));
                return;
            }
        };
        let options = Options {
            advertise: Some(cable.near.clone()),
            ..Options::default()
        };
        let cluster = match Cluster::start(options).await {
            Ok(cluster) => cluster,
            Err(error) => {
                tally.note("the_cluster_comes_up", Err(error));
                return;
            }
        };
        let world = World { cluster, cable };
        let tests = tests![
            a_token_works_once_in_its_time_and_for_its_roles,
            a_second_machine_joins_and_both_serve,
            a_machine_that_joined_knows_what_it_is,
            instances_of_both_machines_are_entered,
            who_says_nothing_at_the_gate_keeps_nobody_waiting,
            an_agent_of_another_machine_is_emptied,
            roles_come_and_go_as_on_the_first_machine,
            only_the_gate_is_open_and_instances_only_to_routers,
            a_link_breaks_and_heals_and_instances_serve_on,
            a_machine_leaves_and_nobody_notices,
            a_machine_that_is_removed_is_cut_off_and_replaced,
        ];
        run(&world, tests, tally).await;
        // Whatever a failed test left of other machines.
        for name in ["second", "third", "lost"] {
            let machine = world.machine(name);
            if machine.home.exists() {
                if let Ok(text) = std::fs::read_to_string(machine.home.join("logs/node.log")) {
                    println!("--- node of {name}\n{text}");
                }
                let gone = machine.yard(&["destroy", "--yes"]).await;
                tally.note(
                    "the_other_machines_are_gone",
                    gone.and_then(|output| output.success().map(drop)),
                );
            }
        }
        let World { cluster, cable } = world;
        if tally.failed > 0 {
            cluster.print_logs();
        }
        tally.note("destroy_leaves_nothing", cluster.destroy().await);
        drop(cable);
    });
}
