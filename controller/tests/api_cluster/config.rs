//! The configuration over HTTP: what is changed is stored, told, kept in the history and undone.

use crate::http::{Http, Reply, User};
use crate::world::{SOON, World, eventually, has_servers};
use axum::body::Body;
use controller::ops::Live;
use daemon::{Cluster, Deps};
use http::{Method, Request};
use http_body_util::BodyExt;
use proto::api::{ConfigEntry, ConfigHistory, ConfigOutcome, ConfigTree};
use proto::config::{Owner, Settings};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// An API with a cluster store that answers.
struct Site {
    http: Http,
    world: World,
    _deps: Deps,
}

impl Site {
    async fn start(live: Live) -> Site {
        let world = World::start().await;
        let (_runtime, deps) = world.controller("controller-1").await;
        let http = Http::with(live, Some(deps.cluster.clone())).await;
        let admin = http.admin().await;
        eventually("the cluster store answers", async || {
            let reply = admin.get("/yard/v1/config").await;
            if reply.status.is_success() {
                Ok(())
            } else {
                Err(format!("{reply:?}"))
            }
        })
        .await;
        Site {
            http,
            world,
            _deps: deps,
        }
    }

    /// The store as the component sees it.
    async fn seen_by(&self, component: &str) -> Cluster {
        let config = self.world.etcd[0].config("");
        let owners = Owner::parse(component).into_iter().collect();
        Cluster::connect_as(&config, owners).await.unwrap()
    }
}

async fn post(user: &User<'_>, what: &str, body: Value) -> Reply {
    let path = format!("/yard/v1/config/{what}");
    user.send(Method::POST, &path, Some(body)).await
}

async fn outcome(user: &User<'_>, what: &str, body: Value) -> ConfigOutcome {
    serde_json::from_value(post(user, what, body).await.expect(200)).unwrap()
}

async fn history(user: &User<'_>, query: &str) -> ConfigHistory {
    let path = format!("/yard/v1/config/history{query}");
    serde_json::from_value(user.get(&path).await.expect(200)).unwrap()
}

/// Waits until a daemon has the value.
async fn follows(settings: &mut watch::Receiver<Arc<Settings>>, what: impl Fn(&Settings) -> bool) {
    tokio::time::timeout(SOON, settings.wait_for(|settings| what(settings)))
        .await
        .expect("the daemon follows")
        .unwrap();
}

const KEY: &str = "/yard/v1/config/router/limits/max_attempts";

async fn put(user: &User<'_>, value: Value, revision: Option<i64>) -> Reply {
    user.send(
        Method::PUT,
        KEY,
        Some(json!({"value": value, "revision": revision})),
    )
    .await
}

