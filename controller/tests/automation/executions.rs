//! Executions over HTTP, from request to end.

use crate::world::{Client, World};
use controller::automation::ids::is_id;
use controller::automation::ops::executions::Wanted;
use serde_json::{Map, Value, json};

fn statuses(execution: &Value) -> Vec<&str> {
    execution["log"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["status"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_runs_from_request_to_end() {
    for world in World::each("an_action_runs_from_request_to_end").await {
        let admin = world.admin().await;
        world
            .action("noop", "noop", json!({"x": {"type": "integer"}}), json!({}))
            .await;
        let body = json!({"action": "check.noop", "parameters": {"x": "7"}, "context": {"trace_context": {"trace_tag": "t"}}});
        let accepted = admin.post("/api/v1/executions/", body).await.expect(201);
        assert_eq!(accepted["status"], "requested");
        let id = accepted["id"].as_str().unwrap();
        assert!(is_id(id), "{id}");
        let done = admin.until(id, "succeeded").await;
        assert_eq!(
            statuses(&done),
            ["requested", "scheduled", "running", "succeeded"]
        );
        assert_eq!(done["parameters"], json!({"x": 7}));
        assert_eq!(done["action"]["ref"], "check.noop");
        assert_eq!(done["runner"]["name"], "noop");
        assert_eq!(done["liveaction"]["action"], "check.noop");
        assert_eq!(done["context"]["user"], "admin");
        assert_eq!(done["context"]["trace_context"]["trace_tag"], "t");
        assert_eq!(done["result"]["succeeded"], true);
        assert!(done["elapsed_seconds"].as_f64().unwrap() >= 0.0);
        assert!(done["end_timestamp"].as_str() >= done["start_timestamp"].as_str());
        let url = format!("http://st2.yard.internal:8080/#/history/{id}/general");
        assert_eq!(done["web_url"], url);
        for absent in ["children", "parent", "delay", "notify", "rule", "trigger"] {
            assert!(done.get(absent).is_none(), "{absent}");
        }
        let path = format!("/v1/executions/{id}");
        let result = admin.get(&format!("{path}/result?download=true")).await;
        let disposition = format!("attachment; filename=execution_{id}_result.json");
        assert_eq!(
            result.header("content-disposition"),
            Some(disposition.as_str())
        );
        assert_eq!(result.json, done["result"]);
        let zipped = admin.get(&format!("{path}/result?compress=true")).await;
        assert_eq!(zipped.bytes[..2], [0x1f, 0x8b]);
        let attribute = admin.get(&format!("{path}/attribute/result")).await;
        assert_eq!(attribute.json, done["result"]);
        let some = admin
            .get(&format!("{path}?include_attributes=action.ref,status"))
            .await;
        assert_eq!(
            some.expect(200),
            json!({"id": id, "action": {"ref": "check.noop"}, "status": "succeeded"})
        );
        let small = admin.get(&format!("{path}?max_result_size=1")).await;
        assert!(small.expect(200).get("result").is_none());
        for wrong in [
            "include_attributes=colour",
            "include_attributes=id&exclude_attributes=result",
            "max_result_size=0",
        ] {
            admin.get(&format!("{path}?{wrong}")).await.refused(400);
        }
        assert_eq!(admin.get(&format!("{path}/output")).await.text(), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_run_is_refused_in_the_words_of_stackstorm() {
    let Some(world) = World::start("what_cannot_be_run_is_refused").await else {
        return;
    };
    let admin = world.admin().await;
    let parameters = json!({
        "must": {"type": "string", "required": true},
        "fixed": {"type": "string", "default": "a", "immutable": true},
    });
    world.action("strict", "noop", parameters, json!({})).await;
    let refused = async |parameters: Value, action: &str| {
        let body = json!({"action": action, "parameters": parameters});
        admin.post("/v1/executions", body).await.refused(400)
    };
    let text = refused(json!({}), "check.none").await;
    assert_eq!(text, "Action \"check.none\" cannot be found.");
    let text = refused(json!({"must": "m", "fixed": "b"}), "check.strict").await;
    assert!(
        text.contains("Override of immutable parameter(s) ['fixed'] is unsupported"),
        "{text}"
    );
    let text = refused(json!({}), "check.strict").await;
    assert!(text.contains("must"), "{text}");
    // What could not be rendered is recorded as well.
    let failed = admin.get("/v1/executions?status=failed").await;
    assert!(failed.header("x-total-count").unwrap() != "0");
    let body = json!({"action": "check.strict", "parameters": {"must": "m"}, "delay": -1});
    admin.post("/v1/executions", body).await.refused(400);
    let body = json!({"action": "check.strict", "parameters": {"must": "m"}, "user": "ada"});
    let text = admin
        .post("/v1/executions", body.clone())
        .await
        .refused(400);
    assert!(text.contains("\"ada\" does not exist"), "{text}");
    let ada = world.user("ada", &["operator"]).await;
    let done = admin.post("/v1/executions", body).await.expect(201);
    assert_eq!(done["context"]["user"], "ada");
    let body = json!({"action": "check.strict", "parameters": {"must": "m"}, "user": "admin"});
    ada.post("/v1/executions", body).await.refused(403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_is_canceled_in_the_state_it_is_in() {
    for world in World::each("an_execution_is_canceled_in_the_state_it_is_in").await {
        let admin = world.admin().await;
        world.action("noop", "noop", json!({}), json!({})).await;
        world
            .action("work", "local-shell-cmd", json!({}), json!({}))
            .await;
        let path = |id: &str| format!("/v1/executions/{id}");
        let body = json!({"action": "check.noop", "delay": 60000});
        let held = admin.post("/v1/executions", body).await.expect(201);
        assert_eq!(
            (&held["status"], &held["delay"]),
            (&json!("delayed"), &json!(60000))
        );
        let held = held["id"].as_str().unwrap();
        // No agent is there: it waits for one.
        let waiting = admin.run("check.work", json!({"cmd": "true"})).await;
        admin.until(&waiting, "scheduled").await;
        for id in [held, waiting.as_str()] {
            let canceled = admin.delete(&path(id)).await.expect(200);
            assert_eq!(canceled["status"], "canceled");
            assert_eq!(canceled["result"]["user"], "admin");
            assert_eq!(canceled["context"]["cancelled_by"], "admin");
            let again = admin.delete(&path(id)).await.expect(200);
            assert_eq!(again["status"], "canceled");
        }
        let ended = admin.run("check.noop", json!({})).await;
        admin.until(&ended, "succeeded").await;
        assert_eq!(
            admin.delete(&path(&ended)).await.expect(200),
            json!({"faultstring": "Action cannot be canceled. State = succeeded."})
        );
        let pausing = json!({"status": "pausing"});
        admin.put(&path(&ended), pausing.clone()).await.refused(400);
        let other = admin.run("check.work", json!({"cmd": "true"})).await;
        let text = admin.put(&path(&other), pausing).await.refused(400);
        assert!(
            text.contains("not supported by the \"local-shell-cmd\" runner"),
            "{text}"
        );
        admin
            .put(&path(&other), json!({"status": "done"}))
            .await
            .refused(400);
        let none = path("0123456789abcdef01234567");
        admin.get(&none).await.refused(404);
        admin.delete(&none).await.refused(404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_again_keeps_the_parameters_that_do_not_change() {
    let Some(world) = World::start("running_again_keeps_the_parameters").await else {
        return;
    };
    let admin = world.admin().await;
    let parameters = json!({
        "a": {"type": "string"}, "b": {"type": "string"}, "password": {"type": "string", "secret": true},
    });
    world.action("noop", "noop", parameters, json!({})).await;
    let given = json!({"a": "1", "b": "2", "password": "hidden"});
    let first = admin.run("check.noop", given).await;
    let path = format!("/v1/executions/{first}/re_run");
    let again = admin
        .post(&path, json!({"parameters": {"b": "3"}}))
        .await
        .expect(201);
    assert_ne!(again["id"], first.as_str());
    assert_eq!(again["context"]["re-run"]["ref"], first.as_str());
    assert_eq!(
        again["parameters"],
        json!({"a": "1", "b": "3", "password": "********"})
    );
    let again = format!("/v1/executions/{}", again["id"].as_str().unwrap());
    let shown = admin
        .get(&format!("{again}?show_secrets=true"))
        .await
        .expect(200);
    assert_eq!(shown["parameters"]["password"], "hidden");
    assert_eq!(shown["liveaction"]["parameters"]["password"], "hidden");
    let operator = world.user("ada", &["operator"]).await;
    operator
        .get(&format!("{again}?show_secrets=true"))
        .await
        .refused(403);
    let text = admin
        .post(&path, json!({"tasks": ["t1"]}))
        .await
        .refused(400);
    assert!(
        text.contains("only supported for Orquesta workflows"),
        "{text}"
    );
}

async fn ids(client: &Client, query: &str) -> Vec<String> {
    let reply = client.get(&format!("/executions/?{query}")).await;
    let total = reply.header("x-total-count").unwrap().to_string();
    let found: Vec<String> = reply
        .expect(200)
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_string())
        .collect();
    if !query.contains("limit") {
        assert_eq!(total, found.len().to_string(), "{query}");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_and_families_are_shown() {
    for world in World::each("lists_are_filtered_and_families_are_shown").await {
        let admin = world.admin().await;
        let ada = world.user("ada", &["operator"]).await;
        world.action("one", "noop", json!({}), json!({})).await;
        world.action("two", "noop", json!({}), json!({})).await;
        let first = admin.run("check.one", json!({})).await;
        admin.until(&first, "succeeded").await;
        let second = ada.run("check.two", json!({})).await;
        let last = ada.until(&second, "succeeded").await;
        let child = async |parent: &str| {
            let automation = &world.node.automation;
            let mut round = automation.round_of("test", None).await.unwrap();
            let wanted = Wanted {
                action: "check.two".into(),
                parameters: Map::new(),
                username: "ada".into(),
                parent: Some(parent.into()),
                ..Wanted::default()
            };
            let row = round.accept(wanted).await.unwrap().unwrap();
            round.finish().await.unwrap();
            row.id
        };
        let third = child(&first).await;
        let fourth = child(&third).await;
        let (first, second) = (first.as_str(), second.as_str());
        assert_eq!(ids(&admin, "parent=null").await, [second, first]);
        assert_eq!(
            ids(&admin, "parent=null&sort_asc=True").await,
            [first, second]
        );
        assert_eq!(
            ids(&admin, "parent=null&sort=+start_timestamp").await,
            [first, second]
        );
        assert_eq!(ids(&admin, "action=check.one").await, [first]);
        assert_eq!(ids(&admin, "user=admin").await, [first]);
        assert_eq!(
            ids(&admin, &format!("parent={first}")).await,
            [third.as_str()]
        );
        assert_eq!(ids(&admin, "status=failed,timeout").await, [""; 0]);
        assert_eq!(
            ids(&admin, &format!("id={first},{second}")).await,
            [second, first]
        );
        let start = last["start_timestamp"].as_str().unwrap();
        assert_eq!(
            ids(&admin, &format!("parent=null&timestamp_lt={start}")).await,
            [first]
        );
        assert_eq!(
            ids(&admin, &format!("parent=null&timestamp={start}")).await,
            [second]
        );
        assert_eq!(ids(&admin, "runner=noop&rule=a.b").await, [""; 0]);
        assert_eq!(ids(&admin, "limit=1&parent=null").await, [second]);
        admin.get("/executions?sort=colour").await.refused(400);
        admin
            .get("/executions?timestamp_gt=then")
            .await
            .refused(400);
        ada.get("/executions?limit=1000").await.refused(403);
        let listed = admin.get("/executions?parent=null").await.expect(200);
        assert!(listed[0].get("result").is_none());
        assert_eq!(listed[1]["children"], json!([third]));
        let listed = admin.get("/executions?parent=null&include_attributes=result.succeeded");
        assert_eq!(
            listed.await.expect(200)[0]["result"],
            json!({"succeeded": true})
        );

        let family = |query: &str| format!("/executions/{first}/children/?{query}");
        let names = |documents: Value| -> Vec<String> {
            let documents = documents.as_array().unwrap().clone();
            documents
                .iter()
                .map(|one| one["id"].as_str().unwrap().to_string())
                .collect()
        };
        let all = admin.get(&family("depth=-1")).await.expect(200);
        assert_eq!(names(all), [third.as_str(), fourth.as_str()]);
        let some = admin.get(&family("depth=1")).await.expect(200);
        assert_eq!(names(some), [third.as_str()]);
        let tree = admin.get(&family("result_fmt=tree")).await.expect(200);
        assert_eq!(tree[0]["children"][0]["id"], fourth.as_str());

        let filters = admin
            .get("/executions/views/filters?types=action,user")
            .await;
        assert_eq!(
            filters.expect(200),
            json!({"action": ["check.one", "check.two"], "user": ["ada", "admin"]})
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_shows_nothing_is_refused() {
    let Some(world) = World::start("whoever_shows_nothing_is_refused").await else {
        return;
    };
    let mut nobody = world.admin().await;
    nobody.token.clear();
    let text = nobody.get("/v1/executions").await.refused(401);
    assert!(text.contains("One of Token or API key required"), "{text}");
    let index = nobody.get("/api/v1/").await.expect(200);
    assert!(index["version"].is_string());
    let described = nobody.get("/api/v1/openapi.json").await.expect(200);
    assert!(described["paths"]["/api/v1/executions/{id}"]["get"].is_object());
}
