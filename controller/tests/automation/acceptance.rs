//! Executions that are accepted at the same time: committed together, answered each by itself.

use crate::databases::{self, Database};
use crate::site::Site;
use ::automation::execution::{Event, Placement, Status};
use controller::automation::engine::reports::{End, take_in};
use controller::automation::ids;
use controller::automation::ops::Fault;
use controller::automation::ops::acceptance::record_group;
use controller::automation::ops::executions::{Composed, Wanted};
use controller::ops::now;
use controller::store::automation::actions::Action;
use controller::store::automation::executions::Execution;
use controller::store::automation::traces::{self, Trace};
use controller::store::query::Filter;
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::task::Poll;

async fn ready(database: &Database) -> Site {
    let site = Site::over(database.store.clone(), 1).await;
    site.action("noop", json!({"count": {"type": "integer"}}))
        .await;
    site
}

async fn composed(site: &Site, count: usize) -> Vec<Composed> {
    let mut reader = site.automation.ops.store.read().await.unwrap();
    let mut all = Vec::new();
    for _ in 0..count {
        let wanted = Wanted {
            action: "test.noop".into(),
            username: "admin".into(),
            ..Wanted::default()
        };
        all.push(site.automation.compose(&mut reader, wanted).await.unwrap());
    }
    all
}

