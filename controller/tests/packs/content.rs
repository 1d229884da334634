//! What is there: built-in packs, registering again, files, configurations, runners, sensors.

use crate::world::World;
use axum::body::Body;
use controller::store::automation::pack_configs::PackConfig;
use controller::store::automation::trigger_types::TriggerType;
use http::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_built_in_packs_are_registered_with_all_they_bring() {
    for world in World::each("the_built_in_packs_are_registered_with_all_they_bring").await {
        let packs = world.get("/v1/packs/?limit=50").await;
        assert_eq!(packs.headers["x-total-count"], "6");
        let names: Vec<String> = packs
            .expect(200)
            .as_array()
            .unwrap()
            .iter()
            .map(|pack| pack["ref"].as_str().unwrap().to_string())
            .collect();
        assert_eq!(
            names,
            ["chatops", "core", "default", "linux", "packs", "yard"]
        );
        let core = world.get("/v1/packs/core").await.expect(200);
        assert_eq!(core["uid"], "pack:core");
        assert!(
            core["files"]
                .as_array()
                .unwrap()
                .contains(&json!("actions/local.yaml"))
        );
        assert!(core.get("folder_sha256").is_none(), "{core}");

        let local = world.get("/v1/actions/core.local").await.expect(200);
        assert_eq!(local["runner_type"], "local-shell-cmd");
        assert_eq!(local["uid"], "action:core:local");
        let by_id = format!("/v1/actions/{}", local["id"].as_str().unwrap());
        assert_eq!(world.get(&by_id).await.expect(200)["ref"], "core.local");
        let listed = world
            .get("/api/v1/actions/?pack=core&include_attributes=ref,pack&limit=2")
            .await;
        assert_eq!(listed.headers["x-limit"], "2");
        assert!(listed.json[0].get("parameters").is_none());

        let runner = world
            .get("/v1/runnertypes/?name=python-script")
            .await
            .expect(200);
        assert_eq!(runner.as_array().unwrap().len(), 1);
        let sensor = world
            .get("/v1/sensortypes/linux.FileWatchSensor")
            .await
            .expect(200);
        assert_eq!(sensor["class_name"], "FileWatchSensor");
        assert_eq!(sensor["trigger_types"], json!(["linux.file_watch.line"]));
        assert!(
            sensor["artifact_uri"]
                .as_str()
                .unwrap()
                .starts_with("file:///")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_registered_again_is_counted_and_keeps_its_ids() {
    for world in World::each("what_is_registered_again_is_counted_and_keeps_its_ids").await {
        let before = world.get("/v1/actions/linux.cp").await.expect(200);
        let counts = world
            .post(
                "/v1/packs/register",
                json!({"packs": ["linux"], "types": ["actions", "sensor"]}),
            )
            .await
            .expect(200);
        let mut names: Vec<&String> = counts.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(names, ["actions", "runners", "sensors"]);
        assert_eq!(counts["sensors"], 1);
        assert!(counts["actions"].as_u64().unwrap() > 10, "{counts}");
        assert_eq!(world.get("/v1/actions/linux.cp").await.expect(200), before);
        let all = world
            .post("/v1/packs/register", json!({}))
            .await
            .expect(200);
        for name in [
            "triggers",
            "rules",
            "rule_types",
            "policy_types",
            "configs",
            "aliases",
        ] {
            assert!(all[name].is_u64(), "{name}: {all}");
        }
        let text = world
            .post("/v1/packs/register", json!({"packs": ["nowhere"]}))
            .await
            .refused(400);
        assert!(text.contains("nowhere"), "{text}");

        // A new controller registers nothing that has not changed: what a user switched off stays off.
        let mut rule = world.get("/v1/actions/linux.cp").await.expect(200);
        rule["enabled"] = json!(false);
        world.put("/v1/actions/linux.cp", rule).await.expect(200);
        world.automation.register_builtin().await.unwrap();
        let action = world.get("/v1/actions/linux.cp").await.expect(200);
        assert_eq!(action["enabled"], false);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overrides_of_the_operator_count() {
    let Some(world) = World::start("overrides_of_the_operator_count").await else {
        return;
    };
    let folder = world.cluster.folder.path().join("overrides");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("linux.yaml"),
        "actions:\n  exceptions:\n    cp: {enabled: false}\n",
    )
    .unwrap();
    world
        .set(
            "automation/pack/overrides",
            json!(folder.display().to_string()),
        )
        .await;
    let asked = json!({"packs": ["linux"], "types": ["actions"]});
    let counts = world.post("/v1/packs/register", asked).await.expect(200);
    assert_eq!(counts["actions(overridden)"], 1);
    assert_eq!(
        world.get("/v1/actions/linux.cp").await.expect(200)["enabled"],
        false
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_shown_and_cached() {
    let Some(world) = World::start("files_are_shown_and_cached").await else {
        return;
    };
    let files = world.get("/v1/packs/views/files/core").await.expect(200);
    assert!(files.as_array().unwrap().iter().any(|file| {
        file["file_path"] == "pack.yaml" && file["content"].as_str().unwrap().contains("name: core")
    }));
    let path = "/v1/packs/views/file/core/actions/local.yaml";
    let shown = world.get(path).await;
    assert!(shown.text().contains("local-shell-cmd"));
    let tag = shown.headers["etag"].clone();
    let again = world
        .request(Method::GET, path)
        .header("if-none-match", tag)
        .body(Body::empty())
        .unwrap();
    assert_eq!(world.open(again).await.status, 304);
    let text = world.get("/v1/packs/views/file/core/../pack.yaml").await;
    assert_eq!(text.status, 404);
    world
        .get("/v1/packs/views/files/nowhere")
        .await
        .refused(404);
}

const SCHEMA: &str = "url: {type: string, default: 'http://x', required: true}\ntoken: {type: string, secret: true}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_of_a_configuration_are_masked_and_kept() {
    for world in World::each("secrets_of_a_configuration_are_masked_and_kept").await {
        let source = world.pack("shop", &[("config.schema.yaml", SCHEMA)]);
        world.installed(&[&source]).await;
        let schema = world.get("/v1/config_schemas/shop").await.expect(200);
        assert_eq!(schema["attributes"]["token"]["secret"], true);
        let schemas = world.get("/v1/config_schemas").await.expect(200);
        assert!(
            schemas
                .as_array()
                .unwrap()
                .iter()
                .any(|one| one["pack"] == "shop")
        );
        world.get("/v1/config_schemas/core").await.refused(404);

        let values = json!({"url": "http://y", "token": "hush"});
        let written = world.put("/v1/configs/shop", values).await.expect(200);
        assert_eq!(written["values"]["token"], "********");
        // What comes back masked stays.
        let values = json!({"url": "http://z", "token": "********"});
        world.put("/v1/configs/shop", values).await.expect(200);
        let shown = world
            .get("/v1/configs/shop?show_secrets=true")
            .await
            .expect(200);
        assert_eq!(shown["values"], json!({"url": "http://z", "token": "hush"}));
        let listed = world.get("/v1/configs").await.expect(200);
        assert_eq!(listed[0]["values"]["token"], "********");
        let text = world
            .put("/v1/configs/shop", json!({"url": 7}))
            .await
            .refused(400);
        assert!(text.contains("url"), "{text}");
        world.get("/v1/configs/core").await.refused(404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_that_may_leave_things_out_leaves_them_as_they_are() {
    let Some(world) = World::start("a_registration_that_may_leave_things_out").await else {
        return;
    };
    let kind = json!({"pack": "elsewhere", "name": "seen"});
    world.post("/v1/triggertypes", kind).await.expect(201);
    let rule = |trigger: &str, name: &str| {
        format!(
            "name: {name}\nenabled: true\ntrigger: {{type: {trigger}}}\naction: {{ref: core.noop}}\n"
        )
    };
    let source = world.pack(
        "mixed",
        &[
            ("rules/far.yaml", &rule("elsewhere.seen", "far")),
            (
                "rules/near.yaml",
                &rule("core.st2.key_value_pair.create", "near"),
            ),
        ],
    );
    world.installed(&[&source]).await;
    // What the rule waits for goes.
    let mut tx = world.cluster.store.write("test").await.unwrap();
    TriggerType::delete(&mut tx, "elsewhere.seen")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let register = async |lenient: bool| {
        let asked = json!({"packs": ["mixed"], "types": ["rules"], "fail_on_failure": !lenient});
        world.post("/v1/packs/register", asked).await
    };
    let text = register(false).await.refused(400);
    assert!(
        text.contains("rules/far.yaml") && text.contains("elsewhere.seen"),
        "{text}"
    );
    assert_eq!(register(true).await.expect(200)["rules"], 1);
    for name in ["far", "near"] {
        world
            .get(&format!("/v1/rules/mixed.{name}"))
            .await
            .expect(200);
    }
}

const DEEP_SCHEMA: &str = "
sites:
  type: array
  items: {type: object, properties: {name: {type: string}, key: {type: string, secret: true}}}
keys: {type: array, items: {type: string, secret: true}}
accounts: {type: object, additionalProperties: {type: object, properties: {password: {type: string, secret: true}}}}
any: {type: object, patternProperties: {'_token$': {type: string, secret: true}}}
plain: {type: string}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_in_lists_and_open_objects_are_neither_shown_nor_stored() {
    let Some(world) = World::start("secrets_in_lists_and_open_objects").await else {
        return;
    };
    let source = world.pack("deep", &[("config.schema.yaml", DEEP_SCHEMA)]);
    world.installed(&[&source]).await;
    let values = json!({
        "sites": [{"name": "one", "key": "hush-1"}, {"name": "two", "key": "hush-2"}],
        "keys": ["hush-3", "{{ st2kv.system.hush }}"],
        "accounts": {"ada": {"password": "hush-4"}},
        "any": {"x_token": "hush-5", "x": "open"},
        "plain": "open-2",
    });
    let path = "/v1/configs/deep";
    let written = world.put(path, values.clone()).await.expect(200);
    let stored = async || {
        let mut reader = world.cluster.store.read().await.unwrap();
        let row = PackConfig::find(&mut reader, "deep").await.unwrap();
        row.unwrap().document.to_string()
    };
    for text in [written.to_string(), stored().await] {
        assert!(!text.contains("hush"), "{text}");
        for open in ["one", "two", "open", "open-2"] {
            assert!(text.contains(open), "{text}");
        }
    }
    let shown = async || {
        world
            .get(&format!("{path}?show_secrets=true"))
            .await
            .expect(200)
    };
    assert_eq!(shown().await["values"], values);

    // What comes back masked stays, by its place.
    let mut masked = written["values"].clone();
    masked["plain"] = json!("changed");
    masked["sites"][1]["key"] = json!("hush-6");
    world.put(path, masked).await.expect(200);
    let mut expected = values.clone();
    expected["plain"] = json!("changed");
    expected["sites"][1]["key"] = json!("hush-6");
    assert_eq!(shown().await["values"], expected);
    let longer = json!({"keys": ["********", "********", "********"]});
    let text = world.put(path, longer).await.refused(400);
    assert!(text.starts_with("keys[2]: "), "{text}");
    let reserved = json!({"accounts": {"ada": {"__sealed": "x"}}});
    world.put(path, reserved).await.refused(400);

    // A newer version of the pack calls more secret.
    let stricter = DEEP_SCHEMA.replace("plain: {", "plain: {secret: true, ");
    let source = world.pack("deep", &[("config.schema.yaml", &stricter)]);
    world.installed(&[&source]).await;
    assert!(!stored().await.contains("changed"));
    assert_eq!(shown().await["values"], expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_and_sensors_are_switched_at_once() {
    for world in World::each("runners_and_sensors_are_switched_at_once").await {
        let mut runner = world.get("/v1/runnertypes/noop").await.expect(200);
        runner["enabled"] = json!(false);
        let changed = world.put("/v1/runnertypes/noop", runner).await.expect(200);
        assert_eq!(changed["enabled"], false);
        assert_eq!(
            world.get("/v1/runnertypes/noop").await.expect(200)["enabled"],
            false
        );
        let mut refused = world.get("/v1/runnertypes/winrm-cmd").await.expect(200);
        assert_eq!(refused["enabled"], false);
        refused["enabled"] = json!(true);
        world
            .put("/v1/runnertypes/winrm-cmd", refused)
            .await
            .refused(400);

        let path = "/v1/sensortypes/linux.FileWatchSensor";
        let mut sensor = world.get(path).await.expect(200);
        let enabled = sensor["enabled"].as_bool().unwrap();
        sensor["enabled"] = json!(!enabled);
        let changed = world.put(path, sensor).await.expect(200);
        assert_eq!(changed["enabled"], !enabled);
        assert_eq!(world.get(path).await.expect(200)["enabled"], !enabled);
    }
}
