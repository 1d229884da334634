//! StackStorm's own ports.

use crate::world::World;
use controller::automation::classic;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An address of the loopback network that nobody else uses: the ports are fixed.
const ADDRESS: &str = "127.91.0.1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_know_a_host_only_find_every_service() {
    let Some(world) = World::start("clients_that_know_a_host_only").await else {
        return;
    };
    let admin = world.admin().await;
    let node = &world.node;
    classic::start(&node.automation, ADDRESS.parse().unwrap(), &node.deps).unwrap();
    world.action("noop", "noop", json!({}), json!({})).await;
    let id = admin.run("check.noop", json!({})).await;
    admin.until(&id, "succeeded").await;
    let ask = async |port: u16, line: String, more: &str| {
        let mut stream = TcpStream::connect((ADDRESS, port)).await.unwrap();
        let token = &admin.token;
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {ADDRESS}\r\nX-Auth-Token: {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(more), "{port} {line}: {answer}");
    };
    ask(
        9100,
        "POST /tokens".into(),
        "Invalid or missing credentials",
    )
    .await;
    ask(9101, "GET /v1/user".into(), "\"username\":\"admin\"").await;
    let output = format!("GET /v1/executions/{id}/output");
    ask(9101, output.clone(), "text/plain").await;
    ask(9102, output, "event: EOF").await;
    let ended = format!("GET /v1/stream?end_event=st2.execution__update&end_execution_id={id}");
    ask(9102, ended, "event: st2.execution__update").await;
}
