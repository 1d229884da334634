//! Commands of chat: aliases, what they match, what they run, who is told.

use crate::cluster::eventually;
use crate::world::World;
use controller::store::automation::trigger_instances::TriggerInstance;
use controller::store::query::Filter;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_finds_its_alias_and_runs_its_action() {
    for world in World::each("a_command_finds_its_alias").await {
        let admin = world.admin().await;
        let parameters = json!({"app": {"type": "string"}, "count": {"type": "integer"}, "zone": {"type": "string"}});
        world.action("scale", "noop", parameters, json!({})).await;
        let mut events = admin.stream("/v1/stream?events=st2.actionalias__*").await;
        let alias = json!({
            "pack": "check", "name": "scale", "action_ref": "check.scale", "description": "Scales.",
            "formats": [{"display": "scale <app> to <count>", "representation": ["scale {{ app }} to {{ count }}"]},
                        {"display": "many", "representation": ["(?:^|\\s+)(?P<app>app-[a-z]+)(?:$|\\b)"], "match_multiple": true}],
            "ack": {"format": "Scaling {{ execution.parameters.app }}.", "extra": {"slack": {"color": "{{ execution.status }}"}}},
            "immutable_parameters": {"zone": "{{ action_context.source_channel }}"},
        });
        let made = admin
            .post("/v1/actionalias", alias.clone())
            .await
            .expect(201);
        assert_eq!(
            (&made["ref"], &made["enabled"]),
            (&json!("check.scale"), &json!(true))
        );
        let (name, document) = events.next().await.unwrap();
        assert_eq!(name, "st2.actionalias__create");
        assert_eq!(document["id"], made["id"]);
        admin.post("/v1/actionalias", alias).await.refused(409);

        let command = json!({"command": "scale web to 3"});
        let found = admin
            .post("/v1/actionalias/match", command)
            .await
            .expect(200);
        assert_eq!(found["representation"], "scale {{ app }} to {{ count }}");
        assert_eq!(found["actionalias"]["id"], made["id"]);
        let command = json!({"command": "dance"});
        let text = admin
            .post("/v1/actionalias/match", command)
            .await
            .refused(400);
        assert_eq!(text, "Command 'dance' matched no patterns");
        let help = admin
            .get("/v1/actionalias/help?filter=SCALE")
            .await
            .expect(200);
        assert_eq!(
            help,
            json!({"available": 1, "helpstrings": {"check": [{"display": "scale <app> to <count>", "description": "Scales."}]}})
        );

        let given = json!({"command": "scale web to 3", "user": "ada", "source_channel": "ops", "source_context": {"ts": 1}});
        let ran = admin
            .post("/v1/aliasexecution/match_and_execute", given)
            .await
            .expect(201);
        let ran = &ran["results"][0];
        assert_eq!(ran["message"], "Scaling web.");
        assert_eq!(ran["extra"]["slack"]["color"], "requested");
        let execution = &ran["execution"];
        assert_eq!(
            execution["parameters"],
            json!({"app": "web", "count": 3, "zone": "ops"})
        );
        assert_eq!(execution["context"]["api_user"], "ada");
        assert_eq!(execution["context"]["user"], "admin");
        assert_eq!(execution["context"]["source_channel"], "ops");
        assert_eq!(
            execution["context"]["action_alias_ref"]["ref"],
            "check.scale"
        );
        let id = execution["id"].as_str().unwrap();
        admin.until(id, "succeeded").await;
        let told = eventually("the chat is told", async || {
            let filter = Filter::new().equals("trigger_ref", "core.st2.generic.notifytrigger");
            let mut reader = world.cluster.store.read().await.unwrap();
            let found = TriggerInstance::fetch(&mut reader, filter, "test")
                .await
                .unwrap();
            found
                .into_iter()
                .next()
                .ok_or_else(|| "not yet".to_string())
        })
        .await;
        assert_eq!(told.payload["route"], "chatops");
        assert_eq!(told.payload["execution_id"], id);
        assert_eq!(told.payload["data"]["user"], "ada");
        assert_eq!(told.payload["data"]["source_context"], json!({"ts": 1}));

        let given = json!({"name": "scale", "format": "scale {{ app }} to {{ count }}", "command": "scale db to 1", "source_channel": "x"});
        let ran = admin.post("/v1/aliasexecution", given).await.expect(201);
        assert_eq!(ran["execution"]["parameters"]["app"], "db");
        let given = json!({"name": "scale", "format": "none", "command": "scale db to 1"});
        admin.post("/v1/aliasexecution", given).await.refused(400);
        let given = json!({"command": "look at app-web and app-db", "source_channel": "x"});
        let ran = admin
            .post("/v1/aliasexecution/match_and_execute", given)
            .await
            .expect(201);
        let apps: Vec<_> = ran["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["execution"]["parameters"]["app"].clone())
            .collect();
        assert_eq!(apps, [json!("app-web"), json!("app-db")]);

        let mut changed = admin.get("/v1/actionalias/check.scale").await.expect(200);
        changed["enabled"] = json!(false);
        admin
            .put("/v1/actionalias/check.scale", changed)
            .await
            .expect(200);
        assert_eq!(events.next().await.unwrap().0, "st2.actionalias__update");
        let command = json!({"command": "scale web to 3"});
        admin
            .post("/v1/actionalias/match", command)
            .await
            .refused(400);
        assert_eq!(
            admin.delete("/v1/actionalias/check.scale").await.status,
            204
        );
        assert_eq!(events.next().await.unwrap().0, "st2.actionalias__delete");
    }
}
