//! Actions by `st2`: what each runner gives, and what can be done with an execution.

use crate::World;
use crate::client::{document, first};
use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};
use tests::runner::{Tally, run};
use tests::{eventually, tests};

async fn succeeded(world: &World, words: &[&str]) -> anyhow::Result<Value> {
    let execution = world.client.json(words).await?;
    ensure!(
        execution["status"] == "succeeded",
        "st2 {}: {execution:#}",
        words.join(" ")
    );
    Ok(execution)
}

/// The id of an execution that was started without waiting: the words that `st2` prints then have
/// it, with `-j` too.
pub async fn started(world: &World, words: &[&str]) -> anyhow::Result<String> {
    let mut words = words.to_vec();
    words.insert(1, "-a");
    let printed = world.client.ok(&words).await?.stdout;
    execution_id(&printed).with_context(|| format!("st2 {}", words.join(" ")))
}

/// The id in words like `st2 execution get ID`.
pub fn execution_id(printed: &str) -> anyhow::Result<String> {
    printed
        .split(|c: char| !c.is_ascii_alphanumeric())
        .find(|word| word.len() == 24 && word.chars().all(|c| c.is_ascii_hexdigit()))
        .map(str::to_string)
        .with_context(|| format!("no id of an execution in {printed:?}"))
}

/// Waits until an execution has a status.
pub async fn reached(world: &World, id: &str, status: &str, within: u64) -> anyhow::Result<Value> {
    eventually(
        &format!("the execution {id} is {status}"),
        Duration::from_secs(within),
        || async {
            let execution = world.client.json(&["execution", "get", id, "-d"]).await?;
            if execution["status"] != status {
                bail!("{execution:#}");
            }
            Ok(execution)
        },
    )
    .await
}

async fn st2_run_core_local(world: &World) -> anyhow::Result<()> {
    let table = world.client.ok(&["run", "core.local", "cmd=date"]).await?;
    for part in [
        "id:",
        "action.ref: core.local",
        "status: succeeded",
        "stdout",
    ] {
        ensure!(table.stdout.contains(part), "no {part:?}: {}", table.stdout);
    }
    let execution = succeeded(
        world,
        &["run", "core.local", "cmd=echo hello; echo oops >&2"],
    )
    .await?;
    ensure!(
        execution["result"]["stdout"] == "hello"
            && execution["result"]["stderr"] == "oops"
            && execution["result"]["return_code"] == 0,
        "{execution:#}"
    );
    Ok(())
}

async fn st2_run_of_a_failing_command_exits_1(world: &World) -> anyhow::Result<()> {
    let output = world
        .client
        .run(&["run", "core.local", "cmd=exit 3", "-j"])
        .await?;
    ensure!(output.status == 1, "status {}", output.status);
    let execution = document(&output.stdout)?;
    ensure!(
        execution["status"] == "failed" && execution["result"]["return_code"] == 3,
        "{execution:#}"
    );
    Ok(())
}

async fn st2_run_core_echo_and_noop(world: &World) -> anyhow::Result<()> {
    let echo = succeeded(world, &["run", "core.echo", "message=hi there"]).await?;
    ensure!(echo["result"]["stdout"] == "hi there", "{echo:#}");
    succeeded(world, &["run", "core.noop"]).await.map(drop)
}

async fn st2_run_core_http_through_the_router(world: &World) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    let url = format!("url=http://{}:{}/", cluster.host("api"), cluster.port);
    let execution = succeeded(world, &["run", "core.http", &url, "method=GET"]).await?;
    ensure!(
        execution["result"]["status_code"] == 200
            && execution["result"]["body"]["links"].is_object(),
        "{execution:#}"
    );
    Ok(())
}

async fn a_python_action_of_a_pack_runs(world: &World) -> anyhow::Result<()> {
    let execution = succeeded(
        world,
        &["run", "greeter.greet", "name=ada lovelace", "times=2"],
    )
    .await?;
    let text = execution["result"]["result"]["text"]
        .as_str()
        .unwrap_or_default();
    ensure!(text.matches("Ada Lovelace!").count() == 2, "{execution:#}");
    ensure!(
        execution["result"]["exit_code"] == 0
            && execution["result"]["stderr"]
                .as_str()
                .is_some_and(|log| log.contains("greeting ada lovelace")),
        "{execution:#}"
    );
    Ok(())
}

async fn a_shell_script_of_a_pack_runs(world: &World) -> anyhow::Result<()> {
    let execution = succeeded(world, &["run", "greeter.count_words", "text=one two three"]).await?;
    // Output that is JSON is decoded: 3 is a number.
    ensure!(execution["result"]["stdout"] == 3, "{execution:#}");
    Ok(())
}

async fn wrong_parameters_are_refused(world: &World) -> anyhow::Result<()> {
    for words in [
        vec!["run", "greeter.greet"],
        vec!["run", "greeter.greet", "name=x", "times=often"],
        vec!["run", "core.local", "cmd=x", "sudo=true"],
        vec!["run", "greeter.nothing"],
    ] {
        let output = world.client.run(&words).await?;
        ensure!(
            output.status != 0 && format!("{}{}", output.stdout, output.stderr).contains("ERROR"),
            "st2 {}: {}{}",
            words.join(" "),
            output.stdout,
            output.stderr
        );
    }
    Ok(())
}

async fn an_action_that_takes_too_long_times_out(world: &World) -> anyhow::Result<()> {
    let execution = world
        .client
        .json(&["run", "core.local", "cmd=sleep 30", "timeout=1"])
        .await?;
    ensure!(
        execution["status"] == "timeout" && execution["result"]["return_code"] == -9,
        "{execution:#}"
    );
    Ok(())
}

