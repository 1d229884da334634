//! Messages that make sense and cannot be: of instances nobody ordered, of executions nobody gave, of
//! leaders long gone, in somebody else's name. Each is ignored, and the receiver's log says why.

use crate::garbage::counted;
use crate::phantoms as made;
use crate::wire::{Heard, Wire};
use crate::{LONG, Yard};
use anyhow::{Context, ensure};
use proto::bus::automation::{ActionOutput, AutomationReport, RunningAction, StopSensor};
use proto::bus::{Payload, Topic, catalogue};
use proto::ids::InstanceId;
use std::time::Duration;
use tests::eventually;

const BEAT: Duration = Duration::from_millis(500);

/// Who sends, what, who hears it, the reason it counts, and what its log says beside.
struct Case {
    sender: &'static str,
    subject: String,
    bytes: Vec<u8>,
    receiver: &'static str,
    reason: &'static str,
    log: &'static str,
}

fn case<M: Payload>(
    sender: &'static str,
    topic: &Topic<M>,
    message: M,
    receiver: &'static str,
    reason: &'static str,
    log: &'static str,
) -> Case {
    Case {
        sender,
        subject: topic.subject().to_string(),
        bytes: message.encode(),
        receiver,
        reason,
        log,
    }
}

fn cases() -> Vec<Case> {
    let agent = crate::scenarios::agent();
    let (controller, dea) = ("controller-1", "dea-1");
    vec![
        case(
            controller,
            &catalogue::dea_start_instance(&agent),
            made::start(),
            dea,
            "outdated",
            "the command comes from epoch 1",
        ),
        case(
            controller,
            &catalogue::dea_stop(),
            made::stop(),
            dea,
            "outdated",
            "the command comes from epoch 1",
        ),
        case(
            controller,
            &catalogue::dea_task_run(&agent),
            made::run_task(),
            dea,
            "refused",
            "the command comes from epoch 1",
        ),
        case(
            controller,
            &catalogue::dea_action_run(&agent),
            made::run_action(),
            dea,
            "refused",
            "execution phantom",
        ),
        case(
            controller,
            &catalogue::dea_sensor_run(&agent),
            made::run_sensor(),
            dea,
            "refused",
            "sensor phantom.Watcher",
        ),
        case(
            controller,
            &catalogue::dea_sensor_stop(&agent),
            StopSensor {
                sensor: "phantom.Watcher".to_string(),
                generation: 1,
            },
            dea,
            "nothing of it is here",
            "sensor phantom.Watcher",
        ),
        case(
            dea,
            &catalogue::droplet_exited(),
            made::exited(),
            controller,
            "of no process",
            "instance 00000000000000000000000000c0ffee",
        ),
        case(
            "health-manager-1",
            &catalogue::hm_requests(),
            made::health_request(),
            controller,
            "not so as seen here",
            "",
        ),
        case(
            "stager-1",
            &catalogue::staging_completed(),
            made::staging_completed(),
            controller,
            "of no build",
            "the end of build",
        ),
        case(
            dea,
            &catalogue::app_task_exited(),
            made::task_exited("app"),
            controller,
            "nobody began it",
            "the end of task",
        ),
        case(
            dea,
            &catalogue::staging_task_exited(),
            made::task_exited("staging"),
            "stager-1",
            "of no build",
            "no app at all",
        ),
        case(
            dea,
            &catalogue::action_exited(),
            made::action_exited(),
            controller,
            "of no execution",
            "the end of \"phantom\"",
        ),
        case(
            dea,
            &catalogue::action_output(),
            ActionOutput {
                execution: "phantom".to_string(),
                attempt: 1,
                pieces: Vec::new(),
            },
            controller,
            "of no execution",
            "output of \"phantom\"",
        ),
        case(
            dea,
            &catalogue::automation_report(),
            AutomationReport {
                dea: "no agent at all".to_string(),
                ..AutomationReport::default()
            },
            controller,
            "of no agent",
            "no agent at all",
        ),
        case(
            dea,
            &catalogue::router_register(),
            made::registration(),
            "router-1",
            "rejected",
            "phantom.example.org",
        ),
    ]
}

