//! Roles: what they permit, and who gives them.

use crate::world::World;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_may_do_follows_from_his_roles() {
    for world in World::each("what_somebody_may_do_follows_from_his_roles").await {
        let admin = world.admin().await;
        let ada = world.user("ada", &[]).await;
        let bob = world.user("bob", &["observer"]).await;
        world.action("noop", "noop", json!({}), json!({})).await;
        let run = json!({"action": "check.noop"});
        let text = ada.get("/v1/executions").await.refused(403);
        assert!(text.contains("execution_list"), "{text}");
        bob.get("/v1/executions").await.expect(200);
        let text = bob.post("/v1/executions", run.clone()).await.refused(403);
        assert!(text.contains("action_execute"), "{text}");
        ada.get("/v1/stream").await.refused(403);
        bob.get("/v1/rbac/role_assignments").await.refused(403);
        bob.post(
            "/v1/rbac/role_assignments",
            json!({"role": "admin", "user": "bob"}),
        )
        .await
        .refused(403);

        let wanted = json!({"role": "operator", "user": "ada", "description": "on call"});
        let path = "/v1/rbac/role_assignments";
        let given = admin.post(path, wanted.clone()).await.expect(201);
        admin.post(path, wanted).await.refused(409);
        admin
            .post(path, json!({"role": "king", "user": "ada"}))
            .await
            .refused(400);
        admin
            .post(path, json!({"role": "admin", "user": "zoe"}))
            .await
            .refused(400);
        ada.post("/v1/executions", run.clone()).await.expect(201);
        let listed = admin.get(&format!("{path}?user=ada")).await.expect(200);
        assert_eq!(listed, json!([given]));
        assert_eq!(given["is_remote"], false);
        let one = format!("{path}/{}", given["id"].as_str().unwrap());
        assert_eq!(admin.get(&one).await.expect(200), given);
        assert_eq!(admin.delete(&one).await.status, 204);
        admin.get(&one).await.refused(404);
        ada.post("/v1/executions", run).await.refused(403);

        let roles = bob.get("/v1/rbac/roles?system=True").await.expect(200);
        let names: Vec<&Value> = roles
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["name"])
            .collect();
        assert_eq!(names, ["system_admin", "admin", "operator", "observer"]);
        let id = roles[3]["id"].as_str().unwrap();
        assert_eq!(
            bob.get(&format!("/v1/rbac/roles/{id}")).await.expect(200)["name"],
            "observer"
        );
        let words = bob
            .get("/v1/rbac/permission_types/execution")
            .await
            .expect(200);
        assert!(words.as_array().unwrap().contains(&json!("execution_stop")));
        let groups = bob.get("/v1/service_registry/groups").await.expect(200);
        let groups = groups["groups"].as_array().unwrap().clone();
        assert!(
            groups.contains(&json!("api")) && groups.contains(&json!("rulesengine")),
            "{groups:?}"
        );
        let members = bob
            .get("/v1/service_registry/groups/api/members")
            .await
            .expect(200);
        assert_eq!(members["members"][0]["member_id"], "controller-1");
        bob.get("/v1/service_registry/groups/none/members")
            .await
            .refused(404);
        let text = bob
            .post("/v1/workflows/inspect", json!({}))
            .await
            .refused(501);
        assert!(text.contains("not supported yet"), "{text}");
    }
}
