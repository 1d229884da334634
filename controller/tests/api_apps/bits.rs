//! Packages and droplets that are copied from app to app, got back, and uploaded; an app's manifest.

use crate::http::{Http, User};
use crate::steps::{app_to_run, form, new_app, new_package, ready_package, yaml};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

fn droplet(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content.as_bytes())
            .unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn of(app: &str) -> Value {
    json!({"relationships": {"app": {"data": {"guid": app}}}})
}

async fn upload(user: &User<'_>, droplet: &str, bits: &[u8]) -> Value {
    let path = format!("/v3/droplets/{droplet}/upload");
    let reply = user
        .http
        .send(form(user, &path, &[("bits", true, bits)]))
        .await;
    let location = reply.location.clone().expect("a Location");
    reply.expect(202);
    let job = location
        .strip_prefix(crate::http::PUBLIC)
        .unwrap()
        .to_string();
    user.get(&job).await.expect(200)
}

#[tokio::test]
async fn a_package_is_copied_to_another_app_and_got_back() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let (from, to) = (
        new_app(&user, &space, "from").await,
        new_app(&user, &space, "to").await,
    );
    let package = ready_package(&user, &from).await;
    let path = format!("/v3/packages?source_guid={package}");
    let copy = user.post(&path, of(&to)).await.expect(201);
    assert_eq!(
        (&copy["state"], &copy["type"]),
        (&json!("READY"), &json!("bits"))
    );
    assert_eq!(copy["relationships"]["app"]["data"]["guid"], to);
    let bits = async |guid: &str| {
        let reply = user.get(&format!("/v3/packages/{guid}/download")).await;
        assert_eq!(reply.status, 200);
        reply.bytes
    };
    let got = bits(copy["guid"].as_str().unwrap()).await;
    assert_eq!(got, bits(&package).await);
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(got)).unwrap();
    assert!(archive.by_name("index.html").is_ok());

    let waiting = new_package(&user, &from).await;
    let told = user
        .post(&format!("/v3/packages?source_guid={waiting}"), of(&to))
        .await;
    assert!(told.refused(422).contains("AWAITING_UPLOAD, not READY"));
    user.get(&format!("/v3/packages/{waiting}/download"))
        .await
        .expect(422);
    let told = user.post("/v3/packages?source_guid=none", of(&to)).await;
    assert!(told.refused(422).contains("Source package is invalid"));
    user.post("/v3/packages?speed=1", of(&to)).await.expect(400);
    user.post("/v3/packages", of(&to)).await.expect(422);
}

#[tokio::test]
async fn a_droplet_is_uploaded_run_copied_and_got_back() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "app").await;
    let bits = droplet(&[
        ("./app/run", "#!/bin/sh"),
        (
            "./staging_info.yml",
            r#"{"start_command": "./run", "detected_buildpack": "mine"}"#,
        ),
    ]);
    let made = user.post("/v3/droplets", of(&app)).await.expect(201);
    assert_eq!(
        (&made["state"], &made["checksum"]["value"]),
        (&json!("AWAITING_UPLOAD"), &Value::Null)
    );
    let guid = made["guid"].as_str().unwrap();
    let choose = format!("/v3/apps/{app}/relationships/current_droplet");
    let chosen = json!({"data": {"guid": guid}});
    // Nothing is there to run yet.
    user.patch(&choose, chosen.clone()).await.expect(422);
    user.get(&format!("/v3/droplets/{guid}/download"))
        .await
        .expect(422);
    let job = upload(&user, guid, b"no droplet").await;
    assert_eq!(job["state"], "FAILED");
    assert!(
        job["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("gzipped tar"),
        "{job}"
    );

    let job = upload(&user, guid, &bits).await;
    assert_eq!(
        (&job["state"], &job["operation"]),
        (&json!("COMPLETE"), &json!("droplet.upload"))
    );
    let shown = user.get(&format!("/v3/droplets/{guid}")).await.expect(200);
    assert_eq!(
        (&shown["state"], &shown["process_types"]),
        (&json!("STAGED"), &json!({"web": "./run"}))
    );
    let again = form(
        &user,
        &format!("/v3/droplets/{guid}/upload"),
        &[("bits", true, &bits)],
    );
    assert!(http.send(again).await.refused(422).contains("only once"));
    user.patch(&choose, chosen).await.expect(200);
    let reply = user.get(&format!("/v3/droplets/{guid}/download")).await;
    assert_eq!((reply.status.as_u16(), reply.bytes), (200, bits));

    let other = new_app(&user, &space, "other").await;
    let copy = user
        .post(&format!("/v3/droplets?source_guid={guid}"), of(&other))
        .await
        .expect(201);
    assert_eq!(
        (&copy["state"], &copy["checksum"]),
        (&json!("STAGED"), &shown["checksum"])
    );
    let mut wanted = of(&app);
    wanted["process_types"] = json!({"we b": "x"});
    user.post("/v3/droplets", wanted).await.expect(422);
    user.post("/v3/droplets?source_guid=none", of(&app))
        .await
        .expect(404);
}

#[tokio::test]
async fn an_apps_manifest_makes_it_what_it_is() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let text = "applications: [{name: shop, memory: 64M, disk_quota: 100M, instances: 3, default-route: true, env: {A: '1'}, \
                metadata: {labels: {team: a}}, health-check-type: http, health-check-http-endpoint: /up}]";
    let apply = format!("/v3/spaces/{space}/actions/apply_manifest");
    crate::steps::job(&user, yaml(&user, &apply, text).await).await;
    let app = user.first("/v3/apps").await;
    let written = async |app: &str| {
        let reply = user.get(&format!("/v3/apps/{app}/manifest")).await;
        assert_eq!(reply.status, 200);
        String::from_utf8(reply.bytes).unwrap()
    };
    let manifest = written(&app).await;
    for line in [
        "name: shop",
        "memory: 64M",
        "instances: 3",
        "A: '1'",
        "team: a",
        "route: shop.yard.internal",
    ] {
        assert!(manifest.contains(line), "{line}: {manifest}");
    }
    // It changes nothing of the app it is of.
    let diff = yaml(
        &user,
        &format!("/v3/spaces/{space}/manifest_diff"),
        &manifest,
    )
    .await
    .expect(201);
    assert_eq!(diff["diff"], json!([]), "{manifest}");
    user.get("/v3/apps/none/manifest").await.expect(404);
}

#[tokio::test]
async fn the_instances_of_a_stopped_app_are_down() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = app_to_run(&user, &space, "shop").await;
    let scale = json!({"instances": 2});
    user.post(&format!("/v3/processes/{app}/actions/scale"), scale)
        .await
        .expect(202);
    let stats = user
        .get(&format!("/v3/processes/{app}/stats"))
        .await
        .expect(200);
    let states: Vec<&Value> = stats["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["state"])
        .collect();
    assert_eq!(states, ["DOWN", "DOWN"]);
    let listed = user
        .get("/v3/processes?types=web&embed=process_instances")
        .await
        .expect(200);
    assert_eq!(
        listed["resources"][0]["process_instances"][1]["state"],
        "DOWN"
    );
}
