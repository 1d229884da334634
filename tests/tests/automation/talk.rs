//! Talking with people and programs: aliases, inquiries, API keys, who is who.

use crate::World;
use crate::client::first;
use crate::runs::{execution_id, reached, started};
use anyhow::{Context, ensure};
use tests::runner::{Tally, run};
use tests::tests;

async fn st2_action_alias_match(world: &World) -> anyhow::Result<()> {
    let matched = world
        .client
        .json(&["action-alias", "match", "greet Ada"])
        .await?;
    ensure!(first(&matched)["name"] == "greet", "{matched}");
    let none = world
        .client
        .run(&["action-alias", "match", "dance with me now"])
        .await?;
    ensure!(
        none.status != 0
            && format!("{}{}", none.stdout, none.stderr).contains("matched no patterns"),
        "{}{}",
        none.stdout,
        none.stderr
    );
    Ok(())
}

async fn st2_action_alias_execute(world: &World) -> anyhow::Result<()> {
    let output = world
        .client
        .ok(&["action-alias", "execute", "welcome linus 2 times"])
        .await?;
    ensure!(output.stdout.contains("greeter.greet"), "{}", output.stdout);
    let id = execution_id(&output.stdout)?;
    let execution = reached(world, &id, "succeeded", 30).await?;
    ensure!(
        execution["result"]["result"]["text"]
            .as_str()
            .is_some_and(|text| text.matches("Linus").count() == 2),
        "{execution:#}"
    );
    Ok(())
}

async fn yard_alias_run_shows_the_result(world: &World) -> anyhow::Result<()> {
    let output = world
        .cluster
        .ok(["alias", "run", "greet", "margaret"])
        .await?;
    ensure!(
        output.stdout.contains("Greeting margaret.") && output.stdout.contains("Margaret!"),
        "{}",
        output.stdout
    );
    Ok(())
}

async fn an_inquiry_waits_for_its_answer(world: &World) -> anyhow::Result<()> {
    let schema =
        r#"schema={"type":"object","properties":{"go":{"type":"boolean","required":true}}}"#;
    let id = started(world, &["run", "core.ask", schema]).await?;
    reached(world, &id, "pending", 20).await?;
    let open = world.client.json(&["inquiry", "list"]).await?;
    ensure!(open.to_string().contains(&id), "{open}");
    let refused = world
        .client
        .run(&["inquiry", "respond", &id, "-r", r#"{"go": "perhaps"}"#])
        .await?;
    ensure!(
        refused.status != 0,
        "an answer against the schema: {}",
        refused.stdout
    );
    world
        .client
        .ok(&["inquiry", "respond", &id, "-r", r#"{"go": true}"#])
        .await?;
    let execution = reached(world, &id, "succeeded", 20).await?;
    ensure!(
        execution["result"]["response"]["go"] == true,
        "{execution:#}"
    );
    Ok(())
}

async fn yard_inquiry_respond_answers(world: &World) -> anyhow::Result<()> {
    let schema =
        r#"schema={"type":"object","properties":{"count":{"type":"integer","required":true}}}"#;
    let id = started(world, &["run", "core.ask", schema]).await?;
    reached(world, &id, "pending", 20).await?;
    let wrong = world
        .cluster
        .yard(["inquiry", "respond", &id, "count=many"])
        .await?;
    ensure!(wrong.status == 2, "{}{}", wrong.stdout, wrong.stderr);
    world
        .cluster
        .ok(["inquiry", "respond", &id, "count=3"])
        .await?;
    reached(world, &id, "succeeded", 20).await.map(drop)
}

async fn an_api_key_is_a_credential_until_it_is_deleted(world: &World) -> anyhow::Result<()> {
    let created = world
        .client
        .ok(&["apikey", "create", "-k", "-m", r#"{"used_by": "suite"}"#])
        .await?;
    let key = created.stdout.trim().to_string();
    ensure!(key.len() > 40, "{key:?}");
    let with_key = [("ST2_API_KEY", key.as_str()), ("ST2_AUTH_TOKEN", "")];
    world
        .client
        .run_with(&["action", "list", "-p", "core"], &with_key)
        .await?
        .success()
        .context("an API key instead of a token")?;
    let listed = world.client.json(&["apikey", "list", "-d"]).await?;
    ensure!(!listed.to_string().contains(&key), "a key is shown once");
    let id = listed
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["metadata"]["used_by"] == "suite")
        .and_then(|one| one["id"].as_str())
        .with_context(|| format!("{listed}"))?;
    world.client.ok(&["apikey", "delete", id]).await?;
    let refused = world
        .client
        .run_with(&["action", "list", "-p", "core"], &with_key)
        .await?;
    ensure!(refused.status != 0, "a deleted key is no credential");
    Ok(())
}

async fn without_credentials_nothing_is_told(world: &World) -> anyhow::Result<()> {
    let refused = world
        .client
        .run_with(&["action", "list"], &[("ST2_AUTH_TOKEN", "")])
        .await?;
    ensure!(
        refused.status != 0
            && format!("{}{}", refused.stdout, refused.stderr).contains("Unauthorized"),
        "{}{}",
        refused.stdout,
        refused.stderr
    );
    let wrong = world.client.run(&["auth", "admin", "-p", "wrong"]).await?;
    ensure!(wrong.status != 0, "{}", wrong.stdout);
    Ok(())
}

async fn st2_whoami(world: &World) -> anyhow::Result<()> {
    let shown = world.client.ok(&["whoami"]).await?;
    ensure!(shown.stdout.contains("admin"), "{}", shown.stdout);
    Ok(())
}

pub async fn all(world: &World, tally: &mut Tally) {
    run(
        world,
        tests![
            st2_action_alias_match,
            st2_action_alias_execute,
            yard_alias_run_shows_the_result,
            an_inquiry_waits_for_its_answer,
            yard_inquiry_respond_answers,
            an_api_key_is_a_credential_until_it_is_deleted,
            without_credentials_nothing_is_told,
            st2_whoami,
        ],
        tally,
    )
    .await;
}
