//! Rules: what they match, run and record; on SQLite and on PostgreSQL.

use crate::databases::{self, Database};
use crate::site::Site;
use controller::automation::ids;
use controller::automation::ops::fire::{Happened, fire};
use controller::automation::ops::rules;
use controller::ops::now;
use controller::store::automation::executions::Execution;
use controller::store::automation::rule_enforcements::RuleEnforcement;
use controller::store::automation::rules::Rule;
use controller::store::automation::tokens;
use controller::store::automation::trigger_instances::{self, TriggerInstance};
use controller::store::automation::triggers::Trigger;
use controller::store::query::Filter;
use controller::store::{Json, StoreError, users::User};
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub fn rule(name: &str, trigger: Value, criteria: Value, parameters: Value) -> Value {
    json!({
        "name": name, "pack": "test", "enabled": true, "trigger": trigger, "criteria": criteria,
        "action": {"ref": "test.noop", "parameters": parameters},
    })
}

pub fn webhook(url: &str) -> Value {
    json!({"type": "core.st2.webhook", "parameters": {"url": url}})
}

pub async fn executions(site: &Site) -> Vec<Execution> {
    let mut reader = site.automation.ops.store.read().await.unwrap();
    let all = Filter::new().order_by("started_at", "id", false);
    Execution::fetch(&mut reader, all, "test").await.unwrap()
}

pub async fn enforcements(site: &Site) -> Vec<RuleEnforcement> {
    let mut reader = site.automation.ops.store.read().await.unwrap();
    let all = Filter::new().order_by("enforced_at", "id", false);
    RuleEnforcement::fetch(&mut reader, all, "test")
        .await
        .unwrap()
}

pub async fn instances(site: &Site, trigger: &str) -> Vec<TriggerInstance> {
    let mut reader = site.automation.ops.store.read().await.unwrap();
    let filter = Filter::new()
        .equals("trigger_ref", trigger)
        .order_by("occurred_at", "id", false);
    TriggerInstance::fetch(&mut reader, filter, "test")
        .await
        .unwrap()
}

pub async fn ready(database: &Database) -> Site {
    let site = Site::over(database.store.clone(), 1).await;
    site.action("noop", json!({"message": {"type": "string"}, "data": {"type": "object"}, "count": {"type": "integer"}}))
        .await;
    site
}

#[tokio::test]
async fn a_webhook_runs_the_action_of_a_rule() {
    for database in databases::each("a_webhook_runs_the_action_of_a_rule").await {
        let mut site = ready(&database).await;
        let created = site
            .post(
                "/v1/rules",
                rule(
                    "deploy",
                    webhook("deploy/app"),
                    json!({
                        "trigger.body.ref": {"type": "equals", "pattern": "main"},
                        "trigger.body.size": {"type": "gt", "pattern": "{{ trigger.body.least }}"},
                    }),
                    json!({"message": "{{ trigger.body.ref }} by {{ trigger.headers['X-Sender'] }}", "data": "{{ trigger.body }}", "count": "{{ trigger.body.size }}"}),
                ),
            )
            .await
            .expect(201);
        assert_eq!(created["ref"], "test.deploy");
        assert!(
            created["trigger"]["ref"]
                .as_str()
                .unwrap()
                .starts_with("core.")
        );
        let body = json!({"ref": "main", "size": 7, "least": 5});
        let reply = site
            .call_with(
                Method::POST,
                "/v1/webhooks/deploy/app",
                Some(body.clone()),
                &[("x-sender", "ada"), ("st2-trace-tag", "release")],
            )
            .await;
        assert_eq!(reply.expect(202), body);
        site.settle().await;
        site.round().await;
        let all = executions(&site).await;
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].status, "succeeded", "{:?}", all[0].result);
        assert_eq!(all[0].username, "admin");
        assert_eq!(
            all[0].parameters["shown"],
            json!({"message": "main by ada", "data": body, "count": 7})
        );
        let shown = site.get("/v1/ruleenforcements").await;
        assert_eq!(shown[0]["status"], "succeeded");
        assert_eq!(shown[0]["execution_id"], all[0].id.as_str());
        assert_eq!(shown[0]["rule"]["ref"], "test.deploy");
        assert_eq!(shown[0]["reasons"][0]["value"], "main");
        assert_eq!(shown[0]["reasons"][1]["pattern"], 5);
        let view = site.get("/v1/ruleenforcements/views").await;
        assert_eq!(view[0]["execution"]["status"], "succeeded");
        assert_eq!(view[0]["trigger_instance"]["payload"]["body"], body);
        let traces = site.get("/v1/traces?trace_tag=release").await;
        assert_eq!(
            traces[0]["action_executions"][0]["object_id"],
            all[0].id.as_str()
        );
        assert_eq!(
            traces[0]["action_executions"][0]["caused_by"]["type"],
            "rule"
        );
        assert_eq!(traces[0]["rules"][0]["ref"], "test.deploy");
        let by_execution = site
            .get(&format!("/v1/traces?execution={}", all[0].id))
            .await;
        assert_eq!(by_execution[0]["id"], traces[0]["id"]);
        let by_rule = site
            .get(&format!(
                "/v1/traces?rule={}",
                created["id"].as_str().unwrap()
            ))
            .await;
        assert_eq!(by_rule[0]["id"], traces[0]["id"]);
        site.post("/v1/webhooks/deploy/other", json!({}))
            .await
            .refused(404);
        assert_eq!(
            site.get("/v1/webhooks").await[0]["parameters"]["url"],
            "deploy/app"
        );
        assert_eq!(
            site.get("/v1/webhooks/deploy/app").await["type"],
            "core.st2.webhook"
        );
    }
}

