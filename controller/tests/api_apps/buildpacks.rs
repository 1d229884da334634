//! Buildpacks that every app may use, as unmodified clients make and change them.

use crate::http::{Http, User};
use crate::steps::{form, job, new_app, ready_package, zip};
use serde_json::{Value, json};

/// Names in their order, which is that of their positions.
async fn order(user: &User<'_>) -> Vec<String> {
    let listed = user.get("/v3/buildpacks?order_by=position").await;
    let listed = listed.expect(200);
    let rows = listed["resources"].as_array().unwrap();
    for (place, row) in (1..).zip(rows) {
        assert_eq!(row["position"], place, "{listed:#}");
    }
    let name = |row: &Value| row["name"].as_str().unwrap().to_string();
    rows.iter().map(name).collect()
}

async fn by_name(user: &User<'_>, name: &str) -> Value {
    let listed = user.get(&format!("/v3/buildpacks?names={name}")).await;
    listed.expect(200)["resources"][0].clone()
}

/// How the upload of these bits ended.
async fn upload(http: &Http, user: &User<'_>, guid: &str, bits: &[u8]) -> Value {
    let path = format!("/v3/buildpacks/{guid}/upload");
    let fields: [(&str, bool, &[u8]); 1] = [("bits", true, bits)];
    let reply = http.send(form(user, &path, &fields)).await;
    let location = reply.location.clone().unwrap();
    assert_eq!(reply.expect(202)["guid"], guid);
    let path = location.strip_prefix(crate::http::PUBLIC).unwrap();
    user.get(path).await.expect(200)
}

#[tokio::test]
async fn a_buildpack_is_made_uploaded_moved_and_deleted() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let shipped = ["staticfile", "nodejs", "python", "binary"];
    assert_eq!(order(&admin).await, shipped);
    let made = admin
        .post(
            "/v3/buildpacks/",
            json!({"name": "mine", "position": 2, "enabled": true, "locked": false, "lifecycle": "buildpack"}),
        )
        .await
        .expect(201);
    assert_eq!(
        (&made["state"], &made["stack"], &made["filename"]),
        (&json!("AWAITING_UPLOAD"), &Value::Null, &Value::Null)
    );
    assert_eq!(
        order(&admin).await,
        ["staticfile", "mine", "nodejs", "python", "binary"]
    );
    let guid = made["guid"].as_str().unwrap();
    let own = format!("/v3/buildpacks/{guid}");
    for (bits, code, why) in [
        (b"no zip".to_vec(), 390_013, "no valid zip"),
        (zip(&[("README", b"x")]), 290_003, "none of bin/detect"),
        (zip(&[("../bin/detect", b"x")]), 290_003, "leads out of it"),
    ] {
        let failed = upload(&http, &admin, guid, &bits).await;
        assert_eq!(failed["state"], "FAILED");
        let error = &failed["errors"][0];
        assert_eq!(error["code"], code, "{error}");
        assert!(error["detail"].as_str().unwrap().contains(why), "{error}");
    }
    assert_eq!(by_name(&admin, "mine").await["state"], "AWAITING_UPLOAD");
    let bits = zip(&[("mine-1.0/bin/detect", b"#!/bin/sh\n")]);
    let done = upload(&http, &admin, guid, &bits).await;
    assert_eq!(
        (&done["state"], &done["operation"]),
        (&json!("COMPLETE"), &json!("buildpack.upload"))
    );
    let ready = admin.get(&own).await.expect(200);
    assert_eq!(
        (&ready["state"], &ready["filename"]),
        (&json!("READY"), &json!("package.zip"))
    );
    assert_eq!(http.ops.blobs.list("buildpacks").await.unwrap().len(), 1);

    let changed = admin
        .patch(
            &own,
            json!({"position": 9, "locked": true, "name": "ours", "stack": "host"}),
        )
        .await
        .expect(200);
    assert_eq!(changed["position"], 5);
    assert_eq!(
        order(&admin).await,
        ["staticfile", "nodejs", "python", "binary", "ours"]
    );
    let path = format!("{own}/upload");
    let fields: [(&str, bool, &[u8]); 1] = [("bits", true, &bits)];
    let locked = http.send(form(&admin, &path, &fields)).await.refused(422);
    assert!(locked.contains("is locked"), "{locked}");
    let gone = job(&admin, admin.delete(&own).await).await;
    assert_eq!(gone["state"], "COMPLETE");
    assert_eq!(order(&admin).await, shipped);
    admin.get(&own).await.expect(404);
}

