//! Hostile input and hostile apps against a real cluster: apps that fork, fill, eat, flood and
//! flap; packages that try to get out; stagings that hang; garbage on the bus; clients that abuse
//! HTTP. Each gets a clear reason or a clean recovery, and all the while a neighbour app answers:
//! one load runs from the first test to the last and may not see a single failure.
//!
//! Tests run in lanes beside one another, because most of the time of each is waiting. What changes a
//! setting that others depend on has a phase of its own.

#![expect(
    clippy::print_stdout,
    reason = "a program of the harness speaks to its user"
)]

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use futures_util::StreamExt;
use proto::bus::catalogue::{self, Role};
use proto::ids::ComponentId;
use rand::{Rng, RngCore};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::runner::{Tally, Test, run};
use tests::{Cluster, Load, Options, Output, eventually, tests};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zip::write::SimpleFileOptions;

/// The cluster under attack and the app that must not notice.
struct Yard {
    cluster: Cluster,
    neighbour: Load,
}

/// A server that does to its sandbox what it is asked for.
const SERVER: &str = r#"
import base64, hashlib, http.server, os, signal, sys, threading, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
healthy = True
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, text, status=200):
        body = text.encode()
        self.send_response(status); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        global healthy
        if self.headers.get("Upgrade") == "websocket": return self.websocket()
        if self.path == "/crash": os._exit(7)
        if self.path == "/fork":
            children, fault = 0, "no limit"
            while children < 20000:
                try:
                    if os.fork() == 0: time.sleep(600)
                    children += 1
                except OSError as error:
                    fault = error.strerror; break
            self.answer("%d %s" % (children, fault))
        elif self.path == "/fill":
            megabytes, fault = 0, "no limit"
            with open("filler", "wb", buffering=0) as file:
                while megabytes < 4096:
                    try: file.write(b"x" * (1 << 20)); megabytes += 1
                    except OSError as error: fault = error.strerror; break
            self.answer("%d %s" % (megabytes, fault))
        elif self.path == "/flood":
            line = b"y" * 999 + b"\n"
            for _ in range(100): os.write(1, line * 1000)
            os.write(1, b"the flood is over\n")
            self.answer("100 MB")
        elif self.path == "/sicken": healthy = False; self.answer("sick")
        elif self.path == "/healthz": self.answer("ok" if healthy else "sick", 200 if healthy else 500)
        elif self.path.startswith("/env/"): self.answer(os.environ.get(self.path[5:], "-"))
        else: self.answer("hello\n")
    def do_POST(self):
        left = int(self.headers["Content-Length"])
        self.send_response(200); self.send_header("Content-Length", str(left)); self.end_headers()
        while left > 0:
            part = self.rfile.read(min(left, 65536))
            if not part: break
            left -= len(part); self.wfile.write(part)
    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.wfile.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n" % accept).encode())
        self.wfile.flush()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 15 == 8: return
            length, mask = head[1] & 127, self.rfile.read(4)
            data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
            self.wfile.write(bytes([head[0], length]) + data); self.wfile.flush()
    def log_message(self, *arguments): pass
class Server(http.server.ThreadingHTTPServer): request_queue_size = 128
Server(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#;

impl Yard {
    fn app(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.cluster.root().join("apps").join(name);
        for (file, text) in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().expect("a file has a folder"))
                .expect("the run's folder is writable");
            std::fs::write(path, text).expect("the run's folder is writable");
        }
        folder
    }

    async fn push(&self, name: &str, folder: &Path, more: &[&str]) -> anyhow::Result<Output> {
        let folder = folder.display().to_string();
        let mut arguments = vec!["push", name, "--path", &folder];
        if !more.contains(&"--memory") {
            arguments.extend(["--memory", "64M"]);
        }
        arguments.extend(more);
        self.cluster.yard(arguments).await
    }

    /// Pushes the server that obeys.
    async fn server(&self, name: &str, more: &[&str]) -> anyhow::Result<()> {
        let folder = self.app(
            name,
            &[
                ("server.py", SERVER),
                ("Procfile", "web: exec python3 -u server.py\n"),
            ],
        );
        let mut arguments = vec!["--buildpack", "binary", "--disk", "64M"];
        arguments.extend(more);
        self.push(name, &folder, &arguments)
            .await?
            .success()
            .map(drop)
    }

    async fn delete(&self, name: &str) -> anyhow::Result<()> {
        self.cluster
            .ok(["delete", name, "--force"])
            .await
            .map(drop)
            .with_context(|| format!("deleting {name}"))
    }

    /// The instances of a process as `yard app` shows them.
    async fn instances(&self, app: &str, kind: &str) -> anyhow::Result<Vec<Value>> {
        let shown = self.cluster.ok(["app", app, "--json"]).await?.json()?;
        let processes = shown["processes"].as_array().context("processes")?;
        let process = processes
            .iter()
            .find(|process| process["type"] == kind)
            .with_context(|| format!("no process {kind}: {shown}"))?;
        Ok(process["instances"].as_array().cloned().unwrap_or_default())
    }

    async fn instance(&self, app: &str) -> anyhow::Result<String> {
        self.instances(app, "web").await?[..]
            .first()
            .and_then(|instance| instance["guid"].as_str())
            .map(str::to_string)
            .with_context(|| format!("{app} has no instance"))
    }

    /// No control group of this sandbox is left.
    async fn sandbox_gone(&self, instance: &str) -> anyhow::Result<()> {
        eventually(
            &format!("the sandbox of {instance} is gone"),
            Duration::from_secs(10),
            || async {
                let left = groups(instance);
                ensure!(left.is_empty(), "{left:?}");
                Ok(())
            },
        )
        .await
    }

    /// The neighbour answered all this time, and answers now.
    async fn neighbour_is_well(&self) -> anyhow::Result<()> {
        let before = self.neighbour.answered();
        eventually("the neighbour answers", Duration::from_secs(3), || async {
            ensure!(self.neighbour.answered() > before + 2, "no new answer");
            Ok(())
        })
        .await?;
        ensure!(
            self.neighbour.failed() == 0,
            "{} requests to the neighbour failed",
            self.neighbour.failed()
        );
        Ok(())
    }

    async fn token(&self) -> anyhow::Result<String> {
        let password = std::fs::read_to_string(self.cluster.home.join("admin-password"))?;
        let answer: Value = self
            .api_request(reqwest::Method::POST, "/oauth/token")?
            .header(
                "Authorization",
                format!(
                    "Basic {}",
                    base64::engine::general_purpose::STANDARD.encode("cf:")
                ),
            )
            .form(&[
                ("grant_type", "password"),
                ("username", "admin"),
                ("password", password.trim()),
            ])
            .send()
            .await?
            .json()
            .await?;
        answer["access_token"]
            .as_str()
            .map(str::to_string)
            .with_context(|| format!("no token: {answer}"))
    }

    fn api_request(
        &self,
        method: reqwest::Method,
        path: &str,
    ) -> anyhow::Result<reqwest::RequestBuilder> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(client
            .request(
                method,
                format!("http://127.0.0.1:{}{path}", self.cluster.port),
            )
            .header("Host", self.cluster.host("api"))
            .timeout(Duration::from_secs(30)))
    }

    /// A call of the API as admin: status and document.
    async fn api(
        &self,
        token: &str,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<(u16, Value)> {
        let mut request = self.api_request(method, path)?.bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(json!(text))))
    }

    /// One raw connection to the router.
    async fn raw(&self, request: &str) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.cluster.port)).await?;
        stream.write_all(request.as_bytes()).await?;
        Ok(stream)
    }

    /// Sends bytes and returns the first line of what comes back.
    async fn raw_status(&self, request: &str) -> anyhow::Result<String> {
        let mut stream = self.raw(request).await?;
        let mut buffer = vec![0; 4096];
        let count = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer))
            .await
            .context("no answer within 5 s")??;
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        Ok(text.lines().next().unwrap_or("(closed)").to_string())
    }
}

