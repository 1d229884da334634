//! What makes rules act: webhooks, sensors, timers, keys.

use crate::World;
use crate::client::first;
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::time::Duration;
use tests::runner::{Tally, run};
use tests::{eventually, tests};

/// Writes a document for `st2 … create`.
fn file(world: &World, name: &str, document: &Value) -> anyhow::Result<String> {
    let path = world.cluster.root().join(name);
    std::fs::write(&path, document.to_string())?;
    Ok(path.display().to_string())
}

/// Waits until a key of the datastore has a value that fits.
async fn key(world: &World, name: &str, fits: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    eventually(
        &format!("the key {name}"),
        Duration::from_secs(30),
        || async {
            let key = world.client.json(&["key", "get", name]).await?;
            match key["value"].as_str() {
                Some(value) if fits(value) => Ok(()),
                _ => bail!("{key}"),
            }
        },
    )
    .await
}

async fn a_webhook_fires_a_rule(world: &World) -> anyhow::Result<()> {
    let hooks = world.client.json(&["webhook", "list"]).await?;
    ensure!(hooks.to_string().contains("visitors"), "{hooks}");
    world
        .cluster
        .ok(["webhook", "post", "visitors", "name=grace hopper"])
        .await?;
    key(world, "greeter_visitor", |value| {
        value.contains("Grace Hopper!")
    })
    .await?;
    let enforced = world
        .client
        .json(&[
            "rule-enforcement",
            "list",
            "--rule",
            "greeter.greet_visitor",
        ])
        .await?;
    ensure!(first(&enforced)["execution_id"].is_string(), "{enforced}");
    Ok(())
}

async fn a_payload_that_does_not_fit_runs_nothing(world: &World) -> anyhow::Result<()> {
    world
        .cluster
        .ok(["webhook", "post", "visitors", "nobody=1"])
        .await?;
    eventually(
        "the instance is processed",
        Duration::from_secs(20),
        || async {
            let instances = world
                .client
                .json(&["trigger-instance", "list", "--trigger", "core.st2.webhook"])
                .await?;
            ensure!(first(&instances)["status"] == "processed", "{instances}");
            Ok(())
        },
    )
    .await?;
    let executions = world
        .client
        .json(&["execution", "list", "--action", "greeter.greet", "-n", "50"])
        .await?;
    ensure!(!executions.to_string().contains("nobody"), "{executions}");
    Ok(())
}

async fn an_unknown_webhook_is_404(world: &World) -> anyhow::Result<()> {
    let refused = world
        .cluster
        .yard(["webhook", "post", "nobody-listens"])
        .await?;
    ensure!(
        refused.status == 7 && refused.stderr.contains("nobody-listens"),
        "{}",
        refused.stderr
    );
    Ok(())
}

async fn a_disabled_rule_leaves_its_webhook_alone(world: &World) -> anyhow::Result<()> {
    let enforced = || async {
        let words = [
            "rule-enforcement",
            "list",
            "--rule",
            "greeter.greet_visitor",
        ];
        let found = world.client.json(&words).await?;
        Ok::<usize, anyhow::Error>(found.as_array().map_or(0, Vec::len))
    };
    world
        .client
        .ok(&["rule", "disable", "greeter.greet_visitor"])
        .await?;
    let before = enforced().await?;
    let posted = world
        .cluster
        .yard(["webhook", "post", "visitors", "name=late"])
        .await?;
    let judged = eventually(
        "the rules have seen it",
        Duration::from_secs(10),
        || async {
            let words = [
                "trigger-instance",
                "list",
                "--trigger",
                "core.st2.webhook",
                "-n",
                "1",
            ];
            let newest = world.client.json(&words).await?;
            ensure!(first(&newest)["status"] == "processed", "{newest}");
            Ok(())
        },
    )
    .await;
    let after = enforced().await?;
    world
        .client
        .ok(&["rule", "enable", "greeter.greet_visitor"])
        .await?;
    judged?;
    ensure!(posted.status == 0, "status {}", posted.status);
    ensure!(
        before == after,
        "{before} enforcements before, {after} after"
    );
    Ok(())
}

async fn a_sensor_of_a_pack_fires_a_rule(world: &World) -> anyhow::Result<()> {
    key(world, "greeter_ticked", |value| value.contains("Tick 3!")).await
}

