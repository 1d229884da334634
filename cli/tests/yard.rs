//! What `yard` prints and exits with, and what it asks of the API.

mod fake;

use fake::{Cluster, Mood, app, text};
use serde_json::Value;
use std::process::Output;

fn shown(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_first_push_uploads_stages_and_starts() {
    let cluster = Cluster::start(Mood::default());
    cluster.log_in();
    let folder = app();
    let (code, stdout, stderr) =
        shown(&cluster.yard(&["push", "shop", "-p", &text(folder.path())], ""));
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(
        stdout.contains("-----> copying files"),
        "staging lines are shown: {stdout}"
    );
    let url = cluster.api().replace("api.", "shop.") + "/";
    assert!(stdout.contains(&format!("shop is up at {url}")), "{stdout}");
    assert!(
        stdout.contains("curl --resolve shop.fake.internal:"),
        "the name cannot be looked up, so the line must not need it: {stdout}"
    );
    assert_eq!(cluster.called("POST /v3/apps/app-1/actions/restart"), 1);
    assert_eq!(cluster.called("POST /v3/deployments"), 0);
    assert_eq!(
        cluster.called("POST /v3/resource_matches"),
        0,
        "nothing is large enough to ask about"
    );
}

#[test]
fn a_push_of_a_running_app_is_a_deployment() {
    let cluster = Cluster::start(Mood {
        running: true,
        ..Mood::default()
    });
    cluster.log_in();
    let folder = app();
    let (code, stdout, stderr) =
        shown(&cluster.yard(&["push", "shop", "-p", &text(folder.path()), "--json"], ""));
    assert_eq!(code, 0, "{stdout}{stderr}");
    let document: Value =
        serde_json::from_str(&stdout).expect("one JSON document on stdout and nothing else");
    assert_eq!(document["apps"][0]["strategy"], "rolling");
    assert_eq!(document["apps"][0]["instances"]["running"], 1);
    assert!(
        stderr.contains("Staging"),
        "what goes on is told on stderr: {stderr}"
    );
    assert_eq!(cluster.called("POST /v3/deployments"), 1);
    assert_eq!(cluster.called("POST /v3/apps/app-1/actions/restart"), 0);
}

#[test]
fn a_plan_asks_and_sends_nothing_that_has_an_effect() {
    let cluster = Cluster::start(Mood {
        running: true,
        ..Mood::default()
    });
    cluster.log_in();
    let folder = app();
    std::fs::write(folder.path().join("big.bin"), vec![7; 100_000]).expect("a file");
    let path = text(folder.path());
    let words = ["push", "shop", "-p", &path, "--plan"];
    let (code, stdout, stderr) = shown(&cluster.yard(&words, ""));
    assert_eq!(code, 0, "{stdout}{stderr}");
    for part in [
        "shop would be updated",
        "~ memory of web: 64M -> 128M",
        "+ variable TOKEN",
        "2 files (97.7K): 1 new, 1 changed, 1 removed",
        "changed: index.html",
        "removed: old.html",
        "replaced in steps",
        "Nothing was changed.",
    ] {
        assert!(stdout.contains(part), "no {part:?} in {stdout}");
    }
    let (code, document, stderr) = shown(&cluster.yard(&[&words[..], &["--json"]].concat(), ""));
    assert_eq!(code, 0, "{stderr}");
    let document: Value = serde_json::from_str(&document).expect("a document");
    assert_eq!(
        document["apps"][0]["files"]["changed"],
        serde_json::json!(["index.html"])
    );
    assert!(!format!("{stdout}{document}").contains("hidden-value"));
    // What has no effect though its method could.
    let harmless = [
        "POST /v3/spaces/space-1/manifest_diff",
        "POST /v3/resource_matches",
        "POST /oauth/token",
    ];
    let harmless: usize = harmless.iter().map(|call| cluster.called(call)).sum();
    let writing: usize = ["POST", "PUT", "PATCH", "DELETE"]
        .iter()
        .map(|method| cluster.called(method))
        .sum();
    assert_eq!(writing, harmless);
    assert_eq!(cluster.called("POST /v3/resource_matches"), 2);
}

#[test]
fn a_failed_staging_exits_6_and_changes_nothing_that_runs() {
    let cluster = Cluster::start(Mood {
        running: true,
        staging_fails: true,
        ..Mood::default()
    });
    cluster.log_in();
    let folder = app();
    let (code, _, stderr) = shown(&cluster.yard(&["push", "shop", "-p", &text(folder.path())], ""));
    assert_eq!(code, 6, "{stderr}");
    assert!(
        stderr.contains("NoAppDetectedError - no buildpack fits"),
        "{stderr}"
    );
    assert_eq!(
        cluster.called("POST /v3/deployments") + cluster.called("PATCH /v3/apps"),
        0
    );
}

#[test]
fn a_crash_exits_5_with_its_reason_and_the_last_lines() {
    let cluster = Cluster::start(Mood {
        crashes: true,
        ..Mood::default()
    });
    cluster.log_in();
    let folder = app();
    let (code, stdout, stderr) =
        shown(&cluster.yard(&["push", "shop", "-p", &text(folder.path())], ""));
    assert_eq!(code, 5, "{stderr}");
    assert!(
        stderr.contains("the app shop crashed: exit status 3"),
        "{stderr}"
    );
    assert!(stderr.contains("last words"), "{stdout}{stderr}");
}

#[test]
fn an_app_that_fits_nowhere_is_not_waited_for() {
    let cluster = Cluster::start(Mood {
        too_large: true,
        ..Mood::default()
    });
    cluster.log_in();
    let folder = app();
    let (code, stdout, stderr) =
        shown(&cluster.yard(&["push", "shop", "-p", &text(folder.path()), "--json"], ""));
    assert_eq!(code, 5, "{stderr}");
    assert!(
        stderr.contains("waiting: needs 921600 MB memory"),
        "{stderr}"
    );
    let document: Value = serde_json::from_str(&stdout).expect("a failure is a document too");
    assert_eq!(document["error"]["exit_code"], 5);
    let message = document["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("cannot be placed"), "{message}");
    assert!(message.contains("900 MB free of 1024 MB"), "{message}");
}

#[test]
fn a_bad_folder_or_manifest_asks_nothing_of_the_cluster() {
    let cluster = Cluster::start(Mood::default());
    cluster.log_in();
    let before = cluster.called("");
    let folder = app();
    let empty = tempfile::tempdir().expect("a temporary folder");
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).expect("a link");
    let bad_manifest = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(
        bad_manifest.path().join("manifest.yml"),
        "applications:\n- name: shop\n  memmory: 1G\n",
    )
    .expect("a manifest");
    for (path, message) in [
        (text(folder.path()), "outside of the app"),
        (text(empty.path()), "no files to push"),
        (
            text(&empty.path().join("missing")),
            "there is no file or folder",
        ),
        (
            text(bad_manifest.path()),
            "unknown key \"memmory\", did you mean \"memory\"?",
        ),
    ] {
        let (code, _, stderr) = shown(&cluster.yard(&["push", &path], ""));
        assert_eq!(code, 2, "{path}: {stderr}");
        assert!(stderr.contains(message), "{path}: {stderr}");
    }
    assert_eq!(cluster.called(""), before);
}

#[test]
fn a_token_that_ran_out_is_renewed_once_and_kept() {
    let cluster = Cluster::start(Mood {
        token_expires: true,
        ..Mood::default()
    });
    cluster.log_in();
    let (code, stdout, stderr) = shown(&cluster.yard(&["app", "shop", "--guid"], ""));
    assert_eq!((code, stdout.as_str()), (0, "app-1\n"), "{stderr}");
    let renewals = cluster.called("POST /oauth/token");
    let file = cluster.login_file();
    assert_eq!(file["targets"][cluster.api()]["access_token"], "second");
    assert!(
        file["targets"][cluster.api()]["refresh_token"]
            .as_str()
            .is_some_and(|token| token.starts_with("refresh-")),
        "a used token is spent"
    );
    cluster.yard(&["app", "shop", "--guid"], "");
    assert_eq!(
        cluster.called("POST /oauth/token"),
        renewals,
        "the next command has the new one"
    );
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let cluster = Cluster::start(Mood::default());
    for (arguments, code) in [
        (vec!["apps"], 3),
        (vec!["no-such-command"], 2),
        (
            vec![
                "login",
                "http://api.fake.internal:1",
                "-u",
                "admin",
                "--connect",
                "127.0.0.1",
            ],
            4,
        ),
    ] {
        let (got, _, stderr) = shown(&cluster.yard(&arguments, "secret\n"));
        assert_eq!(got, code, "{arguments:?}: {stderr}");
    }
    let api = cluster.api();
    let (code, _, stderr) = shown(&cluster.yard(
        &["login", &api, "-u", "admin", "--connect", "127.0.0.1"],
        "wrong\n",
    ));
    assert_eq!(code, 3);
    assert!(stderr.contains("wrong password for admin"), "{stderr}");
    cluster.log_in();
    let (code, _, stderr) = shown(&cluster.yard(&["app", "other"], ""));
    assert_eq!(code, 7, "{stderr}");
    assert!(
        stderr.contains("there is no app other in the space default"),
        "{stderr}"
    );
    let (code, _, stderr) =
        shown(&cluster.yard(&["config", "set", "router/limits/max_attempts", "0"], ""));
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("a whole number from 1 to 20"), "{stderr}");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_yard"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("yard starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("yard ends");
    assert!(output.status.success());
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn wrong_usage_is_a_document_too() {
    let cluster = Cluster::start(Mood::default());
    for arguments in [
        vec!["no-such-command", "--json"],
        vec!["app", "--json"],
        vec!["--json", "events", "shop", "-n", "many"],
    ] {
        let (code, stdout, stderr) = shown(&cluster.yard(&arguments, ""));
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        let document: Value = serde_json::from_str(&stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {stdout:?}"));
        assert_eq!(document["error"]["exit_code"], 2);
        let message = document["error"]["message"].as_str().unwrap_or_default();
        assert!(
            !message.is_empty() && stderr.contains(message),
            "{arguments:?}: {message:?} is not in {stderr}"
        );
    }
    let (code, stdout, _) = shown(&cluster.yard(&["apps", "--help", "--json"], ""));
    assert_eq!(code, 0, "asking for help is no failure");
    assert!(stdout.contains("Usage: yard apps"), "{stdout}");
}

#[test]
fn a_completion_script_completes_every_command() {
    let cluster = Cluster::start(Mood::default());
    let (code, script, stderr) = shown(&cluster.yard(&["completions", "bash"], ""));
    assert_eq!(code, 0, "{stderr}");
    for command in ["push", "map-route", "config", "unset-env"] {
        assert!(script.contains(command), "{command}");
    }
    let (_, stdout, _) = shown(&cluster.yard(&["completions", "bash", "--json"], ""));
    let document: Value = serde_json::from_str(&stdout).expect("a document");
    assert_eq!(document["shell"], "bash");
    assert_eq!(document["script"].as_str(), Some(script.as_str()));
}

/// A cluster lives for months: what its starter had open by chance must not live as long.
#[test]
fn a_detached_program_inherits_nothing_but_its_streams() {
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            "exec 7</dev/null 9</dev/null; exec \"$0\" internal-detach -- ls /proc/self/fd",
            env!("CARGO_BIN_EXE_yard"),
        ])
        .output()
        .expect("a shell");
    let (code, stdout, stderr) = shown(&output);
    assert_eq!(code, 0, "{stderr}");
    // The fourth is the listing itself.
    let open: Vec<&str> = stdout.split_whitespace().collect();
    assert_eq!(open, ["0", "1", "2", "3"]);
}