#[tokio::test]
async fn what_is_told_twice_fires_once() {
    for database in databases::each("what_is_told_twice_fires_once").await {
        let mut site = ready(&database).await;
        let kind = json!({
            "pack": "test", "name": "event",
            "payload_schema": {"type": "object", "properties": {"n": {"type": "integer", "required": true}}},
        });
        site.post("/v1/triggertypes", kind.clone())
            .await
            .expect(201);
        site.post("/v1/triggertypes", kind).await.expect(409);
        site.post(
            "/v1/rules",
            rule(
                "one",
                json!({"type": "test.event"}),
                json!({}),
                json!({"count": "{{ trigger.n }}"}),
            ),
        )
        .await
        .expect(201);
        let event = json!({"trigger": "test.event", "payload": {"n": 3}});
        for _ in 0..2 {
            site.call_with(
                Method::POST,
                "/v1/webhooks/st2",
                Some(event.clone()),
                &[("x-request-id", "r1")],
            )
            .await
            .expect(202);
        }
        site.settle().await;
        assert_eq!(executions(&site).await.len(), 1);
        site.post("/v1/webhooks/st2", event).await.expect(202);
        site.settle().await;
        assert_eq!(executions(&site).await.len(), 2);
        let wrong = json!({"trigger": "test.event", "payload": {"n": "many"}});
        let text = site.post("/v1/webhooks/st2", wrong).await.refused(400);
        assert!(text.contains("test.event"), "{text}");
        site.post("/v1/webhooks/st2", json!({"trigger": "test.none"}))
            .await
            .refused(400);
        let text = site.post("/v1/webhooks/st2", json!({})).await.refused(400);
        assert_eq!(text, "Trigger not specified.");
    }
}

#[tokio::test]
async fn a_backstop_takes_what_no_rule_matched() {
    for database in databases::each("a_backstop_takes_what_no_rule_matched").await {
        let mut site = ready(&database).await;
        let one = rule(
            "one",
            webhook("a"),
            json!({"trigger.body.n": {"type": "equals", "pattern": 1}}),
            json!({"message": "one"}),
        );
        let mut rest = rule("rest", webhook("a"), json!({}), json!({"message": "rest"}));
        rest["type"] = json!({"ref": "backstop"});
        site.post("/v1/rules", one).await.expect(201);
        site.post("/v1/rules", rest).await.expect(201);
        for n in [1, 2] {
            site.post("/v1/webhooks/a", json!({"n": n}))
                .await
                .expect(202);
            site.settle().await;
        }
        let told: Vec<Value> = executions(&site)
            .await
            .iter()
            .map(|row| row.parameters["shown"]["message"].clone())
            .collect();
        assert_eq!(told, ["one", "rest"]);
        assert_eq!(site.get("/v1/ruletypes").await[1]["ref"], "backstop");
    }
}

