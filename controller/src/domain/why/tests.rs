use super::*;
use serde_json::json;

const MINUTE: i64 = 60_000_000;

fn slot(version: &str, index: u32) -> Slot {
    Slot {
        process: "p".into(),
        process_type: "web".into(),
        version: version.into(),
        index,
    }
}

fn decided(at: i64, kind: DecisionKind, version: &str, index: u32) -> Decision {
    Decision {
        at: at * MINUTE,
        kind,
        slot: slot(version, index),
        instance: None,
        agent: None,
        because: "the health manager asks".into(),
        placement: None,
    }
}

fn started(at: i64, version: &str, index: u32, instance: &str, agent: &str) -> Decision {
    Decision {
        instance: Some(instance.into()),
        agent: Some(agent.into()),
        placement: Some("2 of 2 agents have room".into()),
        ..decided(at, DecisionKind::Started, version, index)
    }
}

fn did(at: i64, kind: &str, data: serde_json::Value) -> Deed {
    Deed {
        at: at * MINUTE,
        by: "ada".into(),
        act: read(kind, &data).expect("an act"),
    }
}

fn crash(at: i64, version: &str, index: u32, instance: &str) -> Crash {
    Crash {
        at: at * MINUTE,
        slot: slot(version, index),
        instance: instance.into(),
        agent: Some("dea-2".into()),
        how: "out of memory".into(),
        status: Some(137),
        while_starting: false,
        ran: Some(180.0),
    }
}

fn agent(at: i64, what: AgentChange, by: Option<&str>) -> AgentNews {
    AgentNews {
        at: at * MINUTE,
        agent: "dea-2".into(),
        what,
        by: by.map(str::to_string),
    }
}

/// Pushed at 1, started at 2 on dea-2.
fn pushed() -> Recorded {
    Recorded {
        decisions: vec![started(2, "v1", 1, "i1", "dea-2")],
        deeds: vec![
            did(1, "audit.app.package.upload", json!({"package_guid": "k"})),
            did(
                1,
                "audit.app.build.create",
                json!({"build_guid": "b", "package_guid": "k"}),
            ),
            did(
                1,
                "audit.app.build.staged",
                json!({"build_guid": "b", "package_guid": "k", "droplet_guid": "d"}),
            ),
            did(
                1,
                "audit.app.droplet.mapped",
                json!({"request": {"droplet_guid": "d"}}),
            ),
            did(2, "audit.app.start", json!({})),
        ],
        ..Recorded::default()
    }
}

/// Each outcome in a line, with its causes.
fn told(recorded: &Recorded) -> Vec<String> {
    explain(recorded, 100)
        .iter()
        .map(|outcome| {
            let causes: Vec<String> = outcome
                .causes
                .iter()
                .map(|cause| format!("{}: {}", cause.kind.name(), cause.text))
                .collect();
            format!("{} <- {}", outcome.text, causes.join(" <- "))
        })
        .collect()
}

#[test]
fn a_first_start_is_led_back_to_the_package() {
    assert_eq!(
        told(&pushed()),
        [
            "instance 1 of web was started on dea-2 <- act: ada started the app \
             <- build: a build of ada had made the droplet <- package: ada uploaded a package"
        ]
    );
    let outcome = &explain(&pushed(), 1)[0];
    assert_eq!(outcome.kind, OutcomeKind::Started);
    assert_eq!(
        outcome.placement.as_deref(),
        Some("2 of 2 agents have room")
    );
}

