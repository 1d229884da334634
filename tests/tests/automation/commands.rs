//! Every command of `st2` that needs no workflow: its table, its document, its exit status. What
//! lists and shows is a table here; what changes something is a test of its own.

use crate::World;
use crate::client::first;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests::runner::{Tally, filters, run};
use tests::tests;

/// A command that looks, and what it must show.
struct Look {
    name: &'static str,
    words: &'static [&'static str],
    /// In the table.
    shows: &'static [&'static str],
    /// In the document, or in each entry of it.
    has: &'static [&'static str],
    /// The document is a list.
    list: bool,
}

const fn listing(
    name: &'static str,
    words: &'static [&'static str],
    shows: &'static [&'static str],
    has: &'static [&'static str],
) -> Look {
    Look {
        name,
        words,
        shows,
        has,
        list: true,
    }
}

const fn one(
    name: &'static str,
    words: &'static [&'static str],
    shows: &'static [&'static str],
    has: &'static [&'static str],
) -> Look {
    Look {
        name,
        words,
        shows,
        has,
        list: false,
    }
}

const LOOKS: &[Look] = &[
    listing(
        "st2_action_list",
        &["action", "list", "-p", "core"],
        &["ref", "pack", "description", "core.local"],
        &["ref", "pack"],
    ),
    one(
        "st2_action_get",
        &["action", "get", "core.local"],
        &["Property", "runner_type", "local-shell-cmd"],
        &["id", "ref", "uid", "runner_type", "parameters", "enabled"],
    ),
    listing(
        "st2_runner_list",
        &["runner", "list"],
        &["name", "python-script", "http-request", "inquirer"],
        &["name"],
    ),
    one(
        "st2_runner_get",
        &["runner", "get", "local-shell-cmd"],
        &["local-shell-cmd"],
        &["name", "enabled", "runner_parameters"],
    ),
    listing(
        "st2_pack_list",
        &["pack", "list"],
        &["ref", "version", "author", "greeter"],
        &["ref", "version"],
    ),
    one(
        "st2_pack_get",
        &["pack", "get", "greeter"],
        &["greeter", "1.0.0"],
        &["name", "version", "author"],
    ),
    listing(
        "st2_rule_list",
        &["rule", "list"],
        &["ref", "enabled", "greeter.greet_visitor"],
        &["ref", "pack", "enabled"],
    ),
    listing(
        "st2_rule_list_iftt",
        &["rule", "list", "--iftt"],
        &["greeter.tick", "greeter.greet"],
        &["ref", "trigger", "action"],
    ),
    one(
        "st2_rule_get",
        &["rule", "get", "greeter.greet_visitor"],
        &["greeter.greet_visitor", "core.st2.webhook"],
        &["id", "ref", "uid", "type", "trigger", "criteria", "action"],
    ),
    listing(
        "st2_rule_enforcement_list",
        &["rule-enforcement", "list"],
        &["rule.ref", "greeter."],
        &["id", "rule", "enforced_at"],
    ),
    listing(
        "st2_trigger_list",
        &["trigger", "list", "-p", "core"],
        &[
            "core.st2.webhook",
            "core.st2.IntervalTimer",
            "core.st2.CronTimer",
        ],
        &["ref", "pack"],
    ),
    listing(
        "st2_trigger_list_of_the_platform",
        &["trigger", "list", "-p", "yard"],
        &["yard.app.crashed", "yard.app.flapping"],
        &["ref"],
    ),
    one(
        "st2_trigger_get",
        &["trigger", "get", "core.st2.webhook"],
        &["core.st2.webhook"],
        &["ref", "parameters_schema", "payload_schema"],
    ),
    listing(
        "st2_trigger_instance_list",
        &["trigger-instance", "list"],
        &["id", "trigger", "occurrence_time", "status"],
        &["id", "trigger", "occurrence_time", "status"],
    ),
    listing(
        "st2_sensor_list",
        &["sensor", "list"],
        &["ref", "greeter.Ticker"],
        &["ref", "enabled"],
    ),
    one(
        "st2_sensor_get",
        &["sensor", "get", "greeter.Ticker"],
        &["greeter.Ticker", "greeter.tick"],
        &[
            "ref",
            "class_name",
            "entry_point",
            "trigger_types",
            "poll_interval",
        ],
    ),
    listing(
        "st2_webhook_list",
        &["webhook", "list"],
        &["visitors"],
        &["url", "type"],
    ),
    listing(
        "st2_key_list",
        &["key", "list"],
        &["greeter_visitor"],
        &["name", "value", "scope"],
    ),
    one(
        "st2_key_get",
        &["key", "get", "greeter_visitor"],
        &["greeter_visitor"],
        &["name", "value", "scope"],
    ),
    listing(
        "st2_policy_list",
        &["policy", "list"],
        &["greeter.count_words.one_at_a_time", "action.concurrency"],
        &["ref", "resource_ref", "policy_type"],
    ),
    one(
        "st2_policy_get",
        &["policy", "get", "greeter.count_words.one_at_a_time"],
        &["threshold"],
        &["ref", "resource_ref", "policy_type", "parameters"],
    ),
    listing(
        "st2_policy_type_list",
        &["policy-type", "list"],
        &["concurrency", "concurrency.attr", "retry"],
        &["name", "resource_type"],
    ),
    one(
        "st2_policy_type_get",
        &["policy-type", "get", "action.retry"],
        &["action.retry"],
        &["ref", "parameters"],
    ),
    listing(
        "st2_action_alias_list",
        &["action-alias", "list"],
        &["greeter.greet"],
        &["ref", "pack", "description"],
    ),
    one(
        "st2_action_alias_get",
        &["action-alias", "get", "greeter.greet"],
        &["greet {{ name }}"],
        &["ref", "action_ref", "formats"],
    ),
    listing(
        "st2_execution_list",
        &["execution", "list"],
        &["action.ref", "context.user", "status", "core."],
        &["id", "action", "status"],
    ),
    listing(
        "st2_trace_list",
        &["trace", "list", "--trace-tag", "suite-trace"],
        &["suite-trace"],
        &["id", "trace_tag"],
    ),
    listing(
        "st2_role_list",
        &["role", "list"],
        &["admin", "observer"],
        &["id", "name", "system"],
    ),
];