#[test]
fn a_task_prints_and_exits_as_its_command_does() {
    let cluster = Cluster::start(Mood::default());
    cluster.log_in();
    let words = ["run", "shop", "-m", "64M", "--", "rake", "db:migrate"];
    let (code, stdout, stderr) = shown(&cluster.yard(&words, ""));
    assert_eq!((code, stdout.as_str()), (3, "to out\n"), "{stderr}");
    for told in ["to err\n", "waits: needs room", "exited with status 3"] {
        assert!(stderr.contains(told), "{told}: {stderr}");
    }
    assert!(!stderr.contains("of the task before"), "{stderr}");

    let (code, stdout, stderr) = shown(&cluster.yard(&["run", "shop", "--json", "--", "x"], ""));
    let document: Value = serde_json::from_str(&stdout).expect("one JSON document");
    assert_eq!((code, &document["state"]), (3, &Value::from("FAILED")));
    assert!(stderr.contains("to out\n"), "{stderr}");

    let streams = cluster.called("GET /yard/v1/logs");
    let words = ["run", "shop", "--detach", "--", "x"];
    let (code, stdout, _) = shown(&cluster.yard(&words, ""));
    assert!(code == 0 && stdout.contains("task 3 of shop"), "{stdout}");
    assert_eq!(
        cluster.called("GET /yard/v1/logs"),
        streams,
        "nothing is followed"
    );
}