#[test]
fn a_restart_is_led_back_to_the_crash_and_to_what_made_it_run_so() {
    let mut recorded = pushed();
    recorded.deeds.push(did(
        3,
        "audit.app.process.scale",
        json!({"process_type": "web", "request": {"memory_in_mb": 64}}),
    ));
    recorded.deeds.push(did(4, "audit.app.restart", json!({})));
    recorded.decisions.push(started(4, "v2", 1, "i2", "dea-2"));
    recorded.crashes.push(crash(7, "v2", 1, "i2"));
    recorded.decisions.push(started(7, "v2", 1, "i3", "dea-1"));
    assert_eq!(
        told(&recorded)[0],
        "instance 1 of web was started again on dea-1 \
         <- crash: it crashed on dea-2: out of memory (exit status 137) after 3 min \
         <- act: ada restarted the app <- change: ada scaled web: memory 64 MB"
    );
    assert_eq!(explain(&recorded, 1)[0].kind, OutcomeKind::Restarted);
}

#[test]
fn the_crash_of_another_instance_is_no_cause() {
    let mut recorded = pushed();
    recorded.crashes.push(crash(3, "v1", 0, "other"));
    recorded.decisions.push(started(5, "v1", 1, "i3", "dea-1"));
    let restarted = &explain(&recorded, 1)[0];
    assert_eq!(restarted.causes[0].kind, CauseKind::Said);
    assert_eq!(restarted.causes[0].text, "the health manager asks");
}

#[test]
fn what_is_replaced_names_its_agent() {
    for (news, kind, words) in [
        (
            vec![agent(5, AgentChange::Lost, None)],
            CauseKind::AgentLost,
            "its agent dea-2 was lost: it was not heard any more",
        ),
        (
            vec![
                agent(4, AgentChange::DrainAsked, Some("ada")),
                agent(4, AgentChange::Draining, None),
            ],
            CauseKind::AgentDrained,
            "its agent dea-2 is emptied: ada asked for it",
        ),
        (
            vec![agent(4, AgentChange::Draining, None)],
            CauseKind::AgentDrained,
            "its agent dea-2 is emptied",
        ),
        // The start came a moment after.
        (
            vec![AgentNews {
                at: 2 * MINUTE - 1_000_000,
                ..agent(2, AgentChange::DrainAsked, Some("ada"))
            }],
            CauseKind::AgentDrained,
            "its agent dea-2 is emptied: ada asked for it",
        ),
        // Before it was there, or of nobody.
        (
            vec![agent(1, AgentChange::Lost, None)],
            CauseKind::Said,
            "the health manager asks",
        ),
    ] {
        let mut recorded = pushed();
        recorded.agents = news;
        recorded.decisions.push(started(5, "v1", 1, "i3", "dea-1"));
        let restarted = &explain(&recorded, 1)[0];
        assert_eq!(
            (restarted.causes[0].kind, &*restarted.causes[0].text),
            (kind, words)
        );
    }
}

#[test]
fn what_has_no_room_says_why_and_a_wait_that_is_over_is_a_cause() {
    let mut recorded = pushed();
    let refusal = "needs 4096 MB memory; the best agent, dea-1, has 512 MB free";
    recorded.agents.push(agent(5, AgentChange::Lost, None));
    recorded.decisions.push(Decision {
        placement: Some(refusal.into()),
        ..decided(5, DecisionKind::NotPlaced, "v1", 1)
    });
    let waits = &explain(&recorded, 1)[0];
    assert_eq!(waits.kind, OutcomeKind::NotPlaced);
    assert_eq!(waits.placement.as_deref(), Some(refusal));
    assert_eq!(waits.causes[0].kind, CauseKind::AgentLost);
    recorded.decisions.push(started(6, "v1", 1, "i3", "dea-1"));
    let told = told(&recorded);
    assert_eq!(
        told[0],
        format!(
            "instance 1 of web was started again on dea-1 \
             <- waited: it waited 60 s to be placed: {refusal} \
             <- agent_lost: its agent dea-2 was lost: it was not heard any more"
        )
    );
    assert_eq!(told.len(), 2, "the wait is told once");
}