/// Commands that must fail, their exit status, and what they must say.
const REFUSED: &[(&str, &[&str], i32, &str)] = &[
    (
        "st2_action_get_of_nothing",
        &["action", "get", "core.nothing"],
        1,
        "not found",
    ),
    (
        "st2_rule_get_of_nothing",
        &["rule", "get", "core.nothing"],
        1,
        "not found",
    ),
    (
        "st2_pack_get_of_nothing",
        &["pack", "get", "nothing"],
        1,
        "not found",
    ),
    (
        "st2_sensor_get_of_nothing",
        &["sensor", "get", "core.nothing"],
        1,
        "not found",
    ),
    (
        "st2_trigger_get_of_nothing",
        &["trigger", "get", "core.nothing"],
        1,
        "not found",
    ),
    (
        "st2_key_get_of_nothing",
        &["key", "get", "nothing"],
        1,
        "not found",
    ),
    (
        "st2_policy_get_of_nothing",
        &["policy", "get", "core.nothing"],
        1,
        "not found",
    ),
    (
        "st2_execution_get_of_nothing",
        &["execution", "get", "0123456789abcdef01234567"],
        1,
        "not found",
    ),
];

impl Look {
    async fn check(&self, world: &World) -> anyhow::Result<()> {
        let table = world.client.ok(self.words).await?;
        for part in self.shows {
            ensure!(
                table.stdout.contains(part),
                "the table has no {part}:\n{}",
                table.stdout
            );
        }
        let document = world.client.json(self.words).await?;
        let entries: Vec<&Value> = match (self.list, document.as_array()) {
            (true, Some(entries)) => entries.iter().collect(),
            // Some lists of one are shown as the one.
            (_, None) => vec![&document],
            (false, Some(_)) => anyhow::bail!("a list instead of one: {document}"),
        };
        ensure!(!entries.is_empty(), "the list is empty");
        for entry in entries {
            for field in self.has {
                ensure!(entry.get(*field).is_some(), "no {field} in {entry}");
            }
        }
        Ok(())
    }
}

