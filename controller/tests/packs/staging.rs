//! Installing what a pack requires, on a played agent.

use crate::world::World;
use proto::bus::automation::AutomationReport;
use proto::bus::catalogue;
use proto::bus::stream::{
    Ack, RunTask, RunTaskReply, TaskEnd, TaskExited, UploadedOutput, task_input::Source,
};
use proto::ids::DeaId;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Takes one task and ends it: with an archive, or with these last lines.
async fn agent(world: &World, failure: Option<&'static str>) -> tokio::task::JoinHandle<RunTask> {
    let dea = DeaId::new("dea-1").unwrap();
    let bus = world.cluster.connect("dea-1").await;
    let mut tasks = bus
        .subscribe(&catalogue::dea_task_run(&dea).filter())
        .await
        .unwrap();
    bus.flush().await.unwrap();
    let report = AutomationReport {
        dea: dea.to_string(),
        ..AutomationReport::default()
    };
    let reports = bus.clone();
    tokio::spawn(async move {
        while reports
            .publish(&catalogue::automation_report(), &report)
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let blobs = world.cluster.blobs.clone();
    tokio::spawn(async move {
        let received = tasks.next().await.unwrap();
        let task = received.message.clone();
        let reply = RunTaskReply {
            accepted: true,
            ..RunTaskReply::default()
        };
        received.respond(&reply).await.unwrap();
        let archive = b"content and virtualenv".to_vec();
        let mut exited = TaskExited {
            task: task.task.clone(),
            kind: task.kind.clone(),
            dea: dea.to_string(),
            end: TaskEnd::Exited.into(),
            ..TaskExited::default()
        };
        match failure {
            None => {
                let key = format!("uploads/{}/pack.tgz", task.task);
                assert!(task.outputs[0].url.contains(&key));
                let stream =
                    futures_util::stream::iter([Ok::<_, std::io::Error>(archive.clone().into())]);
                blobs.put(&key, stream, u64::MAX).await.unwrap();
                exited.uploaded.push(UploadedOutput {
                    path: task.outputs[0].path.clone(),
                    sha256: controller::blobs::hex(&Sha256::digest(&archive)),
                    size_bytes: archive.len() as u64,
                    ..UploadedOutput::default()
                });
            }
            Some(line) => {
                exited.exit_status = 1;
                exited.last_lines.push(line.to_string());
            }
        }
        // As agents do: until somebody has it.
        let within = Duration::from_secs(5);
        while !bus
            .request::<_, Ack>(&catalogue::app_task_exited(), &exited, within)
            .await
            .is_ok_and(|ack| ack.ok)
        {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        task
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requirements_are_installed_where_the_pack_will_be() {
    for world in World::each("requirements_are_installed_where_the_pack_will_be").await {
        world
            .set(
                "staging/environment",
                json!({"PIP_INDEX_URL": "http://index"}),
            )
            .await;
        let played = agent(&world, None).await;
        let source = world.pack("hello", &[("requirements.txt", "six\n")]);
        world.installed(&[&source]).await;
        let task = played.await.unwrap();
        assert_eq!(
            (task.kind.as_str(), task.app_name.as_str()),
            ("pack", "hello")
        );
        assert_eq!(task.command[2], "/opt/stackyard/pack");
        assert!(
            task.environment
                .contains(&"PIP_INDEX_URL=http://index".to_string())
        );
        assert_eq!(task.inputs[0].path, "/opt/stackyard/pack/content.tgz");
        let Some(Source::Content(script)) = &task.inputs[1].source else {
            panic!("the script is an input");
        };
        assert!(String::from_utf8_lossy(script).contains("requirements.txt"));
        let mut connection = world.cluster.store.read().await.unwrap();
        let pack = controller::store::automation::packs::Pack::find(&mut connection, "hello")
            .await
            .unwrap()
            .unwrap();
        let sum = pack.archive_sha256.unwrap();
        assert_eq!(
            sum,
            controller::blobs::hex(&Sha256::digest(b"content and virtualenv"))
        );
        assert!(
            world
                .cluster
                .blobs
                .size(&format!("packs/{sum}"))
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_requirement_that_fails_fails_the_installation_with_its_words() {
    let Some(world) =
        World::start("a_requirement_that_fails_fails_the_installation_with_its_words").await
    else {
        return;
    };
    let played = agent(
        &world,
        Some("ERROR: No matching distribution found for nothing"),
    )
    .await;
    let source = world.pack("hello", &[("requirements.txt", "nothing\n")]);
    let text = world.not_installed(json!({"packs": [source]})).await;
    assert!(
        text.contains("exit status 1") && text.contains("No matching distribution"),
        "{text}"
    );
    world.get("/v1/packs/hello").await.refused(404);
    played.await.unwrap();
}
