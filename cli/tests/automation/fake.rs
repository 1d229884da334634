//! A cluster that is an HTTP server with the answers a test gives it, by request line. It knows by
//! itself what a login asks.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone)]
pub struct Call {
    /// `POST /api/v1/executions?limit=1`
    pub line: String,
    pub host: String,
    pub authorization: String,
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Call {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

pub fn json_of(status: u16, body: Value) -> Answer {
    Answer {
        status,
        headers: "content-type: application/json\r\n".into(),
        body: body.to_string().into_bytes(),
    }
}

pub fn ok(body: Value) -> Answer {
    json_of(200, body)
}

/// A list that is longer than what is sent of it.
pub fn counted(total: usize, body: Value) -> Answer {
    let mut answer = ok(body);
    answer
        .headers
        .push_str(&format!("x-total-count: {total}\r\n"));
    answer
}

pub fn plain(text: &str) -> Answer {
    Answer {
        status: 200,
        headers: "content-type: text/plain\r\n".into(),
        body: text.as_bytes().to_vec(),
    }
}

/// A whole stream of events, which then ends.
pub fn events(events: &[(&str, Value)]) -> Answer {
    let body: String = events
        .iter()
        .map(|(name, data)| format!("event: {name}\ndata: {data}\n\n"))
        .collect();
    Answer {
        status: 200,
        headers: "content-type: text/event-stream\r\n".into(),
        body: body.into_bytes(),
    }
}

type Script = Arc<Mutex<BTreeMap<String, Vec<Answer>>>>;

pub struct Cluster {
    calls: Arc<Mutex<Vec<Call>>>,
    script: Script,
    home: tempfile::TempDir,
}

pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }
}

impl Cluster {
    /// A cluster with somebody logged in.
    pub fn start() -> Cluster {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let cluster = Cluster {
            calls: Arc::default(),
            script: Arc::default(),
            home: tempfile::tempdir().expect("a temporary folder"),
        };
        let (calls, script) = (cluster.calls.clone(), cluster.script.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (calls, script) = (calls.clone(), script.clone());
                std::thread::spawn(move || serve(stream, port, &calls, &script));
            }
        });
        let api = format!("http://api.fake.internal:{port}");
        let login = cluster.yard_with(
            &["login", &api, "-u", "admin", "--connect", "127.0.0.1"],
            "secret\n",
            Path::new("."),
        );
        assert_eq!(login.code, 0, "{}{}", login.stdout, login.stderr);
        cluster.calls.lock().expect("no panic elsewhere").clear();
        cluster
    }

    /// What a request is answered. Several answers to the same request are given one after the
    /// other, the last one for ever.
    pub fn on(self, line: &str, answer: Answer) -> Cluster {
        self.script
            .lock()
            .expect("no panic elsewhere")
            .entry(line.to_string())
            .or_default()
            .push(answer);
        self
    }

    pub fn yard(&self, arguments: &[&str]) -> Ended {
        self.yard_with(arguments, "", Path::new("."))
    }

    pub fn yard_with(&self, arguments: &[&str], stdin: &str, folder: &Path) -> Ended {
        let mut child = Command::new(env!("CARGO_BIN_EXE_yard"))
            .args(arguments)
            .current_dir(folder)
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
        let output = child.wait_with_output().expect("yard ends");
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no panic elsewhere").clone()
    }

    /// The only request that begins so.
    pub fn call(&self, start: &str) -> Call {
        let calls = self.calls();
        let found: Vec<&Call> = calls
            .iter()
            .filter(|call| call.line.starts_with(start))
            .collect();
        match found.as_slice() {
            [only] => (*only).clone(),
            _ => panic!(
                "{start} was asked {} times: {:?}",
                found.len(),
                calls.iter().map(|call| &call.line).collect::<Vec<_>>()
            ),
        }
    }
}

fn serve(mut stream: TcpStream, port: u16, calls: &Mutex<Vec<Call>>, script: &Script) {
    let Some(call) = read(&stream) else { return };
    calls.lock().expect("no panic elsewhere").push(call.clone());
    let reply = of_login(&call, port).unwrap_or_else(|| scripted(&call, script));
    let head = format!(
        "HTTP/1.1 {} X\r\n{}content-length: {}\r\nconnection: close\r\n\r\n",
        reply.status,
        reply.headers,
        reply.body.len()
    );
    // The client may have gone already.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&reply.body));
}

fn scripted(call: &Call, script: &Script) -> Answer {
    let mut script = script.lock().expect("no panic elsewhere");
    let path = call.line.split('?').next().unwrap_or_default().to_string();
    let answers = match script.contains_key(&call.line) {
        true => script.get_mut(&call.line),
        false => script.get_mut(&path),
    };
    match answers {
        Some(answers) if answers.len() > 1 => answers.remove(0),
        Some(answers) => answers[0].clone(),
        None => json_of(
            404,
            json!({ "faultstring": format!("nothing at {}", call.line) }),
        ),
    }
}

fn of_login(call: &Call, port: u16) -> Option<Answer> {
    let list = |name: &str| {
        ok(json!({ "pagination": { "next": null }, "resources": [{ "guid": name, "name": name }] }))
    };
    let host = |name: &str| json!({ "href": format!("http://{name}.fake.internal:{port}") });
    match call.line.split('?').next()? {
        "GET /" => Some(ok(
            json!({ "links": { "login": host("login"), "uaa": host("uaa"), "log_cache": host("log-cache") } }),
        )),
        "POST /oauth/token" => Some(ok(
            json!({ "access_token": "only", "refresh_token": "more", "token_type": "bearer", "expires_in": 600 }),
        )),
        "GET /v3/organizations" => Some(list("org")),
        "GET /v3/spaces" => Some(list("space")),
        _ => None,
    }
}

fn read(stream: &TcpStream) -> Option<Call> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let mut call = Call {
        line: format!("{} {}", words.next()?, words.next()?),
        host: String::new(),
        authorization: String::new(),
        content_type: String::new(),
        body: Vec::new(),
    };
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        let value = value.trim().to_string();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => call.authorization = value,
            "content-type" => call.content_type = value,
            "host" => call.host = value,
            _ => {}
        }
    }
    call.body = vec![0; length];
    reader.read_exact(&mut call.body).ok()?;
    Some(call)
}