fn wanted(name: &str) -> bool {
    let filters = filters();
    filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
}

async fn refused(world: &World, words: &[&str], status: i32, says: &str) -> anyhow::Result<()> {
    let output = world.client.run(words).await?;
    let said = format!("{}{}", output.stdout, output.stderr);
    ensure!(
        output.status == status && said.contains(says),
        "status {} instead of {status}: {said}",
        output.status
    );
    Ok(())
}

fn file(world: &World, name: &str, document: &Value) -> anyhow::Result<String> {
    let path = world.cluster.root().join(name);
    std::fs::write(&path, document.to_string())?;
    Ok(path.display().to_string())
}

async fn actions_are_created_changed_cloned_and_deleted(world: &World) -> anyhow::Result<()> {
    let client = &world.client;
    let mut action = json!({ "name": "made", "pack": "default", "runner_type": "local-shell-cmd", "enabled": true, "description": "first",
        "entry_point": "", "parameters": { "cmd": { "immutable": true, "default": "echo made" } } });
    let path = file(world, "action.json", &action)?;
    let created = client.json(&["action", "create", &path]).await?;
    ensure!(created["ref"] == "default.made", "{created}");
    let ran = client.json(&["run", "default.made"]).await?;
    ensure!(ran["result"]["stdout"] == "made", "{ran:#}");
    action["description"] = json!("second");
    let path = file(world, "action.json", &action)?;
    let changed = client
        .json(&["action", "update", "default.made", &path])
        .await?;
    ensure!(changed["description"] == "second", "{changed}");
    client
        .ok(&["action", "clone", "default.made", "default", "copied"])
        .await?;
    let copied = client.json(&["action", "get", "default.copied"]).await?;
    ensure!(copied["description"] == "second", "{copied}");
    client
        .ok(&["action", "delete", "default.copied", "-y"])
        .await?;
    client
        .ok(&["action", "delete", "default.made", "-y"])
        .await?;
    refused(world, &["action", "get", "default.made"], 1, "not found").await
}

async fn rules_are_changed_and_deleted(world: &World) -> anyhow::Result<()> {
    let client = &world.client;
    let mut rule = json!({ "name": "made", "pack": "default", "enabled": false, "description": "first",
        "trigger": { "type": "core.st2.webhook", "parameters": { "url": "made" } }, "criteria": {}, "action": { "ref": "core.noop", "parameters": {} } });
    let path = file(world, "made-rule.json", &rule)?;
    client.ok(&["rule", "create", &path]).await?;
    rule["description"] = json!("second");
    let path = file(world, "made-rule.json", &rule)?;
    let changed = client
        .json(&["rule", "update", "default.made", &path])
        .await?;
    ensure!(changed["description"] == "second", "{changed}");
    client.ok(&["rule", "enable", "default.made"]).await?;
    let enabled = client.json(&["rule", "get", "default.made"]).await?;
    ensure!(enabled["enabled"] == true, "{enabled}");
    let hook = client.json(&["webhook", "get", "made"]).await?;
    ensure!(hook.to_string().contains("made"), "{hook}");
    client.ok(&["rule", "delete", "default.made"]).await?;
    refused(world, &["rule", "get", "default.made"], 1, "not found").await
}

async fn triggers_are_created_changed_and_deleted(world: &World) -> anyhow::Result<()> {
    let client = &world.client;
    let mut kind = json!({ "name": "made", "pack": "default", "description": "first", "payload_schema": { "type": "object" } });
    let path = file(world, "trigger.json", &kind)?;
    let created = client.json(&["trigger", "create", &path]).await?;
    ensure!(created["ref"] == "default.made", "{created}");
    kind["description"] = json!("second");
    let path = file(world, "trigger.json", &kind)?;
    let changed = client
        .json(&["trigger", "update", "default.made", &path])
        .await?;
    ensure!(changed["description"] == "second", "{changed}");
    world
        .cluster
        .ok(["trigger", "fire", "default.made", "x=1"])
        .await?;
    let instances = client
        .json(&["trigger-instance", "list", "--trigger", "default.made"])
        .await?;
    let id = first(&instances)["id"]
        .as_str()
        .with_context(|| format!("an instance: {instances}"))?;
    let instance = client.json(&["trigger-instance", "get", id]).await?;
    ensure!(instance["payload"]["x"] == 1, "{instance}");
    client.ok(&["trigger", "delete", "default.made"]).await?;
    refused(world, &["trigger", "get", "default.made"], 1, "not found").await
}

