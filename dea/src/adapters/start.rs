//! Building an agent and starting its loops.

use super::accepted::Accepted;
use super::agent::{Agent, Clock, Nudges, Table};
use super::automation::notes::Notes;
use super::automation::output::Outputs;
use super::automation::{report, retire};
use super::droplets::Droplets;
use super::epochs::KeptEpochs;
use super::inside::{self, Inside};
use super::spool::Spool;
use super::{
    adoption, advertise, evacuation, fairness, farewell, folders, heartbeat, machine, names, pool,
    routes, sampling, transfer,
};
use crate::Config;
use crate::sandbox::{Engine, EngineConfig, Sandbox, VCAP};
use anyhow::Context;
use daemon::{Bootstrap, Deps, LogSender, Policy, Running, Shutdown};
use proto::ids::DeaId;
use std::sync::Arc;

/// Starts the agent: engine, adoption of what runs, then the bus. It waits for neither bus nor
/// store.
pub async fn start(config: Config, deps: Deps) -> anyhow::Result<Running> {
    let readiness = deps.readiness();
    readiness.set("engine", false, "the container engine is starting");
    let folder = deps.bootstrap.folder.clone();
    let clock = Clock::started();
    let web = transfer::client().context("cannot make an HTTP client")?;
    let totals = machine::totals(config.memory_mb, config.disk_mb, &folder)?;
    let droplets = Droplets::open(folder.join("droplets"), web.clone(), clock, Some(VCAP))?;
    let spool = Spool::open(folder.join("spool"), clock).context("cannot open the spool")?;
    let accepted = Accepted::open(folder.join("accepted"))
        .context("cannot open the folder of accepted work")?;
    let notes = Notes::open(folder.join("actions")).context("cannot open the folder of actions")?;
    folders::fresh(&folder.join("inputs"))?;
    let table = Table::of(KeptEpochs::open(folder.join("epochs.json")));
    let engine = Engine::start(engine_config(&config, &deps.bootstrap))
        .await
        .context("the container engine cannot start")?;
    let name_server = names::open(config.address).await?;
    let agent = Arc::new(Agent {
        id: DeaId::new(deps.component.as_str()).context("the agent's id")?,
        folder,
        totals,
        cores: machine::cores(),
        bus: deps.bus.clone(),
        tasks: deps.tasks.clone(),
        engine,
        logs: LogSender::start(&deps),
        droplets,
        spool,
        accepted,
        notes,
        outputs: Outputs::new(),
        inside: Inside::open().context("cannot listen for sessions in instances")?,
        web,
        settings: deps.cluster.settings(),
        cluster: deps.cluster.clone(),
        nudges: Nudges::default(),
        clock,
        table: std::sync::Mutex::new(table),
        admission: std::sync::Mutex::default(),
        routes_in_order: tokio::sync::Mutex::default(),
        config,
    });
    let (instances, tasks) = adoption::adopt_all(&agent)
        .await
        .context("cannot take over what runs")?;
    tracing::info!(
        instances,
        tasks,
        memory_mb = agent.totals.memory_mb,
        disk_mb = agent.totals.disk_mb,
        "the agent is ready for work"
    );
    agent.listen().await;
    agent.answer_queries().await;
    agent.listen_for_tasks().await;
    agent.listen_for_actions().await;
    agent.listen_for_sensors().await;
    agent.listen_for_entries().await;
    agent.listen_for_drains().await;
    spawn(&agent, "heartbeat", heartbeat::run);
    spawn(&agent, "advertise", advertise::run);
    spawn(&agent, "routes", routes::run);
    spawn(&agent, "sampling", sampling::run);
    spawn(&agent, "sweeping", sampling::sweep);
    spawn(&agent, "fairness", fairness::run);
    spawn(&agent, "farewell", farewell::run);
    spawn(&agent, "evacuation", evacuation::run);
    spawn(&agent, "spool", |agent, shutdown| async move {
        let (spool, bus) = (agent.spool.clone(), agent.bus.clone());
        spool.run(&bus, shutdown).await
    });
    spawn(&agent, "action-output", |agent, shutdown| async move {
        let (outputs, bus) = (agent.outputs.clone(), agent.bus.clone());
        outputs.run(&bus, shutdown).await
    });
    spawn(&agent, "automation-report", report::run);
    spawn(&agent, "packs", retire::run);
    spawn(&agent, "sessions", inside::run);
    spawn(&agent, "pool", pool::run);
    spawn(&agent, "names", move |agent, shutdown| {
        names::run(agent, name_server.clone(), shutdown)
    });
    show(&agent, &deps);
    readiness.set("engine", true, "");
    Ok(Running::new(deps.tasks.clone()))
}

/// The engine's settings of an agent.
pub fn engine_config(config: &Config, bootstrap: &Bootstrap) -> EngineConfig {
    EngineConfig {
        runtime: config.runtime.clone(),
        supervisor: config.supervisor.clone(),
        init: config.init.clone(),
        run_folder: bootstrap.run.join(bootstrap.component.as_str()),
        folder: bootstrap.folder.clone(),
        subnet: config.subnet,
        gateway: config.address,
        outside: config.outside.clone(),
        interface_prefix: config.interface_prefix.clone(),
        nft_table: config.nft_table.clone(),
        cgroup_parent: config.cgroup_parent.clone(),
        uid_base: config.uid_base,
        router: config.router_address,
        router_port: config.router_port,
        dns_port_udp: names::PORT,
    }
}

fn spawn<F, Fut>(agent: &Arc<Agent>, name: &'static str, run: F)
where
    F: Fn(Arc<Agent>, Shutdown) -> Fut + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let agent = agent.clone();
    agent
        .tasks
        .clone()
        .spawn(name, Policy::Restart, move |shutdown| {
            run(agent.clone(), shutdown)
        });
}

/// Counters and instances on the status server.
fn show(agent: &Arc<Agent>, deps: &Deps) {
    let shown = agent.clone();
    deps.varz(move || {
        let (max_memory, reserved_memory, used_memory) = shown.memory();
        let table = shown.table();
        serde_json::json!({
            "instances": table.instances.len(),
            "tasks": table.tasks.len(),
            "packs": table.packs.len(),
            "pool": table.pool.shown(),
            "actions": table.actions.len(),
            "sensors": table.sensors.len(),
            "spooled_facts": shown.spool.len(),
            "sessions": shown.inside.sessions(),
            "max_memory": max_memory,
            "reserved_memory": reserved_memory,
            "used_memory": used_memory,
            "draining": table.closed().is_some(),
            "left": table.left(),
        })
    });
    let shown = agent.clone();
    deps.admin_route("/instances", move || {
        let table = shown.table();
        let instances: Vec<serde_json::Value> = table
            .instances
            .values()
            .map(|entry| {
                serde_json::json!({
                    "instance": entry.record.instance,
                    "process": entry.record.start.droplet,
                    "version": entry.record.start.version,
                    "index": entry.record.start.index,
                    "sandbox": entry.sandbox.as_ref().map(Sandbox::id),
                    "state": entry.state_name(&table.evacuation),
                    "since": entry.machine.since(),
                    "ending": entry.machine.ending(),
                    "stats": shown.stats(entry),
                })
            })
            .collect();
        serde_json::json!({ "instances": instances, "tasks": table.tasks.keys().collect::<Vec<_>>() })
    });
}