/// Control groups whose name tells that they belong to `mark`.
fn groups(mark: &str) -> Vec<String> {
    let output = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-name"])
        .arg(format!("*{mark}*"))
        .output();
    output
        .map(|output| {
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .map(str::to_string)
                .collect()
        })
        .unwrap_or_default()
}

/// Processes of this machine whose command line contains `mark`.
fn processes(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(mark) {
            found.push(format!("{}: {command}", entry.file_name().display()));
        }
    }
    found
}

fn resident_megabytes(pid: i32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .context("VmRSS")?;
    let kilobytes: u64 = line
        .split_whitespace()
        .nth(1)
        .context("a number")?
        .parse()?;
    Ok(kilobytes / 1024)
}

fn shown(output: &Output) -> String {
    format!(
        "status {}\n{}{}",
        output.status, output.stdout, output.stderr
    )
}

// Apps that misbehave.

async fn a_fork_bomb_is_contained(yard: &Yard) -> anyhow::Result<()> {
    // Memory enough for all of them: the limit that is reached is that of processes.
    yard.server("bomb", &["--memory", "1G"]).await?;
    let host = yard.cluster.host("bomb");
    let instance = yard.instance("bomb").await?;
    let answer = yard.cluster.body(&host, "/fork").await?;
    let children: u64 = answer
        .split(' ')
        .next()
        .unwrap_or_default()
        .parse()
        .with_context(|| answer.clone())?;
    ensure!(
        (16..=512).contains(&children) && answer.contains("temporarily unavailable"),
        "{answer}"
    );
    yard.neighbour_is_well().await?;
    yard.delete("bomb").await?;
    yard.sandbox_gone(&instance).await?;

    // The classic one, which never stops trying.
    let folder = yard.app(
        "shellbomb",
        &[(
            "Procfile",
            "web: bomb() { bomb | bomb & }; bomb; sleep 600\n",
        )],
    );
    yard.push(
        "shellbomb",
        &folder,
        &["--buildpack", "binary", "-u", "process"],
    )
    .await?;
    let instance = yard.instance("shellbomb").await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    yard.neighbour_is_well().await?;
    let start = Instant::now();
    yard.delete("shellbomb").await?;
    // It may have crashed by itself, then its sandbox is kept; but nothing runs in it.
    eventually(
        "its processes are gone",
        Duration::from_secs(10),
        || async {
            for group in groups(&instance) {
                let procs = std::fs::read_to_string(Path::new(&group).join("cgroup.procs"));
                let count = procs.map_or(0, |procs| procs.lines().count());
                ensure!(count <= 2, "{count} processes in {group}");
            }
            Ok(())
        },
    )
    .await?;
    ensure!(
        start.elapsed() < Duration::from_secs(15),
        "gone after {:?}",
        start.elapsed()
    );
    yard.neighbour_is_well().await
}

async fn a_full_disk_is_the_apps_own(yard: &Yard) -> anyhow::Result<()> {
    yard.server("filler", &[]).await?;
    let host = yard.cluster.host("filler");
    let answer = yard.cluster.body(&host, "/fill").await?;
    let megabytes: u64 = answer
        .split(' ')
        .next()
        .unwrap_or_default()
        .parse()
        .with_context(|| answer.clone())?;
    ensure!(
        // Somewhat more than asked for, because the file system's own records take their share.
        (56..=76).contains(&megabytes) && answer.contains("No space left on device"),
        "{answer}"
    );
    yard.cluster
        .body(&host, "/")
        .await
        .context("it still answers")?;
    yard.neighbour_is_well().await?;
    yard.delete("filler").await
}