async fn ignored(yard: &Yard, case: &Case) -> anyhow::Result<()> {
    let before = counted(yard, case.receiver, &case.subject).await?;
    let client = yard.cluster.bus(case.sender).await?;
    client
        .publish(case.subject.clone(), case.bytes.clone().into())
        .await?;
    client.flush().await?;
    eventually("it is ignored", LONG, || async {
        let after = counted(yard, case.receiver, &case.subject).await?;
        ensure!(after.ignored > before.ignored, "{after:?}");
        ensure!(after.malformed == before.malformed, "{after:?}");
        let log = yard.cluster.log(case.receiver);
        let subject = format!("subject=\"{}\"", case.subject);
        let reason = format!("reason=\"{}\"", case.reason);
        let said = log.lines().any(|line| {
            line.contains("a message was ignored")
                && line.contains(&subject)
                && line.contains(&reason)
                && line.contains(case.log)
        });
        ensure!(
            said,
            "its log has no line with {subject} {reason} {:?}",
            case.log
        );
        Ok(())
    })
    .await
}

/// Those that get an answer: what was not ordered is told to stop.
async fn told_to_stop(yard: &Yard) -> anyhow::Result<()> {
    let client = yard.cluster.bus("dea-1").await?;
    let mut beat = made::beat();
    // Another than the one whose end was told.
    beat.droplets[0].instance = InstanceId::new("000000000000000000000000000decaf")?;
    let process = beat.droplets[0].droplet.to_string();
    let report = AutomationReport {
        dea: "dea-77".to_string(),
        actions: vec![RunningAction {
            execution: "phantom".to_string(),
            attempt: 1,
        }],
        ..AutomationReport::default()
    };
    let says = |daemon: &str, words: [&str; 2]| {
        let log = yard.cluster.log(daemon);
        let said = |line: &str| words.iter().all(|word| line.contains(word));
        ensure!(log.lines().any(said), "{daemon} says nothing of {words:?}");
        Ok(())
    };
    eventually("it is told to stop", LONG, || async {
        // By the clock, as agents tell it: one that falls silent is soon lost.
        for (subject, bytes) in [
            (
                catalogue::dea_heartbeat().subject().to_string(),
                beat.encode(),
            ),
            (
                catalogue::automation_report().subject().to_string(),
                report.encode(),
            ),
        ] {
            client.publish(subject, bytes.into()).await?;
        }
        client.flush().await?;
        tokio::time::sleep(BEAT).await;
        says("health-manager-1", ["op=Stop", &process])?;
        says(
            "controller-1",
            ["an agent runs what it was not given", "phantom"],
        )
    })
    .await
}

/// What only another may say does not get as far as a receiver.
async fn in_somebody_elses_name(yard: &Yard) -> anyhow::Result<()> {
    let registration = proto::bus::router::Registration {
        port: Some(1),
        ..made::registration()
    };
    let agents_log = catalogue::log_of(&proto::ids::ComponentId::new("dea-2")?);
    for (who, subject, bytes) in [
        (
            "health-manager-1",
            catalogue::router_register().subject().to_string(),
            registration.encode(),
        ),
        ("dea-1", agents_log.subject().to_string(), Vec::new()),
        (
            "dea-1",
            catalogue::dea_stop().subject().to_string(),
            made::stop().encode(),
        ),
    ] {
        let login = yard.cluster.bus_login(who)?;
        let mut wire = Wire::connect(&login.address, &login).await?;
        wire.publish(&subject, "", &bytes).await?;
        let refused = format!("Permissions Violation for Publish to \"{subject}\"");
        let heard = wire.settle().await?;
        ensure!(heard == [Heard::Refused(refused)], "{who}: {heard:?}");
    }
    let routes = yard.cluster.status_text("router-1", "/routes").await?;
    ensure!(!routes.contains("phantom.example.org"), "{routes}");
    Ok(())
}

pub async fn what_cannot_be_is_ignored_with_its_reason(yard: &Yard) -> anyhow::Result<()> {
    for case in cases() {
        ignored(yard, &case)
            .await
            .with_context(|| format!("{} as {}", case.subject, case.sender))?;
    }
    told_to_stop(yard).await?;
    in_somebody_elses_name(yard).await
}
