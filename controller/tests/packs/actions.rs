//! Actions that are made, changed, copied and removed through the API.

use crate::world::World;
use serde_json::{Value, json};

fn script(name: &str) -> Value {
    json!({
        "name": name, "pack": "default", "runner_type": "local-shell-script",
        "entry_point": format!("{name}.sh"), "description": "of a test",
        "parameters": {"who": {"type": "string", "position": 0}},
        "data_files": [{"file_path": format!("actions/{name}.sh"), "content": "#!/bin/sh\necho hello $1\n"}],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_lives_through_the_api() {
    for world in World::each("an_action_lives_through_the_api").await {
        let made = world.post("/v1/actions", script("greet")).await.expect(201);
        assert_eq!(made["ref"], "default.greet");
        let text = world
            .post("/v1/actions", script("greet"))
            .await
            .refused(409);
        assert!(text.contains("duplicate key error"), "{text}");
        let code = world
            .get("/v1/actions/views/entry_point/default.greet")
            .await;
        assert_eq!(code.status, 200);
        assert!(code.text().contains("echo hello"));
        let pack = world.get("/v1/packs/default").await.expect(200);
        assert!(
            pack["files"]
                .as_array()
                .unwrap()
                .contains(&json!("actions/greet.sh")),
            "{pack}"
        );

        let merged = world
            .get("/v1/actions/views/parameters/default.greet")
            .await
            .expect(200);
        for name in ["who", "sudo", "timeout"] {
            assert!(merged["parameters"].get(name).is_some(), "{name}: {merged}");
        }
        let overview = world
            .get("/v1/actions/views/overview/default.greet")
            .await
            .expect(200);
        assert_eq!(overview["parameters"], merged["parameters"]);
        let overviews = world
            .get("/v1/actions/views/overview?pack=default")
            .await
            .expect(200);
        assert_eq!(overviews[0]["ref"], "default.greet");

        let mut whole = world.get("/v1/actions/default.greet").await.expect(200);
        whole["description"] = json!("changed");
        whole["enabled"] = json!(false);
        let changed = world
            .put("/v1/actions/default.greet", whole.clone())
            .await
            .expect(200);
        assert_eq!(
            (&changed["description"], &changed["enabled"]),
            (&json!("changed"), &json!(false))
        );
        assert_eq!(changed["id"], made["id"]);
        whole["name"] = json!("other");
        world
            .put("/v1/actions/default.greet", whole)
            .await
            .refused(400);

        // A built-in pack that is registered anew leaves alone what was made in its name.
        world.automation.register_builtin().await.unwrap();
        world.get("/v1/actions/default.greet").await.expect(200);

        let removed = world
            .send(
                http::Method::DELETE,
                "/v1/actions/default.greet",
                Some(json!({"remove_files": true})),
            )
            .await;
        assert_eq!(removed.status, 204);
        world.get("/v1/actions/default.greet").await.refused(404);
        let file = world
            .get("/v1/packs/views/file/default/actions/greet.sh")
            .await;
        assert_eq!(file.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_is_cloned_with_its_code() {
    for world in World::each("an_action_is_cloned_with_its_code").await {
        world.post("/v1/actions", script("greet")).await.expect(201);
        let asked = json!({"dest_pack": "default", "dest_action": "welcome"});
        let copy = world
            .post("/v1/actions/default.greet/clone", asked.clone())
            .await
            .expect(201);
        assert_eq!(copy["ref"], "default.welcome");
        assert_eq!(copy["entry_point"], "welcome.sh");
        let code = world
            .get("/v1/actions/views/entry_point/default.welcome")
            .await;
        assert!(code.text().contains("echo hello"));
        let text = world
            .post("/v1/actions/default.greet/clone", asked)
            .await
            .refused(400);
        assert!(text.contains("already exists"), "{text}");
        let asked = json!({"dest_pack": "default", "dest_action": "welcome", "overwrite": true});
        world
            .post("/v1/actions/default.greet/clone", asked)
            .await
            .expect(201);
        let asked = json!({"dest_pack": "nowhere", "dest_action": "x"});
        let text = world
            .post("/v1/actions/core.local/clone", asked)
            .await
            .refused(400);
        assert!(text.contains("nowhere"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_with_a_reason() {
    let Some(world) = World::start("what_makes_no_sense_is_refused_with_a_reason").await else {
        return;
    };
    let refused = async |document: Value| world.post("/v1/actions", document).await.refused(400);
    let text = refused(json!({"name": "x", "runner_type": "run-local"})).await;
    assert!(text.contains("run-local"), "{text}");
    let text = refused(json!({"name": "x", "runner_type": "noop", "colour": 1})).await;
    assert!(text.contains("colour"), "{text}");
    let mut escaping = script("x");
    escaping["data_files"][0]["file_path"] = json!("../../etc/x");
    let text = refused(escaping).await;
    assert!(text.contains("leads out"), "{text}");
    let clashing =
        json!({"a": {"type": "string", "position": 0}, "b": {"type": "string", "position": 0}});
    refused(json!({"name": "x", "runner_type": "noop", "parameters": clashing})).await;

    // Of built-in packs only the switch can be changed.
    let mut local = world.get("/v1/actions/core.local").await.expect(200);
    local["enabled"] = json!(false);
    let switched = world
        .put("/v1/actions/core.local", local.clone())
        .await
        .expect(200);
    assert_eq!(switched["enabled"], false);
    local["description"] = json!("mine");
    let text = world
        .put("/v1/actions/core.local", local)
        .await
        .refused(400);
    assert!(text.contains("system level packs"), "{text}");
    world.delete("/v1/actions/core.local").await.refused(400);
}
