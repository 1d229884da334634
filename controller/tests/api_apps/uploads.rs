//! Bits that are received, refused, and kept for the next push.

use crate::http::Http;
use crate::steps::{form, new_app, new_package, other, zip};
use ::http::{Request, StatusCode};
use axum::body::Body;
use controller::ops::Ops;
use http_body_util::BodyExt;
use proto::config::Settings;
use serde_json::json;
use std::sync::Arc;
use tower::ServiceExt;

#[tokio::test]
async fn uploads_are_looked_at() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "app").await;
    let check = async |fields: &[(&str, bool, &[u8])], status: u16, expected: &str| {
        let package = new_package(&user, &app).await;
        let told = http
            .send(form(
                &user,
                &format!("/v3/packages/{package}/upload"),
                fields,
            ))
            .await
            .refused(status);
        assert!(told.contains(expected), "{told}");
        package
    };
    let fine = zip(&[("a", b"x")]);
    check(&[("bits", true, b"no zip")], 422, "no valid zip").await;
    check(
        &[("bits", true, &zip(&[("../../evil", b"x")]))],
        422,
        "leads out of it",
    )
    .await;
    check(
        &[("resources", false, b"{"), ("bits", true, &fine)],
        422,
        "'resources' is no list",
    )
    .await;
    check(
        &[("bits", true, &fine), ("bits", true, &fine)],
        400,
        "sent twice",
    )
    .await;
    check(&[("stuff", true, &fine)], 422, "Unknown field 'stuff'").await;
    let failed = check(&[], 422, "the app has no files").await;
    let failed = user
        .get(&format!("/v3/packages/{failed}"))
        .await
        .expect(200);
    assert_eq!(failed["state"], "FAILED");
    assert!(
        failed["data"]["error"]
            .as_str()
            .unwrap()
            .contains("no files")
    );
    let package = new_package(&user, &app).await;
    user.post(&format!("/v3/packages/{package}/upload"), json!({}))
        .await
        .expect(400);
    let cut = form(
        &user,
        &format!("/v3/packages/{package}/upload"),
        &[("bits", true, &fine)],
    );
    let (parts, body) = cut.into_parts();
    let whole = body.collect().await.unwrap().to_bytes();
    let cut = Request::from_parts(parts, Body::from(whole.slice(..whole.len() - 60)));
    assert!(http.send(cut).await.refused(400).contains("broke off"));
    // A broken upload can be tried again.
    let again = form(
        &user,
        &format!("/v3/packages/{package}/upload"),
        &[("bits", true, &fine)],
    );
    http.send(again).await.expect(200);

    assert!(user.post("/v3/packages", json!({"type": "docker", "data": {"image": "x"}, "relationships": {"app": {"data": {"guid": app}}}})).await.refused(422).contains("\"docker\" packages are not supported"));
    user.post(
        &format!("/v3/packages?source_guid={package}"),
        json!({"type": "bits", "relationships": {"app": {"data": {"guid": app}}}}),
    )
    .await
    .expect(422);
}

