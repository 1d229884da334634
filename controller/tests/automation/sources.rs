//! What fires triggers: timers, keys, the platform, questions, people; and what is put off.

use crate::cluster::eventually;
use crate::databases;
use crate::events::{executions, instances, ready, rule, webhook};
use crate::site::Site;
use ::automation::triggers::yard::{AppCrashed, AppPlace, Named};
use controller::automation::ops::fire::{Happened, fire};
use controller::domain::access::Actor;
use controller::domain::quotas::{Limit, Setting};
use controller::domain::times;
use controller::ops::list::ListQuery;
use controller::ops::quotas::QuotaSettings;
use controller::ops::routes::Wanted;
use controller::ops::{Refusal, now};
use controller::store::automation::trigger_instances;
use controller::store::automation::triggers::Trigger;
use controller::store::platform_events;
use http::Method;
use serde_json::{Value, json};

/// As if a timer's time had come this many milliseconds ago.
async fn overdue(site: &Site, trigger: &str, millis: i64) {
    let mut tx = site.automation.ops.store.write("test").await.unwrap();
    let mut row = Trigger::find(&mut tx, trigger).await.unwrap().unwrap();
    let planned = now() / 1000 - millis;
    // An interval counts from its anchor.
    row.created_at = (planned - 3_600_000) * 1000;
    row.next_fire_at = Some(planned * 1000);
    row.update(&mut tx, now()).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn timers_fire_once_and_make_up_for_little() {
    for database in databases::each("timers_fire_once_and_make_up_for_little").await {
        let mut site = ready(&database).await;
        let hourly =
            json!({"type": "core.st2.IntervalTimer", "parameters": {"unit": "hours", "delta": 1}});
        let created = site
            .post(
                "/v1/rules",
                rule(
                    "hourly",
                    hourly,
                    json!({}),
                    json!({"message": "{{ trigger.executed_at }}"}),
                ),
            )
            .await
            .expect(201);
        let trigger = created["trigger"]["ref"].as_str().unwrap().to_string();
        site.round().await;
        let timers = site.get("/v1/timers").await;
        assert_eq!(timers[0]["parameters"]["unit"], "hours");
        let in_half_an_hour = times::rfc3339_micros(now() + 1_800_000_000);
        assert!(timers[0]["next_fire_at"].as_str().unwrap() > in_half_an_hour.as_str());
        assert!(
            instances(&site, &trigger).await.is_empty(),
            "an hour has not passed"
        );
        overdue(&site, &trigger, 500).await;
        site.settle().await;
        site.settle().await;
        assert_eq!(instances(&site, &trigger).await.len(), 1);
        assert_eq!(executions(&site).await.len(), 1);
        // The same planned time again, as after a crash before the row was moved on.
        let fired = instances(&site, &trigger).await.remove(0);
        let planned: i64 = fired
            .source
            .as_ref()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let mut tx = site.automation.ops.store.write("test").await.unwrap();
        let mut row = Trigger::find(&mut tx, &trigger).await.unwrap().unwrap();
        row.next_fire_at = Some(planned * 1000);
        row.update(&mut tx, now()).await.unwrap();
        tx.commit().await.unwrap();
        site.settle().await;
        assert_eq!(instances(&site, &trigger).await.len(), 1);
        // Too late to be made up for.
        overdue(&site, &trigger, 120_000).await;
        site.settle().await;
        assert_eq!(instances(&site, &trigger).await.len(), 1);
        // Nobody waits for it.
        let mut off = site.get("/v1/rules/test.hourly").await;
        off["enabled"] = json!(false);
        site.put("/v1/rules/test.hourly", off).await.expect(200);
        overdue(&site, &trigger, 500).await;
        site.settle().await;
        assert_eq!(instances(&site, &trigger).await.len(), 1);
        let zone = json!({"type": "core.st2.CronTimer", "parameters": {"hour": 1, "timezone": "Mars/Olympus"}});
        let text = site
            .post("/v1/rules", rule("x", zone, json!({}), json!({})))
            .await
            .refused(400);
        assert!(text.contains("Mars/Olympus"), "{text}");
        assert_eq!(
            site.get("/v1/timers?timer_type=core.st2.CronTimer").await,
            json!([])
        );
    }
}

#[tokio::test]
async fn a_cron_timer_follows_the_zone_of_the_cluster() {
    for database in databases::each("a_cron_timer_follows_the_zone_of_the_cluster").await {
        let mut site = ready(&database).await;
        let at_three = json!({"type": "core.st2.CronTimer", "parameters": {"hour": 3}});
        site.post("/v1/rules", rule("night", at_three, json!({}), json!({})))
            .await
            .expect(201);
        site.round().await;
        let hour = |timers: &Value| timers[0]["next_fire_at"].as_str().unwrap()[11..16].to_string();
        assert_eq!(hour(&site.get("/v1/timers").await), "03:00");
        site.set("automation/timers/timezone", &json!("Asia/Kolkata"));
        site.round().await;
        assert_eq!(hour(&site.get("/v1/timers").await), "21:30");
    }
}

#[tokio::test]
async fn keys_tell_of_their_changes_and_keep_their_secrets() {
    for database in databases::each("keys_tell_of_their_changes_and_keep_their_secrets").await {
        let mut site = ready(&database).await;
        let set =
            |value: &str, secret: bool| json!({"name": "k", "value": value, "secret": secret});
        site.put("/v1/keys/k", set("hidden", true))
            .await
            .expect(200);
        site.put("/v1/keys/k", set("hidden", true))
            .await
            .expect(200);
        site.put("/v1/keys/k", set("other", true)).await.expect(200);
        let mut brief = set("gone soon", false);
        brief["ttl"] = json!(1);
        site.put("/v1/keys/k", brief).await.expect(200);
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        site.settle().await;
        let count = async |name: &str| {
            instances(&site, &format!("core.st2.key_value_pair.{name}"))
                .await
                .len()
        };
        assert_eq!(count("create").await, 1);
        assert_eq!(count("update").await, 3);
        assert_eq!(
            count("value_change").await,
            2,
            "the same secret again is no change"
        );
        assert_eq!(count("delete").await, 1, "its time was over");
        let told = instances(&site, "core.st2.key_value_pair.create").await;
        assert_eq!(told[0].payload["object"]["value"], "********");
        let changed = instances(&site, "core.st2.key_value_pair.value_change").await;
        assert_eq!(changed[1].payload["old_object"]["value"], "********");
        assert_eq!(changed[1].payload["new_object"]["value"], "gone soon");
    }
}

#[tokio::test]
async fn rules_react_to_the_platform() {
    for database in databases::each("rules_react_to_the_platform").await {
        let mut site = ready(&database).await;
        site.post(
            "/v1/rules",
            rule(
                "crashes",
                json!({"type": "yard.app.crashed"}),
                json!({"trigger.crash_count": {"type": "gt", "pattern": 2}}),
                json!({"message": "{{ trigger.app.name }}"}),
            ),
        )
        .await
        .expect(201);
        let named = |name: &str| Named {
            guid: name.into(),
            name: name.into(),
        };
        for crash_count in [2, 3] {
            let event = AppCrashed {
                at: "2026-01-01T00:00:00.000000Z".into(),
                place: AppPlace {
                    app: named("shop"),
                    space: named("s"),
                    organization: named("o"),
                },
                process_type: "web".into(),
                index: 0,
                instance: "i".into(),
                node: None,
                exit_status: Some(1),
                reason: "exited with status 1".into(),
                crash_count,
            };
            let mut tx = site.automation.ops.store.write("test").await.unwrap();
            platform_events::tell(&mut tx, event, "shop", now())
                .await
                .unwrap();
            tx.commit().await.unwrap();
        }
        site.settle().await;
        site.settle().await;
        assert_eq!(instances(&site, "yard.app.crashed").await.len(), 2);
        let run = executions(&site).await;
        assert_eq!(run.len(), 1);
        assert_eq!(run[0].parameters["shown"]["message"], "shop");
        let completed = instances(&site, "core.st2.generic.actiontrigger").await;
        assert_eq!(completed[0].payload["execution_id"], run[0].id.as_str());
    }
}

#[tokio::test]
async fn a_rule_hears_of_what_a_quota_refused() {
    for database in databases::each("a_rule_hears_of_what_a_quota_refused").await {
        let mut site = ready(&database).await;
        site.post(
            "/v1/rules",
            rule(
                "refused",
                json!({"type": "yard.quota.exceeded"}),
                json!({
                    "trigger.limit": {"type": "equals", "pattern": "routes.total_routes"},
                    "trigger.asked": {"type": "gt", "pattern": 0},
                }),
                json!({"message": "{{ trigger.quota.name }}: {{ trigger.allowed }} of {{ trigger.space.name }} for {{ trigger.user }}"}),
            ),
        )
        .await
        .expect(201);
        let ops = site.automation.ops.clone();
        let admin = Actor {
            guid: "admin".into(),
            name: "ada".into(),
            is_admin: true,
            grants: Vec::new(),
        };
        let all = ListQuery::all();
        let organization = ops
            .list_organizations(&admin, &all)
            .await
            .unwrap()
            .rows
            .remove(0);
        let space = ops.list_spaces(&admin, &all).await.unwrap().rows.remove(0);
        let domain = ops
            .list_domains(&admin, None, &all)
            .await
            .unwrap()
            .rows
            .remove(0);
        let none = QuotaSettings {
            name: Some("none".into()),
            limits: vec![(Setting::Limit(Limit::Routes), Some(0))],
            paid_services_allowed: None,
        };
        ops.create_organization_quota(&admin, &none, &[organization.guid])
            .await
            .unwrap();
        let wanted = Wanted {
            host: "x",
            path: "",
            port: None,
            options: None,
        };
        for _ in 0..2 {
            let refused = ops
                .create_route(&admin, &space.guid, &domain.guid, wanted)
                .await;
            assert!(
                matches!(refused, Err(Refusal::QuotaExceeded { .. })),
                "{refused:?}"
            );
        }
        site.settle().await;
        site.settle().await;
        assert_eq!(instances(&site, "yard.quota.exceeded").await.len(), 1);
        let run = executions(&site).await;
        assert_eq!(run.len(), 1);
        assert_eq!(
            run[0].parameters["shown"]["message"],
            "none: 0 of default for ada"
        );
    }
}

#[tokio::test]
async fn too_much_from_outside_is_put_off() {
    for database in databases::each("too_much_from_outside_is_put_off").await {
        let mut site = ready(&database).await;
        site.post("/v1/rules", rule("one", webhook("a"), json!({}), json!({})))
            .await
            .expect(201);
        site.set("automation/webhook/max_body", &json!("1KiB"));
        let large = json!({"text": "x".repeat(2000)});
        site.post("/v1/webhooks/a", large).await.refused(413);
        site.set("automation/webhook/rate", &json!(1));
        site.post("/v1/webhooks/b", json!({})).await.refused(404);
        let refused = site.post("/v1/webhooks/b", json!({})).await;
        assert_eq!(refused.headers["retry-after"], "1");
        refused.refused(429);
        site.set("automation/rules/max_pending", &json!(100));
        let mut tx = site.automation.ops.store.write("test").await.unwrap();
        for _ in 0..101 {
            fire(&mut tx, &Happened::new("test.event", json!({})), now())
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        // The count of what waits is believed for a moment.
        let refused = eventually("too much waits", async || {
            let answer = site.post("/v1/webhooks/a", json!({})).await;
            match answer.status.as_u16() {
                429 => Ok(answer),
                status => Err(status.to_string()),
            }
        })
        .await;
        assert_eq!(refused.headers["retry-after"], "5");
        refused.refused(429);
        site.settle().await;
        site.post("/v1/webhooks/a", json!({})).await.expect(202);
    }
}

#[tokio::test]
async fn a_batch_is_bounded_by_the_size_of_its_payloads() {
    for database in databases::each("a_batch_is_bounded_by_the_size_of_its_payloads").await {
        let mut tx = database.store.write("test").await.unwrap();
        for text in ["x".repeat(100), "x".repeat(10), "x".repeat(10)] {
            fire(&mut tx, &Happened::new("test.event", json!(text)), now())
                .await
                .unwrap();
        }
        for (characters, expected) in [(50, 1), (120, 2), (200, 3)] {
            let count = trigger_instances::pending_within(&mut tx, 10, characters)
                .await
                .unwrap();
            assert_eq!(count, expected, "{characters}");
        }
    }
}

#[tokio::test]
async fn a_question_is_told_to_the_rules() {
    for database in databases::each("a_question_is_told_to_the_rules").await {
        let mut site = ready(&database).await;
        site.action_of(
            "ask",
            "inquirer",
            json!({"route": {"type": "string", "default": "ops"}}),
        )
        .await;
        let mut ask = rule("ask", webhook("a"), json!({}), json!({}));
        ask["action"]["ref"] = json!("test.ask");
        site.post("/v1/rules", ask).await.expect(201);
        site.post("/v1/webhooks/a", json!({})).await.expect(202);
        site.settle().await;
        site.settle().await;
        let asked = executions(&site).await;
        assert_eq!(asked[0].status, "pending", "{:?}", asked[0].result);
        let told = instances(&site, "core.st2.generic.inquiry").await;
        assert_eq!(told.len(), 1);
        assert_eq!(
            told[0].payload.0,
            json!({"id": asked[0].id, "route": "ops"})
        );
    }
}

#[tokio::test]
async fn an_instance_is_emitted_again() {
    for database in databases::each("an_instance_is_emitted_again").await {
        let mut site = ready(&database).await;
        site.post("/v1/rules", rule("one", webhook("a"), json!({}), json!({})))
            .await
            .expect(201);
        site.post("/v1/webhooks/a", json!({"n": 1}))
            .await
            .expect(202);
        site.settle().await;
        let first = site
            .get("/v1/triggerinstances?trigger_type=core.st2.webhook")
            .await[0]["id"]
            .as_str()
            .unwrap()
            .to_string();
        let again = site
            .call(
                Method::POST,
                &format!("/v1/triggerinstances/{first}/re_emit"),
                Some(Value::Null),
            )
            .await
            .expect(202);
        assert_eq!(again["payload"]["__context"]["original_id"], first.as_str());
        site.settle().await;
        assert_eq!(executions(&site).await.len(), 2);
        site.call(
            Method::POST,
            "/v1/triggerinstances/000000000000000000000000/re_emit",
            None,
        )
        .await
        .refused(404);
    }
}
