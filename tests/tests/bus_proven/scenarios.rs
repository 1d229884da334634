//! A scenario for each subject of the table: something a cluster does, and who is seen sending.
//!
//! What a component of ours never asks by itself (an old tool or controller would) is asked here with
//! that component's own credential, and answered.

use crate::By::{Itself, Scenario};
use crate::trace::Actor;
use crate::{DAEMONS, LONG, Yard};
use anyhow::{Context, ensure};
use proto::bus::Role::{
    self, Collector, Controller, Dea, HealthManager, Router, SshProxy, Stager, Tool,
};
use proto::bus::automation::{SensorToken, SensorTokenReply};
use proto::bus::component::Component;
use proto::bus::dea::{AgentStatus, FindInstances, FoundInstance, InstanceStats};
use proto::bus::health::{Health, HealthQuery, HealthQueryItem, HealthStatus, HealthStatusQuery};
use proto::bus::{CATALOGUE, Empty, Payload, Topic, catalogue};
use proto::ids::{DeaId, ProcessGuid};
use std::collections::BTreeSet;
use tests::apps::{app, push, server, wait_running};
use tests::eventually;
use tests::inside::role_of;

const APP: &str = "proven";
const PACK: &str = "proven";

/// Asks with somebody's credential, and gives the first answer.
pub async fn ask<M: Payload, R: Payload>(
    yard: &Yard,
    who: &str,
    topic: &Topic<M>,
    question: &M,
) -> anyhow::Result<R> {
    let client = yard.cluster.bus(who).await?;
    let asked = client.request(topic.subject().to_string(), question.encode().into());
    let answer = tokio::time::timeout(LONG, asked)
        .await
        .with_context(|| format!("no answer to {topic:?}"))?
        .with_context(|| format!("asking {topic:?} as {who}"))?;
    Ok(R::decode(&answer.payload)?)
}

/// The agent of this cluster.
pub fn agent() -> DeaId {
    DeaId::new("dea-1").expect("an identifier")
}

pub async fn components_introduce_themselves(yard: &Yard) -> anyhow::Result<()> {
    let announced = [
        Controller,
        Router,
        Dea,
        HealthManager,
        Stager,
        Collector,
        SshProxy,
    ]
    .map(|role| ("vcap.component.announce", Itself(role)));
    yard.shows(&announced, async { Ok(()) }).await?;
    yard.shows(
        &[
            ("router.start", Itself(Router)),
            ("router.register", Itself(Controller)),
            ("router.register", Itself(Collector)),
            ("dea.start", Itself(Dea)),
            ("dea.locate", Itself(Controller)),
            ("dea.advertise", Itself(Dea)),
            ("dea.heartbeat", Itself(Dea)),
            ("healthmanager.start", Itself(HealthManager)),
            ("cloudcontroller.bulk.credentials", Itself(HealthManager)),
            ("yard.automation.report", Itself(Dea)),
            ("yard.router.traffic", Itself(Router)),
            ("vcap.component.discover", Itself(Controller)),
        ],
        async {
            let home = yard.cluster.home.display().to_string();
            eventually("everybody is there again", LONG, || async {
                yard.cluster.ok(["status", "--home", &home]).await.map(drop)
            })
            .await
        },
    )
    .await
}

pub async fn a_push_is_staged_and_started(yard: &Yard) -> anyhow::Result<()> {
    yard.shows(
        &[
            ("vcap.stager.{queue}", Itself(Controller)),
            ("yard.dea.{id}.task.run", Itself(Stager)),
            ("yard.task.staging.exited", Itself(Dea)),
            ("yard.staging.completed", Itself(Stager)),
            ("dea.{id}.start", Itself(Controller)),
            ("router.register", Itself(Dea)),
            ("droplet.updated", Itself(Controller)),
            ("yard.facts.advanced", Itself(Controller)),
            ("yard.log.{id}", Itself(Controller)),
            ("yard.log.{id}", Itself(Stager)),
            ("yard.log.{id}", Itself(Dea)),
        ],
        async {
            let folder = server(&yard.cluster, APP);
            push(&yard.cluster, APP, &folder, &["--memory", "64M", "-i", "2"])
                .await?
                .success()?;
            wait_running(&yard.cluster, APP, 2, LONG).await
        },
    )
    .await
}