async fn st2_execution_tail_shows_output_as_it_comes(world: &World) -> anyhow::Result<()> {
    let id = started(
        world,
        &[
            "run",
            "core.local",
            "cmd=sleep 3; for i in 1 2 3; do echo line-$i; sleep 0.5; done",
        ],
    )
    .await?;
    let tail = world.client.ok(&["execution", "tail", &id]).await?;
    for line in ["line-1", "line-2", "line-3"] {
        ensure!(tail.stdout.contains(line), "{}", tail.stdout);
    }
    Ok(())
}

async fn st2_execution_cancel_ends_the_process(world: &World) -> anyhow::Result<()> {
    let id = started(
        world,
        &[
            "run",
            "core.local",
            "cmd=trap '' TERM; while true; do sleep 1; done",
            "timeout=120",
        ],
    )
    .await?;
    reached(world, &id, "running", 15).await?;
    let start = Instant::now();
    world.client.ok(&["execution", "cancel", &id]).await?;
    let execution = reached(world, &id, "canceled", 30).await?;
    ensure!(
        start.elapsed() < Duration::from_secs(30) && execution["end_timestamp"].is_string(),
        "{execution:#}"
    );
    let ended = started(world, &["run", "core.noop"]).await?;
    reached(world, &ended, "succeeded", 15).await?;
    let again = world.client.run(&["execution", "cancel", &ended]).await?;
    ensure!(
        format!("{}{}", again.stdout, again.stderr).contains("cannot be canceled"),
        "{}{}",
        again.stdout,
        again.stderr
    );
    Ok(())
}

async fn st2_execution_re_run_keeps_and_changes_parameters(world: &World) -> anyhow::Result<()> {
    let first = succeeded(world, &["run", "core.echo", "message=first"]).await?;
    let id = first["id"].as_str().context("an id")?;
    let same = succeeded(world, &["execution", "re-run", id]).await?;
    ensure!(
        same["result"]["stdout"] == "first" && same["id"] != id,
        "{same:#}"
    );
    let other = succeeded(world, &["execution", "re-run", id, "message=second"]).await?;
    ensure!(other["result"]["stdout"] == "second", "{other:#}");
    Ok(())
}

async fn a_delay_is_kept(world: &World) -> anyhow::Result<()> {
    let id = started(world, &["run", "core.noop", "--delay", "2000"]).await?;
    let early = world.client.json(&["execution", "get", &id, "-d"]).await?;
    ensure!(
        early["status"] == "delayed" || early["status"] == "requested",
        "{early:#}"
    );
    reached(world, &id, "succeeded", 15).await.map(drop)
}

async fn a_disabled_action_does_not_run(world: &World) -> anyhow::Result<()> {
    world
        .client
        .ok(&["action", "disable", "greeter.greet"])
        .await?;
    let refused = world
        .client
        .run(&["run", "greeter.greet", "name=x"])
        .await?;
    world
        .client
        .ok(&["action", "enable", "greeter.greet"])
        .await?;
    ensure!(
        refused.status != 0 && format!("{}{}", refused.stdout, refused.stderr).contains("disabled"),
        "{}{}",
        refused.stdout,
        refused.stderr
    );
    Ok(())
}

async fn a_concurrency_policy_holds_executions_back(world: &World) -> anyhow::Result<()> {
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(started(world, &["run", "greeter.count_words", "text=a", "pause=1"]).await?);
    }
    let mut spans = Vec::new();
    for id in &ids {
        let execution = reached(world, id, "succeeded", 30).await?;
        let moments = execution["log"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|entry| entry["status"] == "running" || entry["status"] == "succeeded")
            .filter_map(|entry| entry["timestamp"].as_str().map(str::to_string))
            .collect::<Vec<_>>();
        ensure!(moments.len() == 2, "{execution:#}");
        spans.push(moments);
    }
    spans.sort();
    ensure!(
        spans.windows(2).all(|pair| pair[0][1] <= pair[1][0]),
        "two ran at once: {spans:?}"
    );
    Ok(())
}

async fn a_trace_tag_is_found_again(world: &World) -> anyhow::Result<()> {
    succeeded(world, &["run", "core.noop", "--trace-tag", "suite-trace"]).await?;
    let traces = world
        .client
        .json(&["trace", "list", "--trace-tag", "suite-trace"])
        .await?;
    let id = first(&traces)["id"]
        .as_str()
        .with_context(|| format!("a trace: {traces}"))?;
    let trace = world.client.json(&["trace", "get", id]).await?;
    ensure!(trace.to_string().contains("core.noop"), "{trace:#}");
    Ok(())
}

pub async fn all(world: &World, tally: &mut Tally) {
    run(
        world,
        tests![
            st2_run_core_local,
            st2_run_of_a_failing_command_exits_1,
            st2_run_core_echo_and_noop,
            st2_run_core_http_through_the_router,
            a_python_action_of_a_pack_runs,
            a_shell_script_of_a_pack_runs,
            wrong_parameters_are_refused,
            an_action_that_takes_too_long_times_out,
            st2_execution_tail_shows_output_as_it_comes,
            st2_execution_cancel_ends_the_process,
            st2_execution_re_run_keeps_and_changes_parameters,
            a_delay_is_kept,
            a_disabled_action_does_not_run,
            a_concurrency_policy_holds_executions_back,
            a_trace_tag_is_found_again,
        ],
        tally,
    )
    .await;
}
