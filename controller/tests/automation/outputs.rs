//! What actions give back, beside what their `output_schema` says of it. The test plays the agent.

use crate::automation_client;
use crate::world::{Client, World};
use proto::bus::automation::{
    ActionEnd, ActionExited, AutomationReport, RunAction, RunActionReply, RunningAction,
};
use proto::bus::catalogue;
use proto::bus::stream::Ack;
use proto::ids::DeaId;
use serde_json::{Value, json};
use std::time::Duration;

const DEA: &str = "dea-1";

/// An agent on which every Python action gives back its parameter `output`.
async fn echoes(world: &World) {
    let bus = world.cluster.connect(DEA).await;
    let id = DeaId::new(DEA).unwrap();
    let mut runs = bus
        .subscribe(&catalogue::dea_action_run(&id).filter())
        .await
        .unwrap();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        let mut taken = Vec::new();
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let report = AutomationReport {
                        dea: DEA.into(),
                        actions: taken.clone(),
                        ..AutomationReport::default()
                    };
                    bus.publish(&catalogue::automation_report(), &report).await.ok();
                }
                Some(run) = runs.next() => {
                    let reply = RunActionReply { accepted: true, reason: String::new() };
                    run.respond(&reply).await.unwrap();
                    taken.push(RunningAction {
                        execution: run.message.execution.clone(),
                        attempt: run.message.attempt,
                    });
                    let bus = bus.clone();
                    tokio::spawn(async move { end(&bus, &run.message).await });
                }
            }
        }
    });
}

async fn end(bus: &daemon::Bus, run: &RunAction) {
    let orders: Value = serde_json::from_slice(&run.orders).unwrap();
    let answer = json!({"result": orders["parameters"]["output"], "status": true});
    let report = json!({"stdout": "", "stderr": "", "result": answer.to_string()});
    let exited = ActionExited {
        execution: run.execution.clone(),
        attempt: run.attempt,
        dea: DEA.into(),
        end: ActionEnd::Exited.into(),
        result: report.to_string().into_bytes(),
        started_at: 1,
        ended_at: 2,
        ..ActionExited::default()
    };
    let topic = catalogue::action_exited();
    // As agents do, until it is acknowledged.
    while bus
        .request::<_, Ack>(&topic, &exited, Duration::from_secs(10))
        .await
        .is_err()
    {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn install(world: &World, output_schema: Value) {
    let mut tx = world.cluster.store.write("test").await.unwrap();
    automation_client::pack("check")
        .insert(&mut tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    world
        .action(
            "echo",
            "python-script",
            json!({"output": {"type": "object"}}),
            json!({"entry_point": "echo.py", "output_schema": output_schema}),
        )
        .await;
}

async fn result_of(admin: &Client, id: &str, query: &str) -> Value {
    let path = format!("/v1/executions/{id}{query}");
    admin.get(&path).await.expect(200)["result"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_masked_and_held_to_its_schema() {
    let Some(world) = World::start("a_result_is_masked_and_held_to_its_schema").await else {
        return;
    };
    let admin = world.admin().await;
    let schema = json!({
        "type": "object",
        "properties": {
            "user": {"type": "string", "required": true},
            "tokens": {"type": "array", "items": {"type": "string", "secret": true}},
        },
        "additionalProperties": false,
    });
    install(&world, schema).await;
    echoes(&world).await;

    let good = json!({"user": "ada", "tokens": ["hush-1", "hush-2"]});
    let id = admin.run("check.echo", json!({"output": good})).await;
    admin.until(&id, "succeeded").await;
    let masked = json!({"user": "ada", "tokens": ["********", "********"]});
    assert_eq!(result_of(&admin, &id, "").await["result"], masked);
    let whole = result_of(&admin, &id, "?show_secrets=true").await;
    assert_eq!(whole["result"], good);
    let path = format!("/v1/executions/{id}");
    for address in [
        format!("{path}/result"),
        format!("{path}/attribute/result"),
        "/v1/executions?include_attributes=result".to_string(),
    ] {
        let text = admin.get(&address).await.text();
        assert!(
            text.contains("ada") && !text.contains("hush-1"),
            "{address}: {text}"
        );
    }

    // Whether it is what it should be only counts where the operator wants that.
    let bad = json!({"user": 5});
    let id = admin.run("check.echo", json!({"output": bad})).await;
    admin.until(&id, "succeeded").await;
    world
        .set("automation/actions/validate_output", json!(true))
        .await;
    let id = admin.run("check.echo", json!({"output": bad})).await;
    let failed = admin.until(&id, "failed").await;
    assert_eq!(
        failed["result"]["message"],
        "Error validating output. See error output for more details."
    );
    let why = failed["result"]["error"].as_str().unwrap();
    assert!(why.contains("user"), "{why}");
    let id = admin.run("check.echo", json!({"output": good})).await;
    admin.until(&id, "succeeded").await;
}