async fn a_memory_hog_is_backed_off(yard: &Yard) -> anyhow::Result<()> {
    let folder = yard.app(
        "hog",
        &[
            (
                "hog.py",
                "import time\ntime.sleep(0.3)\nhold = []\nwhile True: hold.append(bytearray(b'x') * (4 << 20))\n",
            ),
            ("Procfile", "web: exec python3 hog.py\n"),
        ],
    );
    let output = yard
        .push("hog", &folder, &["--buildpack", "binary", "-u", "process"])
        .await?;
    let _ = output;
    let crashes = || async {
        let events = yard.cluster.ok(["events", "hog", "--json"]).await?.stdout;
        anyhow::Ok(events.matches("process.crash").count())
    };
    // One start and three restarts at once; the next is due 30 s later.
    eventually("four crashes", Duration::from_secs(15), || async {
        let count = crashes().await?;
        if count < 4 {
            let instances = yard.instances("hog", "web").await?;
            let recent = yard.cluster.ok(["logs", "hog", "--recent"]).await?.stdout;
            bail!("{count} crashes, {}\n{recent}", json!(instances));
        }
        Ok(())
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let count = crashes().await?;
    ensure!(count == 4, "{count} crashes: no back-off");
    let instances = yard.instances("hog", "web").await?;
    let text = json!(instances).to_string();
    ensure!(
        text.contains("CRASHED") && text.contains("out of memory"),
        "{text}"
    );
    let page = yard.cluster.ok(["app", "hog"]).await?.stdout;
    ensure!(
        page.contains("crashed") && page.contains("out of memory"),
        "{page}"
    );
    yard.neighbour_is_well().await?;
    yard.delete("hog").await
}

async fn a_flapping_app_is_restarted_later_and_later(yard: &Yard) -> anyhow::Result<()> {
    yard.cluster
        .ok(["config", "set", "health-manager/crash/first_delay", "3s"])
        .await?;
    let folder = yard.app("flapper", &[("Procfile", "web: sleep 0.2; exit 9\n")]);
    yard.push(
        "flapper",
        &folder,
        &["--buildpack", "binary", "-u", "process"],
    )
    .await?;
    let seen = eventually("five crashes", Duration::from_secs(20), || async {
        let events = yard.cluster.ok(["events", "flapper", "--json"]).await?;
        let count = events.stdout.matches("process.crash").count();
        ensure!(count >= 5, "{count}: {}", events.stdout);
        Ok(events.stdout)
    })
    .await;
    yard.cluster
        .ok(["config", "unset", "health-manager/crash/first_delay"])
        .await?;
    let seen: Value = serde_json::from_str(&seen?)?;
    ensure!(
        seen.to_string().contains("status 9"),
        "the exit status is told: {seen}"
    );
    yard.neighbour_is_well().await?;
    yard.delete("flapper").await
}

async fn daemons_left_behind_by_an_app_go_with_it(yard: &Yard) -> anyhow::Result<()> {
    let mark = format!("sleep 98{}", yard.cluster.port);
    let folder = yard.app(
        "forker",
        &[(
            "Procfile",
            &format!("web: (setsid sh -c '{mark} & {mark} & exit 0' &); sleep 1; exit 0\n"),
        )],
    );
    yard.push(
        "forker",
        &folder,
        &["--buildpack", "binary", "-u", "process"],
    )
    .await?;
    eventually("the exit is told", Duration::from_secs(15), || async {
        let events = yard.cluster.ok(["events", "forker"]).await?.stdout;
        ensure!(events.contains("status 0"), "{events}");
        Ok(())
    })
    .await?;
    yard.neighbour_is_well().await?;
    yard.delete("forker").await?;
    eventually("its daemons are gone", Duration::from_secs(10), || async {
        let left = processes(&mark);
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

async fn a_flood_of_log_lines_is_cut_and_counted(yard: &Yard) -> anyhow::Result<()> {
    yard.server("flood", &[]).await?;
    let agent = yard.cluster.pid("dea-1")?;
    let before = resident_megabytes(agent)?;
    let collector = yard.cluster.pid("collector-1")?;
    let output = yard.cluster.root().join("flood.txt");
    let mut command = yard.cluster.command(&yard.cluster.root());
    command
        .args(["logs", "flood", "--json"])
        .stdout(std::fs::File::create(&output)?)
        .stderr(std::process::Stdio::null());
    let mut live = command.spawn()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let flood = async {
        let start = Instant::now();
        yard.cluster
            .body(&yard.cluster.host("flood"), "/flood")
            .await?;
        anyhow::Ok(start.elapsed())
    };
    let mut most = before;
    tokio::pin!(flood);
    let took = loop {
        tokio::select! {
            took = &mut flood => break took?,
            () = tokio::time::sleep(Duration::from_millis(50)) => most = most.max(resident_megabytes(agent)?),
        }
    };
    println!(
        "    100 MB of lines in {} ms, agent {before} MB, at most {most} MB",
        took.as_millis()
    );
    // Whoever looks on gets every line, or is told how many are missing.
    let counted = eventually(
        "each line is there or counted",
        Duration::from_secs(10),
        || async {
            let text = std::fs::read_to_string(&output)?;
            ensure!(
                text.contains("the flood is over"),
                "the last line is missing"
            );
            let (mut lines, mut lost) = (0, 0);
            for line in text.lines() {
                if line.contains("yyyyyyyy") {
                    lines += 1;
                } else if line.contains("\"lost\"") {
                    let item: Value = serde_json::from_str(line)?;
                    lost += item["lost"]["lines"]
                        .as_u64()
                        .with_context(|| line.to_string())?;
                }
            }
            ensure!(lost > 0, "no word of lost lines; {lines} came");
            ensure!(
                lines + lost == 100_000,
                "{lines} lines came, {lost} are said to be lost"
            );
            Ok((lines, lost))
        },
    )
    .await;
    live.kill()?;
    live.wait()?;
    let (lines, lost) = counted?;
    println!("    {lines} lines came, {lost} were lost and counted");
    ensure!(
        most < before + 80,
        "the agent grew from {before} to {most} MB"
    );
    let size = resident_megabytes(collector)?;
    ensure!(size < 300, "the collector has {size} MB");
    yard.neighbour_is_well().await?;
    yard.delete("flood").await
}

// What apps may expect.

async fn health_checks_by_http_and_by_process(yard: &Yard) -> anyhow::Result<()> {
    let folder = yard.app(
        "checked",
        &[
            ("server.py", SERVER),
            ("Procfile", "web: exec python3 -u server.py\n"),
            (
                "manifest.yml",
                "applications:\n- name: checked\n  memory: 64M\n  buildpacks: [binary]\n  health-check-type: http\n  health-check-http-endpoint: /healthz\n  health-check-interval: 1\n",
            ),
        ],
    );
    yard.cluster.yard_in(&folder, ["push"]).await?.success()?;
    let host = yard.cluster.host("checked");
    let first = yard.instance("checked").await?;
    yard.cluster.body(&host, "/sicken").await?;
    // Meanwhile: a process that listens nowhere is healthy if nobody asks for more.
    let folder = yard.app("quiet", &[("Procfile", "web: exec sleep 600\n")]);
    yard.push(
        "quiet",
        &folder,
        &["--buildpack", "binary", "-u", "process", "--no-route"],
    )
    .await?
    .success()?;
    yard.delete("quiet").await?;
    let events = eventually("a new instance", Duration::from_secs(20), || async {
        let instance = yard.instance("checked").await?;
        ensure!(instance != first, "still the sick one");
        yard.cluster.body(&host, "/healthz").await?;
        Ok(yard.cluster.ok(["events", "checked"]).await?.stdout)
    })
    .await?;
    ensure!(events.contains("health check"), "{events}");
    yard.neighbour_is_well().await?;
    yard.delete("checked").await?;
    // The crashed one is kept for a while, for who wants to look at it.
    Ok(())
}

async fn odd_environment_arrives_intact(yard: &Yard) -> anyhow::Result<()> {
    let odd = "two\nlines, \"double\" 'single' `back` $HOME \\n \u{1F40D} ü =\ttab ";
    let folder = yard.app(
        "odd",
        &[
            ("server.py", SERVER),
            ("Procfile", "web: exec python3 -u server.py\n"),
        ],
    );
    yard.push("odd", &folder, &["--buildpack", "binary", "--no-start"])
        .await?
        .success()?;
    yard.cluster.ok(["set-env", "odd", "ODD", odd]).await?;
    yard.cluster.ok(["start", "odd"]).await?;
    let seen = yard
        .cluster
        .body(&yard.cluster.host("odd"), "/env/ODD")
        .await?;
    ensure!(seen == odd, "{seen:?} is not {odd:?}");
    let refused = yard.cluster.yard(["set-env", "odd", "PORT", "1"]).await?;
    ensure!(
        refused.status != 0 && shown(&refused).contains("PORT"),
        "{}",
        shown(&refused)
    );
    yard.delete("odd").await
}

async fn a_worker_of_a_procfile_is_scaled(yard: &Yard) -> anyhow::Result<()> {
    let folder = yard.app(
        "team",
        &[
            ("server.py", SERVER),
            (
                "Procfile",
                "web: exec python3 -u server.py\nworker: while true; do echo at work; sleep 1; done\n",
            ),
        ],
    );
    yard.push("team", &folder, &["--buildpack", "binary"])
        .await?
        .success()?;
    ensure!(
        yard.instances("team", "worker").await?.is_empty(),
        "a worker begins with none"
    );
    yard.cluster
        .ok(["scale", "team", "--process", "worker", "--instances", "1"])
        .await?;
    eventually("the worker's lines", Duration::from_secs(10), || async {
        let recent = yard.cluster.ok(["logs", "team", "--recent"]).await?.stdout;
        ensure!(
            recent.contains("APP/PROC/WORKER") && recent.contains("at work"),
            "{recent}"
        );
        Ok(())
    })
    .await?;
    let instances = yard.instances("team", "worker").await?;
    ensure!(
        json!(instances).to_string().contains("RUNNING"),
        "{instances:?}"
    );
    // More than any agent has: said, with what is needed and what the best has.
    let output = yard
        .cluster
        .yard([
            "scale",
            "team",
            "--process",
            "worker",
            "--memory",
            "900G",
            "--force",
            "--timeout",
            "20",
        ])
        .await?;
    let text = shown(&output);
    ensure!(
        output.status != 0 && text.contains("memory") && text.contains("dea-1"),
        "{text}"
    );
    yard.cluster
        .body(&yard.cluster.host("team"), "/")
        .await
        .context("its web process still answers")?;
    yard.neighbour_is_well().await?;
    yard.delete("team").await
}

// Packages, routes and builds.

/// A zip of (name, content); a content that begins with "->" is a symlink.
fn zip_of(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        match content.strip_prefix("->") {
            Some(target) => writer
                .add_symlink(*name, target, SimpleFileOptions::default())
                .expect("memory"),
            None => {
                writer
                    .start_file(*name, SimpleFileOptions::default())
                    .expect("memory");
                writer.write_all(content.as_bytes()).expect("memory");
            }
        }
    }
    writer.finish().expect("memory").into_inner()
}

/// A zip whose headers say that its one entry is smaller than it is.
fn lying_zip(size: usize) -> Vec<u8> {
    let content = "0".repeat(size);
    let mut bytes = zip_of(&[("Procfile", "web: sleep 1\n"), ("bomb", &content)]);
    let wrong = 100_u32.to_le_bytes();
    let right = (size as u32).to_le_bytes();
    for at in 0..bytes.len() - 4 {
        if bytes[at..at + 4] == right {
            bytes[at..at + 4].copy_from_slice(&wrong);
        }
    }
    bytes
}

async fn packages_that_lead_out_are_refused(yard: &Yard) -> anyhow::Result<()> {
    let folder = yard.app("parcel", &[("Procfile", "web: sleep 600\n")]);
    yard.push("parcel", &folder, &["--buildpack", "binary", "--no-start"])
        .await?
        .success()?;
    let app = yard.cluster.ok(["app", "parcel", "--json"]).await?.json()?["guid"]
        .as_str()
        .context("a guid")?
        .to_string();
    let token = yard.token().await?;
    let many: Vec<(String, String)> = (0..3)
        .map(|number| (format!("zeros{number}"), "0".repeat(3 << 20)))
        .collect();
    let bomb: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_str()))
        .collect();
    yard.cluster
        .ok([
            "config",
            "set",
            "controller/packages/max_unpacked_size",
            "8MiB",
        ])
        .await?;
    let mut faults = Vec::new();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "a path that leads out",
            zip_of(&[("ok", "x"), ("../../evil", "x")]),
            "leads out",
        ),
        (
            "an absolute path",
            zip_of(&[("/etc/evil", "x")]),
            "absolute",
        ),
        (
            "a link to elsewhere",
            zip_of(&[("link", "->/etc/shadow")]),
            "leads out",
        ),
        (
            "a link upwards",
            zip_of(&[("a/link", "->../../etc")]),
            "leads out",
        ),
        (
            "a file beneath a link",
            zip_of(&[("a", "->b"), ("a/x", "x")]),
            "beneath",
        ),
        ("a backslash", zip_of(&[("..\\evil", "x")]), "backslash"),
        ("a bomb", zip_of(&bomb), "unpacks to more than"),
        ("no zip at all", b"hello".to_vec(), "zip"),
        ("half a zip", zip_of(&bomb)[..4000].to_vec(), "zip"),
        ("nothing", Vec::new(), "zip"),
        ("an empty zip", zip_of(&[]), "no files"),
    ];
    for (what, bytes, wanted) in cases {
        match upload(yard, &token, &app, bytes).await {
            Ok((_, text, state)) if state != "READY" && text.contains(wanted) => {}
            Ok((status, text, state)) => {
                faults.push(format!("{what}: status {status}, then {state}: {text}"));
            }
            Err(error) => faults.push(format!("{what}: {error:#}")),
        }
    }
    // One that lies about its size is found out at the latest by who unpacks it.
    let (_, text, state) = upload(yard, &token, &app, lying_zip(40 << 20)).await?;
    if state == "READY" {
        let package: Value = serde_json::from_str(&text)?;
        let built = build(yard, &token, package["guid"].as_str().context("guid")?).await?;
        let error = built["error"].to_string();
        if built["state"] != "FAILED" || !(error.contains("bomb") || error.contains("unpack")) {
            faults.push(format!("a lying zip: {} {error}", built["state"]));
        }
    }
    yard.cluster
        .ok(["config", "unset", "controller/packages/max_unpacked_size"])
        .await?;
    ensure!(
        !Path::new("/evil").exists() && !Path::new("/etc/evil").exists(),
        "a file got out"
    );
    ensure!(faults.is_empty(), "{}", faults.join("\n    "));
    yard.neighbour_is_well().await?;
    yard.delete("parcel").await
}