async fn policies_are_created_changed_and_deleted(world: &World) -> anyhow::Result<()> {
    let client = &world.client;
    let mut policy = json!({ "name": "made", "pack": "default", "enabled": true, "resource_ref": "core.noop", "policy_type": "action.concurrency",
        "parameters": { "threshold": 10 } });
    let path = file(world, "policy.json", &policy)?;
    client.ok(&["policy", "create", &path]).await?;
    policy["parameters"]["threshold"] = json!(20);
    let path = file(world, "policy.json", &policy)?;
    let changed = client
        .json(&["policy", "update", "default.made", &path])
        .await?;
    ensure!(changed["parameters"]["threshold"] == 20, "{changed}");
    client.ok(&["policy", "delete", "default.made"]).await?;
    refused(world, &["policy", "get", "default.made"], 1, "not found").await
}

async fn aliases_are_created_changed_and_deleted(world: &World) -> anyhow::Result<()> {
    let client = &world.client;
    let mut alias = json!({ "name": "made", "pack": "default", "action_ref": "core.echo", "description": "first", "formats": ["shout {{ message }}"] });
    let path = file(world, "alias.json", &alias)?;
    client.ok(&["action-alias", "create", &path]).await?;
    alias["description"] = json!("second");
    let path = file(world, "alias.json", &alias)?;
    let changed = client
        .json(&["action-alias", "update", "default.made", &path])
        .await?;
    ensure!(changed["description"] == "second", "{changed}");
    let tested = client.ok(&["action-alias", "test", "shout hello"]).await?;
    ensure!(tested.stdout.contains("hello"), "{}", tested.stdout);
    client
        .ok(&["action-alias", "delete", "default.made"])
        .await
        .map(drop)
}

async fn runners_are_disabled_and_enabled(world: &World) -> anyhow::Result<()> {
    let client = &world.client;
    client.ok(&["runner", "disable", "noop"]).await?;
    let disabled = client.json(&["runner", "get", "noop"]).await?;
    client.ok(&["runner", "enable", "noop"]).await?;
    ensure!(disabled["enabled"] == false, "{disabled}");
    let enabled = client.json(&["runner", "get", "noop"]).await?;
    ensure!(enabled["enabled"] == true, "{enabled}");
    Ok(())
}