/// The data of the next event of a stream; comments are passed over.
async fn next_event(body: &mut Body) -> Value {
    loop {
        let frame = tokio::time::timeout(SOON, body.frame())
            .await
            .expect("an event comes")
            .unwrap()
            .unwrap();
        let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
        if let Some(data) = text.strip_prefix("data:") {
            return serde_json::from_str(data.trim()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_overwrites_a_setting_that_he_has_not_seen() {
    if !has_servers("nobody_overwrites_a_setting_that_he_has_not_seen") {
        return;
    }
    let site = Site::start(Live::none()).await;
    let admin = site.http.admin().await;
    let list = admin.get("/yard/v1/config").await.expect(200);
    assert_eq!(
        list["resources"].as_array().unwrap().len(),
        proto::config::KEYS.len()
    );
    let before: ConfigEntry = serde_json::from_value(admin.get(KEY).await.expect(200)).unwrap();
    assert_eq!(
        (before.value, before.is_set, before.revision),
        (json!(3), false, None)
    );

    let request = Request::get("/yard/v1/config/watch")
        .header("authorization", format!("bearer {}", admin.token));
    let response = site.http.open(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut changes = response.into_body();

    let first: ConfigEntry =
        serde_json::from_value(put(&admin, json!(5), None).await.expect(200)).unwrap();
    assert_eq!((&first.value, first.is_set), (&json!(5), true));
    let event = next_event(&mut changes).await;
    assert_eq!(
        (&event["path"], &event["value"]),
        (&json!("router/limits/max_attempts"), &json!(5))
    );
    put(&admin, json!("6"), first.revision).await.expect(200);
    assert_eq!(next_event(&mut changes).await["value"], 6);
    let late = put(&admin, json!(7), first.revision).await.refused(409);
    assert!(late.contains("is 6 at revision"), "{late}");
    let stale = first.revision.unwrap();
    admin
        .delete(&format!("{KEY}?revision={stale}"))
        .await
        .expect(409);
    admin.delete(KEY).await.expect(204);
    admin.delete(KEY).await.expect(204);
    assert_eq!(admin.get(KEY).await.expect(200)["is_set"], false);
    let unset = next_event(&mut changes).await;
    assert_eq!(
        (&unset["value"], &unset["is_set"]),
        (&json!(3), &json!(false))
    );

    let events = admin
        .get("/v3/audit_events?types=audit.config.update&order_by=created_at")
        .await
        .expect(200);
    let steps: Vec<(&Value, &Value)> = events["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (&event["data"]["was"], &event["data"]["is"]))
        .collect();
    assert_eq!(
        steps,
        [
            (&Value::Null, &json!(5)),
            (&json!(5), &json!(6)),
            (&json!(6), &Value::Null)
        ]
    );

    let secret = json!({"value": {"PIP_INDEX_URL": "http://user:password@host"}});
    admin
        .send(
            Method::PUT,
            "/yard/v1/config/staging/environment",
            Some(secret),
        )
        .await
        .expect(200);
    let events = admin
        .get("/v3/audit_events?types=audit.config.update&order_by=-created_at")
        .await;
    assert!(
        !String::from_utf8(events.bytes)
            .unwrap()
            .contains("user:password")
    );

    // A stream does not hold up the end of the daemon.
    site.http.ops.tasks.stop(SOON).await;
    let rest = tokio::time::timeout(SOON, changes.collect())
        .await
        .expect("the stream ends");
    assert!(rest.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_one_component_wins_there_and_nowhere_else() {
    if !has_servers("a_value_of_one_component_wins_there_and_nowhere_else") {
        return;
    }
    let site = Site::start(Live::none()).await;
    let admin = site.http.admin().await;
    let (one, two) = (site.seen_by("dea-1").await, site.seen_by("dea-2").await);
    let (mut one, mut two) = (one.settings(), two.settings());
    let period = |settings: &Settings| settings.duration("dea/heartbeat/period");
    let key = "/yard/v1/config/dea/heartbeat/period";
    let put = async |query: &str, value: &str| {
        let body = json!({"value": value});
        admin
            .send(Method::PUT, &format!("{key}{query}"), Some(body))
            .await
    };
    put("", "8s").await.expect(200);
    let entry: ConfigEntry =
        serde_json::from_value(put("?component=dea-2", "2s").await.expect(200)).unwrap();
    assert_eq!(entry.value, json!("8s"));
    assert_eq!(
        (
            entry.overrides[0].component.as_str(),
            &entry.overrides[0].value
        ),
        ("dea-2", &json!("2s"))
    );
    follows(&mut two, |seen| period(seen) == Duration::from_secs(2)).await;
    follows(&mut one, |seen| period(seen) == Duration::from_secs(8)).await;

    // Only what reads the key may have it for itself.
    let refused = put("?component=router-1", "2s").await.refused(422);
    assert!(refused.contains("router-1 does not read"), "{refused}");
    put("?component=dea", "2s").await.expect(422);

    // A change for all passes the one by, until it gives up its own.
    put("", "9s").await.expect(200);
    follows(&mut one, |seen| period(seen) == Duration::from_secs(9)).await;
    assert_eq!(period(&two.borrow()), Duration::from_secs(2));
    let gone = format!(
        "{key}?component=dea-2&revision={}",
        entry.overrides[0].revision
    );
    admin.delete(&gone).await.expect(204);
    follows(&mut two, |seen| period(seen) == Duration::from_secs(9)).await;
    let entry: ConfigEntry = serde_json::from_value(admin.get(key).await.expect(200)).unwrap();
    assert!(entry.overrides.is_empty());
    let last = &history(&admin, "?per_page=1").await.resources[0].changes[0];
    assert_eq!(
        (last.component.as_deref(), &last.was, &last.is),
        (Some("dea-2"), &json!("2s"), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_is_told_and_taken_back() {
    if !has_servers("what_was_changed_is_told_and_taken_back") {
        return;
    }
    let site = Site::start(Live::none()).await;
    let admin = site.http.admin().await;
    let router = site.seen_by("router-1").await;
    let mut settings = router.settings();
    let attempts = |settings: &Settings| settings.integer("router/limits/max_attempts");
    let change = |value: i64, dry_run: bool| {
        let edit = json!({"path": "router/limits/max_attempts", "value": value});
        json!({"edits": [edit], "dry_run": dry_run})
    };
    let planned = outcome(&admin, "changes", change(5, true)).await;
    assert_eq!((planned.revision, planned.changes.len()), (None, 1));
    assert_eq!(planned.changes[0].roles, ["router"]);
    assert!(history(&admin, "").await.resources.is_empty());
    assert_eq!(attempts(&settings.borrow()), 3, "nothing was stored");

    let first = outcome(&admin, "changes", change(5, false)).await;
    let second = outcome(&admin, "changes", change(6, false)).await;
    let both = json!({"edits": [
        {"path": "router/limits/max_attempts", "value": 7},
        {"path": "automation/pack/folders", "add": ["/srv/packs"]},
    ]});
    outcome(&admin, "changes", both).await;
    follows(&mut settings, |seen| attempts(seen) == 7).await;

    // Of several edits one is wrong: none is made, and every problem is told.
    let wrong = json!({"edits": [
        {"path": "router/limits/max_attempts", "value": 0},
        {"path": "router/no/key", "value": 1},
        {"path": "cluster/log/level", "value": "debug"},
    ]});
    let refused = post(&admin, "changes", wrong).await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.json["errors"].as_array().unwrap().len(), 2);
    assert_eq!(history(&admin, "").await.resources.len(), 3);

    let told = history(&admin, "?path=router/limits/max_attempts").await;
    let steps: Vec<(&str, &str, &Value, &Value)> = told
        .resources
        .iter()
        .map(|entry| {
            let step = &entry.changes[0];
            (
                entry.user.as_str(),
                entry.action.as_str(),
                &step.was,
                &step.is,
            )
        })
        .collect();
    assert_eq!(
        steps,
        [
            ("admin", "change", &json!(6), &json!(7)),
            ("admin", "change", &json!(5), &json!(6)),
            ("admin", "change", &Value::Null, &json!(5)),
        ]
    );
    assert_eq!(Some(told.resources[1].revision), second.revision);

    // Everything back to the second change; then one key to before that.
    let back = json!({"revision": second.revision});
    let undone = outcome(&admin, "rollback", back).await;
    assert_eq!(undone.changes.len(), 2);
    follows(&mut settings, |seen| {
        attempts(seen) == 6 && seen.text("automation/pack/folders").is_empty()
    })
    .await;
    let one = json!({"path": "router/limits/max_attempts", "revision": first.revision});
    outcome(&admin, "rollback", one).await;
    follows(&mut settings, |seen| attempts(seen) == 5).await;
    // Without a revision: before its last change, which was a rollback.
    outcome(
        &admin,
        "rollback",
        json!({"path": "router/limits/max_attempts"}),
    )
    .await;
    follows(&mut settings, |seen| attempts(seen) == 6).await;
    let last = &history(&admin, "?per_page=1").await.resources[0];
    assert!(last.action.starts_with("rollback to "), "{}", last.action);
    post(&admin, "rollback", json!({"revision": i64::MAX}))
        .await
        .expect(422);
    post(&admin, "rollback", json!({})).await.expect(422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_is_imported_whole_or_not_at_all() {
    if !has_servers("a_tree_is_imported_whole_or_not_at_all") {
        return;
    }
    let site = Site::start(Live::none()).await;
    let admin = site.http.admin().await;
    let edits = json!({"edits": [
        {"path": "router/limits/max_attempts", "value": 5},
        {"path": "dea/heartbeat/period", "component": "dea-1", "value": "3s"},
        {"path": "staging/environment", "add": ["PIP_INDEX_URL=http://user:password@host"]},
    ]});
    outcome(&admin, "changes", edits).await;
    let export = async || -> ConfigTree {
        serde_json::from_value(admin.get("/yard/v1/config/export").await.expect(200)).unwrap()
    };
    let tree = export().await;
    assert_eq!((tree.cluster.len(), tree.components.len()), (2, 1));
    let nothing = outcome(&admin, "import", json!({"tree": tree})).await;
    assert_eq!((nothing.changes.len(), nothing.revision), (0, None));

    // Every key at once, with one that is wrong; then with all of them right.
    let mut every = ConfigTree::default();
    for key in proto::config::KEYS {
        let value = key.default_value().to_json();
        every.cluster.insert(key.path.to_string(), value);
    }
    let mut wrong = every.clone();
    wrong
        .cluster
        .insert("router/limits/max_attempts".into(), json!("many"));
    let refused = post(&admin, "import", json!({"tree": wrong}))
        .await
        .refused(422);
    assert!(refused.contains("max_attempts"), "{refused}");
    assert_eq!(export().await, tree, "nothing was changed");
    let planned = outcome(&admin, "import", json!({"tree": every, "dry_run": true})).await;
    assert_eq!(export().await, tree, "nothing was changed");
    let done = outcome(&admin, "import", json!({"tree": every})).await;
    assert_eq!(done.changes, planned.changes);
    assert_eq!(export().await, every);

    // Back in one step; then only what is named.
    let before = done.revision.unwrap() - 1;
    outcome(&admin, "rollback", json!({"revision": before})).await;
    assert_eq!(export().await, tree);
    let one = json!({"tree": {"cluster": {"cluster/log/level": "warn"}}, "keep_others": true});
    assert_eq!(outcome(&admin, "import", one).await.changes.len(), 1);
    assert_eq!(export().await.cluster.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_edit_a_list_at_once_lose_nothing() {
    if !has_servers("two_who_edit_a_list_at_once_lose_nothing") {
        return;
    }
    let site = Site::start(Live::none()).await;
    let admin = site.http.admin().await;
    let add = async |folder: usize| {
        let edit = json!({"path": "automation/pack/folders", "add": [format!("/folder/{folder}")]});
        post(&admin, "changes", json!({"edits": [edit]}))
            .await
            .expect(200);
    };
    tokio::join!(add(0), add(1), add(2), add(3));
    let entry = admin
        .get("/yard/v1/config/automation/pack/folders")
        .await
        .expect(200);
    let value = entry["value"].as_str().unwrap();
    let mut folders: Vec<&str> = value.split(':').collect();
    folders.sort_unstable();
    assert_eq!(
        folders,
        ["/folder/0", "/folder/1", "/folder/2", "/folder/3"]
    );
    assert_eq!(history(&admin, "").await.resources.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_administrators_change_the_configuration_and_see_who_did() {
    if !has_servers("only_administrators_change_the_configuration_and_see_who_did") {
        return;
    }
    let site = Site::start(Live::none()).await;
    let admin = site.http.admin().await;
    let space = admin.first("/v3/spaces").await;
    let dora = admin
        .with_role("dora", "space_developer", "space", &space)
        .await;
    let edit = json!({"path": "router/limits/max_attempts", "value": 5});
    for (what, body) in [
        ("changes", json!({"edits": [edit], "dry_run": true})),
        ("rollback", json!({"path": "router/limits/max_attempts"})),
        ("import", json!({"tree": {}})),
    ] {
        post(&dora, what, body).await.expect(403);
    }
    for what in ["history", "export"] {
        dora.get(&format!("/yard/v1/config/{what}"))
            .await
            .expect(403);
    }
    assert!(history(&admin, "").await.resources.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_is_bounded() {
    if !has_servers("the_history_is_bounded") {
        return;
    }
    let site = Site::start(Live::none()).await;
    let admin = site.http.admin().await;
    let store = site.seen_by("controller-1").await;
    // As if so many changes had been made.
    let kept = controller::domain::config::KEPT;
    for number in 0..kept + 3 {
        let entry = json!({"at": "", "user": "ada", "action": "change", "changes": []});
        let key = format!("{}{number:020}-x", proto::config::HISTORY);
        store
            .compare_and_set(&key, None, &entry.to_string())
            .await
            .unwrap()
            .unwrap();
    }
    put(&admin, json!(5), None).await.expect(200);
    let keys = store.list(proto::config::HISTORY).await.unwrap();
    assert_eq!(keys.len(), kept);
    let newest = &history(&admin, "?per_page=1").await.resources[0];
    assert_eq!(newest.user, "admin");
}