/// Uploads a package: status and text of the answer, and the package's state afterwards.
async fn upload(
    yard: &Yard,
    token: &str,
    app: &str,
    bytes: Vec<u8>,
) -> anyhow::Result<(u16, String, String)> {
    let (_, package) = yard
        .api(
            token,
            reqwest::Method::POST,
            "/v3/packages",
            Some(
                json!({ "type": "bits", "relationships": { "app": { "data": { "guid": app } } } }),
            ),
        )
        .await?;
    let guid = package["guid"]
        .as_str()
        .with_context(|| format!("no package: {package}"))?;
    let form = reqwest::multipart::Form::new().part(
        "bits",
        reqwest::multipart::Part::bytes(bytes).file_name("app.zip"),
    );
    let response = yard
        .api_request(
            reqwest::Method::POST,
            &format!("/v3/packages/{guid}/upload"),
        )?
        .bearer_auth(token)
        .multipart(form)
        .send()
        .await?;
    let status = response.status().as_u16();
    let mut text = response.text().await?;
    let (_, package) = yard
        .api(
            token,
            reqwest::Method::GET,
            &format!("/v3/packages/{guid}"),
            None,
        )
        .await?;
    if status >= 300 {
        text.push_str(&package["data"]["error"].to_string());
    } else {
        text = package.to_string();
    }
    Ok((
        status,
        text,
        package["state"].as_str().unwrap_or_default().to_string(),
    ))
}

