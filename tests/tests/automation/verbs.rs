//! The verbs of `yard`, which need no client of StackStorm.

use anyhow::{Context, ensure};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tests::runner::{Tally, run};
use tests::{Cluster, eventually, tests};

fn sample() -> String {
    tests::cluster::source_root()
        .join("samples/pack")
        .display()
        .to_string()
}

async fn yard_push_of_a_pack_installs_it(cluster: &Cluster) -> anyhow::Result<()> {
    let pushed = cluster
        .yard_in(Path::new(&sample()), ["push"])
        .await?
        .success()?;
    ensure!(pushed.stdout.contains("greeter"), "{}", pushed.stdout);
    let pack = cluster
        .ok(["pack", "show", "greeter", "--json"])
        .await?
        .json()?;
    ensure!(pack["version"] == "1.0.0", "{pack}");
    Ok(())
}

async fn yard_push_of_a_broken_pack_names_the_place(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = cluster.root().join("broken");
    std::fs::create_dir_all(folder.join("actions"))?;
    std::fs::write(
        folder.join("pack.yaml"),
        "ref: broken\nname: broken\nversion: 1.0.0\ndescription: x\nauthor: x\nemail: x@example.org\n",
    )?;
    std::fs::write(
        folder.join("actions/x.yaml"),
        "name: x\nrunner_type: local-shell-cmd\n  enabled: true\n",
    )?;
    let pushed = cluster.yard_in(&folder, ["push"]).await?;
    ensure!(
        pushed.status == 1 && pushed.stderr.contains("actions/x.yaml:3"),
        "status {}: {}",
        pushed.status,
        pushed.stderr
    );
    let missing = cluster.yard(["pack", "show", "broken"]).await?;
    ensure!(missing.status == 7, "{}", missing.stdout);
    Ok(())
}

async fn yard_run_shows_output_result_and_status(cluster: &Cluster) -> anyhow::Result<()> {
    let ran = cluster
        .ok(["run", "greeter.greet", "Ada", "times=2"])
        .await?;
    ensure!(
        ran.stdout.contains("succeeded") && ran.stdout.contains("Ada!"),
        "{}",
        ran.stdout
    );
    let tail = cluster
        .ok([
            "run",
            "core.local",
            "cmd=echo one; sleep 1; echo two",
            "--tail",
        ])
        .await?;
    ensure!(tail.stdout.starts_with("one\ntwo\n"), "{}", tail.stdout);
    let failed = cluster
        .yard(["run", "core.local", "cmd=exit 3", "--json"])
        .await?;
    ensure!(
        failed.status == 1 && failed.json()?["result"]["return_code"] == 3,
        "{}",
        failed.stdout
    );
    let late = cluster
        .yard(["run", "core.local", "cmd=sleep 20", "timeout=1"])
        .await?;
    ensure!(late.status == 8, "status {}", late.status);
    let wrong = cluster
        .yard(["run", "greeter.greet", "Ada", "times=often"])
        .await?;
    ensure!(wrong.status == 2, "status {}", wrong.status);
    Ok(())
}

async fn yard_execution_cancel_and_rerun(cluster: &Cluster) -> anyhow::Result<()> {
    let started = cluster
        .ok(["run", "core.local", "cmd=sleep 60", "--async", "--json"])
        .await?
        .json()?;
    let id = started["id"].as_str().context("an id")?.to_string();
    cluster.ok(["execution", "cancel", &id]).await?;
    eventually("it is canceled", Duration::from_secs(30), || async {
        let shown = cluster
            .ok(["execution", "show", &id, "--json"])
            .await?
            .json()?;
        ensure!(shown["status"] == "canceled", "{}", shown["status"]);
        Ok(())
    })
    .await?;
    let again = cluster
        .ok(["execution", "rerun", &id, "cmd=echo again"])
        .await?;
    ensure!(again.stdout.contains("again"), "{}", again.stdout);
    Ok(())
}

async fn yard_chat_runs_what_is_said_and_shows_announcements(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let said = cluster.root().join("chat.txt");
    let mut command = cluster.command(&cluster.root());
    command
        .arg("chat")
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(&said)?)
        .stderr(Stdio::inherit());
    let mut chat = command.spawn()?;
    let mut input = chat.stdin.take().context("its input")?;
    input.write_all(b"greet barbara\ndance with me now\n")?;
    let shows = |part: &'static str| {
        let said = said.clone();
        eventually(part, Duration::from_secs(30), move || {
            let text = std::fs::read_to_string(&said).unwrap_or_default();
            async move {
                ensure!(text.contains(part), "{text:?}");
                Ok(())
            }
        })
    };
    let outcome = async {
        shows("Greeting barbara.").await?;
        shows("matched no patterns").await?;
        cluster
            .ok([
                "run",
                "chatops.post_message",
                "message=hello all",
                "channel=cli",
            ])
            .await?;
        shows("hello all").await
    }
    .await;
    input.write_all(b"exit\n")?;
    drop(input);
    let status = tokio::task::spawn_blocking(move || chat.wait()).await??;
    outcome?;
    ensure!(status.success(), "{status}");
    Ok(())
}

async fn yard_lists_everything(cluster: &Cluster) -> anyhow::Result<()> {
    for noun in [
        "pack",
        "action",
        "execution",
        "rule",
        "trigger",
        "sensor",
        "key",
        "webhook",
        "timer",
        "policy",
        "alias",
        "inquiry",
        "apikey",
        "trace",
    ] {
        cluster
            .ok([noun, "list"])
            .await
            .with_context(|| format!("yard {noun} list"))?;
        let document = cluster.ok([noun, "list", "--json"]).await?.json()?;
        ensure!(document.is_array(), "yard {noun} list --json: {document}");
    }
    Ok(())
}

async fn yard_pack_remove_removes(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.ok(["pack", "remove", "greeter"]).await?;
    let gone = cluster.yard(["action", "show", "greeter.greet"]).await?;
    ensure!(gone.status == 7, "{}", gone.stdout);
    Ok(())
}

pub async fn all(cluster: &Cluster, tally: &mut Tally) {
    run(
        cluster,
        tests![
            yard_push_of_a_pack_installs_it,
            yard_push_of_a_broken_pack_names_the_place,
            yard_run_shows_output_result_and_status,
            yard_execution_cancel_and_rerun,
            yard_chat_runs_what_is_said_and_shows_announcements,
            yard_lists_everything,
            yard_pack_remove_removes,
        ],
        tally,
    )
    .await;
}
