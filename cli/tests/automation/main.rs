//! What `yard`'s verbs of automation ask of the cluster, print and exit with.

mod fake;

use fake::{Cluster, counted, events, json_of, ok, plain};
use serde_json::{Value, json};
use std::path::Path;

fn execution(status: &str, result: Value) -> Value {
    json!({ "id": "e1", "status": status, "action": { "ref": "core.local" }, "elapsed_seconds": 0.5, "context": { "user": "admin" },
        "start_timestamp": "2026-03-04T05:06:07.000000Z", "parameters": { "cmd": "date" }, "result": result })
}

/// A cluster with the action core.local, whose execution e1 ends so.
fn with_action(status: &str, result: Value) -> Cluster {
    Cluster::start()
        .on(
            "GET /api/v1/actions/core.local",
            ok(json!({ "id": "a1", "ref": "core.local", "runner_type": "local-shell-cmd", "description": "Runs a command.", "enabled": true,
                "parameters": { "cmd": { "type": "string", "required": true, "position": 0 } } })),
        )
        .on(
            "GET /api/v1/runnertypes",
            ok(json!([{ "name": "local-shell-cmd", "runner_parameters": { "timeout": { "type": "integer", "default": 60 } } }])),
        )
        .on("POST /api/v1/executions", json_of(201, execution("requested", Value::Null)))
        .on("GET /api/v1/executions/e1", ok(execution("running", Value::Null)))
        .on("GET /api/v1/executions/e1", ok(execution(status, result)))
        .on("GET /stream/v1/stream", events(&[]))
}

#[test]
fn an_action_runs_with_typed_parameters_to_its_end() {
    let cluster = with_action(
        "succeeded",
        json!({ "stdout": "noon", "stderr": "", "return_code": 0 }),
    );
    let ended = cluster.yard(&[
        "run",
        "core.local",
        "date",
        "timeout=5",
        "--delay",
        "2s",
        "--trace-tag",
        "t",
    ]);
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains("core.local succeeded in 500ms  (e1)"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("stdout: noon"), "{}", ended.stdout);
    let call = cluster.call("POST /api/v1/executions");
    assert!(call.host.starts_with("st2.fake.internal:"), "{}", call.host);
    assert_eq!(call.authorization, "bearer only");
    assert_eq!(
        call.json(),
        json!({ "action": "core.local", "parameters": { "cmd": "date", "timeout": 5 }, "delay": 2000,
            "context": { "trace_context": { "trace_tag": "t" } } })
    );
    assert_eq!(
        cluster.call("GET /api/v1/runnertypes").line,
        "GET /api/v1/runnertypes?name=local-shell-cmd"
    );
}

