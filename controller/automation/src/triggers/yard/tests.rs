use super::*;
use crate::documents::timestamp;
use std::collections::BTreeSet;

fn name(name: &str) -> Named {
    Named {
        guid: format!("{name}-guid"),
        name: name.to_owned(),
    }
}

fn place() -> AppPlace {
    AppPlace {
        app: name("shop"),
        space: name("dev"),
        organization: name("acme"),
    }
}

/// One of each; optional fields filled in or not.
fn samples(full: bool) -> Vec<PlatformEvent> {
    let at = || timestamp(1_700_000_000_000);
    let maybe = |text: &str| full.then(|| text.to_owned());
    vec![
        AppCrashed {
            at: at(),
            place: place(),
            process_type: "web".into(),
            index: 0,
            instance: "i".into(),
            node: maybe("n1"),
            exit_status: full.then_some(-9),
            reason: "killed".into(),
            crash_count: 1,
        }
        .into(),
        AppFlapping {
            at: at(),
            place: place(),
            process_type: "web".into(),
            index: 0,
            crash_count: 4,
            next_start_at: full.then(at),
        }
        .into(),
        AppStaged {
            at: at(),
            place: place(),
            build: "b".into(),
            package: "p".into(),
            droplet: "d".into(),
            buildpack: maybe("python"),
            duration_ms: 5,
        }
        .into(),
        AppStagingFailed {
            at: at(),
            place: place(),
            build: "b".into(),
            package: "p".into(),
            error: "no buildpack wants it".into(),
            duration_ms: 5,
        }
        .into(),
        DeploymentFinished {
            at: at(),
            place: place(),
            deployment: "x".into(),
            strategy: "rolling".into(),
            droplet: "d".into(),
            duration_ms: 5,
        }
        .into(),
        DeploymentFailed {
            at: at(),
            place: place(),
            deployment: "x".into(),
            strategy: "rolling".into(),
            droplet: "d".into(),
            previous_droplet: maybe("c"),
            reason: "the new instances crash".into(),
        }
        .into(),
        InstanceOutOfMemory {
            at: at(),
            place: place(),
            process_type: "web".into(),
            index: 2,
            instance: "i".into(),
            node: maybe("n1"),
            memory_limit_mb: 64,
        }
        .into(),
        NodeLost {
            at: at(),
            node: "n1".into(),
            address: maybe("10.0.0.1"),
            last_seen_at: at(),
            instances: 3,
        }
        .into(),
        NodeJoined {
            at: at(),
            node: "n1".into(),
            address: maybe("10.0.0.1"),
            memory_mb: 4096,
            returned: true,
        }
        .into(),
        NodeDraining {
            at: at(),
            node: "n1".into(),
            left: 3,
            until: at(),
        }
        .into(),
        NodeDrained {
            at: at(),
            node: "n1".into(),
            since: at(),
        }
        .into(),
        DiskLow {
            at: at(),
            component: "dea-1".into(),
            folder: "/data/dea-1".into(),
            free_bytes: 1024,
            total_bytes: 1 << 30,
            since: at(),
        }
        .into(),
        DiskRecovered {
            at: at(),
            component: "dea-1".into(),
            folder: "/data/dea-1".into(),
            since: at(),
        }
        .into(),
        ClockJumped {
            at: at(),
            component: "dea-1".into(),
            seconds: -86_400.25,
            jumped_at: at(),
        }
        .into(),
        ConfigChanged {
            at: at(),
            key: "router/access_log/enabled".into(),
            component: maybe("router-2"),
            value: json!(false),
            previous: if full { json!(true) } else { Value::Null },
            user: "ada".into(),
            restart_needed: false,
        }
        .into(),
        CertificateIssued {
            at: at(),
            domain: "shop.example".into(),
            source: "listed".into(),
            directory: "https://ca.example/directory".into(),
            not_after: at(),
            renewed: full,
        }
        .into(),
        CertificateFailed {
            at: at(),
            domain: "shop.example".into(),
            source: "route".into(),
            directory: "https://ca.example/directory".into(),
            reason: "refused".into(),
            failures: 2,
            next_attempt_at: at(),
            not_after: full.then(at),
        }
        .into(),
        RouteErrors {
            at: at(),
            host: "shop.example".into(),
            app: full.then(|| name("shop")),
            space: full.then(|| name("dev")),
            organization: full.then(|| name("acme")),
            requests: 100,
            errors: 10,
            rate: 0.1,
            window_seconds: 60,
        }
        .into(),
        RouteRate {
            at: at(),
            place: place(),
            requests: 300,
            requests_per_second: 5.0,
            previous_requests_per_second: if full { 2.5 } else { 0.0 },
            window_seconds: 60,
        }
        .into(),
        TaskFinished {
            at: at(),
            place: place(),
            task: "t".into(),
            sequence_id: 3,
            name: "migrate".into(),
            succeeded: !full,
            exit_status: full.then_some(1),
            reason: maybe("exited with status 1"),
            node: maybe("n1"),
            duration_ms: full.then_some(5),
        }
        .into(),
        QuotaExceeded {
            at: at(),
            quota: name("small"),
            scope: "organization".into(),
            limit: "apps.total_memory_in_mb".into(),
            allowed: 1024,
            used: 768,
            asked: 512,
            organization: name("acme"),
            space: full.then(|| name("dev")),
            app: full.then(|| name("shop")),
            user: "alice".into(),
        }
        .into(),
        ServiceCreated {
            at: at(),
            service: name("db"),
            kind: "user-provided".into(),
            space: name("dev"),
            organization: name("acme"),
            user: "alice".into(),
        }
        .into(),
        ServiceUpdated {
            at: at(),
            service: name("db"),
            kind: "user-provided".into(),
            changed: maybe("credentials").into_iter().collect(),
            space: name("dev"),
            organization: name("acme"),
            user: "alice".into(),
        }
        .into(),
        ServiceDeleted {
            at: at(),
            service: name("db"),
            kind: "user-provided".into(),
            space: name("dev"),
            organization: name("acme"),
            user: "alice".into(),
        }
        .into(),
        ServiceBound {
            at: at(),
            place: place(),
            service: name("db"),
            kind: "user-provided".into(),
            binding: "b".into(),
            binding_name: maybe("main"),
            user: "alice".into(),
        }
        .into(),
        ServiceUnbound {
            at: at(),
            place: place(),
            service: name("db"),
            kind: "user-provided".into(),
            binding: "b".into(),
            binding_name: maybe("main"),
            user: "alice".into(),
        }
        .into(),
    ]
}