pub async fn an_app_sleeps_and_is_woken(yard: &Yard) -> anyhow::Result<()> {
    yard.shows(
        &[
            ("router.unregister", Itself(Controller)),
            ("yard.router.wake", Itself(Router)),
        ],
        async {
            yard.cluster
                .ok(["scale", APP, "--sleep-after", "1s"])
                .await?;
            wait_running(&yard.cluster, APP, 0, LONG).await?;
            yard.cluster.body(&yard.cluster.host(APP), "/").await?;
            yard.cluster
                .ok(["scale", APP, "--sleep-after", "never"])
                .await
                .map(drop)
        },
    )
    .await
}

pub async fn names_and_numbers_change(yard: &Yard) -> anyhow::Result<()> {
    yard.shows(
        &[
            ("dea.update", Itself(Controller)),
            ("dea.stop", Itself(Controller)),
            ("router.unregister", Itself(Dea)),
        ],
        async {
            let domain = &yard.cluster.domain;
            yard.cluster
                .ok(["map-route", APP, domain, "--hostname", "second"])
                .await?;
            yard.cluster.ok(["scale", APP, "--instances", "1"]).await?;
            wait_running(&yard.cluster, APP, 1, LONG).await
        },
    )
    .await
}

pub async fn an_instance_crashes_and_is_brought_back(yard: &Yard) -> anyhow::Result<()> {
    yard.shows(
        &[
            ("droplet.exited", Itself(Dea)),
            ("cloudcontrollers.hm.requests", Itself(HealthManager)),
        ],
        async {
            // Its answer is that the connection ends.
            let _ = yard.cluster.get(&yard.cluster.host(APP), "/crash").await;
            Ok(())
        },
    )
    .await?;
    wait_running(&yard.cluster, APP, 1, LONG).await
}

pub async fn an_instance_finds_no_room(yard: &Yard) -> anyhow::Result<()> {
    let status: AgentStatus = ask(yard, "tool", &catalogue::dea_status(), &Empty).await?;
    // One fits, two do not.
    let memory = format!("{}M", status.max_memory * 6 / 10);
    yard.shows(&[("dea.discover", Itself(Controller))], async {
        let folder = server(&yard.cluster, "vast");
        push(&yard.cluster, "vast", &folder, &["--memory", &memory])
            .await?
            .success()?;
        yard.cluster
            .ok(["scale", "vast", "--instances", "2", "--no-wait"])
            .await
            .map(drop)
    })
    .await?;
    yard.cluster
        .ok(["delete", "vast", "--force"])
        .await
        .map(drop)
}

pub async fn a_task_runs_and_another_is_cancelled(yard: &Yard) -> anyhow::Result<()> {
    yard.shows(
        &[
            ("yard.dea.{id}.task.run", Itself(Controller)),
            ("yard.dea.{id}.task.stop", Itself(Controller)),
            ("yard.task.app.exited", Itself(Dea)),
        ],
        async {
            yard.cluster.ok(["run", APP, "--", "true"]).await?;
            yard.cluster
                .ok(["run", APP, "--detach", "--", "sleep 600"])
                .await?;
            eventually("the task runs", LONG, || async {
                let task = yard.cluster.ok(["task", "show", APP, "2", "--json"]);
                let task = task.await?.json()?;
                ensure!(task["state"] == "RUNNING", "{task}");
                Ok(())
            })
            .await?;
            yard.cluster
                .ok(["task", "cancel", APP, "2"])
                .await
                .map(drop)
        },
    )
    .await
}

