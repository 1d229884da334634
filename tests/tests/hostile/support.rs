//! The yard that all of these tests share: the cluster with its neighbour, the server that obeys,
//! and what this machine tells of their sandboxes.

use anyhow::{Context, ensure};
use base64::Engine as _;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::{Cluster, Load, Output, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The cluster under attack and the app that must not notice.
pub struct Yard {
    pub cluster: Cluster,
    pub neighbour: Load,
}

/// A server that does to its sandbox what it is asked for.
pub const SERVER: &str = r#"
import base64, hashlib, http.server, json, os, signal, sys, threading, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
healthy = True
# Each of these goes on for so many seconds, and tells after how long it was refused more, and how.
def bomb(seconds):
    read, write = os.pipe()
    begun = time.time()
    leader = os.fork()
    if leader == 0:
        os.setsid()
        while True:
            try: os.fork()
            except OSError as error:
                os.write(write, ("%f %s\n" % (time.time() - begun, error.strerror)).encode())
                while True:
                    try: os.fork()
                    except OSError: pass
    os.close(write)
    line = os.fdopen(read).readline()
    time.sleep(max(0, begun + seconds - time.time()))
    try: os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError: pass
    os.waitpid(leader, 0)
    after, _, reason = line.strip().partition(" ")
    return {"after": float(after or 0), "reason": reason}
def filler(seconds):
    begun, told = time.time(), {}
    while time.time() < begun + seconds or not told:
        with open("filler", "wb", buffering=0) as file:
            try:
                while True: file.write(b"x" * (1 << 20))
            except OSError as error: told = told or {"after": time.time() - begun, "reason": error.strerror}
    os.remove("filler")
    return told
def burn(seconds):
    end, burners = time.time() + seconds, []
    for _ in range(2 * (os.cpu_count() or 1)):
        pid = os.fork()
        if pid == 0:
            while time.time() < end: pass
            os._exit(0)
        burners.append(pid)
    for pid in burners: os.waitpid(pid, 0)
    return {"reason": None}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are written apart: the second must not wait until the first is acknowledged.
    disable_nagle_algorithm = True
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
        elif self.path == "/eat":
            hold = []
            while True: hold.append(bytearray(b"x") * (4 << 20))
        elif self.path.startswith(("/bomb/", "/filler/", "/burn/")):
            _, what, seconds = self.path.split("/")
            self.answer(json.dumps({"bomb": bomb, "filler": filler, "burn": burn}[what](float(seconds))))
        elif self.path == "/flood":
            line = b"y" * 999 + b"\n"
            for _ in range(100): os.write(1, line * 1000)
            # In a second of its own: the limit of lines a second must not take the last one too.
            time.sleep(1.5); os.write(1, b"the flood is over\n")
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
    pub fn app(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.cluster.root().join("apps").join(name);
        for (file, text) in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().expect("a file has a folder"))
                .expect("the run's folder is writable");
            std::fs::write(path, text).expect("the run's folder is writable");
        }
        folder
    }

    pub async fn push(&self, name: &str, folder: &Path, more: &[&str]) -> anyhow::Result<Output> {
        let folder = folder.display().to_string();
        let mut arguments = vec!["push", name, "--path", &folder];
        if !more.contains(&"--memory") {
            arguments.extend(["--memory", "64M"]);
        }
        arguments.extend(more);
        self.cluster.yard(arguments).await
    }

    /// Pushes the server that obeys.
    pub async fn server(&self, name: &str, more: &[&str]) -> anyhow::Result<()> {
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

    pub async fn delete(&self, name: &str) -> anyhow::Result<()> {
        self.cluster
            .ok(["delete", name, "--force"])
            .await
            .map(drop)
            .with_context(|| format!("deleting {name}"))
    }

    /// The instances of a process as `yard app` shows them.
    pub async fn instances(&self, app: &str, kind: &str) -> anyhow::Result<Vec<Value>> {
        let shown = self.cluster.ok(["app", app, "--json"]).await?.json()?;
        let processes = shown["processes"].as_array().context("processes")?;
        let process = processes
            .iter()
            .find(|process| process["type"] == kind)
            .with_context(|| format!("no process {kind}: {shown}"))?;
        Ok(process["instances"].as_array().cloned().unwrap_or_default())
    }

    pub async fn instance(&self, app: &str) -> anyhow::Result<String> {
        self.instances(app, "web").await?[..]
            .first()
            .and_then(|instance| instance["guid"].as_str())
            .map(str::to_string)
            .with_context(|| format!("{app} has no instance"))
    }

    /// No control group of this sandbox is left.
    pub async fn sandbox_gone(&self, instance: &str) -> anyhow::Result<()> {
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
    pub async fn neighbour_is_well(&self) -> anyhow::Result<()> {
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

    pub async fn token(&self) -> anyhow::Result<String> {
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

    pub fn api_request(
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
    pub async fn api(
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

    /// The sandbox of an instance, which need not be named like it.
    pub async fn sandbox(&self, instance: &str) -> anyhow::Result<String> {
        let text = self.cluster.status_text("dea-1", "/instances").await?;
        let shown: Value = serde_json::from_str(&text)?;
        let instances = shown["instances"].as_array().into_iter().flatten();
        let found = instances
            .filter(|one| one["instance"] == instance)
            .find_map(|one| one["sandbox"].as_str());
        found
            .map(str::to_string)
            .with_context(|| format!("no sandbox of {instance} in {text}"))
    }

    /// One raw connection to the router.
    pub async fn raw(&self, request: &str) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.cluster.port)).await?;
        stream.write_all(request.as_bytes()).await?;
        Ok(stream)
    }

    /// Sends bytes and returns the first line of what comes back.
    pub async fn raw_status(&self, request: &str) -> anyhow::Result<String> {
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
pub fn groups(mark: &str) -> Vec<String> {
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

pub fn resident_megabytes(pid: i32) -> anyhow::Result<u64> {
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

pub fn shown(output: &Output) -> String {
    format!(
        "status {}\n{}{}",
        output.status, output.stdout, output.stderr
    )
}