#[tokio::test]
async fn large_uploads_are_received_up_to_the_setting() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "app").await;
    // Nothing that can be compressed, and more than a document may have.
    let mut seed = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    })
    .take(9 << 20)
    .collect();
    let bits = zip(&[("noise", &noise)]);
    let package = new_package(&user, &app).await;
    let path = format!("/v3/packages/{package}/upload");
    let (settings, faults) = Settings::from_stored([("controller/packages/max_size", "\"2MiB\"")]);
    assert!(faults.is_empty(), "{faults:?}");
    let (_sender, receiver) = tokio::sync::watch::channel(Arc::new(settings));
    let strict = other(Ops {
        settings: receiver,
        ..http.ops.clone()
    });
    let refused = strict
        .oneshot(form(&user, &path, &[("bits", true, &bits)]))
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let text = refused.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("controller/packages/max_size"));
    http.send(form(&user, &path, &[("bits", true, &bits)]))
        .await
        .expect(200);
    // Its large file is kept, so the next push need not send it.
    use sha1::Digest;
    let sha1: String = sha1::Sha1::digest(&noise)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let resource = json!({"path": "noise", "mode": "600", "size_in_bytes": noise.len(), "checksum": {"value": sha1}});
    let begun = std::time::Instant::now();
    loop {
        let matched = user
            .post("/v3/resource_matches", json!({"resources": [resource]}))
            .await
            .expect(201);
        if matched["resources"] == json!([resource]) {
            break;
        }
        assert!(begun.elapsed().as_secs() < 20, "not kept: {matched}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let package = new_package(&user, &app).await;
    let list = json!([resource]).to_string();
    let request = form(
        &user,
        &format!("/v3/packages/{package}/upload"),
        &[("resources", false, list.as_bytes())],
    );
    assert_eq!(http.send(request).await.expect(200)["state"], "READY");
}

#[tokio::test]
async fn an_upload_that_a_death_interrupted_is_failed_and_one_at_work_is_not() {
    use controller::store::packages::{self, PROCESSING_UPLOAD, Package};
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "app").await;
    let package = new_package(&user, &app).await;
    let busy = new_package(&user, &app).await;
    // Longer ago than a controller at work is ever silent.
    let touched = controller::ops::now() - 60_000_000;
    let mut tx = http.ops.store.write("begin to process").await.unwrap();
    for guid in [&package, &busy] {
        let mut row = Package::find(&mut tx, guid).await.unwrap().unwrap();
        row.state = PROCESSING_UPLOAD.into();
        row.update(&mut tx, controller::ops::now()).await.unwrap();
    }
    // Its controller has not said anything since.
    packages::at_work(&mut tx, &package, touched).await.unwrap();
    tx.commit().await.unwrap();
    let waiting = new_package(&user, &app).await;

    assert_eq!(http.ops.fail_interrupted_uploads().await.unwrap(), 1);
    assert_eq!(http.ops.fail_interrupted_uploads().await.unwrap(), 0);
    let at_work = user.get(&format!("/v3/packages/{busy}")).await.expect(200);
    assert_eq!(at_work["state"], "PROCESSING_UPLOAD");
    let failed = user
        .get(&format!("/v3/packages/{package}"))
        .await
        .expect(200);
    assert_eq!(failed["state"], "FAILED");
    assert_eq!(
        failed["data"]["error"],
        "the upload was interrupted: push again"
    );
    let waits = user
        .get(&format!("/v3/packages/{waiting}"))
        .await
        .expect(200);
    assert_eq!(waits["state"], "AWAITING_UPLOAD");
}

#[tokio::test]
async fn the_files_of_a_package_are_told_to_who_may_push() {
    let http = Http::start().await;
    let user = http.admin().await;
    let space = user.first("/v3/spaces").await;
    let app = new_app(&user, &space, "app").await;
    let package = new_package(&user, &app).await;
    let path = format!("/yard/v1/packages/{package}/files");
    user.get(&path).await.refused(422);
    let bits = zip(&[("a/b", b"123456789"), ("c", b"")]);
    let upload = format!("/v3/packages/{package}/upload");
    http.send(form(&user, &upload, &[("bits", true, &bits)]))
        .await
        .expect(200);
    // The check value of this CRC.
    let expected = json!({"files": [
        {"path": "a/b", "size_in_bytes": 9, "crc32": 0xCBF4_3926_u32, "mode": "644"},
        {"path": "c", "size_in_bytes": 0, "crc32": 0, "mode": "644"},
    ]});
    assert_eq!(user.get(&path).await.expect(200), expected);
    let auditor = user
        .with_role("auditor", "space_auditor", "space", &space)
        .await;
    auditor.get(&path).await.refused(403);
    user.get("/yard/v1/packages/none/files").await.refused(404);
}
