//! Apps, from push to delete.

use crate::World;
use anyhow::ensure;
use std::path::Path;
use std::time::Duration;
use tests::eventually;

const SOON: Duration = Duration::from_secs(30);

pub async fn an_app_is_pushed_changed_and_deleted(world: &World) -> anyhow::Result<()> {
    let cf = &world.cf;
    let folder = world.page("site", "first");
    let pushed = cf
        .ok(&["push", "site", "-p", &folder, "-m", "64M", "-k", "64M"])
        .await?;
    pushed.has(&["Staging complete", "instances:", "1/1", "#0   running"])?;
    world.answers("site", "first").await?;
    let listed = cf.ok(&["apps"]).await?.row("site")?;
    ensure!(listed[1..3] == ["started", "web:1/1"], "{listed:?}");
    cf.ok(&["app", "site"])
        .await?
        .has(&["requested state:   started", "routes:            site."])?;
    let guid = cf.ok(&["app", "site", "--guid"]).await?;
    ensure!(guid.text.trim().len() == 36, "{}", guid.text);

    cf.ok(&["scale", "site", "-i", "2"]).await?;
    eventually("two instances run", SOON, || async {
        cf.ok(&["app", "site"]).await?.has(&["2/2"])
    })
    .await?;
    cf.ok(&["scale", "site", "-m", "96M", "-f"])
        .await?
        .has(&["of 96M"])?;
    cf.ok(&["rename", "site", "page"]).await?;
    cf.ok(&["restart-app-instance", "page", "0"]).await?;
    cf.ok(&["stop", "page"]).await?;
    let listed = cf.ok(&["apps"]).await?.row("page")?;
    ensure!(listed[1..3] == ["stopped", "web:0/2"], "{listed:?}");
    cf.ok(&["start", "page"]).await?.has(&["running"])?;
    cf.ok(&["restage", "page"])
        .await?
        .has(&["Staging complete", "running"])?;
    cf.ok(&["restart", "page"]).await?.has(&["running"])?;
    cf.ok(&["set-health-check", "page", "http", "--endpoint", "/"])
        .await?;
    cf.ok(&["get-health-check", "page"])
        .await?
        .has(&["http", "/"])?;
    cf.ok(&["delete", "page", "-f", "-r"]).await?;
    cf.refused(&["app", "page"], "App 'page' not found").await?;
    let routes = cf.ok(&["routes"]).await?;
    ensure!(
        !routes.text.contains("site"),
        "its routes went with it: {}",
        routes.text
    );
    Ok(())
}

pub async fn a_push_of_more_instances_replaces_in_steps(world: &World) -> anyhow::Result<()> {
    let cf = &world.cf;
    let folder = world.page("rolled", "first");
    cf.ok(&["push", "rolled", "-p", &folder, "-m", "64M"])
        .await?;
    let folder = world.page("rolled", "second");
    let words = [
        "push",
        "rolled",
        "-p",
        &folder,
        "-i",
        "3",
        "--strategy",
        "rolling",
    ];
    cf.ok(&words).await?.has(&["Starting deployment", "3/3"])?;
    world.answers("rolled", "second").await?;
    cf.ok(&["restart", "rolled", "--strategy", "rolling"])
        .await?
        .has(&["3/3"])?;
    cf.ok(&["restage", "rolled", "--strategy", "rolling"])
        .await?
        .has(&["3/3"])?;
    cf.refused(&["continue-deployment", "rolled"], "No active deployment")
        .await
}

