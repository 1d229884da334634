//! Every command of `yard` with `--json`: one document on standard output and nothing else, with
//! the fields that `cli/README.md` promises, and failures as documents too.

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;
use tests::apps::*;
use tests::{Cluster, Output, eventually};

/// A command and what its document has: of an object these fields, of a list each of its elements.
/// No fields: it is only to be a document.
struct Verb {
    words: &'static str,
    fields: &'static [&'static str],
}

const fn verb(words: &'static str, fields: &'static [&'static str]) -> Verb {
    Verb { words, fields }
}

const APP: &[&str] = &[
    "name",
    "guid",
    "state",
    "urls",
    "stack",
    "buildpacks",
    "droplet",
    "staged_at",
    "deployment",
    "processes",
];
const ENTRY: &[&str] = &[
    "path",
    "value",
    "default",
    "is_set",
    "revision",
    "doc",
    "kind",
    "needs_restart",
    "overrides",
];
const BUILDPACK: &[&str] = &[
    "guid", "name", "position", "enabled", "locked", "state", "filename",
];
const SEEN: &[&str] = &["path", "value", "in_force", "from", "overrides"];
const OUTCOME: &[&str] = &["dry_run", "revision", "changes"];
const HELD: &[&str] = &["machine", "role", "count", "done", "daemons"];
const TARGET: &[&str] = &["api", "user", "org", "space"];
const TASK: &[&str] = &[
    "guid",
    "sequence_id",
    "name",
    "state",
    "result",
    "memory_in_mb",
    "disk_in_mb",
];
const SERVICE: &[&str] = &[
    "name",
    "guid",
    "type",
    "tags",
    "route_service",
    "apps",
    "created_at",
    "updated_at",
];
const BOUND: &[&str] = &["service", "app", "name", "guid", "bound"];
const DOMAIN: &[&str] = &["name", "guid", "protocols", "router_group", "organization"];
const ROUTE_BOUND: &[&str] = &["service", "route", "guid", "bound"];
const REVISION: &[&str] = &[
    "guid",
    "version",
    "description",
    "deployable",
    "deployed",
    "droplet",
];
const DEPLOYMENT: &[&str] = &["guid", "status", "strategy", "options", "revision"];
const MAPPED: &[&str] = &["app", "url", "route", "mapped"];

/// In an order in which each can work. HOME, DOMAIN, API, FOLDER, REPORT, COPY, DROPLET and PASSWORD stand for the
/// cluster's, CURRENT for the droplet of the app.
const VERBS: &[Verb] = &[
    verb("doctor --home HOME", &["ready", "findings", "install"]),
    verb(
        "up --home HOME --no-links",
        &[
            "cluster",
            "home",
            "api",
            "domain",
            "admin_password_file",
            "logged_in",
            "user",
            "components",
            "took_ms",
        ],
    ),
    verb("version", &["yard", "api", "api_version"]),
    verb(
        "status --home HOME",
        &["api", "healthy", "cluster", "node", "problems"],
    ),
    verb(
        "login API --username admin --password-file PASSWORD --connect 127.0.0.1",
        TARGET,
    ),
    verb("target --org default --space default", TARGET),
    verb("push spoken --path FOLDER --memory 64M --plan", &["apps"]),
    verb("push spoken --path FOLDER --memory 64M", &["apps"]),
    verb("apps", &["name", "guid", "state", "processes", "urls"]),
    verb("app spoken", APP),
    verb("scale spoken --instances 2", APP),
    verb("stop spoken", &["name", "guid", "state"]),
    verb("start spoken", APP),
    verb("restart spoken", APP),
    verb("restart spoken --strategy rolling", APP),
    verb("restage spoken", APP),
    verb("revisions spoken", REVISION),
    verb("rollback spoken", APP),
    verb("rollback spoken --to 2 --strategy canary", APP),
    verb("deployment continue spoken", APP),
    verb("restart spoken --strategy canary --canary-steps 50", APP),
    verb("deployment cancel spoken", APP),
    verb("deployment list spoken", DEPLOYMENT),
    verb(
        "droplet list spoken",
        &["guid", "state", "process_types", "buildpacks", "created_at"],
    ),
    verb(
        "droplet download spoken --output DROPLET",
        &["droplet", "file", "size_in_bytes"],
    ),
    verb("droplet upload spoken DROPLET", &["name", "droplet"]),
    verb("droplet use spoken CURRENT", &["name", "droplet"]),
    verb("manifest spoken", &["name", "manifest"]),
    verb(
        "copy-source spoken spoken --no-restart",
        &["from", "to", "package"],
    ),
    verb("copy-source spoken spoken", APP),
    verb(
        "ssh spoken --command pwd",
        &["index", "status", "stdout", "stderr"],
    ),
    verb("files spoken app", &["index", "path", "kind", "entries"]),
    verb(
        "files spoken app/Procfile",
        &["index", "path", "kind", "size", "content_base64"],
    ),
    verb(
        "cp spoken:app/Procfile COPY",
        &["source", "target", "instances"],
    ),
    verb("run spoken -- true", TASK),
    verb("tasks spoken", TASK),
    verb("task list spoken", TASK),
    verb("task show spoken 1", TASK),
    verb("run spoken --detach -- sleep 600", TASK),
    verb("task cancel spoken 2", TASK),
    verb(
        "env spoken",
        &[
            "environment_variables",
            "staging_env_json",
            "running_env_json",
            "system_env_json",
            "application_env_json",
        ],
    ),
    verb("set-env spoken NAME value", &["app", "environment"]),
    verb("unset-env spoken NAME", &["app", "environment"]),
    verb("map-route spoken DOMAIN --hostname second", MAPPED),
    verb(
        "update-route DOMAIN --hostname second --option rate_limit=100/s",
        &["route", "url", "options"],
    ),
    verb(
        "routes",
        &[
            "guid", "url", "host", "path", "port", "protocol", "apps", "options",
        ],
    ),
    verb(
        "domain create ports.DOMAIN --router-group default-tcp",
        DOMAIN,
    ),
    verb("domain list", DOMAIN),
    verb("map-route spoken ports.DOMAIN", MAPPED),
    verb("map-route spoken ports.DOMAIN --port 10321", MAPPED),
    verb("unmap-route spoken ports.DOMAIN:10321", MAPPED),
    verb(
        "service create spoken-guard -r https://guard.example.com",
        SERVICE,
    ),
    verb("service bind-route spoken-guard second.DOMAIN", ROUTE_BOUND),
    verb(
        "service unbind-route spoken-guard second.DOMAIN",
        ROUTE_BOUND,
    ),
    verb("unmap-route spoken DOMAIN --hostname second", MAPPED),
    verb("service create spoken-db -p {\"uri\":\"x\"}", SERVICE),
    verb("service bind spoken-db spoken", BOUND),
    verb("service list", SERVICE),
    verb("service show spoken-db", SERVICE),
    verb("service show spoken-db --credentials", &["credentials"]),
    verb("service update spoken-db -t sql", SERVICE),
    verb("service unbind spoken-db spoken", BOUND),
    verb(
        "service delete spoken-db -f",
        &["service", "guid", "deleted", "unbound"],
    ),
    verb("events spoken", &["guid", "type", "created_at", "data"]),
    verb("why spoken", &["app", "outcomes"]),
    verb(
        "logs spoken --recent",
        &["timestamp", "source_type", "instance", "stderr", "text"],
    ),
    verb("node list", &["machines", "agents"]),
    verb(
        "node inspect machine-1",
        &["machine", "state", "roles", "daemons", "events"],
    ),
    verb(
        "node unit --home HOME",
        &["unit", "file", "installed", "text"],
    ),
    verb("node role list", &["machine", "role", "count", "daemons"]),
    verb("node role add machine-1 stager", HELD),
    verb("node role remove machine-1 stager", HELD),
    verb("node inspect dea-1", &["id", "zone", "state", "events"]),
    verb("node drain dea-1 --no-wait", &["id", "drained", "drain"]),
    verb("node undrain dea-1", &["id", "takes_work"]),
    verb("router routes", &["router", "routes", "left_off"]),
    verb("config set router/acme/domains shop.example.com", ENTRY),
    verb("router certificates", &["domain", "source", "state"]),
    verb(
        "router routes spoken.DOMAIN --router router-1",
        &["router", "routes", "left_off"],
    ),
    verb("quota create small -m 100M", &["guid", "name", "apps"]),
    verb(
        "quota list",
        &["guid", "name", "apps", "services", "routes"],
    ),
    verb("quota update small -i 3", &["guid", "name", "apps"]),
    verb("quota delete small -f", &["quota", "deleted"]),
    verb("buildpack list", BUILDPACK),
    verb("buildpack update binary --lock", BUILDPACK),
    verb("config list", ENTRY),
    verb("config get router/access_log/enabled", SEEN),
    verb(
        "config get router/access_log/enabled --component router-1",
        SEEN,
    ),
    verb("config list router --machine machine-1", SEEN),
    verb("config set router/limits/max_attempts 4", ENTRY),
    verb(
        "config set router/limits/max_attempts 5 --component router-1 --dry-run",
        OUTCOME,
    ),
    verb("config unset router/limits/max_attempts", ENTRY),
    verb("config rollback router/limits/max_attempts", OUTCOME),
    verb("config rollback router/limits/max_attempts", OUTCOME),
    verb("config add automation/pack/folders /nowhere", ENTRY),
    verb("config remove automation/pack/folders /nowhere", ENTRY),
    verb(
        "config history router/limits/max_attempts",
        &["revision", "at", "user", "action", "changes"],
    ),
    verb("config export", &["cluster"]),
    verb(
        "history --user admin --command config",
        &["guid", "at", "user", "noun", "command", "target", "data"],
    ),
    verb("config unset automation/pack/folders", ENTRY),
    verb(
        "report --home HOME --output REPORT",
        &["file", "bytes", "contains", "missing"],
    ),
    verb("completions bash", &["shell", "script"]),
    verb("exit-codes", &["0", "9"]),
    verb(
        "delete spoken --force --routes",
        &["name", "guid", "deleted", "routes"],
    ),
    verb("domain create spoken.DOMAIN --private", DOMAIN),
    verb("domain delete spoken.DOMAIN -f", &["domain", "deleted"]),
    // What each verb of automation does is looked at in the suite `automation`.
    verb("pack list", &["ref", "name", "version"]),
    verb("run core.noop", &["id", "status"]),
    verb("action list", &["ref"]),
    verb("execution list", &["id", "status"]),
    verb("rule list", &["ref"]),
    verb("trigger list", &["ref"]),
    verb("sensor list", &["ref"]),
    verb("key set spoken yes", &["name", "value"]),
    verb("key list", &["name", "value"]),
    verb("alias list", &["ref"]),
    verb("trace list", &[]),
    verb("logout", &["logged_out", "api"]),
];

/// Those that take a cluster of their own (see `machine.rs`), and those of automation that are a
/// conversation or have nothing to list without a pack or a rule (see the suite `automation`).
const ELSEWHERE: &[&str] = &[
    "down", "destroy", "chat", "timer", "policy", "inquiry", "apikey", "webhook",
];

pub async fn every_command_prints_one_document(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = server(cluster, "spoken");
    let mut faults = Vec::new();
    for verb in VERBS {
        let current = match verb.words.contains("CURRENT") {
            true => cluster.ok(["app", "spoken", "--json"]).await?.json()?["droplet"]
                .as_str()
                .context("the droplet of the app")?
                .to_string(),
            false => String::new(),
        };
        let words = filled(cluster, verb.words, &folder, &current);
        let output = alone(cluster, words).await?;
        if let Err(error) = judge(&output, verb.fields) {
            faults.push(format!(
                "yard {} --json: {error:#}\n{}",
                verb.words, output.stderr
            ));
        }
    }
    let tested: BTreeSet<&str> = VERBS
        .iter()
        .filter_map(|verb| verb.words.split(' ').next())
        .chain(ELSEWHERE.iter().copied())
        .collect();
    let help = cluster.ok(["--help"]).await?.stdout;
    for name in commands(&help).filter(|name| *name != "help") {
        if !tested.contains(name) {
            faults.push(format!("yard {name}: nobody looks at its document"));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n    "));
    Ok(())
}

fn filled(cluster: &Cluster, words: &str, folder: &Path, current: &str) -> Vec<String> {
    // Behind `--` it would be a word of the command.
    let (before, after) = match words.contains(" -- ") {
        true => (Some("--json"), None),
        false => (None, Some("--json")),
    };
    before
        .into_iter()
        .chain(words.split(' '))
        .chain(after)
        .map(|word| match word {
            "HOME" => cluster.home.display().to_string(),
            "DOMAIN" => cluster.domain.clone(),
            "API" => format!("http://{}:{}", cluster.host("api"), cluster.port),
            "FOLDER" => folder.display().to_string(),
            "REPORT" => cluster.root().join("verbs.tar.gz").display().to_string(),
            "DROPLET" => cluster.root().join("spoken.tgz").display().to_string(),
            "CURRENT" => current.to_string(),
            "COPY" => cluster.root().join("copied").display().to_string(),
            "PASSWORD" => cluster.home.join("admin-password").display().to_string(),
            other => other.replace(".DOMAIN", &format!(".{}", cluster.domain)),
        })
        .collect()
}

/// With a login of their own, because the last one logs out.
async fn alone(cluster: &Cluster, words: Vec<String>) -> anyhow::Result<Output> {
    let mut command = cluster.command(&cluster.root());
    command
        .env("YARD_CONFIG_HOME", cluster.root().join("login-of-verbs"))
        .args(words);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    Ok(Output {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: Duration::ZERO,
    })
}

fn judge(output: &Output, fields: &[&str]) -> anyhow::Result<()> {
    ensure!(output.status == 0, "status {}", output.status);
    let document = output.json()?;
    let objects: Vec<&Value> = match &document {
        Value::Array(elements) => elements.iter().collect(),
        other => vec![other],
    };
    ensure!(!objects.is_empty(), "an empty list shows no fields");
    for object in objects {
        let object = object.as_object().context("no object")?;
        for field in fields {
            ensure!(object.contains_key(*field), "no {field} in {object:?}");
        }
    }
    Ok(())
}

/// The names below `Commands:` of the help.
fn commands(help: &str) -> impl Iterator<Item = &str> {
    help.lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
}

/// A command that goes on until it is stopped; stopped also if its check fails.
struct Going {
    child: Child,
    lines: tokio::sync::mpsc::UnboundedReceiver<String>,
}

impl Going {
    fn start(cluster: &Cluster, words: &[&str]) -> anyhow::Result<Going> {
        let mut child = cluster
            .command(&cluster.root())
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().context("its output")?;
        let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Going { child, lines })
    }

    /// The next line as a document.
    async fn document(&mut self, within: Duration) -> anyhow::Result<Value> {
        let line = tokio::time::timeout(within, self.lines.recv())
            .await
            .with_context(|| format!("no line within {within:?}"))?
            .context("the command ended")?;
        serde_json::from_str(&line).with_context(|| line)
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub async fn streams_print_one_document_a_line_and_end_with_their_reader(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let folder = server(cluster, "streamed");
    push(cluster, "streamed", &folder, &["--memory", "64M"])
        .await?
        .success()?;
    let soon = Duration::from_secs(5);
    let mut logs = Going::start(cluster, &["logs", "streamed", "--json"])?;
    cluster
        .body(&cluster.host("streamed"), "/of-the-stream")
        .await?;
    loop {
        let line = logs.document(soon).await?;
        ensure!(
            line["timestamp"].is_number() && line["source_type"].is_string(),
            "{line}"
        );
        if line["text"]
            .as_str()
            .is_some_and(|text| text.contains("/of-the-stream"))
        {
            break;
        }
    }
    drop(logs);

    let mut changes = Going::start(cluster, &["config", "watch", "router/limits", "--json"])?;
    let change = eventually("a change in the stream", soon, || async {
        cluster
            .ok(["config", "set", "router/limits/max_attempts", "5"])
            .await?;
        cluster
            .ok(["config", "unset", "router/limits/max_attempts"])
            .await
    });
    change.await?;
    let change = changes.document(soon).await?;
    ensure!(
        change["path"] == "router/limits/max_attempts",
        "another change: {change}"
    );
    drop(changes);

    // `yard logs app | head`: the app is quiet, so nothing is written that could tell.
    for words in [
        ["logs", "streamed", "--lines", "1"].as_slice(),
        ["config", "watch"].as_slice(),
    ] {
        let mut child = cluster
            .command(&cluster.root())
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Long enough for it to be connected and waiting.
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(child.stdout.take());
        let ended = eventually("the end after its reader's", soon, || {
            let ended = child.try_wait();
            async move { ended?.context("it goes on") }
        })
        .await;
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        let status = ended.with_context(|| format!("yard {}", words.join(" ")))?;
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut said)?;
        }
        ensure!(
            status.success() && said.is_empty(),
            "yard {}: {status}, {said}",
            words.join(" ")
        );
    }
    cluster
        .ok(["delete", "streamed", "--force"])
        .await
        .map(drop)
}

pub async fn what_fails_is_a_document_with_its_exit_code(cluster: &Cluster) -> anyhow::Result<()> {
    let holder = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = holder.local_addr()?.port().to_string();
    let nowhere = cluster.root().join("nowhere").display().to_string();
    let late = app(
        cluster,
        "late",
        &[
            (
                "server.py",
                &format!("import time\ntime.sleep(20)\n{SERVER}"),
            ),
            ("Procfile", "web: exec python3 -u server.py\n"),
        ],
    );
    let idle = app(cluster, "idle", &[("notes.txt", "nothing to run\n")]);
    let exits = app(cluster, "exits", &[("Procfile", "web: exit 3\n")]);
    push(
        cluster,
        "late",
        &late,
        &["--memory", "64M", "--buildpack", "binary", "--no-start"],
    )
    .await?
    .success()?;
    let path = |folder: &PathBuf| folder.display().to_string();
    let (idle, exits) = (path(&idle), path(&exits));
    let cases: Vec<(&str, Vec<&str>, i32)> = vec![
        ("a command that is none", vec!["nothing"], 2),
        ("an option that is none", vec!["apps", "--nothing"], 2),
        ("a missing argument", vec!["scale"], 2),
        ("a size without unit", vec!["scale", "late", "-m", "64"], 2),
        (
            "a value that does not fit",
            vec!["config", "set", "router/limits/max_attempts", "many"],
            2,
        ),
        ("an unknown app", vec!["app", "not-there"], 7),
        ("an unknown app to scale", vec!["scale", "not-there"], 7),
        ("an unknown app to start", vec!["start", "not-there"], 7),
        ("an unknown app to stop", vec!["stop", "not-there"], 7),
        ("an unknown app to restart", vec!["restart", "not-there"], 7),
        ("an unknown app to restage", vec!["restage", "not-there"], 7),
        (
            "logs of an unknown app",
            vec!["logs", "not-there", "--recent"],
            7,
        ),
        ("events of an unknown app", vec!["events", "not-there"], 7),
        ("causes of an unknown app", vec!["why", "not-there"], 7),
        ("variables of an unknown app", vec!["env", "not-there"], 7),
        (
            "a variable of an unknown app",
            vec!["set-env", "not-there", "A", "b"],
            7,
        ),
        (
            "a variable that is not there",
            vec!["unset-env", "late", "NOTHING"],
            7,
        ),
        (
            "a route in an unknown domain",
            vec!["map-route", "late", "nowhere.example"],
            7,
        ),
        (
            "a route that is not there",
            vec![
                "unmap-route",
                "late",
                cluster.domain.as_str(),
                "-n",
                "nobody",
            ],
            7,
        ),
        ("an unknown key", vec!["config", "get", "router/nothing"], 7),
        (
            "keys that never change",
            vec!["config", "watch", "router/nothing"],
            7,
        ),
        ("an unknown space", vec!["target", "-s", "nowhere"], 7),
        (
            "a cluster that is none",
            vec!["destroy", "--yes", "--home", &nowhere],
            7,
        ),
        (
            "an API that does not answer",
            vec![
                "login",
                "http://api.nowhere.internal:1",
                "-u",
                "admin",
                "--connect",
                "127.0.0.1",
            ],
            4,
        ),
        (
            "an app that exits",
            vec!["push", "exits", "-p", &exits, "-m", "64M", "-b", "binary"],
            5,
        ),
        (
            "an app that no buildpack takes",
            vec!["push", "idle", "-p", &idle],
            6,
        ),
        (
            "an app that does not start in time",
            vec!["start", "late", "--timeout", "2"],
            5,
        ),
        (
            "a port that is taken",
            vec!["doctor", "--home", &nowhere, "--port", &taken],
            9,
        ),
    ];
    let mut faults = Vec::new();
    for (what, mut words, code) in cases {
        words.push("--json");
        let output = cluster.yard(&words).await?;
        if let Err(error) = is_failure(&output, code) {
            faults.push(format!(
                "{what}: yard {}: {error:#}\n{}\n{}",
                words.join(" "),
                output.stdout,
                output.stderr
            ));
        }
    }
    drop(holder);
    // A node that does not answer: stopped, as by a debugger.
    let home = cluster.home.display().to_string();
    let node = tests::leftovers::node_process(&home).context("the node has a process")?;
    let node = nix::unistd::Pid::from_raw(node);
    nix::sys::signal::kill(node, nix::sys::signal::Signal::SIGSTOP)?;
    let output = cluster.yard(["down", "--home", &home, "--json"]).await;
    nix::sys::signal::kill(node, nix::sys::signal::Signal::SIGCONT)?;
    if let Err(error) = is_failure(&output?, 8) {
        faults.push(format!("a node that does not answer: {error:#}"));
    }
    for name in ["late", "idle", "exits"] {
        cluster.ok(["delete", name, "--force"]).await?;
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n    "));
    Ok(())
}

/// One document on standard output that has the code; the same in words, in few lines, on standard
/// error.
fn is_failure(output: &Output, code: i32) -> anyhow::Result<()> {
    ensure!(
        output.status == code,
        "status {}, not {code}",
        output.status
    );
    let document = output.json()?;
    // The doctor has a result, and that says what is wrong.
    if document.get("findings").is_some() {
        ensure!(document["ready"] == false, "{document}");
        return Ok(());
    }
    let error = &document["error"];
    ensure!(error["exit_code"] == code, "{document}");
    let message = error["message"].as_str().context("a message")?;
    let first = message.lines().next().unwrap_or_default();
    if first.is_empty() || !output.stderr.contains(first) {
        bail!("{first:?} is not what standard error says");
    }
    ensure!(
        !output.stderr.contains("panicked"),
        "a panic is no error message"
    );
    Ok(())
}
