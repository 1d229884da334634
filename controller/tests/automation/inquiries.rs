//! Inquiries: asked, answered, too late.

use crate::world::World;
use controller::store::automation::executions::Execution;
use controller::store::automation::trigger_instances::TriggerInstance;
use controller::store::query::Filter;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_waits_for_an_answer_of_those_who_are_asked() {
    for world in World::each("a_question_waits_for_an_answer").await {
        let admin = world.admin().await;
        let (ada, bob) = (
            world.user("ada", &["operator"]).await,
            world.user("bob", &["operator"]).await,
        );
        world.action("ask", "inquirer", json!({}), json!({})).await;
        let schema = json!({"type": "object", "properties": {
            "pin": {"type": "string", "secret": true, "required": true}, "go": {"type": "boolean"},
        }});
        let parameters = json!({"schema": schema, "users": ["ada"], "route": "ops", "ttl": 5});
        let id = admin.run("check.ask", parameters).await;
        admin.until(&id, "pending").await;
        let open = bob.get("/v1/inquiries/?limit=50").await;
        assert_eq!(open.header("x-total-count"), Some("1"));
        let question = open.expect(200)[0].clone();
        assert_eq!(question["id"], id.as_str());
        assert_eq!(
            (&question["route"], &question["ttl"], &question["users"]),
            (&json!("ops"), &json!(5), &json!(["ada"]))
        );
        assert_eq!(question["schema"], schema);
        let filter = Filter::new().equals("trigger_ref", "core.st2.generic.inquiry");
        let asked = TriggerInstance::fetch(
            &mut world.cluster.store.read().await.unwrap(),
            filter,
            "test",
        )
        .await
        .unwrap();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].payload.0, json!({"id": id, "route": "ops"}));

        let path = format!("/v1/inquiries/{id}");
        let answer = json!({"id": id, "response": {"pin": "1234", "go": true}});
        let text = bob.put(&path, answer.clone()).await.refused(403);
        assert!(text.contains("\"bob\" does not have permission"), "{text}");
        let text = ada
            .put(&path, json!({"response": {"pin": 5}}))
            .await
            .refused(400);
        assert!(text.contains("did not pass schema validation"), "{text}");
        ada.put(&path, json!({})).await.refused(400);
        assert_eq!(ada.put(&path, answer.clone()).await.expect(200), answer);
        let done = admin.until(&id, "succeeded").await;
        assert_eq!(
            done["result"]["response"],
            json!({"pin": "********", "go": true})
        );
        let text = ada.put(&path, answer).await.refused(400);
        assert!(text.contains("has already been responded to"), "{text}");
        assert_eq!(ada.get("/v1/inquiries").await.expect(200), json!([]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_nobody_answers_times_out() {
    let Some(world) = World::start("a_question_that_nobody_answers_times_out").await else {
        return;
    };
    let admin = world.admin().await;
    world.action("ask", "inquirer", json!({}), json!({})).await;
    world.action("noop", "noop", json!({}), json!({})).await;
    let id = admin.run("check.ask", json!({"ttl": 1})).await;
    admin.until(&id, "pending").await;
    // The minute passes.
    let mut tx = world.cluster.store.write("test").await.unwrap();
    let mut row = Execution::find(&mut tx, &id).await.unwrap().unwrap();
    row.life.0.since -= 61_000;
    let life = row.life.0.clone();
    row.set_life(life, &Default::default());
    row.update(&mut tx, crate::cluster::now()).await.unwrap();
    tx.commit().await.unwrap();
    admin.until(&id, "timeout").await;
    let path = format!("/v1/inquiries/{id}");
    let text = admin
        .put(&path, json!({"response": {"continue": true}}))
        .await
        .refused(400);
    assert!(text.contains("timed out"), "{text}");
    let other = admin.run("check.noop", json!({})).await;
    admin
        .get(&format!("/v1/inquiries/{other}"))
        .await
        .refused(400);
}