async fn build(yard: &Yard, token: &str, package: &str) -> anyhow::Result<Value> {
    let (status, build) = yard
        .api(
            token,
            reqwest::Method::POST,
            "/v3/builds",
            Some(json!({ "package": { "guid": package } })),
        )
        .await?;
    let guid = build["guid"]
        .as_str()
        .with_context(|| format!("no build: {status} {build}"))?;
    eventually("the build ends", Duration::from_secs(30), || async {
        let (_, build) = yard
            .api(
                token,
                reqwest::Method::GET,
                &format!("/v3/builds/{guid}"),
                None,
            )
            .await?;
        if build["state"] == "STAGING" {
            bail!("{build}")
        }
        Ok(build)
    })
    .await
}

async fn taken_and_invalid_routes_are_refused(yard: &Yard) -> anyhow::Result<()> {
    let token = yard.token().await?;
    let post = reqwest::Method::POST;
    let get = reqwest::Method::GET;
    let (_, organizations) = yard
        .api(&token, get.clone(), "/v3/organizations", None)
        .await?;
    let organization = &organizations["resources"][0]["guid"];
    let (status, space) = yard
        .api(
            &token,
            post.clone(),
            "/v3/spaces",
            Some(json!({ "name": "other", "relationships": { "organization": { "data": { "guid": organization } } } })),
        )
        .await?;
    ensure!(status == 201, "{status} {space}");
    let (_, domains) = yard.api(&token, get, "/v3/domains", None).await?;
    let domain = &domains["resources"][0]["guid"];
    let (status, taken) = yard
        .api(
            &token,
            post,
            "/v3/routes",
            Some(json!({ "host": "neighbour", "relationships": {
                "space": { "data": { "guid": space["guid"] } },
                "domain": { "data": { "guid": domain } } } })),
        )
        .await?;
    ensure!(
        status == 422 && taken.to_string().contains("neighbour"),
        "{status} {taken}"
    );
    // The same as its owner sees it, who pushes there.
    let login = yard.cluster.root().join("login");
    let elsewhere = yard.cluster.root().join("login-other");
    std::fs::create_dir_all(&elsewhere)?;
    for entry in std::fs::read_dir(&login)?.flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), elsewhere.join(entry.file_name()))?;
        }
    }
    let folder = yard.app("rival", &[("Procfile", "web: sleep 600\n")]);
    let mut faults = Vec::new();
    let other = async |arguments: &[&str]| {
        let mut command = yard.cluster.command(&yard.cluster.root());
        command.env("YARD_CONFIG_HOME", &elsewhere).args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        anyhow::Ok(Output {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: Duration::ZERO,
        })
    };
    other(&["target", "--space", "other"]).await?.success()?;
    let path = folder.display().to_string();
    let refused = other(&[
        "push",
        "rival",
        "--path",
        &path,
        "--hostname",
        "neighbour",
        "-b",
        "binary",
    ])
    .await?;
    if refused.status == 0 || !shown(&refused).contains("neighbour") {
        faults.push(format!("a taken route: {}", shown(&refused)));
    }
    let domain = yard.cluster.domain.as_str();
    for (what, arguments, wanted) in [
        (
            "an invalid host",
            ["map-route", "neighbour", domain, "--hostname", "bad_host!"],
            "bad_host!",
        ),
        (
            "a host that is too long",
            [
                "map-route",
                "neighbour",
                domain,
                "--hostname",
                &"a".repeat(64),
            ],
            "63",
        ),
        (
            "an unknown domain",
            [
                "map-route",
                "neighbour",
                "nowhere.example",
                "--hostname",
                "x",
            ],
            "nowhere.example",
        ),
    ] {
        let refused = yard.cluster.yard(arguments).await?;
        if refused.status == 0 || !shown(&refused).contains(wanted) {
            faults.push(format!("{what}: {}", shown(&refused)));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n    "));
    yard.neighbour_is_well().await
}

async fn a_failing_setup_shows_its_last_lines(yard: &Yard) -> anyhow::Result<()> {
    let folder = yard.app(
        "broken",
        &[
            ("requirements.txt", "./part\n"),
            (
                "part/pyproject.toml",
                "[build-system]\nrequires = []\nbuild-backend = \"broken\"\nbackend-path = [\".\"]\n",
            ),
            ("part/broken.py", "raise SystemExit('the part is broken on purpose')\n"),
            ("app.py", "print(1)\n"),
        ],
    );
    let output = yard.push("broken", &folder, &[]).await?;
    let text = shown(&output);
    ensure!(
        output.status == 6 && text.contains("the part is broken on purpose"),
        "{text}"
    );
    ensure!(
        output.stderr.contains("supply") && output.stderr.contains("status 1"),
        "step and status are told: {text}"
    );
    yard.neighbour_is_well().await?;
    yard.delete("broken").await
}

async fn a_staging_that_fills_its_disk_says_so(yard: &Yard) -> anyhow::Result<()> {
    let folder = yard.app(
        "stuffed",
        &[
            (
                "package.json",
                r#"{"name":"stuffed","version":"1.0.0","scripts":{"build":"dd if=/dev/zero of=big bs=1M count=400"}}"#,
            ),
            ("Procfile", "web: sleep 600\n"),
        ],
    );
    let output = yard.push("stuffed", &folder, &["-b", "nodejs"]).await?;
    let text = shown(&output);
    ensure!(
        output.status == 6 && (text.contains("No space left") || text.contains("ran out of disk")),
        "{text}"
    );
    ensure!(text.contains("disk"), "the limit is named: {text}");
    yard.delete("stuffed").await
}

async fn a_staging_that_hangs_is_ended(yard: &Yard) -> anyhow::Result<()> {
    let mark = format!("sleep 97{}", yard.cluster.port);
    let folder = yard.app(
        "hanging",
        &[
            (
                "package.json",
                &format!(
                    r#"{{"name":"hanging","version":"1.0.0","scripts":{{"preinstall":"trap '' TERM; {mark}; {mark}"}}}}"#
                ),
            ),
            ("Procfile", "web: sleep 600\n"),
        ],
    );
    let output = yard.push("hanging", &folder, &["-b", "nodejs"]).await?;
    let text = shown(&output);
    ensure!(
        output.status == 6 && text.contains("StagingTimeExpired"),
        "{text}"
    );
    ensure!(
        output.took < Duration::from_secs(20),
        "it took {:?}",
        output.took
    );
    eventually("nothing is left of it", Duration::from_secs(10), || async {
        let left = processes(&mark);
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await?;
    yard.neighbour_is_well().await?;
    yard.delete("hanging").await
}

// The router.

async fn ambiguous_framing_is_refused(yard: &Yard) -> anyhow::Result<()> {
    let host = yard.cluster.host("neighbour");
    let mut faults = Vec::new();
    for (what, request) in [
        (
            "both lengths",
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "two lengths",
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"
            ),
        ),
        (
            "a signed length",
            format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: +4\r\n\r\nabcd"),
        ),
        (
            "an unknown coding",
            format!(
                "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"
            ),
        ),
        (
            "a folded header",
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-A: b\r\n c\r\n\r\n"),
        ),
        (
            "a space before the colon",
            format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length : 4\r\n\r\nabcd"),
        ),
        (
            "two hosts",
            format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: other\r\n\r\n"),
        ),
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_string()),
    ] {
        let line = yard.raw_status(&request).await?;
        if !line.starts_with("HTTP/1.1 400")
            && !(what == "an unknown coding" && line.starts_with("HTTP/1.1 501"))
        {
            faults.push(format!("{what}: {line}"));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    // Who sends a header byte by byte is not waited for.
    yard.cluster
        .ok(["config", "set", "router/timeouts/request_header", "1s"])
        .await?;
    let slow = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut stream = yard.raw("GET / HTTP/1.1\r\nHost: ").await?;
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest))
            .await
            .context("a client that sends half a header is let wait")??;
        anyhow::Ok(())
    }
    .await;
    yard.cluster
        .ok(["config", "unset", "router/timeouts/request_header"])
        .await?;
    slow?;
    yard.neighbour_is_well().await
}

