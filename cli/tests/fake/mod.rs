//! A cluster that is nothing but an HTTP server with canned answers: enough to see what `yard`
//! sends, prints and exits with. The real thing is tested in `tests/`.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// How the cluster behaves.
#[derive(Debug, Clone, Default)]
pub struct Mood {
    /// The app runs already, so a push must replace it in steps.
    pub running: bool,
    pub staging_fails: bool,
    pub crashes: bool,
    /// No agent could ever hold an instance.
    pub too_large: bool,
    /// The first access token is refused once.
    pub token_expires: bool,
}

pub struct Cluster {
    port: u16,
    pub calls: Arc<Mutex<Vec<String>>>,
    home: tempfile::TempDir,
}

struct Request {
    method: String,
    path: String,
    query: String,
    authorization: String,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

fn answer(status: u16, body: Value) -> Answer {
    Answer {
        status,
        headers: "content-type: application/json\r\n".into(),
        body: body.to_string().into_bytes(),
    }
}

impl Cluster {
    pub fn start(mood: Mood) -> Cluster {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, mood) = (seen.clone(), mood.clone());
                std::thread::spawn(move || serve(stream, port, &mood, &seen));
            }
        });
        Cluster {
            port,
            calls,
            home: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub fn api(&self) -> String {
        format!("http://api.fake.internal:{}", self.port)
    }

    pub fn called(&self, prefix: &str) -> usize {
        self.calls
            .lock()
            .expect("no panic elsewhere")
            .iter()
            .filter(|call| call.starts_with(prefix))
            .count()
    }

    /// Runs `yard` as a user of this cluster.
    pub fn yard(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_yard"))
            .args(arguments)
            .env("YARD_CONFIG_HOME", self.home.path())
            .env("http_proxy", "http://127.0.0.1:9")
            .env_remove("YARD_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("yard starts");
        let mut input = child.stdin.take().expect("its input");
        // A command that reads nothing may have ended already.
        let _ = input.write_all(stdin.as_bytes());
        drop(input);
        child.wait_with_output().expect("yard ends")
    }

    pub fn log_in(&self) {
        let output = self.yard(
            &[
                "login",
                &self.api(),
                "-u",
                "admin",
                "--connect",
                "127.0.0.1",
            ],
            "secret\n",
        );
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub fn login_file(&self) -> Value {
        let text = std::fs::read(self.home.path().join("config.json")).expect("the login file");
        serde_json::from_slice(&text).expect("JSON")
    }
}

/// An app to push.
pub fn app() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("index.html"), "hello").expect("a file");
    folder
}

pub fn text(path: &Path) -> String {
    path.display().to_string()
}

fn serve(stream: TcpStream, port: u16, mood: &Mood, calls: &Mutex<Vec<String>>) {
    let Some(request) = read(&stream) else { return };
    let number = {
        let mut calls = calls.lock().expect("no panic elsewhere");
        calls.push(format!(
            "{} {}{}",
            request.method,
            request.path,
            if request.query.is_empty() {
                String::new()
            } else {
                format!("?{}", request.query)
            }
        ));
        calls.len()
    };
    let reply = reply(&request, port, mood, number);
    let head = format!(
        "HTTP/1.1 {} X\r\n{}content-length: {}\r\nconnection: close\r\n\r\n",
        reply.status,
        reply.headers,
        reply.body.len()
    );
    let mut stream = stream;
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&reply.body));
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "authorization" => authorization = value.trim().to_string(),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target
        .split_once('?')
        .map_or((target.clone(), String::new()), |(path, query)| {
            (path.to_string(), query.to_string())
        });
    Some(Request {
        method,
        path,
        query,
        authorization,
        body,
    })
}

fn list(resources: Value) -> Answer {
    answer(
        200,
        json!({ "pagination": { "next": null }, "resources": resources }),
    )
}

