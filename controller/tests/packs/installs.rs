//! Installing packs from folders, repositories, the index and uploads; and removing them.

use crate::world::{World, write_pack};
use axum::body::Body;
use controller::automation::ops::pack_content::PackContent;
use http::{Method, header};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const NOOP: &str = "name: rest\nrunner_type: noop\ndescription: of a test\n";
const RULE: &str = "name: hourly\npack: hello\nenabled: true\ntrigger:\n  type: core.st2.IntervalTimer\n  parameters: {unit: hours, delta: 1}\naction: {ref: hello.rest}\n";

fn git(folder: &Path, arguments: &[&str]) {
    let done = Command::new("git")
        .args([
            "-c",
            "user.name=test",
            "-c",
            "user.email=test@localhost",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_comes_from_a_folder_and_goes() {
    for world in World::each("a_pack_comes_from_a_folder_and_goes").await {
        let files = [("actions/rest.yaml", NOOP), ("rules/hourly.yaml", RULE)];
        let source = world.pack("hello", &files);
        let output = world.installed(&[&source]).await;
        assert_eq!(output["packs_list"], json!(["hello"]));
        assert_eq!(output["warning_list"], json!([]));
        assert_eq!(
            world.get("/v1/packs/hello").await.expect(200)["version"],
            "1.0.0"
        );
        let action = world.get("/v1/actions/hello.rest").await.expect(200);

        // Again, without the rule: it goes, the action keeps its id.
        world.pack("hello", &files[..1]);
        world.installed(&[&source]).await;
        let again = world.get("/v1/actions/hello.rest").await.expect(200);
        assert_eq!(again["id"], action["id"]);
        let mut connection = world.cluster.store.read().await.unwrap();
        let rule =
            controller::store::automation::rules::Rule::find(&mut connection, "hello.hourly").await;
        assert!(rule.unwrap().is_none());
        let filter =
            controller::store::query::Filter::new().equals("type_ref", "core.st2.IntervalTimer");
        let timers = controller::store::automation::triggers::Trigger::fetch(
            &mut connection,
            filter,
            "test",
        )
        .await;
        assert!(
            timers.unwrap().is_empty(),
            "a timer that no rule waits for fires on"
        );
        drop(connection);

        let begun = world
            .post("/v1/packs/uninstall", json!({"packs": ["hello"]}))
            .await
            .expect(202);
        let (status, result) = world.ended(begun["execution_id"].as_str().unwrap()).await;
        assert_eq!(status, "succeeded", "{result}");
        world.get("/v1/packs/hello").await.refused(404);
        world.get("/v1/actions/hello.rest").await.refused(404);
        for pack in ["hello", "core"] {
            let begun = world
                .post("/v1/packs/uninstall", json!({"packs": [pack]}))
                .await
                .expect(202);
            let (status, _) = world.ended(begun["execution_id"].as_str().unwrap()).await;
            assert_eq!(status, "failed", "{pack}");
        }
        world.get("/v1/packs/core").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_allowed_folders_are_read() {
    let Some(world) = World::start("only_allowed_folders_are_read").await else {
        return;
    };
    let outside = world.cluster.folder.path().join("outside");
    write_pack(&outside, "outside", &[]);
    std::os::unix::fs::symlink(&outside, world.allowed().join("link")).unwrap();
    let allowed = world.allowed().display().to_string();
    for source in [
        format!("file://{}", outside.display()),
        format!("file://{allowed}/../outside"),
        format!("file://{allowed}/link"),
        "file:///etc".to_string(),
        "file:///nowhere".to_string(),
    ] {
        let text = world.not_installed(json!({"packs": [source]})).await;
        assert!(
            text.contains("only from folders beneath"),
            "{source}: {text}"
        );
    }
    let source = world.pack("hello", &[]);
    std::os::unix::fs::symlink("/etc/passwd", world.allowed().join("hello/secret")).unwrap();
    let text = world.not_installed(json!({"packs": [source]})).await;
    assert!(text.contains("leads out of the pack"), "{text}");
    // A setting takes effect at once.
    world
        .set(
            "automation/pack/folders",
            json!(outside.display().to_string()),
        )
        .await;
    world
        .installed(&[&format!("file://{}", outside.display())])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_named_with_its_place() {
    let Some(world) = World::start("every_fault_is_named_with_its_place").await else {
        return;
    };
    let source = world.pack(
        "hello",
        &[
            (
                "actions/bad.yaml",
                "name: bad\nrunner_type: noop\n  wrong: indent\n",
            ),
            ("actions/odd.yaml", "name: odd\nrunner_type: run-local\n"),
        ],
    );
    let text = world.not_installed(json!({"packs": [source]})).await;
    assert!(text.contains("actions/bad.yaml:3:"), "{text}");
    assert!(text.contains("actions/odd.yaml:2:"), "{text}");
    world.get("/v1/packs/hello").await.refused(404);

    let orphan = RULE.replace("core.st2.IntervalTimer", "nowhere.tick");
    let source = world.pack(
        "hello",
        &[("actions/rest.yaml", NOOP), ("rules/hourly.yaml", &orphan)],
    );
    let text = world.not_installed(json!({"packs": [source]})).await;
    assert!(
        text.contains("rules/hourly.yaml") && text.contains("nowhere.tick"),
        "{text}"
    );
    world.get("/v1/packs/hello").await.refused(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_comes_from_a_repository_in_a_version() {
    let Some(world) = World::start("a_pack_comes_from_a_repository_in_a_version").await else {
        return;
    };
    let folder = world.allowed().join("hello");
    write_pack(
        &folder,
        "hello",
        &[("actions/old.yaml", &NOOP.replace("rest", "old"))],
    );
    git(&folder, &["init", "--quiet"]);
    git(&folder, &["add", "."]);
    git(&folder, &["commit", "--quiet", "-m", "first"]);
    git(&folder, &["tag", "v1.0.0"]);
    std::fs::remove_file(folder.join("actions/old.yaml")).unwrap();
    std::fs::write(folder.join("actions/new.yaml"), NOOP.replace("rest", "new")).unwrap();
    git(&folder, &["add", "-A"]);
    git(&folder, &["commit", "--quiet", "-m", "second"]);

    let source = format!("file://{}", folder.display());
    world.installed(&[&format!("{source}=1.0.0")]).await;
    world.get("/v1/actions/hello.old").await.expect(200);
    world.installed(&[&format!("{source}=main")]).await;
    world.get("/v1/actions/hello.new").await.expect(200);
    world.get("/v1/actions/hello.old").await.refused(404);
    let files = world.get("/v1/packs/hello").await.expect(200)["files"].to_string();
    assert!(!files.contains(".git"), "{files}");
    let text = world
        .not_installed(json!({"packs": [format!("{source}=9")]}))
        .await;
    assert!(text.contains("no branch, tag or commit \"9\""), "{text}");
    let text = world
        .not_installed(json!({"packs": ["http://127.0.0.1:1/hello.git"]}))
        .await;
    assert!(text.contains("cannot be fetched"), "{text}");
    let text = world
        .not_installed(json!({"packs": ["ext::sh -c date"]}))
        .await;
    assert!(text.contains("ext::"), "{text}");
}

/// An index in which these packs are repositories.
async fn index(world: &World, packs: &[(&str, &str)]) {
    let mut entries = serde_json::Map::new();
    for (name, dependencies) in packs {
        let folder = world.allowed().join(name);
        let metadata = format!(
            "name: {name}\ndescription: the pack {name}\nversion: 1.0.0\nauthor: a test\ndependencies: [{dependencies}]\n"
        );
        write_pack(
            &folder,
            name,
            &[("pack.yaml", &metadata), ("actions/rest.yaml", NOOP)],
        );
        git(&folder, &["init", "--quiet"]);
        git(&folder, &["add", "."]);
        git(&folder, &["commit", "--quiet", "-m", "first"]);
        git(&folder, &["tag", "v1.0.0"]);
        let entry = json!({"name": name, "ref": name, "description": format!("the pack {name}"), "repo_url": format!("file://{}", folder.display())});
        entries.insert(name.to_string(), entry);
    }
    let file = world.cluster.folder.path().join("index.json");
    std::fs::write(&file, json!({"packs": entries}).to_string()).unwrap();
    world
        .set("automation/pack/index", json!(file.display().to_string()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packs_come_by_name_with_what_they_need() {
    for world in World::each("packs_come_by_name_with_what_they_need").await {
        let text = world.not_installed(json!({"packs": ["top"]})).await;
        assert!(text.contains("no index"), "{text}");
        assert_eq!(
            world.get("/v1/packs/index/health").await.expect(200)["indexes"]["count"],
            0
        );
        index(
            &world,
            &[
                ("top", "middle"),
                ("middle", "low=1.0.0"),
                ("low", ""),
                ("round", "trip"),
                ("trip", "round"),
                ("lost", "nowhere"),
            ],
        )
        .await;
        let found = world
            .post("/v1/packs/index/search", json!({"pack": "TOP"}))
            .await
            .expect(200);
        assert_eq!(found["name"], "top");
        let none = world
            .post("/v1/packs/index/search", json!({"pack": "none"}))
            .await
            .expect(200);
        assert_eq!(none, json!([]));
        let several = world
            .post("/v1/packs/index/search", json!({"query": "pack t"}))
            .await
            .expect(200);
        assert!(several.as_array().unwrap().len() >= 2);
        let whole = world.get("/v1/packs/index").await.expect(200);
        assert_eq!(whole["status"][0]["packs"], 6);
        assert_eq!(
            world.get("/v1/packs/index/health").await.expect(200)["indexes"]["valid"],
            1
        );

        let output = world.installed(&["top"]).await;
        assert_eq!(output["packs_list"], json!(["low", "middle", "top"]));
        let text = world.not_installed(json!({"packs": ["round"]})).await;
        assert!(text.contains("round → trip → round"), "{text}");
        let text = world.not_installed(json!({"packs": ["lost"]})).await;
        assert!(text.contains("\"lost\" needs \"nowhere\""), "{text}");
        world.get("/v1/packs/lost").await.refused(404);
        let (status, result) = world
            .install(json!({"packs": ["lost"], "skip_dependencies": true}))
            .await;
        assert_eq!(status, "succeeded", "{result}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_pack_of_the_same_ref_needs_force() {
    let Some(world) = World::start("another_pack_of_the_same_ref_needs_force").await else {
        return;
    };
    let first = world.pack("hello", &[]);
    world.installed(&[&first]).await;
    let metadata = "name: other\nref: hello\ndescription: x\nversion: 2.0.0\nauthor: y\n";
    let second = world.pack("second", &[("pack.yaml", metadata)]);
    let text = world.not_installed(json!({"packs": [second]})).await;
    assert!(
        text.contains("Another pack with the ref \"hello\""),
        "{text}"
    );
    let (status, _) = world
        .install(json!({"packs": [second], "force": true}))
        .await;
    assert_eq!(status, "succeeded");
    assert_eq!(
        world.get("/v1/packs/hello").await.expect(200)["version"],
        "2.0.0"
    );
    let core = world.pack("core", &[]);
    let text = world
        .not_installed(json!({"packs": [core], "force": true}))
        .await;
    assert!(text.contains("comes with the platform"), "{text}");
    let old = format!("{metadata}stackstorm_version: \"<2.0.0\"\n");
    let old = world.pack(
        "old",
        &[("pack.yaml", &old.replace("ref: hello", "ref: old"))],
    );
    let text = world.not_installed(json!({"packs": [old]})).await;
    assert!(text.contains("requires StackStorm"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_is_uploaded() {
    for world in World::each("a_pack_is_uploaded").await {
        let folder = world.cluster.folder.path().join("mine");
        let metadata = "name: mine\ndescription: x\nversion: 1.0.0\nauthor: y\n";
        write_pack(
            &folder,
            "mine",
            &[("pack.yaml", metadata), ("actions/rest.yaml", NOOP)],
        );
        let archive = folder.with_extension("tgz");
        let packed = Command::new("tar")
            .args([
                "-C",
                &folder.parent().unwrap().display().to_string(),
                "-czf",
            ])
            .arg(&archive)
            .arg("mine")
            .status()
            .unwrap();
        assert!(packed.success());
        let bytes = std::fs::read(&archive).unwrap();
        assert_eq!(PackContent::of_upload(&archive).unwrap().files.len(), 2);
        let send = async |kind: &str, body: Vec<u8>| {
            let request = world
                .request(Method::POST, "/v1/packs/upload")
                .header(header::CONTENT_TYPE, kind)
                .body(Body::from(body))
                .unwrap();
            world.open(request).await
        };
        let begun = send("application/gzip", bytes.clone()).await.expect(202);
        let (status, result) = world.ended(begun["execution_id"].as_str().unwrap()).await;
        assert_eq!(status, "succeeded", "{result}");
        world.get("/v1/actions/mine.rest").await.expect(200);

        let mut form =
            b"--b\r\nContent-Disposition: form-data; name=\"pack\"; filename=\"x.tgz\"\r\n\r\n"
                .to_vec();
        form.extend(&bytes);
        form.extend(b"\r\n--b--\r\n");
        let begun = send("multipart/form-data; boundary=b", form)
            .await
            .expect(202);
        let (status, _) = world.ended(begun["execution_id"].as_str().unwrap()).await;
        assert_eq!(status, "succeeded");

        let text = send("application/gzip", b"hello".to_vec())
            .await
            .refused(400);
        assert!(text.contains("neither a tar.gz nor a zip"), "{text}");
        let text = send("application/gzip", bytes[..bytes.len() / 2].to_vec())
            .await
            .refused(400);
        assert!(text.contains("tar.gz"), "{text}");
        write_pack(&folder, "mine", &[("actions/rest.yaml", "name: [")]);
        let packed = Command::new("tar")
            .arg("-C")
            .arg(&folder)
            .arg("-czf")
            .arg(&archive)
            .arg(".")
            .status()
            .unwrap();
        assert!(packed.success());
        let text = send("application/gzip", std::fs::read(&archive).unwrap())
            .await
            .refused(400);
        assert!(text.contains("actions/rest.yaml:1:"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packs_are_fetched_registered_and_removed_step_by_step() {
    let Some(world) = World::start("packs_are_fetched_registered_and_removed_step_by_step").await
    else {
        return;
    };
    let run = async |action: &str, parameters: Value| {
        let caller = world.caller().await;
        let wanted = controller::automation::ops::executions::Wanted {
            action: action.to_string(),
            parameters: parameters.as_object().cloned().unwrap(),
            ..Default::default()
        };
        let row = world.automation.execute(&caller, wanted).await.unwrap();
        world.ended(&row.id).await
    };
    let source = world.pack("hello", &[("actions/rest.yaml", NOOP)]);
    let (status, result) = run("packs.download", json!({"packs": [source]})).await;
    assert_eq!(status, "succeeded", "{result}");
    assert_eq!(result["output"], json!({"hello": "Success."}));
    world.get("/v1/packs/hello").await.expect(200);
    world.get("/v1/actions/hello.rest").await.refused(404);
    let (status, result) = run(
        "packs.load",
        json!({"packs": ["hello"], "register": "actions"}),
    )
    .await;
    assert_eq!(
        (status.as_str(), &result["output"]["actions"]),
        ("succeeded", &json!(1))
    );
    world.get("/v1/actions/hello.rest").await.expect(200);
    let (status, _) = run("packs.unload", json!({"packs": ["hello"]})).await;
    assert_eq!(status, "succeeded");
    world.get("/v1/actions/hello.rest").await.refused(404);
    world.get("/v1/packs/hello").await.expect(200);
    let (status, _) = run("packs.delete", json!({"packs": ["hello"]})).await;
    assert_eq!(status, "succeeded");
    world.get("/v1/packs/hello").await.refused(404);
    let (status, _) = run(
        "packs.download",
        json!({"packs": [source], "verifyssl": false}),
    )
    .await;
    assert_eq!(status, "failed");
}