#[test]
fn how_an_action_ends_is_the_exit_code() {
    for (status, code) in [
        ("succeeded", 0),
        ("failed", 1),
        ("canceled", 1),
        ("abandoned", 1),
        ("timeout", 8),
    ] {
        let cluster = with_action(status, json!({ "return_code": 3 }));
        let ended = cluster.yard(&["run", "core.local", "cmd=x", "--json"]);
        assert_eq!(ended.code, code, "{status}: {}", ended.stderr);
        assert_eq!(
            ended.json()["status"],
            status,
            "the result is there all the same"
        );
        assert_eq!(
            ended.stderr.contains("error: core.local"),
            code != 0,
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn wrong_parameters_are_told_all_at_once_and_nothing_is_run() {
    let cluster = with_action("succeeded", Value::Null);
    let ended = cluster.yard(&["run", "core.local", "timeout=soon", "colour=red"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended
            .stderr
            .contains("timeout: \"soon\" is not a whole number"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("there is no parameter colour"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("it takes cmd, timeout"),
        "{}",
        ended.stderr
    );
    assert!(
        !cluster
            .calls()
            .iter()
            .any(|call| call.line.starts_with("POST"))
    );
    let ended = cluster.yard(&["run", "core.nothing"]);
    assert_eq!(ended.code, 7);
    assert!(
        ended.stderr.contains("there is no action core.nothing"),
        "{}",
        ended.stderr
    );
}

#[test]
fn output_is_shown_while_it_comes_and_not_twice() {
    let piece = |kind: &str, data: &str| json!({ "output_type": kind, "data": data });
    let cluster = with_action(
        "succeeded",
        json!({ "stdout": "one\ntwo", "return_code": 0 }),
    )
    .on(
        "GET /stream/v1/executions/e1/output",
        events(&[
            ("st2.execution.output__create", piece("stdout", "one\n")),
            ("st2.execution.output__create", piece("stderr", "oops\n")),
            ("st2.execution.output__create", piece("stdout", "two\n")),
            ("EOF", json!("")),
        ]),
    );
    let ended = cluster.yard(&["run", "core.local", "cmd=x", "--tail"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended.stdout.starts_with("one\ntwo\ncore.local succeeded"),
        "{}",
        ended.stdout
    );
    assert!(
        !ended.stdout.contains("stdout:") && ended.stderr == "oops\n",
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let ended = cluster.yard(&["execution", "output", "e1", "--follow", "--json"]);
    assert_eq!(ended.json()["id"], "e1");
    assert_eq!(ended.stderr, "one\noops\ntwo\n");
}

#[test]
fn executions_are_listed_shown_canceled_and_run_again() {
    let cluster = with_action("failed", json!({ "stderr": "no room", "return_code": 1 }))
        .on(
            "GET /api/v1/executions",
            counted(7, json!([execution("failed", Value::Null)])),
        )
        .on("GET /api/v1/executions/e1/output", plain("no room\n"))
        .on(
            "DELETE /api/v1/executions/e1",
            ok(json!({ "faultstring": "Action cannot be canceled. State = failed." })),
        )
        .on(
            "POST /api/v1/executions/e1/re_run",
            json_of(201, execution("requested", Value::Null)),
        );
    let ended = cluster.yard(&["execution", "list", "--status", "failed", "-n", "1"]);
    assert!(
        ended.stdout.contains("core.local") && ended.stdout.contains("(1 of 7; -n 7 shows all)"),
        "{}",
        ended.stdout
    );
    let line = cluster.call("GET /api/v1/executions?").line;
    assert!(
        line.contains("status=failed&parent=null&sort_desc=True") && line.ends_with("limit=1"),
        "{line}"
    );
    let ended = cluster.yard(&["execution", "show", "last"]);
    assert_eq!(
        ended.code, 0,
        "showing a failed execution is no failure: {}",
        ended.stderr
    );
    let ended = cluster.yard(&["execution", "output", "e1"]);
    assert_eq!(ended.stdout, "no room\n");
    let ended = cluster.yard(&["execution", "cancel", "e1"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("State = failed"), "{}", ended.stderr);
    let ended = cluster.yard(&[
        "execution",
        "rerun",
        "e1",
        "cmd=date -u",
        "--async",
        "--json",
    ]);
    assert_eq!(ended.json()["id"], "e1", "{}", ended.stderr);
    assert_eq!(
        cluster.call("POST /api/v1/executions/e1/re_run").json(),
        json!({ "parameters": { "cmd": "date -u" } })
    );
}

#[test]
fn a_resource_is_switched_by_sending_all_of_it_back() {
    let rule = json!({ "id": "r1", "ref": "web.greet", "uid": "rule:web:greet", "pack": "web", "name": "greet", "enabled": false });
    let cluster = Cluster::start()
        .on("GET /api/v1/rules/web.greet", ok(rule.clone()))
        .on("PUT /api/v1/rules/r1", ok(rule));
    let ended = cluster.yard(&["rule", "enable", "web.greet"]);
    assert_eq!(ended.stdout, "web.greet is enabled\n", "{}", ended.stderr);
    assert_eq!(
        cluster.call("PUT /api/v1/rules/r1").json(),
        json!({ "id": "r1", "uid": "rule:web:greet", "pack": "web", "name": "greet", "enabled": true })
    );
    let ended = cluster.yard(&["rule", "show", "web.other", "--json"]);
    assert_eq!(ended.code, 7);
    assert_eq!(
        ended.json()["error"]["message"],
        "there is no rule web.other"
    );
}

#[test]
fn a_rule_is_tested_criterion_by_criterion() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(
        folder.path().join("rule.yaml"),
        "name: greet\nenabled: yes\n",
    )
    .expect("a file");
    std::fs::write(folder.path().join("payload.json"), r#"{"n": 2}"#).expect("a file");
    let reason = json!({ "key": "trigger.n", "operator": "gt", "pattern": 3, "value": 2, "matched": false, "failure": null });
    let cluster = Cluster::start()
        .on(
            "POST /api/v1/rules/test",
            ok(json!({ "matched": false, "note": null, "reasons": [reason], "failures": [] })),
        )
        .on(
            "POST /api/v1/rules/replay",
            ok(json!({ "instances": 3, "matched": 1, "failed": 0, "more": false, "first_matches": [], "first_failures": [] })),
        );
    let ended = cluster.yard_with(
        &[
            "rule",
            "test",
            "--rule",
            "rule.yaml",
            "--payload",
            "payload.json",
        ],
        "",
        folder.path(),
    );
    assert_eq!(ended.code, 1);
    assert!(
        ended.stdout.contains("fails  trigger.n gt 3: it is 2"),
        "{}",
        ended.stdout
    );
    assert_eq!(
        cluster.call("POST /api/v1/rules/test").json(),
        json!({ "rule": { "name": "greet", "enabled": true }, "payload": { "n": 2 } })
    );
    let ended = cluster.yard(&["rule", "test", "--rule", "web.greet", "--last", "7d"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.ends_with("1 of 3 match\n"), "{}", ended.stdout);
    let asked = cluster.call("POST /api/v1/rules/replay").json();
    assert_eq!(asked["rule"], "web.greet");
    let from = asked["from"].as_str().expect("a time");
    assert!(from.len() == 20 && from.ends_with('Z'), "{from}");
    assert_eq!(
        cluster.yard(&["rule", "test", "--rule", "web.greet"]).code,
        2,
        "against what?"
    );
}

#[test]
fn a_pack_is_pushed_from_its_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(
        folder.path().join("pack.yaml"),
        "name: web\nversion: 1.0.0\n",
    )
    .expect("a file");
    let result = json!({ "output": { "packs_list": ["web"], "warning_list": ["no tests"] } });
    let cluster = with_action("succeeded", result)
        .on(
            "POST /api/v1/packs/upload",
            json_of(202, json!({ "execution_id": "e1" })),
        )
        .on(
            "GET /api/v1/packs/web",
            ok(json!({ "ref": "web", "version": "1.0.0", "description": "Greets." })),
        );
    let ended = cluster.yard_with(&["push"], "", folder.path());
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains("Uploading the pack web: 1 file"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("web   1.0.0    Greets."),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stderr.contains("warning: no tests"),
        "{}",
        ended.stderr
    );
    let call = cluster.call("POST /api/v1/packs/upload");
    assert_eq!(call.content_type, "application/gzip");
    assert_eq!(call.body[..2], [0x1f, 0x8b], "a gzip");
}

#[test]
fn a_pack_that_does_not_install_says_why() {
    let cluster = with_action(
        "failed",
        json!({ "error": "web: actions/x.yaml:3:1: unknown key" }),
    )
    .on(
        "POST /api/v1/packs/install",
        json_of(202, json!({ "execution_id": "e1" })),
    );
    let ended = cluster.yard(&["pack", "install", "web", "--force"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended
            .stderr
            .contains("| web: actions/x.yaml:3:1: unknown key"),
        "{}",
        ended.stderr
    );
    assert_eq!(
        cluster.call("POST /api/v1/packs/install").json(),
        json!({ "packs": ["web"], "force": true, "skip_dependencies": false })
    );
    let ended = cluster.yard(&["pack", "install", "./web"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("`yard push ./web`"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_configuration_is_changed_value_by_value() {
    let cluster = Cluster::start()
        .on("GET /api/v1/packs/web", ok(json!({ "ref": "web" })))
        .on(
            "GET /api/v1/config_schemas/web",
            ok(json!({ "attributes": { "retries": { "type": "integer" }, "token": { "type": "string", "secret": true } } })),
        )
        .on("GET /api/v1/configs/web", ok(json!({ "pack": "web", "values": { "token": "********" } })))
        .on("PUT /api/v1/configs/web", ok(json!({ "pack": "web" })));
    let ended = cluster.yard(&["pack", "config", "web", "retries=3"]);
    assert_eq!(ended.stdout, "web is configured\n", "{}", ended.stderr);
    assert_eq!(
        cluster.call("PUT /api/v1/configs/web").json(),
        json!({ "retries": 3, "token": "********" })
    );
    let ended = cluster.yard(&["pack", "config", "web", "colour=red"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("it knows retries, token"),
        "{}",
        ended.stderr
    );
    assert_eq!(
        cluster
            .yard(&["pack", "config", "web", "--unset", "retries"])
            .code,
        7
    );
}

#[test]
fn a_key_may_come_from_standard_input() {
    let cluster = Cluster::start()
        .on(
            "PUT /api/v1/keys/pager",
            ok(json!({ "name": "pager", "value": "********" })),
        )
        .on(
            "GET /api/v1/keys/pager",
            ok(json!({ "name": "pager", "value": "on call" })),
        );
    let ended = cluster.yard_with(
        &["key", "set", "pager", "--encrypt", "--ttl", "1h"],
        "secret\n",
        Path::new("."),
    );
    assert_eq!(ended.stdout, "pager is set\n", "{}", ended.stderr);
    assert_eq!(
        cluster.call("PUT /api/v1/keys/pager").json(),
        json!({ "name": "pager", "value": "secret", "scope": "system", "ttl": 3600, "secret": true })
    );
    let ended = cluster.yard(&["key", "get", "pager", "--decrypt"]);
    assert_eq!(ended.stdout, "on call\n", "the value and nothing else");
    assert_eq!(
        cluster.call("GET /api/v1/keys/pager").line,
        "GET /api/v1/keys/pager?scope=system&decrypt=true"
    );
    assert_eq!(cluster.yard(&["key", "get", "none"]).code, 7);
}

#[test]
fn triggers_and_webhooks_take_payloads() {
    let cluster = Cluster::start()
        .on("POST /api/v1/webhooks/st2", json_of(202, json!({})))
        .on(
            "POST /api/v1/webhooks/team/visitors",
            json_of(202, json!({})),
        );
    assert_eq!(
        cluster
            .yard(&["trigger", "fire", "web.visited", "name=Ada", "count=3"])
            .code,
        0
    );
    assert_eq!(
        cluster.call("POST /api/v1/webhooks/st2").json(),
        json!({ "trigger": "web.visited", "payload": { "name": "Ada", "count": 3 } })
    );
    let ended = cluster.yard_with(
        &["webhook", "post", "team/visitors", "--payload", "-"],
        "a: [1]\n",
        Path::new("."),
    );
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(
        cluster.call("POST /api/v1/webhooks/team/visitors").json(),
        json!({ "a": [1] })
    );
    let ended = cluster.yard(&["webhook", "post", "nobody"]);
    assert_eq!(ended.code, 7);
    assert!(
        ended.stderr.contains("`yard webhook list`"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_inquiry_is_answered_in_its_types() {
    let question = json!({ "id": "i1", "schema": { "properties": { "go": { "type": "boolean", "required": true } } } });
    let cluster = Cluster::start()
        .on("GET /api/v1/inquiries/i1", ok(question))
        .on("PUT /api/v1/inquiries/i1", ok(json!({ "id": "i1" })));
    assert_eq!(
        cluster
            .yard(&["inquiry", "respond", "i1", "go=perhaps"])
            .code,
        2
    );
    let ended = cluster.yard(&["inquiry", "respond", "i1", "go=yes"]);
    assert_eq!(ended.stdout, "i1 is answered\n", "{}", ended.stderr);
    assert_eq!(
        cluster.call("PUT /api/v1/inquiries/i1").json(),
        json!({ "id": "i1", "response": { "go": true } })
    );
}

#[test]
fn a_chat_says_hears_and_survives_what_nobody_understands() {
    let announced = json!({ "payload": { "message": "Hello, Ada!{~}done" } });
    let cluster = with_action("succeeded", json!({}))
        .on("GET /stream/v1/stream?events=st2.announcement__chatops", events(&[("st2.announcement__chatops", announced)]))
        .on(
            "POST /api/v1/aliasexecution/match_and_execute",
            json_of(400, json!({ "faultstring": "Command 'dance' matched no patterns" })),
        )
        .on(
            "POST /api/v1/aliasexecution/match_and_execute",
            json_of(201, json!({ "results": [{ "execution": { "id": "e1" }, "message": "on it" }] })),
        )
        .on(
            "GET /api/v1/actionalias/help",
            ok(json!({ "helpstrings": { "web": [{ "display": "greet {{ name }}", "description": "Greets." }] } })),
        );
    let ended = cluster.yard_with(&["chat"], "dance\nhelp\ngreet Ada\n", Path::new("."));
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    let said = cluster
        .calls()
        .into_iter()
        .find(|call| call.line.starts_with("POST /api/v1/aliasexecution"))
        .map(|call| call.json());
    assert_eq!(
        said,
        Some(
            json!({ "command": "dance", "user": "", "source_channel": "cli", "notification_route": "hubot" })
        )
    );
    for part in [
        "matched no patterns",
        "greet {{ name }}",
        "on it",
        "Hello, Ada!\ndone",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
}

#[test]
fn lists_of_every_noun_are_tables_and_documents() {
    for (verb, path, resource, shown) in [
        (
            vec!["pack", "list"],
            "packs",
            json!({ "ref": "web", "version": "1.0.0" }),
            "web",
        ),
        (
            vec!["action", "list", "-p", "web"],
            "actions",
            json!({ "ref": "web.greet" }),
            "web.greet",
        ),
        (
            vec!["rule", "list"],
            "rules",
            json!({ "ref": "web.r", "enabled": true, "trigger": { "type": "core.x" } }),
            "core.x",
        ),
        (
            vec!["trigger", "list"],
            "triggertypes",
            json!({ "ref": "web.t" }),
            "web.t",
        ),
        (
            vec!["trigger", "instances"],
            "triggerinstances",
            json!({ "id": "i9", "status": "processed" }),
            "processed",
        ),
        (
            vec!["sensor", "list"],
            "sensortypes",
            json!({ "ref": "web.S", "trigger_types": ["web.t"] }),
            "web.t",
        ),
        (
            vec!["key", "list"],
            "keys",
            json!({ "name": "k", "value": "v" }),
            "k",
        ),
        (
            vec!["webhook", "list"],
            "webhooks",
            json!({ "parameters": { "url": "visitors" } }),
            "visitors",
        ),
        (
            vec!["timer", "list"],
            "timers",
            json!({ "id": "t9", "type": "core.st2.CronTimer" }),
            "CronTimer",
        ),
        (
            vec!["policy", "list"],
            "policies",
            json!({ "ref": "web.p", "resource_ref": "web.a" }),
            "web.a",
        ),
        (
            vec!["alias", "list"],
            "actionalias",
            json!({ "ref": "web.al", "action_ref": "web.a" }),
            "web.al",
        ),
        (
            vec!["inquiry", "list"],
            "inquiries",
            json!({ "id": "q9", "users": ["ada"] }),
            "ada",
        ),
        (
            vec!["apikey", "list"],
            "apikeys",
            json!({ "id": "k9", "user": "ada" }),
            "k9",
        ),
        (
            vec!["trace", "list"],
            "traces",
            json!({ "id": "t8", "trace_tag": "nightly" }),
            "nightly",
        ),
    ] {
        let cluster = Cluster::start().on(&format!("GET /api/v1/{path}"), ok(json!([resource])));
        let table = cluster.yard(&verb);
        assert_eq!(table.code, 0, "{verb:?}: {}", table.stderr);
        assert!(table.stdout.contains(shown), "{verb:?}: {}", table.stdout);
        let mut with_json = verb.clone();
        with_json.push("--json");
        assert_eq!(
            cluster.yard(&with_json).json(),
            json!([resource]),
            "{verb:?}"
        );
    }
}