#[tokio::test]
async fn what_comes_with_the_cluster_is_moved_and_disabled_and_stays() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let python = by_name(&admin, "python").await;
    let own = format!("/v3/buildpacks/{}", python["guid"].as_str().unwrap());
    admin
        .patch(&own, json!({"position": 1, "enabled": false}))
        .await
        .expect(200);
    assert_eq!(
        order(&admin).await,
        ["python", "staticfile", "nodejs", "binary"]
    );
    // The next start of a controller leaves it as it is.
    http.ops.prepare("another", "yard.internal").await.unwrap();
    assert_eq!(by_name(&admin, "python").await["enabled"], false);
    let told = admin.delete(&own).await.refused(422);
    assert!(told.contains("comes with the cluster"), "{told}");
    admin
        .patch(&own, json!({"name": "snake"}))
        .await
        .expect(422);
    let bits = zip(&[("bin/detect", b"")]);
    let path = format!("{own}/upload");
    let fields: [(&str, bool, &[u8]); 1] = [("bits", true, &bits)];
    http.send(form(&admin, &path, &fields)).await.expect(422);
}

#[tokio::test]
async fn wrong_wishes_are_refused_and_only_administrators_have_any() {
    let http = Http::start().await;
    let admin = http.admin().await;
    for (wish, why) in [
        (json!({"position": 1}), "Name must be"),
        (json!({"name": "a/b"}), "letters, digits"),
        (json!({"name": "python"}), "'python' already exists"),
        (
            json!({"name": "x", "stack": "moon"}),
            "Stack 'moon' does not exist",
        ),
        (json!({"name": "x", "position": 0}), "Position must be"),
        (
            json!({"name": "x", "lifecycle": "cnb"}),
            "'cnb' is not supported",
        ),
    ] {
        let told = admin.post("/v3/buildpacks", wish).await.refused(422);
        assert!(told.contains(why), "{told}");
    }
    assert_eq!(order(&admin).await.len(), 4, "nothing was made");
    admin
        .get("/v3/buildpacks?lifecycle=cnb&names=python&stacks=host")
        .await
        .expect(200);
    let guid = admin.make("/v3/buildpacks", json!({"name": "x"})).await;
    let space = admin.first("/v3/spaces").await;
    let user = admin
        .with_role("dora", "space_developer", "space", &space)
        .await;
    assert_eq!(order(&user).await[0], "x", "anybody sees them");
    let own = format!("/v3/buildpacks/{guid}");
    user.post("/v3/buildpacks", json!({"name": "y"}))
        .await
        .expect(403);
    user.patch(&own, json!({"position": 2})).await.expect(403);
    user.delete(&own).await.expect(403);
    let fields: [(&str, bool, &[u8]); 1] = [("bits", true, b"x")];
    let path = format!("{own}/upload");
    http.send(form(&user, &path, &fields)).await.expect(403);
    let named = [("bits", false, b"x".as_slice())];
    let told = http.send(form(&admin, &path, &named)).await.refused(422);
    assert!(told.contains(".zip"), "{told}");
    let told = http.send(form(&admin, &path, &[])).await.refused(422);
    assert!(told.contains("no field 'bits'"), "{told}");
}

#[tokio::test]
async fn an_app_names_buildpacks_of_the_cluster_or_addresses() {
    let http = Http::start().await;
    let admin = http.admin().await;
    let space = admin.first("/v3/spaces").await;
    let app = new_app(&admin, &space, "app").await;
    let path = format!("/v3/apps/{app}");
    let guid = admin.make("/v3/buildpacks", json!({"name": "mine"})).await;
    let named =
        |names: &[&str]| json!({"lifecycle": {"type": "buildpack", "data": {"buildpacks": names}}});
    let told = admin.patch(&path, named(&["mine"])).await.refused(422);
    assert!(told.contains("awaits the upload"), "{told}");
    let bits = zip(&[("bin/compile", b"")]);
    upload(&http, &admin, &guid, &bits).await;
    let address = "https://example.org/mine.git#v1";
    let changed = admin
        .patch(&path, named(&["python_buildpack", "mine", address]))
        .await
        .expect(200);
    let kept = &changed["lifecycle"]["data"]["buildpacks"];
    assert_eq!(*kept, json!(["python", "mine", address]));
    for (wrong, why) in [
        ("git@example.org:mine.git", "https://"),
        ("https://me:secret@example.org/mine.git", "password"),
        ("./mine", "https://"),
        ("cobol", "by the address"),
    ] {
        let told = admin.patch(&path, named(&[wrong])).await.refused(422);
        let begins = "Buildpack must be an existing admin buildpack or a valid git URI";
        assert!(told.starts_with(begins) && told.contains(why), "{told}");
    }
    let own = format!("/v3/buildpacks/{guid}");
    admin
        .patch(&own, json!({"enabled": false}))
        .await
        .expect(200);
    let package = ready_package(&admin, &app).await;
    let build = json!({"package": {"guid": package}, "lifecycle": {"type": "buildpack", "data": {"buildpacks": ["mine"]}}});
    let told = admin.post("/v3/builds", build).await.refused(422);
    assert!(told.contains("is disabled"), "{told}");
}
