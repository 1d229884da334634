//! The corpus of requests that could be read in more than one way, as raw bytes through the router, in front of four
//! servers that read HTTP each in its way. None of them may see other than one request, or none; what each saw is in
//! `docs/smuggling.md`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test"
)]

mod support;

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use support::corpus::{Case, Fate, Judged, SMUGGLED, http1_cases, http2_cases};
use support::frames::{DATA, END_STREAM, End, FrameClient, frame};
use support::*;
use tokio::io::AsyncReadExt;

/// What a server says it was asked: `METHOD target`.
enum Seen {
    Memory(Arc<Mutex<Vec<String>>>),
    File(std::path::PathBuf),
}

struct Server {
    name: &'static str,
    address: SocketAddr,
    seen: Seen,
    child: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Server {
    fn seen(&self) -> Vec<String> {
        match &self.seen {
            Seen::Memory(lines) => lines.lock().unwrap().clone(),
            Seen::File(path) => {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                text.lines().map(str::to_string).collect()
            }
        }
    }
}

async fn hyper_server() -> Server {
    let (address, lines) = support::hyper_backend().await;
    Server {
        name: "hyper",
        address,
        seen: Seen::Memory(lines),
        child: None,
    }
}

const NODE: &str = r"
const http = require('node:http'), fs = require('node:fs');
const log = fs.openSync(process.argv[2], 'a');
const server = http.createServer((request, response) => {
  fs.writeSync(log, `${request.method} ${request.url}\n`);
  request.on('error', () => {});
  request.resume().on('end', () => response.end(request.url));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
";

const PYTHON: &str = r#"
import http.server, sys
log = open(sys.argv[1], "a", buffering=1)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        log.write("%s %s\n" % (self.command, self.path))
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                self.rfile.read(size)
                if size == 0: break
                self.rfile.readline()
            while self.rfile.readline().strip(): pass
        else:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = self.path.encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = answer
    def log_message(self, *arguments): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// A server that prints the port it listens on.
fn scripted(folder: &Path, name: &'static str, program: &str, script: &str) -> Option<Server> {
    let (file, log) = (folder.join(name), folder.join(format!("{name}.log")));
    std::fs::write(&file, script).unwrap();
    let started = Command::new(program)
        .arg(&file)
        .arg(&log)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = started else {
        // Not by the macro, whose output the test harness hides.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!(
                "SKIPPED: {name} is not there ({program}): the corpus is not sent to it\n"
            ),
        );
        return None;
    };
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let port: u16 = line.trim().parse().expect("the port it listens on");
    Some(Server {
        name,
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        seen: Seen::File(log),
        child: Some(child),
    })
}

async fn nginx(folder: &Path) -> Option<Server> {
    for _ in 0..10 {
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let root = folder.display();
        let config = format!(
            "daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log;\n\
             events {{}}\n\
             http {{\n\
               log_format seen '$request_method $request_uri';\n\
               access_log {root}/nginx.log seen;\n\
               client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;\n\
               uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
               server {{ listen 127.0.0.1:{port}; default_type text/plain; location / {{ return 200 $request_uri; }} }}\n\
             }}\n"
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let started = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = started else {
            // Not by the macro, whose output the test harness hides.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("SKIPPED: nginx is not there: the corpus is not sent to it\n"),
            );
            return None;
        };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listens = eventually(SOON, async || {
            if child.try_wait().unwrap().is_some() {
                // Somebody else took the port.
                return Ok(false);
            }
            match tokio::net::TcpStream::connect(address).await {
                Ok(_) => Ok(true),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        if listens {
            return Some(Server {
                name: "nginx",
                address,
                seen: Seen::File(folder.join("nginx.log")),
                child: Some(child),
            });
        }
    }
    panic!("nginx found no port");
}

/// The status of what the router says before it closes; 0 if it says nothing.
async fn last_words(client: &mut Client) -> u16 {
    let mut said = std::mem::take(&mut client.read);
    // A reset is an end too.
    let reading = client.socket.read_to_end(&mut said);
    let _ = tokio::time::timeout(SOON, reading)
        .await
        .expect("the end of the connection in time");
    let said = String::from_utf8_lossy(&said);
    let status = said.split("\r\n\r\n").filter_map(|answer| {
        let status = answer.strip_prefix("HTTP/1.1 ")?.get(..3)?;
        status.parse().ok().filter(|status| *status != 100)
    });
    status.last().unwrap_or(0)
}

async fn whole_answer(client: &mut Client) -> Answer {
    loop {
        let answer = client.answer().await;
        if answer.status != 100 {
            return answer;
        }
    }
}

/// Sends a case; gives the status it was answered with, or what was wrong with that.
async fn replay(router: &TestRouter, number: usize, case: &Case) -> Result<u16, String> {
    let path = format!("/case-{number}");
    let text = case.text.replace("{p}", &path).replace("{s}", SMUGGLED);
    let mut client = router.connect().await;
    client.send(&text).await;
    let shown = text.escape_debug();
    match case.judged {
        Judged::One => {
            // In step: the next request on the connection gets its own answer.
            let after = format!("/after-{number}");
            for target in [path, after] {
                if target.starts_with("/after") {
                    let next = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
                    client.send(next).await;
                }
                let answer = whole_answer(&mut client).await;
                if (answer.status, &answer.body) != (200, &target) {
                    return Err(format!("{target} got {answer:?} after {shown}"));
                }
            }
            Ok(200)
        }
        Judged::Refused(status) => match last_words(&mut client).await {
            found if found == status => Ok(status),
            found => Err(format!("{found} instead of {status}: {shown}")),
        },
        Judged::Broken => match last_words(&mut client).await {
            0 | 400 => Ok(400),
            found => Err(format!("{found}: {shown}")),
        },
    }
}

async fn replay_http2(router: &TestRouter) {
    for (headers, fate) in http2_cases() {
        let mut client = FrameClient::connect(router.address).await;
        client.headers(1, END_STREAM, &headers).await;
        let end = client.end(1).await;
        let right = match (&fate, &end) {
            (Fate::Refused(wanted), End::Answered { status, .. }) => wanted == status,
            (Fate::Ended, End::Reset(_) | End::Closed(_)) => true,
            _ => false,
        };
        assert!(right, "{headers:?}: {end:?} instead of {fate:?}");
    }
    // A body is a body, whatever stands in it, with or without its length.
    let length = SMUGGLED.len().to_string();
    for headers in [vec![], vec![("content-length", length.as_str())]] {
        let mut client = FrameClient::connect(router.address).await;
        let mut all = vec![
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/body"),
        ];
        all.extend(headers);
        client.headers(1, 0, &all).await;
        let data = frame(DATA, END_STREAM, 1, SMUGGLED.as_bytes());
        client.send(&data).await;
        let end = client.end(1).await;
        let answered = End::Answered {
            status: 200,
            body: "/body".into(),
        };
        assert_eq!(end, answered);
    }
}

/// What one server saw of each case.
async fn replay_all(server: &Server, cases: &[Case]) -> (Vec<u16>, Vec<usize>) {
    let router = TestRouter::start().await;
    router.route("a", server.address);
    let of_http2 = TestRouter::with(|policy| policy.http2.plain = true).await;
    of_http2.route("a", server.address);
    let (mut statuses, mut wrong) = (Vec::new(), Vec::new());
    for (number, case) in cases.iter().enumerate() {
        match replay(&router, number, case).await {
            Ok(status) => statuses.push(status),
            Err(what) => wrong.push(what),
        }
    }
    assert!(wrong.is_empty(), "{}: {wrong:#?}", server.name);
    replay_http2(&of_http2).await;
    assert_eq!(router.get("a", "/last").await.status, 200);
    let seen = eventually(SOON, async || {
        let seen = server.seen();
        match seen.iter().any(|line| line.ends_with(" /last")) {
            true => Ok(seen),
            false => Err(format!("{} saw {}", server.name, seen.len())),
        }
    })
    .await;
    let count = |target: &str| {
        let asked = |line: &&String| line.split_once(' ').is_some_and(|(_, it)| it == target);
        seen.iter().filter(asked).count()
    };
    let strange: Vec<&String> = seen
        .iter()
        .filter(|line| {
            let target = line.split_once(' ').map_or("", |(_, target)| target);
            let known = ["/case-", "/after-", "/body", "/last"];
            !known.iter().any(|begin| target.starts_with(begin))
        })
        .collect();
    assert!(strange.is_empty(), "{} saw {strange:?}", server.name);
    assert_eq!(count("/body"), 2, "{}", server.name);
    let counts: Vec<usize> = (0..cases.len())
        .map(|number| count(&format!("/case-{number}")))
        .collect();
    for (number, case) in cases.iter().enumerate() {
        let (saw, after) = (counts[number], count(&format!("/after-{number}")));
        let fine = match case.judged {
            Judged::One => saw == 1 && after == 1,
            Judged::Refused(_) => saw == 0 && after == 0,
            Judged::Broken => saw <= 1 && after == 0,
        };
        assert!(fine, "{} saw {saw} of {:?}", server.name, case.text);
    }
    (statuses, counts)
}

fn table(cases: &[Case], results: &[(&'static str, Vec<u16>, Vec<usize>)]) -> String {
    let mut text = format!(
        "# Requests that could be read in two ways\n\n\
         What `router/tests/smuggling.rs` sends through the router as raw bytes, to servers that read HTTP each in its way, and \
         what came of it: {} cases of HTTP/1, and {} of HTTP/2, of which none reaches anybody (`router/tests/support/corpus.rs` \
         has them). No server ever sees other than one request, or none; a request whose body turns out to be broken may have begun \
         at a server, and is never whole. `«p»` is a path of the case's own, `«s»` a whole request that nobody may see. Written by \
         the test (`YARD_REGENERATE=1`).\n\n| # | trick | request | router |",
        cases.len(),
        http2_cases().len()
    );
    for (name, ..) in results {
        let _ = write!(text, " {name} |");
    }
    text.push_str("\n|---|---|---|---|");
    text.push_str(&"---|".repeat(results.len()));
    text.push('\n');
    for (number, case) in cases.iter().enumerate() {
        let shown = case.text.replace("{p}", "«p»").replace("{s}", "«s»");
        let shown = shown.escape_debug().to_string().replace('|', "\\|");
        let router = match case.judged {
            Judged::One => "passes".to_string(),
            Judged::Refused(_) => results.first().map_or(String::new(), |(_, statuses, _)| {
                statuses[number].to_string()
            }),
            Judged::Broken => "ends it".to_string(),
        };
        let _ = write!(
            text,
            "| {} | {} | `{}` | {router} |",
            number + 1,
            case.trick,
            shown.replace('`', "'")
        );
        for (_, _, counts) in results {
            // Whether a broken one begins there is a matter of time.
            let _ = match case.judged {
                Judged::Broken => write!(text, " none whole |"),
                Judged::One | Judged::Refused(_) => write!(text, " {} |", counts[number]),
            };
        }
        text.push('\n');
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_server_ever_sees_other_than_one_request() {
    let cases = http1_cases();
    assert!(cases.len() + http2_cases().len() >= 180, "{}", cases.len());
    let folder = tempfile::tempdir().unwrap();
    let servers = [
        Some(hyper_server().await),
        nginx(folder.path()).await,
        scripted(folder.path(), "Node", "node", NODE),
        scripted(folder.path(), "Python", "python3", PYTHON),
    ];
    let complete = servers.iter().all(Option::is_some);
    let mut results = Vec::new();
    for server in servers.into_iter().flatten() {
        let (statuses, counts) = replay_all(&server, &cases).await;
        results.push((server.name, statuses, counts));
    }
    let text = table(&cases, &results);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/smuggling.md");
    if !complete {
        // Not by the macro, whose output the test harness hides.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED: docs/smuggling.md is not compared: not all servers are there\n"),
        );
        return;
    }
    if std::env::var_os("YARD_REGENERATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        known == text,
        "docs/smuggling.md is out of date: YARD_REGENERATE=1"
    );
}