fn reply(request: &Request, port: u16, mood: &Mood, number: usize) -> Answer {
    let body = String::from_utf8_lossy(&request.body).into_owned();
    let lifecycle = json!({ "type": "buildpack", "data": { "buildpacks": [], "stack": "host" } });
    let current = if mood.running {
        json!({ "data": { "guid": "old" } })
    } else {
        json!({ "data": null })
    };
    let app = json!({ "guid": "app-1", "name": "shop", "state": if mood.running { "STARTED" } else { "STOPPED" }, "lifecycle": lifecycle,
        "relationships": { "space": { "data": { "guid": "space-1" } }, "current_droplet": current } });
    let droplet = json!({ "guid": "new", "state": "STAGED", "lifecycle": lifecycle, "buildpacks": [{ "name": "static" }] });
    if mood.token_expires
        && request.authorization == "bearer first"
        && request.path.starts_with("/v3")
    {
        return answer(
            401,
            json!({ "errors": [{ "code": 1000, "title": "CF-InvalidAuthToken", "detail": "Invalid Auth Token" }] }),
        );
    }
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/") => {
            let host =
                |name: &str| json!({ "href": format!("http://{name}.fake.internal:{port}") });
            answer(
                200,
                json!({ "links": { "login": host("login"), "uaa": host("uaa"), "log_cache": host("log-cache"), "routing": null } }),
            )
        }
        ("POST", "/oauth/token") if body.contains("grant_type=refresh_token") => answer(
            200,
            json!({ "access_token": "second", "refresh_token": format!("refresh-{number}"), "token_type": "bearer", "expires_in": 600 }),
        ),
        ("POST", "/oauth/token") if body.contains("password=secret") => answer(
            200,
            json!({ "access_token": if mood.token_expires { "first" } else { "only" }, "refresh_token": "refresh", "token_type": "bearer", "expires_in": 600 }),
        ),
        ("POST", "/oauth/token") => answer(
            401,
            json!({ "error": "unauthorized", "error_description": "Bad credentials" }),
        ),
        ("GET", "/v3/organizations") => list(json!([{ "guid": "org-1", "name": "default" }])),
        ("GET", "/v3/spaces") => list(json!([{ "guid": "space-1", "name": "default" }])),
        ("POST", "/v3/spaces/space-1/actions/apply_manifest") => {
            let headers = format!("location: http://api.fake.internal:{port}/v3/jobs/job-1\r\n");
            Answer {
                status: 202,
                headers,
                body: Vec::new(),
            }
        }
        ("GET", "/v3/jobs/job-1") => answer(200, json!({ "guid": "job-1", "state": "COMPLETE" })),
        ("GET", "/v3/apps") => list(json!([app])),
        ("GET", "/v3/apps/app-1") => answer(200, app),
        ("POST", "/v3/packages") => answer(
            201,
            json!({ "guid": "package-1", "type": "bits", "state": "AWAITING_UPLOAD" }),
        ),
        ("POST", "/v3/packages/package-1/upload") => {
            assert!(
                body.contains("name=\"bits\"; filename=\"package.zip\"")
                    && body.contains("index.html"),
                "the archive is sent"
            );
            answer(
                200,
                json!({ "guid": "package-1", "type": "bits", "state": "READY" }),
            )
        }
        ("POST", "/v3/resource_matches") => answer(201, json!({ "resources": [] })),
        ("POST", "/v3/builds") => answer(
            201,
            json!({ "guid": "build-1", "state": "STAGING", "lifecycle": lifecycle, "package": { "guid": "package-1" } }),
        ),
        ("GET", "/v3/builds/build-1") if mood.staging_fails => answer(
            200,
            json!({ "guid": "build-1", "state": "FAILED", "error": "NoAppDetectedError - no buildpack fits", "lifecycle": lifecycle, "package": { "guid": "package-1" } }),
        ),
        ("GET", "/v3/builds/build-1") => answer(
            200,
            json!({ "guid": "build-1", "state": "STAGED", "lifecycle": lifecycle, "package": { "guid": "package-1" }, "droplet": { "guid": "new" } }),
        ),
        ("GET", "/v3/droplets/new") => answer(200, droplet),
        ("POST", "/v3/spaces/space-1/manifest_diff") => answer(
            201,
            json!({ "diff": [
                { "op": "replace", "path": "/applications/0/processes/web/memory", "was": "64M", "value": "128M" },
                { "op": "add", "path": "/applications/0/env/TOKEN", "value": "hidden-value" },
            ] }),
        ),
        ("GET", "/v3/apps/app-1/droplets/current") => answer(
            200,
            json!({ "guid": "old", "state": "STAGED", "lifecycle": lifecycle,
                "links": { "package": { "href": format!("http://api.fake.internal:{port}/v3/packages/package-0") } } }),
        ),
        ("GET", "/yard/v1/packages/package-0/files") => answer(
            200,
            json!({ "files": [
                { "path": "index.html", "size_in_bytes": 5, "crc32": 1, "mode": "644" },
                { "path": "old.html", "size_in_bytes": 5, "crc32": 1, "mode": "644" },
            ] }),
        ),
        ("PATCH", "/v3/apps/app-1/relationships/current_droplet") => {
            answer(200, json!({ "data": { "guid": "new" } }))
        }
        ("POST", "/v3/apps/app-1/actions/restart") => answer(200, app),
        ("POST", "/v3/deployments") => answer(201, deployment("ACTIVE", "DEPLOYING")),
        ("GET", "/v3/deployments/deployment-1") => answer(200, deployment("FINALIZED", "DEPLOYED")),
        ("GET", "/v3/apps/app-1/processes") => list(
            json!([{ "guid": "app-1", "type": "web", "instances": 1, "memory_in_mb": 256, "disk_in_mb": 1024,
            "health_check": { "type": "port", "data": {} } }]),
        ),
        ("GET", "/v3/processes/app-1/stats") => {
            if mood.too_large {
                let details = "needs 921600 MB memory, more than any agent could ever give; the best agent, dea-1, has 900 MB free of 1024 MB";
                return answer(
                    200,
                    json!({ "resources": [{ "type": "web", "index": 0, "state": "DOWN", "details": details }] }),
                );
            }
            let state = if mood.crashes { "CRASHED" } else { "RUNNING" };
            answer(
                200,
                json!({ "resources": [{ "type": "web", "index": 0, "state": state, "details": if mood.crashes { "exit status 3" } else { "" } }] }),
            )
        }
        ("GET", "/v3/apps/app-1/routes") => list(
            json!([{ "guid": "route-1", "protocol": "http", "host": "shop", "path": "", "url": "shop.fake.internal", "destinations": [] }]),
        ),
        ("GET", "/v3/audit_events") => list(json!([])),
        ("GET", "/yard/v1/logs/app-1/stream") => Answer {
            status: 200,
            headers: "content-type: text/event-stream\r\n".into(),
            body: log().into_bytes(),
        },
        ("POST", "/v3/apps/app-1/tasks") => answer(202, task("PENDING", Value::Null)),
        ("GET", "/v3/apps/app-1/tasks") if request.query.contains("sequence_ids=4") => {
            list(json!([]))
        }
        ("GET", "/v3/apps/app-1/tasks") => list(json!([task("RUNNING", Value::Null)])),
        ("GET", "/v3/tasks/task-1") => answer(200, task("FAILED", json!(3))),
        ("POST", "/v3/tasks/task-1/actions/cancel") => answer(202, task("CANCELING", Value::Null)),
        // "last words" in base64.
        ("GET", "/api/v1/read/app-1") => answer(
            200,
            json!({ "envelopes": { "batch": [{ "timestamp": "5", "source_id": "app-1", "instance_id": "0",
            "tags": { "source_type": "APP/PROC/WEB" }, "log": { "payload": "bGFzdCB3b3Jkcw==", "type": "OUT" } }] } }),
        ),
        _ => answer(
            404,
            json!({ "errors": [{ "code": 10000, "title": "CF-NotFound", "detail": "Unknown request" }] }),
        ),
    }
}