#[tokio::test]
async fn what_cannot_be_judged_or_run_is_a_failed_enforcement() {
    for database in databases::each("what_cannot_be_judged_or_run_is_a_failed_enforcement").await {
        let mut site = ready(&database).await;
        let criteria = json!({"trigger.body.n": {"type": "gt", "pattern": 1}});
        site.post(
            "/v1/rules",
            rule("compare", webhook("a"), criteria, json!({})),
        )
        .await
        .expect(201);
        let mut gone = rule("gone", webhook("b"), json!({}), json!({}));
        gone["action"]["ref"] = json!("test.gone");
        site.post("/v1/rules", gone).await.expect(201);
        let missing = json!({"message": "{{ trigger.body.none.none }}"});
        site.post(
            "/v1/rules",
            rule("render", webhook("c"), json!({}), missing),
        )
        .await
        .expect(201);
        for hook in ["a", "b", "c"] {
            site.post(&format!("/v1/webhooks/{hook}"), json!({"n": "many"}))
                .await
                .expect(202);
        }
        site.settle().await;
        let mut failures: Vec<(String, String, String)> = enforcements(&site)
            .await
            .into_iter()
            .map(|row| {
                (
                    row.rule_ref,
                    row.status,
                    row.failure_reason.unwrap_or_default(),
                )
            })
            .collect();
        failures.sort();
        assert_eq!(failures.len(), 3, "{failures:?}");
        assert!(failures.iter().all(|(_, status, _)| status == "failed"));
        assert!(
            failures[0]
                .2
                .starts_with("Failed to match rule \"test.compare\" against trigger instance"),
            "{}",
            failures[0].2
        );
        assert_eq!(failures[1].2, "Action \"test.gone\" cannot be found.");
        assert!(failures[2].2.contains("message"), "{}", failures[2].2);
        assert!(executions(&site).await.is_empty());
        let failed = site
            .get("/v1/ruleenforcements?status=failed&rule_ref=test.gone")
            .await;
        assert_eq!(failed.as_array().unwrap().len(), 1);
        let done = site
            .get("/v1/triggerinstances?status=processed&trigger_type=core.st2.webhook")
            .await;
        assert_eq!(done.as_array().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn mismatches_are_recorded_on_demand() {
    for database in databases::each("mismatches_are_recorded_on_demand").await {
        let mut site = ready(&database).await;
        let criteria = json!({"trigger.body.n": {"type": "equals", "pattern": 1}});
        site.post("/v1/rules", rule("one", webhook("a"), criteria, json!({})))
            .await
            .expect(201);
        site.post("/v1/webhooks/a", json!({"n": 2}))
            .await
            .expect(202);
        site.settle().await;
        assert!(enforcements(&site).await.is_empty());
        site.set("automation/rules/record_mismatches", &json!(true));
        site.post("/v1/webhooks/a", json!({"n": 2}))
            .await
            .expect(202);
        site.settle().await;
        assert_eq!(site.get("/v1/ruleenforcements").await, json!([]));
        let shown = site.get("/v1/ruleenforcements?status=mismatched").await;
        assert_eq!(shown[0]["reasons"][0]["matched"], false);
        assert_eq!(shown[0]["reasons"][0]["value"], 2);
    }
}

#[tokio::test]
async fn what_concerns_no_rule_is_processed_with_the_rest_of_its_batch() {
    let name = "what_concerns_no_rule_is_processed_with_the_rest_of_its_batch";
    for database in databases::each(name).await {
        let mut site = ready(&database).await;
        let criteria = json!({"trigger.body.n": {"type": "equals", "pattern": 1}});
        site.post("/v1/rules", rule("one", webhook("a"), criteria, json!({})))
            .await
            .expect(201);
        site.lead(None);
        for n in [2, 1, 3] {
            site.post("/v1/webhooks/a", json!({"n": n}))
                .await
                .expect(202);
        }
        site.lead(Some(1));
        site.settle().await;
        let hook = &site.get("/v1/triggers?type=core.st2.webhook").await[0]["ref"];
        let rows = instances(&site, hook.as_str().unwrap()).await;
        assert_eq!(rows.len(), 3);
        for row in &rows {
            assert_eq!((row.status.as_str(), row.row_version), ("processed", 2));
            assert!(row.updated_at > row.created_at);
            let is_traced = row.payload["body"]["n"] == 1;
            assert_eq!(row.trace_id.is_some(), is_traced);
        }
        assert_eq!(executions(&site).await.len(), 1);
        // Another leader that is late has nothing to do with them any more.
        let mut tx = site.automation.ops.store.write("test").await.unwrap();
        let seen_before: Vec<TriggerInstance> = rows
            .into_iter()
            .map(|row| TriggerInstance {
                row_version: 1,
                ..row
            })
            .collect();
        let late = trigger_instances::processed(&mut tx, &seen_before, now()).await;
        assert!(matches!(late, Err(StoreError::Stale { .. })), "{late:?}");
    }
}

#[tokio::test]
async fn a_changed_rule_is_judged_by_what_it_says_now() {
    for database in databases::each("a_changed_rule_is_judged_by_what_it_says_now").await {
        let mut site = ready(&database).await;
        for (name, hook) in [("one", "a"), ("two", "b")] {
            let criteria = json!({"trigger.body.n": {"type": "equals", "pattern": 1}});
            site.post("/v1/rules", rule(name, webhook(hook), criteria, json!({})))
                .await
                .expect(201);
        }
        let mut fired = Vec::new();
        for pattern in [1, 2] {
            let mut document = site.get("/v1/rules/test.one").await;
            document["criteria"]["trigger.body.n"]["pattern"] = json!(pattern);
            site.put("/v1/rules/test.one", document).await.expect(200);
            for hook in ["a", "b"] {
                site.post(&format!("/v1/webhooks/{hook}"), json!({"n": 2}))
                    .await
                    .expect(202);
            }
            site.settle().await;
            let enforcements = enforcements(&site).await.into_iter();
            fired.push(enforcements.map(|row| row.rule_ref).collect::<Vec<_>>());
        }
        assert_eq!(fired, [vec![], vec!["test.one".to_string()]]);
    }
}

#[tokio::test]
async fn rules_share_triggers_and_the_last_takes_it_away() {
    for database in databases::each("rules_share_triggers_and_the_last_takes_it_away").await {
        let mut site = ready(&database).await;
        for name in ["one", "two"] {
            site.post("/v1/rules", rule(name, webhook("a"), json!({}), json!({})))
                .await
                .expect(201);
        }
        site.post("/v1/rules", rule("one", webhook("a"), json!({}), json!({})))
            .await
            .expect(409);
        let hooks = "/v1/triggers?type=core.st2.webhook";
        assert_eq!(site.get(hooks).await.as_array().unwrap().len(), 1);
        // The CLI sends the whole document back to switch a rule off.
        let mut document = site.get("/v1/rules/test.one").await;
        document["enabled"] = json!(false);
        assert_eq!(
            site.put("/v1/rules/test.one", document).await.expect(200)["enabled"],
            false
        );
        site.post("/v1/webhooks/a", json!({})).await.expect(202);
        site.settle().await;
        let fired = enforcements(&site).await;
        assert_eq!(fired.len(), 1);
        assert_eq!(fired[0].rule_ref, "test.two");
        site.call(Method::DELETE, "/v1/rules/test.one", None)
            .await
            .expect(204);
        assert_eq!(site.get(hooks).await.as_array().unwrap().len(), 1);
        site.put(
            "/v1/rules/test.two",
            rule("two", webhook("b"), json!({}), json!({})),
        )
        .await
        .expect(200);
        assert_eq!(site.get(hooks).await[0]["parameters"]["url"], "b");
        site.call(Method::DELETE, "/v1/rules/test.two", None)
            .await
            .expect(204);
        assert_eq!(site.get(hooks).await, json!([]));
        let text = site
            .post(
                "/v1/rules",
                rule("x", json!({"type": "test.none"}), json!({}), json!({})),
            )
            .await
            .refused(400);
        assert_eq!(text, "Trigger type \"test.none\" not found.");
        let wrong = json!({"type": "core.st2.webhook", "parameters": {"address": "x"}});
        site.post("/v1/rules", rule("x", wrong, json!({}), json!({})))
            .await
            .refused(400);
    }
}

#[tokio::test]
async fn a_rule_is_tried_without_running_anything() {
    for database in databases::each("a_rule_is_tried_without_running_anything").await {
        let mut site = ready(&database).await;
        let wanted = rule(
            "one",
            webhook("a"),
            json!({"trigger.body.n": {"type": "gt", "pattern": 4}}),
            json!({"message": "n is {{ trigger.body.n }}"}),
        );
        let mut off = wanted.clone();
        off["enabled"] = json!(false);
        site.post("/v1/rules", off).await.expect(201);
        for n in 0..8 {
            site.post("/v1/webhooks/a", json!({"n": n}))
                .await
                .expect(202);
        }
        site.settle().await;
        let trigger = site.get("/v1/rules/test.one").await["trigger"]["ref"]
            .as_str()
            .unwrap()
            .to_string();
        let recorded = instances(&site, &trigger).await;
        assert_eq!(recorded.len(), 8);
        let id = &recorded[7].id;
        let tried = site
            .post(
                "/v1/rules/test",
                json!({"rule": "test.one", "trigger_instance": id}),
            )
            .await
            .expect(200);
        assert_eq!(tried["matched"], true);
        assert_eq!(tried["parameters"], json!({"message": "n is 7"}));
        let payload = json!({"headers": {}, "headers_lower": {}, "body": {"n": 1}});
        let tried = site
            .post(
                "/v1/rules/test",
                json!({"rule": wanted.clone(), "payload": payload}),
            )
            .await
            .expect(200);
        assert_eq!(tried["matched"], false);
        assert_eq!(tried["reasons"][0]["value"], 1);
        assert_eq!(tried["parameters"], Value::Null);
        let replayed = site
            .post(
                "/v1/rules/replay",
                json!({"rule": wanted.clone(), "from": "2020-01-01T00:00:00Z"}),
            )
            .await
            .expect(200);
        assert_eq!(replayed["instances"], 8);
        assert_eq!(replayed["matched"], 3);
        assert_eq!(replayed["not_matched"], 5);
        assert_eq!(replayed["more"], false);
        assert_eq!(
            replayed["first_matches"][0]["parameters"]["message"],
            "n is 5"
        );
        let replayed = site
            .post(
                "/v1/rules/replay",
                json!({"rule": wanted, "from": "2020-01-01T00:00:00Z", "limit": 6}),
            )
            .await
            .expect(200);
        assert_eq!(
            (&replayed["instances"], &replayed["more"]),
            (&json!(6), &json!(true))
        );
        assert!(executions(&site).await.is_empty());
        assert!(enforcements(&site).await.is_empty());
        site.post("/v1/rules/test", json!({"rule": "test.one"}))
            .await
            .refused(400);
    }
}

#[tokio::test]
async fn a_rule_has_no_more_rights_than_its_owner() {
    for database in databases::each("a_rule_has_no_more_rights_than_its_owner").await {
        let mut site = ready(&database).await;
        site.post("/v1/rules", rule("one", webhook("a"), json!({}), json!({})))
            .await
            .expect(201);
        let mut tx = site.automation.ops.store.write("test").await.unwrap();
        let admin = controller::store::users::by_name(&mut tx, "admin", "uaa")
            .await
            .unwrap()
            .unwrap();
        let mut demoted = admin.clone();
        demoted.is_admin = false;
        demoted.update(&mut tx, now()).await.unwrap();
        let hooks = Filter::new().equals("type_ref", "core.st2.webhook");
        let hook = Trigger::fetch(&mut tx, hooks, "test")
            .await
            .unwrap()
            .remove(0);
        let mut happened = Happened::new(&hook.reference, json!({"body": {}}));
        happened.trigger_type = "core.st2.webhook";
        fire(&mut tx, &happened, now()).await.unwrap();
        tx.commit().await.unwrap();
        site.settle().await;
        let judged = enforcements(&site).await;
        assert_eq!(judged[0].status, "failed");
        assert_eq!(
            judged[0].failure_reason.as_deref(),
            Some("User \"admin\" doesn't have required permission \"action_execute\"")
        );
        // And he may not write rules or fire anything any more.
        site.post("/v1/rules", rule("two", webhook("a"), json!({}), json!({})))
            .await
            .refused(403);
        site.post("/v1/webhooks/a", json!({})).await.refused(403);
        let mut tx = site.automation.ops.store.write("test").await.unwrap();
        User::delete(&mut tx, &admin.guid).await.unwrap();
        fire(&mut tx, &happened, now()).await.unwrap();
        tx.commit().await.unwrap();
        site.settle().await;
        let judged = enforcements(&site).await;
        assert_eq!(
            judged[1].failure_reason.as_deref(),
            Some("The account of its owner is gone.")
        );
    }
}

#[tokio::test]
async fn a_rule_of_a_pack_belongs_to_whoever_switches_it_on() {
    for database in databases::each("a_rule_of_a_pack_belongs_to_whoever_switches_it_on").await {
        let site = ready(&database).await;
        let store = &site.automation.ops.store;
        let mut document = rule("one", webhook("a"), json!({}), json!({}));
        document["enabled"] = json!(false);
        let mut tx = store.write("test").await.unwrap();
        let read = rules::read(document.clone()).unwrap();
        let row = rules::row_of(&mut tx, &read, None, now()).await.unwrap();
        row.insert(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        let owner = async || {
            let mut reader = store.read().await.unwrap();
            let row = Rule::find(&mut reader, "test.one").await.unwrap().unwrap();
            row.owner_guid
        };
        let put = async |enabled: bool| {
            let mut document = document.clone();
            document["enabled"] = json!(enabled);
            site.call(Method::PUT, "/v1/rules/test.one", Some(document))
                .await
                .expect(200)
        };
        put(false).await;
        assert_eq!(owner().await, None, "it was not switched on");
        put(true).await;
        let admin = owner().await;
        assert!(admin.is_some());
        put(false).await;
        assert_eq!(owner().await, admin, "it stays his");
    }
}

#[tokio::test]
async fn the_token_of_an_execution_is_good_for_the_apps_until_it_ends() {
    for database in
        databases::each("the_token_of_an_execution_is_good_for_the_apps_until_it_ends").await
    {
        let site = ready(&database).await;
        let ops = &site.automation.ops;
        let mut tx = ops.store.write("test").await.unwrap();
        let admin = controller::store::users::by_name(&mut tx, "admin", "uaa")
            .await
            .unwrap()
            .unwrap();
        tx.commit().await.unwrap();
        let issue = async |seconds: i64, execution: Option<&str>| {
            let issued = site
                .automation
                .issue_token(&admin.guid, "admin", seconds, execution)
                .await;
            issued.unwrap().text
        };
        let token = issue(60, Some("e1")).await;
        let actor = ops.actor(&token).await.unwrap();
        assert_eq!((actor.name.as_str(), actor.is_admin), ("admin", true));
        let refused = [
            issue(60, None).await,
            issue(-1, Some("e2")).await,
            "nonsense".to_string(),
        ];
        for token in &refused {
            assert!(ops.actor(token).await.is_err());
        }
        let mut tx = ops.store.write("test").await.unwrap();
        tokens::delete_of_execution(&mut tx, "e1").await.unwrap();
        tx.commit().await.unwrap();
        assert!(ops.actor(&token).await.is_err());
    }
}

/// Instances of the kill test.
const BURST: usize = 600;

/// A leader that is killed in the midst of a burst leaves nothing undone, and its successor does nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_loses_and_doubles_nothing() {
    for database in databases::each("a_leader_that_dies_loses_and_doubles_nothing").await {
        let site = ready(&database).await;
        site.post(
            "/v1/rules",
            rule(
                "one",
                webhook("a"),
                json!({}),
                json!({"count": "{{ trigger.body.n }}"}),
            ),
        )
        .await
        .expect(201);
        let mut tx = site.automation.ops.store.write("test").await.unwrap();
        let hooks = Filter::new().equals("type_ref", "core.st2.webhook");
        let hook = Trigger::fetch(&mut tx, hooks, "test")
            .await
            .unwrap()
            .remove(0);
        for n in 0..BURST {
            let mut happened = Happened::new(&hook.reference, json!({"body": {"n": n}}));
            happened.trigger_type = "core.st2.webhook";
            fire(&mut tx, &happened, now()).await.unwrap();
        }
        tx.commit().await.unwrap();
        drop(site);

        let url = database.url.clone();
        let stop = Arc::new(AtomicBool::new(false));
        for epoch in 2..5 {
            let threads = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let url = url.clone();
            let stop = stop.clone();
            threads.spawn(async move {
                let store = controller::store::Store::open(&url).await.unwrap();
                let mut leader = Site::over(store, epoch).await;
                while !stop.load(Ordering::Relaxed) {
                    leader.round().await;
                }
            });
            // Until some of its work is on disk.
            let before = done(&database).await;
            for _ in 0..2000 {
                if done(&database).await > before {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            threads.shutdown_background();
        }
        stop.store(true, Ordering::Relaxed);
        let mut last = Site::over(database.store.clone(), 9).await;
        last.settle().await;
        last.settle().await;
        let judged = enforcements(&last).await;
        assert_eq!(judged.len(), BURST);
        assert!(judged.iter().all(|row| row.status == "succeeded"));
        let mut counts: Vec<i64> = executions(&last)
            .await
            .iter()
            .map(|row| row.parameters["shown"]["count"].as_i64().unwrap())
            .collect();
        counts.sort_unstable();
        let wanted: Vec<i64> = (0..i64::try_from(BURST).unwrap()).collect();
        assert_eq!(counts, wanted, "each once");
        assert!(
            executions(&last)
                .await
                .iter()
                .all(|row| row.status == "succeeded"),
            "and all of them ran"
        );
    }
}

async fn done(database: &Database) -> usize {
    let mut reader = database.store.read().await.unwrap();
    RuleEnforcement::fetch(&mut reader, Filter::new(), "test")
        .await
        .unwrap()
        .len()
}

#[tokio::test]
async fn secrets_of_rules_are_masked_and_survive_an_update() {
    for database in databases::each("secrets_of_rules_are_masked_and_survive_an_update").await {
        let mut site = ready(&database).await;
        site.action(
            "login",
            json!({"password": {"type": "string", "secret": true}}),
        )
        .await;
        let mut login = rule(
            "login",
            webhook("a"),
            json!({}),
            json!({"password": "open sesame"}),
        );
        login["action"]["ref"] = json!("test.login");
        let created = site.post("/v1/rules", login).await.expect(201);
        assert_eq!(created["action"]["parameters"]["password"], "********");
        let mut document = site.get("/v1/rules/test.login").await;
        document["description"] = json!("Changed.");
        site.put("/v1/rules/test.login", document).await.expect(200);
        let shown = site.get("/v1/rules/test.login?show_secrets=true").await;
        assert_eq!(shown["action"]["parameters"]["password"], "open sesame");
        assert_eq!(shown["description"], "Changed.");
        let view = site.get("/v1/rules/views/test.login").await;
        assert_eq!(view["action"]["description"], "Does nothing.");
        site.post("/v1/webhooks/a", json!({})).await.expect(202);
        site.settle().await;
        let run = executions(&site).await;
        assert_eq!(run[0].parameters["shown"]["password"], "********");
    }
}

#[tokio::test]
async fn an_instance_that_the_store_refuses_holds_up_nobody() {
    let database = Database::sqlite().await;
    let mut site = ready(&database).await;
    site.post("/v1/rules", rule("one", webhook("a"), json!({}), json!({})))
        .await
        .expect(201);
    let mut tx = site.automation.ops.store.write("test").await.unwrap();
    let hooks = Filter::new().equals("type_ref", "core.st2.webhook");
    let hook = Trigger::fetch(&mut tx, hooks, "test")
        .await
        .unwrap()
        .remove(0);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let row = TriggerInstance {
            id: ids::new_id(),
            trigger_ref: hook.reference.clone(),
            trigger_type: "core.st2.webhook".into(),
            payload: Json(json!({"body": {}})),
            status: "pending".into(),
            trace_tag: None,
            trace_id: None,
            source: None,
            occurred_at: now(),
            created_at: now(),
            updated_at: now(),
            row_version: 1,
        };
        row.insert(&mut tx).await.unwrap();
        ids.push(row.id);
    }
    let refuse = format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON rule_enforcements WHEN NEW.trigger_instance = '{}' \
         BEGIN SELECT RAISE(ABORT, 'refused'); END",
        ids[1]
    );
    controller::store::sql::query(refuse)
        .execute(&mut tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    site.settle().await;
    let statuses: Vec<String> = instances(&site, &hook.reference)
        .await
        .into_iter()
        .map(|row| row.status)
        .collect();
    assert_eq!(statuses, ["processed", "processing_failed", "processed"]);
    assert_eq!(executions(&site).await.len(), 2);
}
