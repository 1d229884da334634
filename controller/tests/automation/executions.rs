//! Executions over HTTP, from request to end.

use crate::world::World;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_shows_nothing_is_refused() {
    let Some(world) = World::start("whoever_shows_nothing_is_refused").await else {
        return;
    };
    let mut nobody = world.admin().await;
    nobody.token.clear();
    let text = nobody.get("/v1/user").await.refused(401);
    assert!(text.contains("One of Token or API key required"), "{text}");
    world.action("noop", "noop", json!({}), json!({})).await;
}