#[test]
fn every_payload_obeys_its_schema_and_has_all_its_fields() {
    let types = types();
    for full in [true, false] {
        let samples = samples(full);
        assert_eq!(samples.len(), types.len(), "a sample of each");
        for (event, kind) in samples.iter().zip(&types) {
            assert_eq!(event.name(), kind.name);
            let payload = event.payload();
            assert_eq!(kind.check_payload(&payload), Ok(()), "{}", kind.name);
            let has: BTreeSet<&String> = payload.as_object().expect("an object").keys().collect();
            let says: BTreeSet<&String> = kind.payload_schema["properties"]
                .as_object()
                .expect("properties")
                .keys()
                .collect();
            assert_eq!(has, says, "{}", kind.name);
        }
    }
}

#[test]
fn a_payload_of_another_shape_is_refused() {
    for (event, kind) in samples(true).iter().zip(types()) {
        let mut payload = event.payload();
        payload["unheard_of"] = json!(1);
        assert!(kind.check_payload(&payload).is_err(), "{}", kind.name);
        let mut payload = event.payload();
        payload.as_object_mut().expect("an object").remove("at");
        assert!(kind.check_payload(&payload).is_err(), "{}", kind.name);
    }
}

#[test]
fn the_names_are_those_of_the_contract() {
    let names: Vec<String> = types().iter().map(TriggerType::reference).collect();
    assert_eq!(
        names,
        [
            "yard.app.crashed",
            "yard.app.flapping",
            "yard.app.staged",
            "yard.app.staging_failed",
            "yard.deployment.finished",
            "yard.deployment.failed",
            "yard.instance.oom",
            "yard.node.lost",
            "yard.node.joined",
            "yard.node.draining",
            "yard.node.drained",
            "yard.disk.low",
            "yard.disk.recovered",
            "yard.clock.jumped",
            "yard.config.changed",
            "yard.certificate.issued",
            "yard.certificate.failed",
            "yard.route.errors",
            "yard.route.rate",
            "yard.task.finished",
            "yard.quota.exceeded",
            "yard.service.created",
            "yard.service.updated",
            "yard.service.deleted",
            "yard.service.bound",
            "yard.service.unbound",
        ]
    );
}
