use super::*;
use proptest::prelude::*;

fn faults(text: &str) -> Vec<String> {
    parse(text).expect_err("must be refused").0
}

#[test]
fn a_manifest_is_read_whole() {
    let manifest = parse(
        "version: 1\napplications:\n- name: shop\n  memory: 64M\n  disk_quota: 1G\n  instances: 2\n  buildpacks: [python]\n  \
         stack: host\n  env: {A: 1, B: true, C: text, D: {e: 1}, F: null}\n  routes:\n  - route: shop.yard.internal/x\n    protocol: http1\n  \
         health-check-type: http\n  health-check-http-endpoint: /health\n  timeout: 30\n  metadata: {labels: {a: b, c: null}}\n  \
         processes:\n  - type: worker\n    instances: 0\n    command: work\n  - type: web\n    memory: 128M\n",
    )
    .unwrap();
    let app = &manifest.apps[0];
    assert_eq!(app.buildpacks, Some(vec!["python".to_string()]));
    assert_eq!(app.stack.as_deref(), Some("host"));
    let env = app.env.clone().unwrap();
    assert_eq!(
        (env["A"].as_str(), env["B"].as_str(), env["D"].as_str()),
        ("1", "true", "{\"e\":1}")
    );
    assert!(!env.contains_key("F"));
    assert_eq!(
        app.routes,
        Some(vec![RouteManifest {
            url: "shop.yard.internal/x".to_string(),
            protocol: Some("http1".to_string()),
            options: None,
        }])
    );
    assert_eq!(app.labels["a"], Some("b".to_string()));
    assert_eq!(app.labels["c"], None);
    let web = &app.processes["web"];
    assert_eq!(
        (web.memory_mb, web.disk_mb, web.instances, web.timeout),
        (Some(128), Some(1024), Some(2), Some(30))
    );
    assert_eq!(web.health_check_endpoint.as_deref(), Some("/health"));
    let worker = &app.processes["worker"];
    assert_eq!(
        (worker.instances, worker.command.clone()),
        (Some(0), Some(Some("work".to_string())))
    );
}

#[test]
fn what_is_not_mentioned_stays() {
    let app = &parse("applications: [{name: a, path: ./x}]").unwrap().apps[0];
    assert_eq!(
        *app,
        AppManifest {
            name: "a".into(),
            ..AppManifest::default()
        }
    );
    let app = &parse("applications: [{name: a, command: null, buildpack: default}]")
        .unwrap()
        .apps[0];
    assert_eq!(app.processes["web"].command, Some(None));
    assert_eq!(app.buildpacks, Some(vec![]));
}

#[test]
fn every_fault_is_told_with_its_app_its_key_and_what_would_fit() {
    let check = |text: &str, parts: &[&str]| {
        let faults = faults(text);
        for part in parts {
            assert!(
                faults.iter().any(|fault| fault.contains(part)),
                "{text}: {part:?} is not in {faults:?}"
            );
        }
    };
    check(
        "applications: [{name: a, memory: 64}]",
        &[
            "For application 'a': 'memory' must be a size",
            "not the number 64",
        ],
    );
    check(
        "applications: [{name: a, instances: many}]",
        &[
            "'instances' must be a whole number from 0",
            "the text \"many\"",
        ],
    );
    check("applications: [{name: a, instances: -1}]", &["'instances'"]);
    check(
        "applications: [{name: a, colour: red}]",
        &["unknown key 'colour'; known: buildpack, buildpacks"],
    );
    check(
        "applications: [{name: a, no-route: yes please}]",
        &["'no-route' must be true or false"],
    );
    check(
        "applications: [{name: a, docker: {image: x}}]",
        &["'docker' is not supported"],
    );
    check(
        "applications: [{name: a, features: {ssh: true}}]",
        &["'features' is not supported"],
    );
    check(
        "applications: [{name: a, services: [5]}]",
        &["'services' must be a list of names"],
    );
    check(
        "applications: [{name: a, services: [db, {name: db}]}]",
        &["the service 'db' is there twice"],
    );
    check(
        "applications: [{name: a, services: [{name: db, binding_name: 'a b', parameters: {x: 1}, strategy: multiple, y: 1}]}]",
        &[
            "'binding_name' of a service",
            "parameters of a service",
            "only be \"single\"",
            "unknown key 'y' of a service",
        ],
    );
    check(
        "applications: [{name: a, routes: [x]}]",
        &["a list of mappings with the key 'route'"],
    );
    check(
        "applications: [{name: a, routes: [{route: x.y, protocol: spdy}]}]",
        &["\"spdy\" is not supported"],
    );
    check(
        "applications: [{name: a, env: {PORT: 1, VCAP_X: 2}}]",
        &["cannot set PORT", "cannot set 'VCAP_X'"],
    );
    check(
        "applications: [{name: a, health-check-type: ping}]",
        &["\"port\", \"process\" or \"http\""],
    );
    check(
        "applications: [{name: a, processes: [{memory: 1G}]}]",
        &["'type' must be"],
    );
    check(
        "applications: [{name: a, processes: [{type: web, color: 1}]}]",
        &["process 'web': unknown key 'color'"],
    );
    check(
        "applications: [{name: a, log-rate-limit-per-second: 1K}]",
        &["log-rate-limit-per-second"],
    );
    check(
        "applications: [{memory: 1G}]",
        &["at index 0: 'name' must be"],
    );
    check(
        "applications: [{name: a}, {name: a}]",
        &["the name is there twice"],
    );
    check("applications: []", &["at least one app"]);
    check("applications: 5", &["must be a list"]);
    check(
        "version: 2\napplications: [{name: a}]",
        &["'version' must be 1"],
    );
    check(
        "apps: []",
        &["unknown key 'apps'", "'applications' must be"],
    );
    check("- a", &["must be a mapping"]);
    check("a: [", &["not valid YAML"]);
    check("applications: [{name: a, memory: &m 1G}]", &["Anchors"]);
    check("applications: [{name: !x a}]", &["tags"]);
}

#[test]
fn services_are_named_alone_or_with_what_the_app_calls_them() {
    let manifest = parse(
        "applications: [{name: a, services: [db, {name: cache, binding_name: sessions, parameters: {}, strategy: single}]}]",
    )
    .unwrap();
    let service = |name: &str, binding_name: Option<&str>| ServiceManifest {
        name: name.into(),
        binding_name: binding_name.map(str::to_string),
    };
    assert_eq!(
        manifest.apps[0].services,
        [service("db", None), service("cache", Some("sessions"))]
    );
}

#[test]
fn several_faults_are_told_at_once() {
    assert_eq!(
        faults("applications: [{name: a, memory: 1, instances: x}, {name: b, x: 1}]").len(),
        3
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z:\\-{}\\[\\] \n&*|>'\"#]{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn sizes_are_rounded_up_to_megabytes(megabytes in 1u64..100_000) {
        let text = format!("applications: [{{name: a, memory: {megabytes}M}}]");
        prop_assert_eq!(parse(&text).unwrap().apps[0].processes["web"].memory_mb, Some(megabytes));
    }
}