#[test]
fn a_restart_by_a_user_and_a_lost_start_are_told_apart() {
    let mut recorded = pushed();
    recorded.deeds.push(did(
        3,
        "audit.app.process.terminate_instance",
        json!({"process_type": "web", "process_index": 1}),
    ));
    recorded.decisions.push(Decision {
        instance: Some("i1".into()),
        agent: Some("dea-2".into()),
        because: USER_RESTARTS.into(),
        ..decided(3, DecisionKind::Stopped, "v1", 1)
    });
    recorded.decisions.push(started(4, "v1", 1, "i2", "dea-1"));
    recorded.decisions.push(Decision {
        agent: Some("dea-1".into()),
        because: "the agent is gone".into(),
        ..decided(5, DecisionKind::NeverArrived, "v1", 1)
    });
    recorded.decisions.push(started(6, "v1", 1, "i3", "dea-2"));
    assert_eq!(
        told(&recorded)[..3],
        [
            "instance 1 of web was started again on dea-2 <- never_arrived: its start on dea-1 never arrived: the agent is gone",
            "instance 1 of web was started again on dea-1 <- act: ada restarted instance 1 of web",
            "instance 1 of web was stopped on dea-2 <- said: a user restarts this instance <- act: ada restarted instance 1 of web",
        ]
    );
}

#[test]
fn stops_name_who_wanted_them() {
    for (because, kind, data, words) in [
        (
            APP_STOPPED,
            "audit.app.stop",
            json!({}),
            "ada stopped the app",
        ),
        (
            SCALED_IN,
            "audit.app.process.scale",
            json!({"process_type": "web", "request": {"instances": 1}}),
            "ada scaled web: instances 1",
        ),
        (
            NEWER_VERSION,
            "audit.app.restart",
            json!({}),
            "ada restarted the app",
        ),
    ] {
        let mut recorded = pushed();
        recorded.deeds.push(did(3, kind, data));
        recorded.decisions.push(Decision {
            because: because.into(),
            ..decided(3, DecisionKind::Stopped, "v1", 1)
        });
        let stopped = &explain(&recorded, 1)[0];
        assert_eq!(stopped.kind, OutcomeKind::Stopped);
        assert_eq!(
            (stopped.causes[0].text.as_str(), &*stopped.causes[1].text),
            (because, words)
        );
    }
    let mut recorded = pushed();
    recorded
        .agents
        .push(agent(3, AgentChange::DrainAsked, Some("ada")));
    let stop = Decision {
        agent: Some("dea-2".into()),
        because: "its replacement runs".into(),
        ..decided(5, DecisionKind::Stopped, "v1", 1)
    };
    recorded.decisions.push(stop);
    let stopped = &explain(&recorded, 1)[0];
    assert_eq!(stopped.causes[1].kind, CauseKind::AgentDrained);
    // Taken back before: not because of it.
    recorded
        .agents
        .push(agent(4, AgentChange::UndrainAsked, Some("ada")));
    assert_eq!(explain(&recorded, 1)[0].causes.len(), 1);
}

fn deployed() -> Recorded {
    let mut recorded = pushed();
    recorded.deeds.push(did(
        8,
        "audit.app.update",
        json!({"request": {"environment_variables": ["GREETING"]}}),
    ));
    recorded.deeds.push(did(
        9,
        "audit.app.deployment.create",
        json!({"deployment_guid": "y", "droplet_guid": "d"}),
    ));
    recorded.deployments.push(Deployment {
        guid: "y".into(),
        begun_at: 9 * MINUTE,
        ended_at: Some(12 * MINUTE),
        droplet: "d".into(),
        new_process: "q".into(),
        old_process: Some("p".into()),
        error: Some("instance 0 crashed".into()),
    });
    let mut new = started(10, "v2", 0, "i9", "dea-2");
    new.slot.process = "q".into();
    recorded.decisions.push(new);
    recorded
}