async fn large_bodies_sockets_and_kept_connections_pass(yard: &Yard) -> anyhow::Result<()> {
    yard.server("pipe", &[]).await?;
    let host = yard.cluster.host("pipe");
    // Two requests on one connection.
    let mut stream = yard
        .raw(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .await?;
    for round in 0..2 {
        let mut buffer = vec![0; 4096];
        let mut text = String::new();
        while !text.ends_with("hello\n") {
            let count = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer))
                .await
                .with_context(|| format!("round {round}: {text}"))??;
            ensure!(count > 0, "round {round}: closed after {text:?}");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        ensure!(text.starts_with("HTTP/1.1 200"), "{text}");
        if round == 0 {
            stream
                .write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
                .await?;
        }
    }
    // A WebSocket.
    let mut stream = yard
        .raw(&format!(
            "GET /socket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(Duration::from_secs(5), stream.read_u8())
            .await
            .context("no handshake")??;
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    ensure!(
        head.starts_with("HTTP/1.1 101") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{head}"
    );
    for word in ["first", "second"] {
        let mask = [1_u8, 2, 3, 4];
        let mut frame = vec![0x81, 0x80 | word.len() as u8];
        frame.extend(mask);
        frame.extend(
            word.bytes()
                .enumerate()
                .map(|(at, byte)| byte ^ mask[at % 4]),
        );
        stream.write_all(&frame).await?;
        let mut answer = vec![0; 2 + word.len()];
        tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer))
            .await
            .context("no echo")??;
        ensure!(&answer[2..] == word.as_bytes(), "{answer:?}");
    }
    drop(stream);
    // 50 MB there and back; the router holds only what is on its way.
    let router = yard.cluster.pid("router-1")?;
    let before = resident_megabytes(router)?;
    let mut body = vec![0; 50 << 20];
    rand::rng().fill_bytes(&mut body);
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> = body
        .chunks(256 << 10)
        .map(|chunk| Ok(chunk.to_vec()))
        .collect();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let response = client
        .post(format!("http://127.0.0.1:{}/echo", yard.cluster.port))
        .header("Host", &host)
        .header("Content-Length", body.len().to_string())
        .timeout(Duration::from_secs(60))
        .body(reqwest::Body::wrap_stream(futures_util::stream::iter(
            chunks,
        )))
        .send()
        .await?;
    ensure!(response.status() == 200, "{}", response.status());
    let mut received = response.bytes_stream();
    let (mut at, mut most) = (0, before);
    while let Some(part) = received.next().await {
        let part = part?;
        ensure!(
            body.get(at..at + part.len()) == Some(&part[..]),
            "the bytes after {at} differ"
        );
        at += part.len();
        most = most.max(resident_megabytes(router)?);
    }
    ensure!(at == body.len(), "{at} bytes came back");
    ensure!(
        most < before + 32,
        "the router grew from {before} to {most} MB"
    );
    yard.neighbour_is_well().await?;
    yard.delete("pipe").await
}