async fn a_disabled_sensor_is_silent(world: &World) -> anyhow::Result<()> {
    world
        .client
        .ok(&["sensor", "disable", "greeter.Ticker"])
        .await?;
    let count = || async {
        let instances = world
            .client
            .json(&[
                "trigger-instance",
                "list",
                "--trigger",
                "greeter.tick",
                "-n",
                "100",
            ])
            .await?;
        Ok::<usize, anyhow::Error>(instances.as_array().map_or(0, Vec::len))
    };
    eventually("no more ticks", Duration::from_secs(40), || async {
        let before = count().await?;
        tokio::time::sleep(Duration::from_secs(7)).await;
        let after = count().await?;
        ensure!(before == after, "{before} became {after}");
        Ok(())
    })
    .await?;
    world
        .client
        .ok(&["sensor", "enable", "greeter.Ticker"])
        .await
        .map(drop)
}

async fn a_rule_on_a_timer_fires(world: &World) -> anyhow::Result<()> {
    let rule = json!({
        "name": "each_second", "pack": "default", "enabled": true,
        "trigger": { "type": "core.st2.IntervalTimer", "parameters": { "unit": "seconds", "delta": 1 } },
        "criteria": {},
        "action": { "ref": "core.noop", "parameters": {} },
    });
    let rule = file(world, "timer.json", &rule)?;
    world.client.ok(&["rule", "create", &rule]).await?;
    let timers = world.client.json(&["timer", "list"]).await?;
    let fired = eventually(
        "two executions of the timer",
        Duration::from_secs(20),
        || async {
            let enforced = world
                .client
                .json(&["rule-enforcement", "list", "--rule", "default.each_second"])
                .await?;
            ensure!(
                enforced.as_array().is_some_and(|list| list.len() >= 2),
                "{enforced}"
            );
            Ok(())
        },
    )
    .await;
    world
        .client
        .ok(&["rule", "delete", "default.each_second"])
        .await?;
    fired?;
    ensure!(
        timers.to_string().contains("core.st2.IntervalTimer"),
        "{timers}"
    );
    let left = world.client.json(&["timer", "list"]).await?;
    ensure!(
        !left.to_string().contains("\"seconds\""),
        "the timer went with its rule: {left}"
    );
    Ok(())
}

async fn a_rule_by_its_file_is_created_once(world: &World) -> anyhow::Result<()> {
    let rule = json!({
        "name": "by_file", "pack": "default", "enabled": false,
        "trigger": { "type": "core.st2.webhook", "parameters": { "url": "by/file" } },
        "criteria": { "trigger.body.level": { "type": "greaterthan", "pattern": 3 } },
        "action": { "ref": "core.local", "parameters": { "cmd": "echo {{ trigger.body.level }}" } },
    });
    let path = file(world, "rule.json", &rule)?;
    let created = world.client.json(&["rule", "create", &path]).await?;
    ensure!(created["ref"] == "default.by_file", "{created}");
    let again = world.client.run(&["rule", "create", &path]).await?;
    ensure!(
        again.status == 2 && format!("{}{}", again.stdout, again.stderr).contains("409"),
        "status {}: {}{}",
        again.status,
        again.stdout,
        again.stderr
    );
    Ok(())
}

async fn yard_rule_test_gives_reasons(world: &World) -> anyhow::Result<()> {
    let low = file(world, "low.json", &json!({ "body": { "level": 2 } }))?;
    let high = file(world, "high.json", &json!({ "body": { "level": 5 } }))?;
    let rule = world.cluster.root().join("rule.json").display().to_string();
    let mut enabled: Value = serde_json::from_slice(&std::fs::read(&rule)?)?;
    enabled["enabled"] = json!(true);
    std::fs::write(&rule, enabled.to_string())?;
    let test = |payload: String| {
        let words = ["rule", "test", "--rule", &rule, "--payload", &payload].map(str::to_string);
        world.cluster.yard(words)
    };
    let missed = test(low).await?;
    ensure!(
        missed.status == 1 && missed.stdout.contains("fails  trigger.body.level"),
        "{}{}",
        missed.stdout,
        missed.stderr
    );
    let matched = test(high).await?;
    ensure!(
        matched.status == 0 && matched.stdout.contains("echo 5"),
        "{}{}",
        matched.stdout,
        matched.stderr
    );
    Ok(())
}

async fn yard_rule_test_replays_what_happened(world: &World) -> anyhow::Result<()> {
    let replay = world
        .cluster
        .ok([
            "rule",
            "test",
            "--rule",
            "greeter.greet_visitor",
            "--last",
            "1h",
            "--json",
        ])
        .await?
        .json()?;
    ensure!(
        replay["matched"].as_u64() >= Some(1)
            && replay["instances"].as_u64() > replay["matched"].as_u64(),
        "one visitor had a name, one had not: {replay}"
    );
    Ok(())
}

