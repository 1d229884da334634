//! What several tests do on their way.

use crate::http::{DOMAIN, PUBLIC, Reply, User};
use ::http::{Request, header};
use axum::body::Body;
use controller::api::{self, Api};
use controller::ops::Ops;
use controller::store::Json;
use controller::store::builds::{self, Build};
use controller::store::droplets::{self, Droplet};
use proto::bus::staging::UsedBuildpack;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;

/// A zip of these files.
pub fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        writer
            .start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A multipart form of (name, has a file name, content).
pub fn form(user: &User<'_>, path: &str, fields: &[(&str, bool, &[u8])]) -> Request<Body> {
    const BOUNDARY: &str = "a-boundary-nobody-writes";
    let mut body = Vec::new();
    for (name, is_file, content) in fields {
        let file = if *is_file {
            "; filename=\"package.zip\"\r\nContent-Type: application/zip"
        } else {
            ""
        };
        body.extend(
            format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n"
            )
            .bytes(),
        );
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    Request::post(path)
        .header(header::AUTHORIZATION, format!("bearer {}", user.token))
        .header(
            header::CONTENT_TYPE,
            format!("multipart/form-data; boundary={BOUNDARY}"),
        )
        .body(Body::from(body))
        .unwrap()
}

pub async fn yaml(user: &User<'_>, path: &str, text: &str) -> Reply {
    let request = Request::post(path)
        .header(header::AUTHORIZATION, format!("bearer {}", user.token))
        .header(header::CONTENT_TYPE, "application/x-yaml")
        .body(Body::from(text.to_string()))
        .unwrap();
    user.http.send(request).await
}

/// The state of the job an answer points at.
pub async fn job(user: &User<'_>, reply: Reply) -> Value {
    let location = reply.location.clone().expect("a Location");
    assert_eq!(reply.expect(202), json!({}));
    user.get(location.strip_prefix(PUBLIC).unwrap())
        .await
        .expect(200)
}

pub async fn new_app(user: &User<'_>, space: &str, name: &str) -> String {
    user.make(
        "/v3/apps",
        json!({"name": name, "relationships": {"space": {"data": {"guid": space}}}}),
    )
    .await
}

pub async fn new_package(user: &User<'_>, app: &str) -> String {
    user.make(
        "/v3/packages",
        json!({"type": "bits", "relationships": {"app": {"data": {"guid": app}}}}),
    )
    .await
}

/// A package with bits.
pub async fn ready_package(user: &User<'_>, app: &str) -> String {
    let package = new_package(user, app).await;
    let bits = zip(&[("index.html", b"hello")]);
    let request = form(
        user,
        &format!("/v3/packages/{package}/upload"),
        &[("resources", false, b"[]"), ("bits", true, &bits)],
    );
    assert_eq!(user.http.send(request).await.expect(200)["state"], "READY");
    package
}

/// What the stager's result does to the rows.
pub async fn end_build(ops: &Ops, build: &str) -> String {
    let mut tx = ops.store.write("end a build").await.unwrap();
    let mut build = Build::find(&mut tx, build).await.unwrap().unwrap();
    let now = controller::ops::now();
    let droplet = Droplet {
        guid: controller::ops::new_guid(),
        app_guid: build.app_guid.clone(),
        package_guid: Some(build.package_guid.clone()),
        build_guid: Some(build.guid.clone()),
        state: droplets::STAGED.into(),
        sha1: "1".repeat(40),
        sha256: "2".repeat(64),
        size_bytes: 3,
        process_types: Json(BTreeMap::from([
            ("web".into(), "serve".into()),
            ("worker".into(), "work".into()),
        ])),
        detected_buildpack: "staticfile".into(),
        buildpacks: Json(vec![UsedBuildpack {
            name: "staticfile".into(),
            detect_output: "static".into(),
            version: "1".into(),
        }]),
        stack: "host".into(),
        created_at: now,
        updated_at: now,
    };
    droplet.insert(&mut tx).await.unwrap();
    build.state = builds::STAGED.into();
    build.droplet_guid = Some(droplet.guid.clone());
    build.update(&mut tx, now).await.unwrap();
    tx.commit().await.unwrap();
    droplet.guid
}

pub async fn staged(user: &User<'_>, app: &str) -> String {
    let package = ready_package(user, app).await;
    let build = user
        .make("/v3/builds", json!({"package": {"guid": package}}))
        .await;
    end_build(&user.http.ops, &build).await
}

/// An app that would run a droplet.
pub async fn app_to_run(user: &User<'_>, space: &str, name: &str) -> String {
    let app = new_app(user, space, name).await;
    let droplet = staged(user, &app).await;
    let path = format!("/v3/apps/{app}/relationships/current_droplet");
    let chosen = json!({"data": {"guid": droplet}});
    user.patch(&path, chosen).await.expect(200);
    app
}

/// The same API with another running half or other settings.
pub fn other(ops: Ops) -> axum::Router {
    api::router(Api {
        ops,
        cluster: None,
        domain: DOMAIN.into(),
        ssh: None,
    })
}