pub async fn somebody_looks_inside_an_instance(yard: &Yard) -> anyhow::Result<()> {
    yard.shows(&[("yard.dea.{id}.enter", Itself(Controller))], async {
        yard.cluster.ok(["ssh", APP, "-c", "true"]).await.map(drop)
    })
    .await
}

pub async fn an_agent_is_emptied_and_takes_work_again(yard: &Yard) -> anyhow::Result<()> {
    let shown = yard
        .shows(
            &[
                ("yard.dea.{id}.drain", Itself(Controller)),
                ("dea.shutdown", Itself(Dea)),
            ],
            async {
                yard.cluster
                    .ok(["node", "drain", "dea-1", "--no-wait"])
                    .await
                    .map(drop)
            },
        )
        .await;
    yard.cluster.ok(["node", "undrain", "dea-1"]).await?;
    shown?;
    wait_running(&yard.cluster, APP, 1, LONG).await
}

pub async fn an_app_is_replaced_step_by_step(yard: &Yard) -> anyhow::Result<()> {
    yard.shows(&[("vcap.cc.events", Itself(Controller))], async {
        yard.cluster
            .ok(["restart", APP, "--strategy", "rolling"])
            .await
            .map(drop)
    })
    .await
}

pub async fn an_action_runs_and_another_is_cancelled(yard: &Yard) -> anyhow::Result<()> {
    yard.shows(
        &[
            ("yard.dea.{id}.action.run", Itself(Controller)),
            ("yard.dea.{id}.action.stop", Itself(Controller)),
            ("yard.action.output", Itself(Dea)),
            ("yard.action.exited", Itself(Dea)),
            ("yard.automation.advanced", Itself(Controller)),
        ],
        async {
            yard.cluster
                .ok(["run", "core.local", "cmd=echo one; sleep 1; echo two"])
                .await?;
            let started = yard
                .cluster
                .ok(["run", "core.local", "cmd=sleep 600", "--async", "--json"])
                .await?
                .json()?;
            let id = started["id"].as_str().context("an id")?;
            let comes_to = async |wanted: &str| {
                eventually(&format!("the action is {wanted}"), LONG, || async {
                    let shown = yard.cluster.ok(["execution", "show", id, "--json"]);
                    let shown = shown.await?.json()?;
                    ensure!(shown["status"] == wanted, "{}", shown["status"]);
                    Ok(())
                })
                .await
            };
            comes_to("running").await?;
            yard.cluster.ok(["execution", "cancel", id]).await?;
            comes_to("canceled").await
        },
    )
    .await
}

const SENSOR: &str = r#"
from st2reactor.sensor.base import Sensor
import time
class Watcher(Sensor):
    def setup(self): pass
    def run(self):
        while True: time.sleep(60)
    def cleanup(self): pass
    def add_trigger(self, trigger): pass
    def update_trigger(self, trigger): pass
    def remove_trigger(self, trigger): pass
"#;

const SENSOR_TYPE: &str = r#"
class_name: Watcher
entry_point: watcher.py
description: Watches nothing.
enabled: true
trigger_types:
  - name: seen
    pack: proven
    description: It never comes.
    parameters_schema: {type: object, properties: {of: {type: string}}}
"#;

/// Its trigger is another than the sensor was started with.
const RULE: &str = r#"
name: never
pack: proven
description: Of a trigger that never comes.
enabled: true
trigger: {type: proven.seen, parameters: {of: anything}}
action: {ref: core.noop, parameters: {}}
"#;