// The bus.

/// What a confused or broken component could send.
fn garbage(generator: &mut impl Rng) -> Vec<Vec<u8>> {
    let mut random = vec![0; 300];
    generator.fill_bytes(&mut random);
    let mut messages = vec![
        random,
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"\"text\"".to_vec(),
        b"{\"id\":\"\xff\xfe\"}".to_vec(),
        vec![b'['; 100_000],
        b"{\"droplets\":[{\"droplet\":42,\"state\":\"SLEEPING\",\"index\":-1}]}".to_vec(),
        b"{\"host\":\"256.1.1.1\",\"port\":99999,\"uris\":[\"\\u0000\",\"*.*\"]}".to_vec(),
        vec![0xff; 20],
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ];
    // Near misses of something real.
    let real = br#"{"dea":"dea-1","droplets":[{"droplet":"5a8a3c4e-0000-4000-8000-000000000000","version":"1","instance":"x","index":0,"state":"RUNNING","state_timestamp":1.0}]}"#;
    for _ in 0..5 {
        let mut mutated = real.to_vec();
        for _ in 0..4 {
            let at = generator.random_range(0..mutated.len());
            mutated[at] = generator.random();
        }
        mutated.truncate(generator.random_range(1..mutated.len()));
        messages.push(mutated);
    }
    messages
}

async fn garbage_on_the_bus_is_counted_and_harms_nobody(yard: &Yard) -> anyhow::Result<()> {
    let components = [
        ("controller-1", Role::Controller),
        ("router-1", Role::Router),
        ("dea-1", Role::Dea),
        ("health-manager-1", Role::HealthManager),
        ("stager-1", Role::Stager),
        ("collector-1", Role::Collector),
    ];
    let mut files = BTreeMap::new();
    for (name, _) in components {
        let path = yard
            .cluster
            .home
            .join(format!("node/bootstrap/{name}.json"));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        files.insert(name, serde_json::from_str::<Value>(&text)?);
    }
    let pids = || -> anyhow::Result<Vec<i32>> {
        components
            .iter()
            .map(|(name, _)| yard.cluster.pid(name))
            .collect()
    };
    let before_pids = pids()?;
    let before = malformed(&files).await?;
    let mut generator = rand::rng();
    let mut sent = 0;
    for (name, role) in components {
        let bus = &files[name]["bus"];
        let id = ComponentId::new(name)?;
        let client = async_nats::ConnectOptions::with_user_and_password(
            bus["user"].as_str().context("user")?.to_string(),
            bus["password"].as_str().context("password")?.to_string(),
        )
        .custom_inbox_prefix(catalogue::inbox_prefix(&id))
        .connect(bus["servers"][0].as_str().context("server")?)
        .await?;
        for pattern in catalogue::permissions(role, &id).publish {
            let subject = match pattern.as_str() {
                "vcap.stager.*" => "vcap.stager.default".to_string(),
                other => other.replace('*', "dea-1"),
            };
            for message in garbage(&mut generator) {
                client.publish(subject.clone(), message.into()).await?;
                sent += 1;
            }
        }
        client.flush().await?;
    }
    let expected = [
        "controller-1",
        "router-1",
        "dea-1",
        "health-manager-1",
        "stager-1",
        "collector-1",
    ];
    eventually(
        "every receiver counted",
        Duration::from_secs(10),
        || async {
            let after = malformed(&files).await?;
            for name in expected {
                ensure!(
                    after[name] >= before[name] + 5,
                    "{name} counted {} before and {} after {sent} messages",
                    before[name],
                    after[name]
                );
            }
            Ok(())
        },
    )
    .await?;
    ensure!(
        before_pids == pids()?,
        "a daemon died: {before_pids:?}, now {:?}",
        pids()?
    );
    // Logged, but not once per message.
    for (name, _) in components {
        let log = std::fs::read_to_string(yard.cluster.home.join(format!("logs/{name}.log")))
            .unwrap_or_default();
        ensure!(!log.contains("panicked"), "{name} panicked");
        let lines = log
            .lines()
            .filter(|line| line.contains("malformed"))
            .count();
        ensure!(lines < 400, "{name} wrote {lines} lines about it");
    }
    yard.neighbour_is_well().await?;
    // And the cluster works as before.
    yard.server("afterwards", &[]).await?;
    yard.delete("afterwards").await
}