async fn api_keys_are_disabled_enabled_and_loaded(world: &World) -> anyhow::Result<()> {
    let client = &world.client;
    let created = client
        .json(&["apikey", "create", "-m", r#"{"used_by": "switch"}"#])
        .await?;
    let id = created["id"]
        .as_str()
        .with_context(|| format!("{created}"))?;
    client.ok(&["apikey", "disable", id]).await?;
    let shown = client.json(&["apikey", "get", id]).await?;
    ensure!(shown["enabled"] == false, "{shown}");
    client.ok(&["apikey", "enable", id]).await?;
    client.ok(&["apikey", "delete", id]).await.map(drop)
}

async fn timers_are_shown_one_by_one(world: &World) -> anyhow::Result<()> {
    let client = &world.client;
    let rule = json!({ "name": "hourly", "pack": "default", "enabled": true,
        "trigger": { "type": "core.st2.CronTimer", "parameters": { "timezone": "UTC", "minute": 0, "second": 0 } },
        "criteria": {}, "action": { "ref": "core.noop", "parameters": {} } });
    let path = file(world, "hourly.json", &rule)?;
    client.ok(&["rule", "create", &path]).await?;
    let timers = client
        .json(&["timer", "list", "-ty", "core.st2.CronTimer"])
        .await;
    let shown = match &timers {
        Ok(timers) => match first(timers)["id"].as_str() {
            Some(id) => client.json(&["timer", "get", id]).await,
            None => Err(anyhow::anyhow!("no timer: {timers}")),
        },
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    client.ok(&["rule", "delete", "default.hourly"]).await?;
    let shown = shown?;
    ensure!(shown["parameters"]["timezone"] == "UTC", "{shown}");
    Ok(())
}

async fn enforcements_and_traces_are_shown_one_by_one(world: &World) -> anyhow::Result<()> {
    for noun in ["rule-enforcement", "trace", "trigger-instance", "execution"] {
        let listed = world.client.json(&[noun, "list"]).await?;
        let id = first(&listed)["id"]
            .as_str()
            .with_context(|| format!("{noun}: {listed}"))?;
        let shown = world.client.ok(&[noun, "get", id]).await?;
        ensure!(
            !shown.stdout.trim().is_empty(),
            "st2 {noun} get {id} says nothing"
        );
    }
    Ok(())
}

async fn st2_service_registry(world: &World) -> anyhow::Result<()> {
    world
        .client
        .ok(&["service-registry", "group", "list"])
        .await?;
    world
        .client
        .ok(&["service-registry", "member", "list"])
        .await
        .map(drop)
}

async fn st2_role_assignment_list(world: &World) -> anyhow::Result<()> {
    let assigned = world.client.json(&["role-assignment", "list"]).await?;
    ensure!(assigned.is_array(), "{assigned}");
    Ok(())
}

async fn st2_trigger_getspecs(world: &World) -> anyhow::Result<()> {
    let specs = world
        .client
        .ok(&["trigger", "getspecs", "core.st2.webhook"])
        .await?;
    ensure!(specs.stdout.contains("visitors"), "{}", specs.stdout);
    Ok(())
}

async fn st2_pack_search_and_show(world: &World) -> anyhow::Result<()> {
    for words in [
        ["pack", "search", "no-such-pack-at-all"],
        ["pack", "show", "no-such-pack-at-all"],
    ] {
        let output = world.client.run(&words).await?;
        let said = format!("{}{}", output.stdout, output.stderr);
        ensure!(
            !said.contains("500 Server Error") && !said.contains("Traceback"),
            "st2 {}: {said}",
            words.join(" ")
        );
    }
    Ok(())
}

async fn st2_login_keeps_the_token(world: &World) -> anyhow::Result<()> {
    let password = std::fs::read_to_string(world.cluster.home.join("admin-password"))?;
    let config = world
        .cluster
        .root()
        .join("st2/login-config")
        .display()
        .to_string();
    std::fs::write(&config, "")?;
    let variables = [("ST2_CONFIG_FILE", config.as_str()), ("ST2_AUTH_TOKEN", "")];
    world
        .client
        .run_with(&["login", "admin", "-p", password.trim()], &variables)
        .await?
        .success()
        .context("st2 login")?;
    world
        .client
        .run_with(&["action", "list", "-p", "core"], &variables)
        .await?
        .success()
        .context("a command after st2 login")
        .map(drop)
}

pub async fn all(world: &World, tally: &mut Tally) {
    for look in LOOKS {
        match wanted(look.name) {
            true => {
                tally.note(look.name, look.check(world).await);
            }
            false => tally.filtered += 1,
        }
    }
    for (name, words, status, says) in REFUSED {
        match wanted(name) {
            true => {
                tally.note(name, refused(world, words, *status, says).await);
            }
            false => tally.filtered += 1,
        }
    }
    run(
        world,
        tests![
            actions_are_created_changed_cloned_and_deleted,
            rules_are_changed_and_deleted,
            triggers_are_created_changed_and_deleted,
            policies_are_created_changed_and_deleted,
            aliases_are_created_changed_and_deleted,
            runners_are_disabled_and_enabled,
            api_keys_are_disabled_enabled_and_loaded,
            timers_are_shown_one_by_one,
            enforcements_and_traces_are_shown_one_by_one,
            st2_service_registry,
            st2_role_assignment_list,
            st2_trigger_getspecs,
            st2_pack_search_and_show,
            st2_login_keeps_the_token,
        ],
        tally,
    )
    .await;
}
