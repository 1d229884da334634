//! Packs by `st2`: a sample pack from a folder, its parts, its configuration, its end.

use crate::World;
use crate::client::copy;
use anyhow::{Context, ensure};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tests::runner::{Tally, run};
use tests::tests;

/// The sample pack, as a folder that the controller may read, with a repository as StackStorm
/// wants it.
pub fn sample_pack(root: &std::path::Path) -> anyhow::Result<PathBuf> {
    let folder = root.join("packs/greeter");
    if folder.exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(root.join("packs"))?;
    std::fs::set_permissions(root.join("packs"), std::fs::Permissions::from_mode(0o755))?;
    copy(&tests::cluster::source_root().join("samples/pack"), &folder)?;
    repository(&folder)?;
    Ok(folder)
}

/// Makes a folder a git repository with one commit.
pub fn repository(folder: &std::path::Path) -> anyhow::Result<()> {
    for words in [
        vec!["init", "-q", "-b", "master"],
        vec!["add", "-A"],
        vec![
            "-c",
            "user.name=test",
            "-c",
            "user.email=test@example.org",
            "commit",
            "-q",
            "-m",
            "As it is",
        ],
    ] {
        crate::client::output(
            std::process::Command::new("git")
                .arg("-C")
                .arg(folder)
                .args(&words),
        )?
        .success()
        .with_context(|| format!("git {}", words.join(" ")))?;
    }
    Ok(())
}

async fn st2_pack_install_of_a_folder(world: &World) -> anyhow::Result<()> {
    let folder = sample_pack(&world.cluster.root())?;
    // The operator says which folders may be installed from.
    let allowed = world.cluster.root().join("packs").display().to_string();
    world
        .cluster
        .ok(["config", "set", "automation/pack/folders", &allowed])
        .await?;
    let source = format!("file://{}", folder.display());
    let output = world.client.ok(&["pack", "install", &source]).await?;
    ensure!(
        output.stdout.contains("greeter") && output.stdout.contains("1.0.0"),
        "the table names the pack and its version: {}",
        output.stdout
    );
    Ok(())
}

async fn a_pack_brings_its_parts(world: &World) -> anyhow::Result<()> {
    for (words, reference) in [
        (["action", "list", "-p", "greeter"], "greeter.greet"),
        (["action", "list", "-p", "greeter"], "greeter.count_words"),
        (["sensor", "list", "-p", "greeter"], "greeter.Ticker"),
        (["trigger", "list", "-p", "greeter"], "greeter.tick"),
        (["rule", "list", "-p", "greeter"], "greeter.greet_visitor"),
        (["action-alias", "list", "-p", "greeter"], "greeter.greet"),
        (
            ["policy", "list", "-p", "greeter"],
            "greeter.count_words.one_at_a_time",
        ),
    ] {
        let listed = world.client.json(&words).await?;
        let found = listed
            .as_array()
            .is_some_and(|list| list.iter().any(|one| one["ref"] == reference));
        ensure!(
            found,
            "st2 {} has no {reference}: {listed}",
            words.join(" ")
        );
    }
    Ok(())
}

async fn a_pack_is_shown_installed(world: &World) -> anyhow::Result<()> {
    let pack = world.client.json(&["pack", "get", "greeter"]).await?;
    ensure!(
        pack["version"] == "1.0.0" && pack["name"] == "greeter",
        "{pack}"
    );
    let action = world
        .client
        .json(&["action", "get", "greeter.greet"])
        .await?;
    ensure!(
        action["runner_type"] == "python-script"
            && action["parameters"]["name"]["required"] == true,
        "{action}"
    );
    Ok(())
}

async fn a_configuration_reaches_actions_and_hides_secrets(world: &World) -> anyhow::Result<()> {
    let cluster = &world.cluster;
    cluster
        .ok([
            "pack",
            "config",
            "greeter",
            "greeting=Welcome",
            "signature=hush-hush",
        ])
        .await?;
    let shown = cluster.ok(["pack", "config", "greeter", "--json"]).await?;
    ensure!(
        shown.stdout.contains("Welcome") && !shown.stdout.contains("hush-hush"),
        "{}",
        shown.stdout
    );
    let greeted = world
        .client
        .json(&["run", "greeter.greet", "name=ada"])
        .await?;
    ensure!(
        greeted["result"]["result"]["text"] == "Welcome, Ada!"
            && greeted["result"]["result"]["signed"] == true,
        "{greeted}"
    );
    Ok(())
}

async fn st2_pack_register_counts(world: &World) -> anyhow::Result<()> {
    let counts = world
        .client
        .json(&["pack", "register", "greeter", "--types=actions,rules"])
        .await?;
    ensure!(counts["actions"] == 2 && counts["rules"] == 2, "{counts}");
    Ok(())
}

async fn st2_pack_install_of_a_folder_that_is_not_allowed_fails(
    world: &World,
) -> anyhow::Result<()> {
    let outside = world.cluster.root().join("outside");
    std::fs::create_dir_all(&outside)?;
    copy(
        &world.cluster.root().join("packs/greeter"),
        &outside.join("greeter"),
    )?;
    let source = format!("file://{}", outside.join("greeter").display());
    fails_with_the_reason(world, &["pack", "install", &source], "greeter").await
}

/// The client prints what the last event of the stream holds; without a result there it would stumble over itself.
async fn fails_with_the_reason(world: &World, words: &[&str], why: &str) -> anyhow::Result<()> {
    let output = world.client.run(words).await?;
    let said = format!("{}{}", output.stdout, output.stderr);
    let told = ["failed", "message", why]
        .iter()
        .all(|it| said.contains(it));
    ensure!(output.status == 1 && told, "{}: {said}", output.status);
    Ok(())
}

async fn st2_pack_install_of_nothing_fails(world: &World) -> anyhow::Result<()> {
    let missing = world.cluster.root().join("packs/none");
    let source = format!("file://{}", missing.display());
    fails_with_the_reason(world, &["pack", "install", &source], "none").await?;
    fails_with_the_reason(world, &["pack", "remove", "nobody"], "nobody").await
}

async fn st2_pack_remove_leaves_nothing(world: &World) -> anyhow::Result<()> {
    world.client.ok(&["pack", "remove", "greeter"]).await?;
    let gone = world.client.run(&["pack", "get", "greeter"]).await?;
    ensure!(gone.status != 0, "{}", gone.stdout);
    let actions = world
        .client
        .json(&["action", "list", "-p", "greeter"])
        .await?;
    ensure!(actions.as_array().is_none_or(Vec::is_empty), "{actions}");
    Ok(())
}

pub async fn install(world: &World, tally: &mut Tally) {
    run(
        world,
        tests![
            st2_pack_install_of_a_folder,
            a_pack_brings_its_parts,
            a_pack_is_shown_installed,
            a_configuration_reaches_actions_and_hides_secrets,
            st2_pack_register_counts,
            st2_pack_install_of_a_folder_that_is_not_allowed_fails,
            st2_pack_install_of_nothing_fails,
        ],
        tally,
    )
    .await;
}

pub async fn remove(world: &World, tally: &mut Tally) {
    run(world, tests![st2_pack_remove_leaves_nothing], tally).await;
}