pub async fn a_canary_pauses_is_continued_and_taken_back(world: &World) -> anyhow::Result<()> {
    let cf = &world.cf;
    let folder = world.page("bird", "first");
    cf.ok(&["push", "bird", "-p", &folder, "-m", "64M", "-i", "3"])
        .await?;
    let folder = world.page("bird", "second");
    let words = [
        "push",
        "bird",
        "-p",
        &folder,
        "--strategy",
        "canary",
        "--instance-steps",
        "34,67",
    ];
    let paused = cf.ok(&words).await?;
    paused.has(&["status PAUSED", "canary-steps:    1/2", "2/2", "1/1"])?;
    cf.ok(&["continue-deployment", "bird"])
        .await?
        .has(&["canary-steps:    2/2", "1/1", "2/2"])?;
    cf.ok(&["continue-deployment", "bird"])
        .await?
        .has(&["3/3"])?;
    let app = cf.ok(&["app", "bird"]).await?;
    ensure!(!app.text.contains("Active deployment"), "{}", app.text);
    world.answers("bird", "second").await?;

    let folder = world.page("bird", "third");
    let words = ["push", "bird", "-p", &folder, "--strategy", "canary"];
    cf.ok(&words)
        .await?
        .has(&["status PAUSED", "canary-steps:    1/1"])?;
    cf.ok(&["cancel-deployment", "bird"]).await?;
    eventually("the third version is gone", SOON, || async {
        let app = cf.ok(&["app", "bird"]).await?;
        ensure!(!app.text.contains("Active deployment"), "{}", app.text);
        app.has(&["3/3"])
    })
    .await?;
    world.answers("bird", "second").await
}

pub async fn revisions_are_gone_back_to(world: &World) -> anyhow::Result<()> {
    let cf = &world.cf;
    let folder = world.page("shop", "first");
    cf.ok(&["push", "shop", "-p", &folder, "-m", "64M"]).await?;
    cf.ok(&["set-env", "shop", "COLOR", "green"]).await?;
    let folder = world.page("shop", "second");
    cf.ok(&["push", "shop", "-p", &folder, "--strategy", "rolling"])
        .await?;
    let listed = cf.ok(&["revisions", "shop"]).await?;
    listed.has(&["2(deployed)", "Initial revision."])?;
    let shown = cf.ok(&["revision", "shop", "--version", "2"]).await?;
    shown.has(&["deployed:        true", "COLOR:   green"])?;
    cf.ok(&["rollback", "shop", "--version", "1", "-f"]).await?;
    world.answers("shop", "first").await?;
    cf.ok(&["revisions", "shop"])
        .await?
        .has(&["3(deployed)", "Rolled back to revision 1."])?;
    cf.ok(&["env", "shop"])
        .await?
        .has(&["No user-provided env variables"])?;
    cf.refused(
        &["rollback", "shop", "--version", "9", "-f"],
        "Revision '9' not found",
    )
    .await
}

pub async fn droplets_and_sources_move_between_apps(world: &World) -> anyhow::Result<()> {
    let cf = &world.cf;
    let folder = world.page("origin", "carried");
    cf.ok(&["push", "origin", "-p", &folder, "-m", "64M"])
        .await?;
    let file = cf.file("origin.tgz").display().to_string();
    cf.ok(&["download-droplet", "origin", "-p", &file]).await?;
    cf.ok(&["push", "twin", "--droplet", &file, "-m", "64M"])
        .await?
        .has(&["1/1"])?;
    world.answers("twin", "carried").await?;
    cf.ok(&["droplets", "twin"]).await?.has(&["(current)"])?;
    cf.ok(&["create-app", "copy"]).await?;
    cf.ok(&["copy-source", "origin", "copy"])
        .await?
        .has(&["Staging complete", "running"])?;
    cf.ok(&[
        "map-route",
        "copy",
        world.cluster.domain.as_str(),
        "--hostname",
        "copy",
    ])
    .await?;
    eventually("the copy answers", SOON, || {
        world.answers("copy", "carried")
    })
    .await?;
    cf.ok(&["packages", "copy"]).await?.has(&["ready"])?;
    cf.ok(&["create-package", "copy", "-p", &folder]).await?;
    cf.ok(&["stage-package", "copy"])
        .await?
        .has(&["Package staged"])?;
    let bad = cf.file("bad.tgz");
    std::fs::write(&bad, "no droplet")?;
    let bad = bad.display().to_string();
    cf.refused(
        &["push", "twin", "--droplet", &bad],
        "droplet upload is invalid",
    )
    .await
}