/// Of a staging, and of the third task of the app among others.
fn log() -> String {
    let lines = [
        ("STG", "0", false, "-----> copying files"),
        ("APP/PROC/WEB", "3", false, "of an instance"),
        ("APP/TASK/migrate", "2", false, "of the task before"),
        ("API", "0", true, "Task 3 (migrate) waits: needs room"),
        ("APP/TASK/migrate", "3", false, "to out"),
        ("APP/TASK/migrate", "3", true, "to err"),
        (
            "API",
            "0",
            true,
            "Task 3 (migrate) ended: exited with status 3",
        ),
    ];
    let event = |(number, (source, instance, stderr, text)): (usize, &(&str, &str, bool, &str))| {
        let line = json!({"timestamp": number + 1, "source_type": source, "instance": instance, "stderr": stderr, "text": text});
        format!("data: {line}\n\n")
    };
    lines.iter().enumerate().map(event).collect()
}

fn task(state: &str, status: Value) -> Value {
    let failure = (state == "FAILED").then_some("exited with status 3");
    json!({ "guid": "task-1", "sequence_id": 3, "name": "migrate", "state": state, "memory_in_mb": 64, "disk_in_mb": 64,
        "result": { "failure_reason": failure, "yard_exit_status": status } })
}

fn deployment(value: &str, reason: &str) -> Value {
    json!({ "guid": "deployment-1", "strategy": "rolling", "status": { "value": value, "reason": reason } })
}