#[test]
fn a_task_is_named_by_its_number() {
    let cluster = Cluster::start(Mood::default());
    cluster.log_in();
    let (code, stdout, stderr) = shown(&cluster.yard(&["task", "cancel", "shop", "3"], ""));
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("task 3 of shop is being cancelled"),
        "{stdout}"
    );
    assert_eq!(cluster.called("GET /v3/apps/app-1/tasks?sequence_ids=3"), 1);
    let (code, _, stderr) = shown(&cluster.yard(&["task", "show", "shop", "4"], ""));
    assert_eq!(code, 7, "{stderr}");
    let (code, stdout, _) = shown(&cluster.yard(&["tasks", "shop"], ""));
    assert!(code == 0 && stdout.contains("migrate  running"), "{stdout}");
}

#[test]
fn options_of_tasks_and_of_actions_are_not_mixed() {
    let cluster = Cluster::start(Mood::default());
    for words in [
        &["run", "core.local", "--memory", "64M"][..],
        &["run", "core.local", "--detach"],
        &["run", "shop", "--async", "--", "x"],
        &["run", "shop", "a=b", "--", "x"],
    ] {
        let (code, _, stderr) = shown(&cluster.yard(words, ""));
        assert_eq!(code, 2, "{words:?}: {stderr}");
    }
}