async fn an_instance_is_emitted_again(world: &World) -> anyhow::Result<()> {
    let instances = world
        .client
        .json(&["trigger-instance", "list", "--trigger", "core.st2.webhook"])
        .await?;
    let id = first(&instances)["id"]
        .as_str()
        .with_context(|| format!("an instance: {instances}"))?;
    let again = world
        .client
        .ok(&["trigger-instance", "re-emit", id])
        .await?;
    ensure!(
        again.stdout.contains(id) || again.stdout.contains("emitted"),
        "{}",
        again.stdout
    );
    Ok(())
}

async fn keys_are_set_read_and_deleted(world: &World) -> anyhow::Result<()> {
    world.client.ok(&["key", "set", "suite.a", "1"]).await?;
    let got = world.client.json(&["key", "get", "suite.a"]).await?;
    ensure!(got["value"] == "1", "{got}");
    let listed = world
        .client
        .json(&["key", "list", "--prefix", "suite."])
        .await?;
    ensure!(
        listed.as_array().is_some_and(|list| list.len() == 1),
        "{listed}"
    );
    world.client.ok(&["key", "delete", "suite.a"]).await?;
    let gone = world.client.run(&["key", "get", "suite.a"]).await?;
    ensure!(gone.status != 0, "{}", gone.stdout);
    Ok(())
}

async fn a_key_with_a_ttl_goes(world: &World) -> anyhow::Result<()> {
    world
        .client
        .ok(&["key", "set", "suite.brief", "x", "--ttl", "1"])
        .await?;
    eventually("the key is gone", Duration::from_secs(10), || async {
        let got = world.client.run(&["key", "get", "suite.brief"]).await?;
        ensure!(got.status != 0, "{}", got.stdout);
        Ok(())
    })
    .await
}

async fn an_encrypted_key_is_hidden_and_decrypted_on_demand(world: &World) -> anyhow::Result<()> {
    world
        .client
        .ok(&["key", "set", "suite.secret", "open sesame", "--encrypt"])
        .await?;
    let hidden = world.client.json(&["key", "get", "suite.secret"]).await?;
    ensure!(
        hidden["encrypted"] == true && !hidden.to_string().contains("sesame"),
        "{hidden}"
    );
    let shown = world
        .client
        .json(&["key", "get", "suite.secret", "--decrypt"])
        .await?;
    ensure!(shown["value"] == "open sesame", "{shown}");
    let used = world
        .client
        .json(&[
            "run",
            "core.echo",
            "message={{ st2kv.system.suite.secret | decrypt_kv }}",
        ])
        .await?;
    ensure!(used["result"]["stdout"] == "open sesame", "{used:#}");
    Ok(())
}

async fn keys_of_a_user_are_his_own(world: &World) -> anyhow::Result<()> {
    world
        .client
        .ok(&["key", "set", "suite.mine", "x", "--scope", "user"])
        .await?;
    let system = world.client.run(&["key", "get", "suite.mine"]).await?;
    ensure!(system.status != 0, "{}", system.stdout);
    let mine = world
        .client
        .json(&["key", "get", "suite.mine", "--scope", "user"])
        .await?;
    ensure!(mine["value"] == "x", "{mine}");
    Ok(())
}

async fn keys_are_loaded_and_deleted_by_prefix(world: &World) -> anyhow::Result<()> {
    let document = json!([{ "name": "bulk.a", "value": "1" }, { "name": "bulk.b", "value": "2" }]);
    let path = file(world, "keys.json", &document)?;
    world.client.ok(&["key", "load", &path]).await?;
    let loaded = world
        .client
        .json(&["key", "list", "--prefix", "bulk."])
        .await?;
    ensure!(
        loaded.as_array().is_some_and(|list| list.len() == 2),
        "{loaded}"
    );
    world
        .client
        .ok(&["key", "delete_by_prefix", "-p", "bulk."])
        .await?;
    let gone = world.client.run(&["key", "get", "bulk.a"]).await?;
    ensure!(gone.status != 0, "{}", gone.stdout);
    Ok(())
}

pub async fn all(world: &World, tally: &mut Tally) {
    run(
        world,
        tests![
            keys_are_set_read_and_deleted,
            a_key_with_a_ttl_goes,
            an_encrypted_key_is_hidden_and_decrypted_on_demand,
            keys_of_a_user_are_his_own,
            keys_are_loaded_and_deleted_by_prefix,
            a_webhook_fires_a_rule,
            a_payload_that_does_not_fit_runs_nothing,
            an_unknown_webhook_is_404,
            a_disabled_rule_leaves_its_webhook_alone,
            a_sensor_of_a_pack_fires_a_rule,
            a_disabled_sensor_is_silent,
            a_rule_on_a_timer_fires,
            a_rule_by_its_file_is_created_once,
            yard_rule_test_gives_reasons,
            yard_rule_test_replays_what_happened,
            an_instance_is_emitted_again,
        ],
        tally,
    )
    .await;
}