/// Ids of all executions, after a look at what belongs to each: a trace, and its place in it.
async fn whole_executions(site: &Site) -> BTreeSet<String> {
    let mut reader = site.automation.ops.store.read().await.unwrap();
    let rows = Execution::fetch(&mut reader, Filter::new(), "test")
        .await
        .unwrap();
    let mut ids = BTreeSet::new();
    for row in rows {
        let trace = row.context["trace_context"]["id_"].as_str().unwrap();
        let parts = traces::components(&mut reader, trace).await.unwrap();
        assert!(
            parts.iter().any(|part| part.object_id == row.id),
            "{}",
            row.id
        );
        ids.insert(row.id);
    }
    // Nor is there a trace of what is not there.
    let traces = Trace::fetch(&mut reader, Filter::new(), "test")
        .await
        .unwrap();
    assert_eq!(traces.len(), ids.len());
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_requests_gets_its_own_answer_and_nothing_is_lost() {
    for database in databases::each("each_of_many_requests_gets_its_own_answer").await {
        let site = ready(&database).await;
        let body = |number: usize| match number % 4 {
            0 => json!({"action": "test.missing"}),
            1 => json!({"action": "test.noop", "parameters": {"count": "many"}}),
            _ => json!({"action": "test.noop", "parameters": {"count": number}}),
        };
        let requests: Vec<_> = (0..120)
            .map(|number| {
                let (face, body) = ((*site).clone(), body(number));
                tokio::spawn(async move { (number, face.post("/v1/executions", body).await) })
            })
            .collect();
        let mut accepted = BTreeSet::new();
        for request in requests {
            let (number, reply) = request.await.unwrap();
            match number % 4 {
                0 => assert!(reply.refused(400).contains("cannot be found")),
                1 => assert!(reply.refused(400).contains("many")),
                _ => {
                    let made = reply.expect(201);
                    assert_eq!(made["parameters"]["count"], number);
                    assert!(accepted.insert(made["id"].as_str().unwrap().to_string()));
                }
            }
        }
        assert_eq!(accepted.len(), 60);
        // What could not be rendered is recorded too, and has failed.
        let recorded = whole_executions(&site).await;
        assert_eq!(recorded.len(), 90);
        assert!(recorded.is_superset(&accepted));
        let failed = site.get("/v1/executions?status=failed&limit=100").await;
        assert_eq!(failed.as_array().unwrap().len(), 30);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_the_store_refuses_fails_alone() {
    for database in databases::each("one_that_the_store_refuses_fails_alone").await {
        let site = ready(&database).await;
        let first = composed(&site, 1).await;
        let taken = first[0].row.id.clone();
        assert!(record_group(site.automation.clone(), first).await[0].is_ok());
        let mut group = composed(&site, 40).await;
        group[17].row.id = taken;
        let ids: Vec<String> = group.iter().map(|one| one.row.id.clone()).collect();
        let answers = record_group(site.automation.clone(), group).await;
        assert_eq!(answers.len(), 40);
        for (place, (answer, id)) in answers.into_iter().zip(&ids).enumerate() {
            match answer {
                Ok(done) => assert_eq!((&done.row.id, place == 17), (id, false)),
                Err(Fault::Store(error)) => assert_eq!(place, 17, "{error}"),
                Err(other) => panic!("{place}: {other}"),
            }
        }
        // 39 of the group and the one before.
        assert_eq!(whole_executions(&site).await.len(), 40);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_cut_short_is_recorded_whole_or_not_at_all() {
    for database in databases::each("a_group_that_is_cut_short").await {
        let site = ready(&database).await;
        // All written, and not committed.
        let mut round = site.automation.round_of("test", None).await.unwrap();
        round.record(&composed(&site, 20).await);
        round.flush().await.unwrap();
        drop(round);
        assert_eq!(whole_executions(&site).await.len(), 0);
        let (mut before, mut after_polls) = (0, 0);
        loop {
            let group = composed(&site, 20).await;
            let mut work = Box::pin(record_group(site.automation.clone(), group));
            let mut polls = 0;
            // Given up at each of the places where it waits, one after the other.
            let done = std::future::poll_fn(|context| {
                if polls == after_polls {
                    return Poll::Ready(None);
                }
                polls += 1;
                work.as_mut().poll(context).map(Some)
            })
            .await;
            drop(work);
            let found = whole_executions(&site).await.len();
            let Some(answers) = done else {
                assert!(
                    [before, before + 20].contains(&found),
                    "{before}, then {found}"
                );
                (before, after_polls) = (found, after_polls + 1);
                continue;
            };
            assert!(answers.iter().all(Result::is_ok));
            assert_eq!(found, before + 20);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_that_are_told_together_are_each_taken_in_once() {
    for database in databases::each("ends_that_are_told_together").await {
        let site = ready(&database).await;
        site.action_of("work", "local-shell-cmd", json!({})).await;
        let mut ids = Vec::new();
        for _ in 0..6 {
            let body = json!({"action": "test.work", "parameters": {"cmd": "true"}});
            let made = site.post("/v1/executions", body).await.expect(201);
            let id = made["id"].as_str().unwrap().to_string();
            for event in [Event::Scheduled, Event::PlacedOn("dea-1".into())] {
                let moved = site.automation.move_execution(&id, event).await.unwrap();
                moved.map_err(|(illegal, _)| illegal).unwrap();
            }
            ids.push(id);
        }
        let end = |id: &str, attempt: u32, text: &str| End {
            execution: id.to_string(),
            event: Event::Finished {
                at: Some(Placement {
                    agent: "dea-1".into(),
                    attempt,
                }),
                status: Status::Succeeded,
                result: json!({"stdout": text}),
            },
            stored: None,
        };
        let mut ends: Vec<End> = ids[..5].iter().map(|id| end(id, 1, "first")).collect();
        // Told twice; of a placement that never was; of what is gone.
        ends.push(end(&ids[0], 1, "second"));
        ends.push(end(&ids[5], 7, "elsewhere"));
        ends.push(end(&ids::new_id(), 1, "gone"));
        let answers = take_in(site.automation.clone(), ends).await;
        assert_eq!(answers.len(), 8);
        assert!(answers.iter().all(Result::is_ok));
        for id in &ids[..5] {
            let shown = site.get(&format!("/v1/executions/{id}")).await;
            assert_eq!(shown["status"], "succeeded");
            assert_eq!(shown["result"]["stdout"], "first");
        }
        let other = site.get(&format!("/v1/executions/{}", ids[5])).await;
        assert_eq!(other["status"], "running");
        // Each end was told of once.
        let told = Filter::new().equals("trigger_ref", "core.st2.generic.actiontrigger");
        let mut reader = site.automation.ops.store.read().await.unwrap();
        let told = told.count(&mut reader, "trigger_instances").await.unwrap();
        assert_eq!(told, 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_go_away_leave_whole_executions_and_take_nobody_along() {
    for database in databases::each("clients_that_go_away").await {
        let site = ready(&database).await;
        let requests: Vec<_> = (0..90)
            .map(|number| {
                let face = (*site).clone();
                let request = tokio::spawn(async move {
                    let body = json!({"action": "test.noop", "parameters": {"count": number}});
                    face.post("/v1/executions", body).await.expect(201)
                });
                (number, request)
            })
            .collect();
        let mut answered = BTreeSet::new();
        for (number, request) in requests {
            if number % 3 == 0 {
                request.abort();
            }
            match request.await {
                Ok(made) => {
                    answered.insert(made["id"].as_str().unwrap().to_string());
                }
                Err(gone) => assert!(gone.is_cancelled() && number % 3 == 0, "{gone}"),
            }
        }
        assert!(answered.len() >= 60);
        // One more, so that the group of the last who went is over.
        let last = json!({"action": "test.noop"});
        let last = site.post("/v1/executions", last).await.expect(201);
        answered.insert(last["id"].as_str().unwrap().to_string());
        assert!(whole_executions(&site).await.is_superset(&answered));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_of_an_action_is_good_while_its_rows_are_as_they_were() {
    for database in databases::each("what_is_kept_of_an_action").await {
        let mut site = ready(&database).await;
        // Registers the runners.
        site.round().await;
        let run = async |parameters: Value| {
            site.post(
                "/v1/executions",
                json!({"action": "test.noop", "parameters": parameters}),
            )
            .await
        };
        run(json!({"count": 1})).await.expect(201);
        run(json!({"colour": "red"})).await.refused(400);
        // Changed.
        let mut tx = site.automation.ops.store.write("test").await.unwrap();
        let mut action = Action::find(&mut tx, "test.noop").await.unwrap().unwrap();
        action.document["parameters"] = json!({"colour": {"type": "string"}});
        action.update(&mut tx, now()).await.unwrap();
        tx.commit().await.unwrap();
        run(json!({"colour": "red"})).await.expect(201);
        run(json!({"count": 1})).await.refused(400);
        // Its runner switched off, and on again.
        let runner = |enabled: bool| json!({"name": "noop", "enabled": enabled});
        site.put("/v1/runnertypes/noop", runner(false))
            .await
            .expect(200);
        assert!(run(json!({})).await.refused(400).contains("disabled"));
        site.put("/v1/runnertypes/noop", runner(true))
            .await
            .expect(200);
        run(json!({})).await.expect(201);
        // Gone.
        let mut tx = site.automation.ops.store.write("test").await.unwrap();
        assert!(Action::delete(&mut tx, "test.noop").await.unwrap());
        tx.commit().await.unwrap();
        assert!(
            run(json!({}))
                .await
                .refused(400)
                .contains("cannot be found")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_counts_at_once() {
    for database in databases::each("what_is_revoked_counts_at_once").await {
        let site = ready(&database).await;
        let key = site.post("/v1/apikeys", json!({})).await.expect(201);
        let (id, text) = (key["id"].as_str().unwrap(), key["key"].as_str().unwrap());
        let with_key = async || {
            let request = http::Request::post("/v1/executions")
                .header("st2-api-key", text)
                .header("content-type", "application/json")
                .body(axum::body::Body::from(r#"{"action": "test.noop"}"#))
                .unwrap();
            site.send(request).await
        };
        with_key().await.expect(201);
        let path = format!("/v1/apikeys/{id}");
        site.put(&path, json!({"enabled": false})).await.expect(200);
        with_key().await.refused(401);
        site.put(&path, json!({"enabled": true})).await.expect(200);
        with_key().await.expect(201);
        site.call(Method::DELETE, &path, None).await;
        with_key().await.refused(401);
        // A token that has run out, and roles taken away.
        let expired = site
            .automation
            .issue_token("nobody", "nobody", 3600, None)
            .await
            .unwrap();
        let nobody = site.with_token(&expired.text);
        let body = json!({"action": "test.noop"});
        nobody
            .post("/v1/executions", body.clone())
            .await
            .refused(401);
        let admin = site.token.clone();
        let mut tx = site.automation.ops.store.write("test").await.unwrap();
        controller::store::automation::tokens::delete_expired(&mut tx, now() + (1 << 50))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        site.with_token(&admin)
            .post("/v1/executions", body)
            .await
            .refused(401);
    }
}