#[test]
fn a_deployment_is_found_by_its_process_whatever_else_was_done() {
    let mut recorded = deployed();
    recorded.deployments[0].error = None;
    recorded.deeds.push(did(
        9,
        "audit.app.process.scale",
        json!({"process_type": "web", "request": {"instances": 5}}),
    ));
    assert_eq!(
        told(&recorded)[0],
        "instance 0 of web was started on dea-2 \
         <- deployment: ada began a deployment, which replaces the instances step by step \
         <- change: ada changed variables of the environment: GREETING"
    );
}

#[test]
fn a_deployment_taken_back_names_the_crash_that_ended_it() {
    let mut recorded = deployed();
    let mut died = crash(11, "v2", 0, "i9");
    died.slot.process = "q".into();
    recorded.crashes.push(died);
    let outcome = &explain(&recorded, 1)[0];
    assert_eq!(outcome.kind, OutcomeKind::DeploymentFailed);
    assert_eq!(
        outcome.text,
        "a deployment was taken back: instance 0 crashed"
    );
    let kinds: Vec<CauseKind> = outcome.causes.iter().map(|cause| cause.kind).collect();
    assert_eq!(
        kinds,
        [CauseKind::Crash, CauseKind::Deployment, CauseKind::Change]
    );
}

#[test]
fn a_failed_staging_names_its_error_and_its_package() {
    let mut recorded = pushed();
    recorded.deeds.push(did(
        3,
        "audit.app.package.upload",
        json!({"package_guid": "k2"}),
    ));
    recorded.deeds.push(did(
        3,
        "audit.app.build.create",
        json!({"build_guid": "b2"}),
    ));
    recorded.deeds.push(did(
        4,
        "audit.app.build.failed",
        json!({"build_guid": "b2", "package_guid": "k2", "error": "no buildpack took it"}),
    ));
    assert_eq!(
        told(&recorded)[0],
        "staging failed: no buildpack took it <- build: ada asked for the build <- package: ada uploaded a package"
    );
}

#[test]
fn a_crash_that_nothing_followed_is_told_by_itself() {
    let mut recorded = pushed();
    recorded.crashes.push(crash(3, "v1", 1, "i1"));
    let told = explain(&recorded, 100);
    assert_eq!(told[0].kind, OutcomeKind::Crashed);
    assert_eq!(told[0].causes[0].text, "ada started the app");
    recorded.decisions.push(started(4, "v1", 1, "i2", "dea-2"));
    let told = explain(&recorded, 100);
    assert!(told.iter().all(|it| it.kind != OutcomeKind::Crashed));
}

#[test]
fn the_order_of_the_records_changes_nothing() {
    let forward = deployed();
    let mut backward = deployed();
    backward.decisions.reverse();
    backward.deeds.reverse();
    let (mut forward, mut backward) = (told(&forward), told(&backward));
    // Of the same moment there is no order but the one they came in.
    forward.sort();
    backward.sort();
    assert_eq!(forward, backward);
    assert_eq!(explain(&deployed(), 1).len(), 1);
    assert!(explain(&Recorded::default(), 10).is_empty());
}

#[test]
fn what_explains_nothing_is_no_act() {
    assert_eq!(read("audit.app.ssh-authorized", &json!({})), None);
    assert_eq!(read("audit.app.process.scale", &json!({})), None);
    assert_eq!(
        read("audit.app.update", &json!({"request": {"name": "x"}})),
        None
    );
}

#[test]
fn what_is_started_once_a_deployment_is_over_is_not_led_back_to_it() {
    let mut recorded = deployed();
    recorded.deployments[0].error = None;
    recorded.deeds.push(did(20, "audit.app.stop", json!({})));
    recorded.deeds.push(did(21, "audit.app.start", json!({})));
    let mut new = started(21, "v3", 0, "i10", "dea-1");
    new.slot.process = "q".into();
    recorded.decisions.push(new);
    assert_eq!(
        told(&recorded)[0],
        "instance 0 of web was started on dea-1 <- act: ada started the app"
    );
}