pub async fn a_sensor_runs_hears_of_a_trigger_and_stops(yard: &Yard) -> anyhow::Result<()> {
    let about = "ref: proven\nname: proven\nversion: 1.0.0\ndescription: Watches nothing.\nauthor: a test\nemail: test@example.org\n";
    let folder = app(
        &yard.cluster,
        "pack",
        &[
            ("pack.yaml", about),
            ("sensors/watcher.yaml", SENSOR_TYPE),
            ("sensors/watcher.py", SENSOR),
            ("never.yaml", RULE),
        ],
    );
    let rule = folder.join("never.yaml").display().to_string();
    yard.shows(&[("yard.dea.{id}.sensor.run", Itself(Controller))], async {
        let pushed = yard.cluster.yard_in(&folder, ["push"]).await?;
        pushed.success()?;
        // Another sensor may have been ordered before.
        eventually("the sensor is started", LONG, || async {
            let log = yard.cluster.log("dea-1");
            let is_start = |line: &str| {
                line.contains("a sensor is started") && line.contains("proven.Watcher")
            };
            ensure!(log.lines().any(is_start), "the agent does not say so");
            Ok(())
        })
        .await
    })
    .await?;
    // Orders name the triggers that there were: one made after them is news.
    yard.shows(
        &[("yard.dea.{id}.sensor.trigger", Itself(Controller))],
        async { yard.cluster.ok(["rule", "create", &rule]).await.map(drop) },
    )
    .await?;
    yard.shows(
        &[("yard.dea.{id}.sensor.stop", Itself(Controller))],
        async {
            yard.cluster.ok(["rule", "delete", "proven.never"]).await?;
            yard.cluster
                .ok(["sensor", "disable", "proven.Watcher"])
                .await
                .map(drop)
        },
    )
    .await?;
    yard.cluster.ok(["pack", "remove", PACK]).await.map(drop)
}

pub async fn a_tool_asks(yard: &Yard) -> anyhow::Result<()> {
    yard.shows(
        &[
            ("vcap.component.discover", Scenario(Tool)),
            ("dea.status", Scenario(Tool)),
            ("droplet.status", Scenario(Tool)),
        ],
        async {
            let found: Component =
                ask(yard, "tool", &catalogue::component_discover(), &Empty).await?;
            ensure!(
                found
                    .yard_id
                    .as_deref()
                    .is_some_and(|id| DAEMONS.contains(&id)),
                "{found:?}"
            );
            let agent: AgentStatus = ask(yard, "tool", &catalogue::dea_status(), &Empty).await?;
            ensure!(agent.hello.id.as_str() == "dea-1", "{agent:?}");
            let process = process(yard).await?;
            let stats: InstanceStats =
                ask(yard, "tool", &catalogue::droplet_status(), &all_of(process)).await?;
            ensure!(stats.name == APP, "{stats:?}");
            Ok(())
        },
    )
    .await
}

/// The process of the app whose instance runs: it was replaced by another, which has a guid of its own.
async fn process(yard: &Yard) -> anyhow::Result<ProcessGuid> {
    let text = yard.cluster.status_text("dea-1", "/instances").await?;
    let shown: serde_json::Value = serde_json::from_str(&text)?;
    let instances = shown["instances"].as_array().into_iter().flatten();
    let guid = instances
        .filter(|one| one["state"] == "RUNNING" && one["stats"]["name"] == APP)
        .find_map(|one| one["process"].as_str())
        .with_context(|| format!("{APP} does not run: {text}"))?;
    Ok(ProcessGuid::new(guid)?)
}

fn all_of(droplet: ProcessGuid) -> FindInstances {
    FindInstances {
        droplet,
        version: None,
        instances: None,
        indices: None,
        states: None,
        include_stats: false,
        path: None,
    }
}

