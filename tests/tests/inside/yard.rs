//! `yard ssh`, `yard files`, `yard cp`.

use crate::APP;
use crate::openssh::output;
use anyhow::{bail, ensure};
use std::process::Command;
use std::time::Duration;
use tests::{Cluster, Output, eventually};

/// For what takes moments on an idle machine.
pub const WITHIN: Duration = Duration::from_secs(60);

pub async fn inside(cluster: &Cluster, command: &str) -> anyhow::Result<Output> {
    cluster.yard(["ssh", APP, "-c", command]).await
}

pub async fn a_command_runs_as_the_app_and_its_status_comes_back(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let output = inside(
        cluster,
        "id -u; pwd; echo $CF_INSTANCE_INDEX; echo complaint >&2; grep NoNewPrivs /proc/self/status; \
         grep Seccomp: /proc/self/status; grep CapEff /proc/self/status; exit 7",
    )
    .await?;
    ensure!(output.status == 7, "{output:?}");
    ensure!(output.stderr == "complaint\n", "{output:?}");
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    ensure!(
        words
            == [
                "2000",
                "/home/vcap",
                "0",
                "NoNewPrivs:",
                "1",
                "Seccomp:",
                "2",
                "CapEff:",
                "0000000000000000"
            ],
        "{output:?}"
    );
    // In the app's own namespaces: its server is there.
    let output = inside(cluster, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await?;
    ensure!(output.stdout.contains("server.py"), "{output:?}");
    let output = inside(cluster, "kill -TERM $$").await?;
    ensure!(output.status == 255, "{output:?}");
    Ok(())
}

pub async fn what_a_command_leaves_behind_ends_with_it(cluster: &Cluster) -> anyhow::Result<()> {
    inside(cluster, "setsid sleep 98765 & sleep 98765 & exit 0")
        .await?
        .success()?;
    eventually("the end of what was left behind", WITHIN, || async {
        let output = inside(cluster, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await?;
        if output.stdout.contains("sleep 98765") {
            bail!("{}", output.stdout);
        }
        Ok(())
    })
    .await
}

pub async fn a_shell_has_the_terminal(cluster: &Cluster) -> anyhow::Result<()> {
    let yard = cluster.command(&cluster.root());
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command"])
        .arg(format!("\"$PROGRAM\" ssh {APP} -i 1"))
        .arg("/dev/null");
    for (name, value) in yard.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .env("PROGRAM", yard.get_program())
        .env("SHELL", "/bin/sh")
        .env("TERM", "vt220");
    let typed = b"tty; echo $TERM $((40 + 2)) $CF_INSTANCE_INDEX; exit 6\n";
    let ended = output(command, typed.to_vec()).await?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    ensure!(
        ended.status.code() == Some(6) && text.contains("/dev/pts/") && text.contains("vt220 42 1"),
        "{ended:?}"
    );
    Ok(())
}

pub async fn every_instance_is_asked(cluster: &Cluster) -> anyhow::Result<()> {
    let output = cluster
        .ok(["ssh", APP, "--all", "-c", "echo i am $CF_INSTANCE_INDEX"])
        .await?;
    ensure!(
        output.stdout == "instance 0:\ni am 0\ninstance 1:\ni am 1\n",
        "{output:?}"
    );
    let output = cluster
        .ok(["ssh", APP, "-i", "1", "-c", "echo $CF_INSTANCE_INDEX"])
        .await?;
    ensure!(output.stdout == "1\n", "{output:?}");
    let documents = cluster
        .ok([
            "ssh",
            APP,
            "--all",
            "-c",
            "echo $CF_INSTANCE_INDEX",
            "--json",
        ])
        .await?
        .json()?;
    let said = |index: usize| documents[index]["stdout"].as_str();
    ensure!(
        said(0) == Some("0\n") && said(1) == Some("1\n"),
        "{documents}"
    );
    let output = cluster.yard(["ssh", APP, "-i", "9", "-c", "id"]).await?;
    ensure!(
        output.status == 255 && output.stderr.contains("no running instance 9"),
        "{output:?}"
    );
    Ok(())
}

pub async fn files_are_listed_and_shown(cluster: &Cluster) -> anyhow::Result<()> {
    let output = cluster.ok(["files", APP]).await?;
    ensure!(output.stdout.contains("app/"), "{output:?}");
    let listed = cluster.ok(["files", APP, "app", "--json"]).await?.json()?;
    let names: Vec<&str> = listed["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["name"].as_str())
        .collect();
    ensure!(names.contains(&"server.py"), "{listed}");
    let output = cluster.ok(["files", APP, "app/Procfile"]).await?;
    ensure!(output.stdout.contains("server.py"), "{output:?}");
    let output = cluster.yard(["files", APP, "no such thing"]).await?;
    ensure!(output.status == 7, "{output:?}");
    Ok(())
}

pub async fn files_and_folders_are_copied_both_ways(cluster: &Cluster) -> anyhow::Result<()> {
    let here = tempfile::tempdir()?;
    let tree = here.path().join("tree");
    std::fs::create_dir_all(tree.join("deep"))?;
    let large: Vec<u8> = (0..3_000_000u32)
        .map(|number| (number % 251) as u8)
        .collect();
    std::fs::write(tree.join("deep/large"), &large)?;
    std::fs::write(tree.join("with a space"), "small")?;
    let (tree, back) = (tree.display().to_string(), here.path().join("back"));
    cluster
        .ok(["cp", &tree, &format!("{APP}:/tmp"), "--all"])
        .await?;
    for index in ["0", "1"] {
        let output = cluster
            .ok([
                "ssh",
                APP,
                "-i",
                index,
                "-c",
                "cat '/tmp/tree/with a space'",
            ])
            .await?;
        ensure!(output.stdout == "small", "{output:?}");
    }
    cluster
        .ok([
            "cp",
            &format!("{APP}:/tmp/tree"),
            &back.display().to_string(),
        ])
        .await?;
    ensure!(
        std::fs::read(back.join("deep/large"))? == large,
        "other content"
    );
    ensure!(std::fs::read_to_string(back.join("with a space"))? == "small");
    let one = here.path().join("one");
    cluster
        .ok([
            "cp",
            &format!("{APP}:app/Procfile"),
            &one.display().to_string(),
        ])
        .await?;
    ensure!(std::fs::read_to_string(&one)?.contains("server.py"));
    let missing = cluster
        .yard(["cp", &format!("{APP}:nothing"), &one.display().to_string()])
        .await?;
    ensure!(missing.status == 7, "{missing:?}");
    Ok(())
}