pub async fn a_manifest_is_made_of_an_app(world: &World) -> anyhow::Result<()> {
    let cf = &world.cf;
    let folder = world.page("said", "as it is");
    cf.ok(&["push", "said", "-p", &folder, "-m", "64M", "-i", "2"])
        .await?;
    let file = cf.file("said.yml").display().to_string();
    cf.ok(&["create-app-manifest", "said", "-p", &file]).await?;
    let written = std::fs::read_to_string(&file)?;
    ensure!(
        written.contains("instances: 2") && written.contains("memory: 64M"),
        "{written}"
    );
    cf.ok(&["delete", "said", "-f", "-r"]).await?;
    let again = cf
        .ok_in(Path::new(&folder), &["push", "said", "-f", &file])
        .await?;
    again.has(&["2/2", "of 64M"])?;
    cf.ok(&["apply-manifest", "-f", &file]).await?;
    world.answers("said", "as it is").await
}

pub async fn tasks_logs_events_and_shells(world: &World) -> anyhow::Result<()> {
    let cf = &world.cf;
    let folder = world.page("inner", "x");
    cf.ok(&["push", "inner", "-p", &folder, "-m", "64M"])
        .await?;
    let words = [
        "run-task",
        "inner",
        "--command",
        "echo from the task",
        "--name",
        "one",
        "--wait",
    ];
    cf.ok(&words).await?;
    cf.ok(&["task", "inner", "1"]).await?.has(&["SUCCEEDED"])?;
    let words = ["run-task", "inner", "--command", "exit 3", "--wait"];
    cf.refused(&words, "Task failed to complete successfully")
        .await?;
    cf.ok(&["run-task", "inner", "--command", "sleep 60"])
        .await?;
    cf.ok(&["terminate-task", "inner", "3"]).await?;
    cf.ok(&["tasks", "inner"])
        .await?
        .has(&["one", "SUCCEEDED", "FAILED"])?;
    eventually("the task's words are in the log", SOON, || async {
        cf.ok(&["logs", "inner", "--recent"])
            .await?
            .has(&["[APP/TASK/one/", "from the task"])
    })
    .await?;
    let events = cf.ok(&["events", "inner"]).await?;
    events.has(&["audit.app.task.create", "audit.app.create"])?;
    let shell = cf
        .ok(&["ssh", "inner", "-c", "echo inside; id -un"])
        .await?;
    shell.has(&["inside", "vcap"])?;
    cf.ok(&["disable-ssh", "inner"]).await?;
    cf.refused(&["ssh", "inner", "-c", "true"], "not authorized")
        .await?;
    cf.ok(&["enable-ssh", "inner"]).await?;
    cf.ok(&["ssh-enabled", "inner"])
        .await?
        .has(&["is enabled"])?;
    cf.ok(&["ssh-code"]).await.map(drop)
}

pub async fn environments_of_all_and_of_one(world: &World) -> anyhow::Result<()> {
    let cf = &world.cf;
    let folder = world.page("vars", "x");
    cf.ok(&[
        "set-running-environment-variable-group",
        r#"{"FOR":"all","BOTH":"all"}"#,
    ])
    .await?;
    cf.ok(&["running-environment-variable-group"])
        .await?
        .has(&["FOR", "all"])?;
    cf.ok(&["push", "vars", "-p", &folder, "-m", "64M"]).await?;
    cf.ok(&["set-env", "vars", "BOTH", "own"]).await?;
    cf.ok(&["env", "vars"])
        .await?
        .has(&["BOTH: own", "FOR: all"])?;
    cf.ok(&["restart", "vars"]).await?;
    let words = ["ssh", "vars", "-c", "echo $FOR and $BOTH"];
    cf.ok(&words).await?.has(&["all and own"])?;
    cf.ok(&["unset-env", "vars", "BOTH"]).await?;
    cf.ok(&["set-staging-environment-variable-group", r#"{"S":"t"}"#])
        .await?;
    cf.ok(&["staging-environment-variable-group"])
        .await?
        .has(&["S", "t"])?;
    cf.ok(&["set-staging-environment-variable-group", "{}"])
        .await?;
    cf.ok(&["set-running-environment-variable-group", "{}"])
        .await?;
    let none = cf.ok(&["running-environment-variable-group"]).await?;
    none.has(&["No running environment variable group"])
}