pub async fn a_controller_asks_what_ours_does_not(yard: &Yard) -> anyhow::Result<()> {
    yard.shows(
        &[
            ("dea.find.droplet", Scenario(Controller)),
            ("healthmanager.status", Scenario(Controller)),
            ("healthmanager.health", Scenario(Controller)),
            ("yard.dea.{id}.sensor.token", Scenario(Controller)),
        ],
        async {
            let process = process(yard).await?;
            let found: FoundInstance = ask(
                yard,
                "controller-1",
                &catalogue::dea_find_droplet(),
                &all_of(process.clone()),
            )
            .await?;
            ensure!(
                found.dea == agent() && found.state == "RUNNING",
                "{found:?}"
            );
            let query = HealthQuery {
                droplets: vec![HealthQueryItem {
                    droplet: process.clone(),
                    version: found.version,
                }],
            };
            eventually("it is healthy", LONG, || async {
                let health: Health = ask(
                    yard,
                    "controller-1",
                    &catalogue::healthmanager_health(),
                    &query,
                )
                .await?;
                ensure!(health.healthy == 1, "{health:?}");
                Ok(())
            })
            .await?;
            let query = HealthStatusQuery {
                droplet: process,
                state: "FLAPPING".to_string(),
                version: None,
            };
            let status: HealthStatus = ask(
                yard,
                "controller-1",
                &catalogue::healthmanager_status(),
                &query,
            )
            .await?;
            ensure!(status.indices.is_some(), "{status:?}");
            let token = SensorToken {
                sensor: "proven.Watcher".to_string(),
                generation: 99,
                token: "of nobody".to_string(),
            };
            let reply: SensorTokenReply = ask(
                yard,
                "controller-1",
                &catalogue::dea_sensor_token(&agent()),
                &token,
            )
            .await?;
            ensure!(
                !reply.accepted && reply.reason.contains("is not here"),
                "{reply:?}"
            );
            Ok(())
        },
    )
    .await
}

/// What the whole run has shown, against the table.
pub async fn every_subject_was_seen_and_from_its_senders_alone(yard: &Yard) -> anyhow::Result<()> {
    let shown = yard.shown.lock().expect("no holder panics").clone();
    let roles = |actors: Option<&BTreeSet<Actor>>| -> BTreeSet<Role> {
        let actors = actors.into_iter().flatten();
        actors.filter_map(|actor| role_of(&actor.user)).collect()
    };
    let declared = |roles: &[Role]| -> BTreeSet<Role> { roles.iter().copied().collect() };
    yard.with_trace(|trace| {
        let mut faults = Vec::new();
        let mut unused = Vec::new();
        for entry in CATALOGUE {
            if !shown.contains(entry.pattern) {
                faults.push(format!("{}: no scenario has shown it", entry.pattern));
            }
            let senders = roles(trace.published.get(entry.pattern));
            let may = declared(entry.publishers);
            for role in senders.difference(&may) {
                faults.push(format!("{}: {} sends it", entry.pattern, role.name()));
            }
            for role in may.difference(&senders) {
                unused.push(format!("{} by {}", entry.pattern, role.name()));
            }
            let listeners = roles(trace.subscribed.get(entry.pattern));
            let may = declared(entry.subscribers);
            for role in listeners.difference(&may) {
                faults.push(format!("{}: {} listens", entry.pattern, role.name()));
            }
            for role in may
                .difference(&listeners)
                .filter(|role| !role.is_stranger())
            {
                faults.push(format!(
                    "{}: {} does not listen",
                    entry.pattern,
                    role.name()
                ));
            }
        }
        for (subject, actor) in &trace.strays {
            faults.push(format!("{subject} is in no row: {}", actor.user));
        }
        for (actor, what) in trace.violations.iter().filter(|(actor, _)| actor.itself) {
            faults.push(format!("{} was refused: {what}", actor.user));
        }
        if !unused.is_empty() {
            println!(
                "    declared, and not seen in these scenarios: {}",
                unused.join(", ")
            );
        }
        ensure!(faults.is_empty(), "{}", faults.join("\n    "));
        Ok(())
    })?
}

/// Who may send the subject of a row: the first of them, by its name here.
pub fn sender_of(publishers: &[Role]) -> Option<&'static str> {
    let first = publishers.first()?;
    crate::matrix::EVERYBODY
        .into_iter()
        .find(|who| role_of(who) == Some(*first))
}