/// `bus_malformed_total` of each component.
async fn malformed(
    files: &BTreeMap<&'static str, Value>,
) -> anyhow::Result<BTreeMap<&'static str, u64>> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut counts = BTreeMap::new();
    for (name, file) in files {
        let admin = &file["admin"];
        let text = client
            .get(format!(
                "http://{}/metrics",
                admin["address"].as_str().context("address")?
            ))
            .basic_auth(
                admin["user"].as_str().context("user")?,
                admin["password"].as_str(),
            )
            .timeout(Duration::from_secs(5))
            .send()
            .await?
            .text()
            .await?;
        let count = text
            .lines()
            .filter(|line| line.starts_with("bus_malformed_total"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>();
        counts.insert(*name, count as u64);
    }
    Ok(counts)
}

/// Runs each list in order, the lists beside one another.
async fn lanes(yard: &Yard, lanes: Vec<Vec<Test<Yard>>>, tally: &mut Tally) {
    let mut tallies = vec![Tally::default(); lanes.len()];
    futures_util::future::join_all(
        lanes
            .into_iter()
            .zip(&mut tallies)
            .map(|(lane, tally)| run(yard, lane, tally)),
    )
    .await;
    for lane in tallies {
        tally.passed += lane.passed;
        tally.failed += lane.failed;
        tally.filtered += lane.filtered;
    }
}

async fn attack(yard: &Yard, tally: &mut Tally) {
    lanes(
        yard,
        vec![
            tests![
                a_memory_hog_is_backed_off,
                a_flapping_app_is_restarted_later_and_later,
                a_fork_bomb_is_contained,
                a_flood_of_log_lines_is_cut_and_counted,
            ],
            tests![
                health_checks_by_http_and_by_process,
                ambiguous_framing_is_refused,
                large_bodies_sockets_and_kept_connections_pass,
                odd_environment_arrives_intact,
            ],
            tests![
                packages_that_lead_out_are_refused,
                taken_and_invalid_routes_are_refused,
                a_worker_of_a_procfile_is_scaled,
                daemons_left_behind_by_an_app_go_with_it,
                a_failing_setup_shows_its_last_lines,
                a_full_disk_is_the_apps_own,
            ],
        ],
        tally,
    )
    .await;
    for (key, value) in [("staging/timeout", "8s"), ("staging/disk", "64MiB")] {
        if let Err(error) = yard.cluster.ok(["config", "set", key, value]).await {
            println!("setting {key} ... FAILED\n    {error:#}");
            tally.failed += 1;
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    lanes(
        yard,
        vec![
            tests![a_staging_that_fills_its_disk_says_so],
            tests![a_staging_that_hangs_is_ended],
        ],
        tally,
    )
    .await;
    for key in ["staging/timeout", "staging/disk"] {
        let _ = yard.cluster.ok(["config", "unset", key]).await;
    }
    run(
        yard,
        tests![garbage_on_the_bus_is_counted_and_harms_nobody],
        tally,
    )
    .await;
}

async fn neighbour(cluster: Cluster) -> Result<Yard, (Cluster, anyhow::Error)> {
    let folder = cluster.root().join("apps/neighbour");
    let prepared = async {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("server.py"), SERVER)?;
        std::fs::write(folder.join("Procfile"), "web: exec python3 -u server.py\n")?;
        let path = folder.display().to_string();
        cluster
            .ok([
                "push",
                "neighbour",
                "--path",
                &path,
                "--memory",
                "64M",
                "-b",
                "binary",
            ])
            .await
    }
    .await;
    match prepared {
        Ok(_) => {
            let neighbour = Load::start(&cluster, &cluster.host("neighbour"), "/", 1);
            Ok(Yard { cluster, neighbour })
        }
        Err(error) => Err((cluster, error)),
    }
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut tally = Tally::default();
    runtime.block_on(async {
        println!("\nrunning hostile apps and input");
        let start = Instant::now();
        let cluster = match Cluster::start(Options::default()).await {
            Ok(cluster) => cluster,
            Err(error) => {
                println!("test the_cluster_comes_up ... FAILED\n    {error:#}");
                tally.failed += 1;
                return;
            }
        };
        let cluster = match neighbour(cluster).await {
            Ok(yard) => {
                attack(&yard, &mut tally).await;
                let seen = yard.neighbour.stop().await;
                match seen.without_failure(50) {
                    Ok(()) => {
                        tally.passed += 1;
                        println!(
                            "test the_neighbour_never_noticed ... ok ({} answers, the slowest after {} ms)",
                            seen.answered,
                            seen.slowest.as_millis()
                        );
                    }
                    Err(error) => {
                        tally.failed += 1;
                        println!("test the_neighbour_never_noticed ... FAILED\n    {error:#}");
                    }
                }
                yard.cluster
            }
            Err((cluster, error)) => {
                println!("test the_neighbour_is_pushed ... FAILED\n    {error:#}");
                tally.failed += 1;
                cluster
            }
        };
        if tally.failed > 0 {
            cluster.print_logs();
        }
        match cluster.destroy().await {
            Ok(()) => {
                tally.passed += 1;
                println!("test destroy_leaves_nothing ... ok");
            }
            Err(error) => {
                tally.failed += 1;
                println!("test destroy_leaves_nothing ... FAILED\n    {error:#}");
            }
        }
        println!("    all in {:.0} s", start.elapsed().as_secs_f64());
    });
    tally.print();
    if tally.failed > 0 {
        std::process::exit(1);
    }
}
