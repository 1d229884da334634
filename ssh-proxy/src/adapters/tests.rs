//! The proxy between a real client and a controller and an agent that are made up.

use super::calls;
use super::controller::Controller;
use super::server::{Door, Open, configuration, serve};
use axum::extract::Json;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use daemon::{Policy, Supervisor};
use proto::inside::{End, FromInstance, Opening, Size, Splitter, ToInstance};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelMsg, client};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const USER: &str = "cf:0a1b2c3d-0000-4000-8000-000000000000/0";
/// On a busy machine too.
const WITHIN: Duration = Duration::from_secs(30);

/// The port of an agent that calls.
const CALLS: u16 = 2;

/// Takes the code "good" for instance 0 of one process, and leads to this agent.
async fn controller(agent: SocketAddr, tasks: &Supervisor) -> SocketAddr {
    let refusal = |status: StatusCode, detail: &str| {
        let body = json!({"errors": [{"code": 1, "title": "CF-X", "detail": detail}]});
        (status, Json(body))
    };
    let permits = post(move |Json(login): Json<Value>| async move {
        if login["code"] == "good" && login["index"] == 0 && login["crashed"] == false {
            return (StatusCode::OK, Json(json!({"permit": "p"})));
        }
        refusal(StatusCode::UNAUTHORIZED, "no such code")
    });
    let entries = post(move |headers: HeaderMap| async move {
        if headers["authorization"] != "Bearer p" {
            return refusal(StatusCode::UNAUTHORIZED, "no permit");
        }
        if agent.port() == 1 {
            return refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "There is no running instance 0",
            );
        }
        let address = (agent.port() != CALLS).then_some(agent);
        let entry = json!({"address": address, "ticket": "t"});
        (StatusCode::OK, Json(entry))
    });
    let routes = axum::Router::new()
        .route("/internal/ssh/permits", permits)
        .route("/internal/ssh/entries", entries);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn_once("controller", async move {
        let _ = axum::serve(listener, routes).await;
    });
    address
}

/// Sessions that say what they were asked for, repeat their input, and end with what the input says.
async fn agent(tasks: &Supervisor) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let inner = tasks.clone();
    tasks.spawn_once("agent", async move {
        while let Ok((stream, _)) = listener.accept().await {
            inner.spawn_once("session", session(stream));
        }
    });
    address
}

async fn session(mut stream: TcpStream) {
    let mut splitter = Splitter::default();
    let mut buffer = vec![0; 4096];
    let mut next = async |stream: &mut TcpStream| loop {
        if let Some(message) = ToInstance::next(&mut splitter).unwrap() {
            return Some(message);
        }
        match stream.read(&mut buffer).await {
            Ok(length) if length > 0 => splitter.push(&buffer[..length]),
            _ => return None,
        }
    };
    let hello = next(&mut stream).await;
    assert_eq!(hello, Some(ToInstance::Hello { ticket: "t".into() }));
    let Some(ToInstance::Open(opening)) = next(&mut stream).await else {
        return;
    };
    let say = async |stream: &mut TcpStream, message: FromInstance| {
        let _ = stream.write_all(&message.encode()).await;
    };
    if matches!(&opening, Opening::Connect { port: 1, .. }) {
        let problem = "connect: refused".to_string();
        return say(&mut stream, FromInstance::Refused { problem }).await;
    }
    say(&mut stream, FromInstance::Opened).await;
    let told = format!("{opening:?}\n");
    say(&mut stream, FromInstance::Errors(told.into())).await;
    while let Some(message) = next(&mut stream).await {
        match message {
            ToInstance::Input(bytes) => {
                say(&mut stream, FromInstance::Output(bytes)).await;
            }
            ToInstance::Resize(Size { columns, rows }) => {
                let text = format!("{columns}x{rows}\n");
                say(&mut stream, FromInstance::Errors(text.into())).await;
            }
            ToInstance::Signal(number) => {
                let end = End::Signal(number);
                return say(&mut stream, FromInstance::Ended(end)).await;
            }
            ToInstance::InputEnded => {
                say(&mut stream, FromInstance::OutputEnded).await;
                let end = End::Status(7);
                return say(&mut stream, FromInstance::Ended(end)).await;
            }
            ToInstance::Hello { .. } | ToInstance::Open(_) => return,
        }
    }
}

/// An agent that cannot be reached and calls.
async fn caller(calls: SocketAddr, ticket: &str) {
    let mut stream = TcpStream::connect(calls).await.unwrap();
    let ticket = ticket.to_string();
    let called = FromInstance::Called { ticket };
    stream.write_all(&called.encode()).await.unwrap();
    session(stream).await;
}

struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;
    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

struct World {
    tasks: Supervisor,
    proxy: SocketAddr,
    calls: SocketAddr,
    _folder: tempfile::TempDir,
}

impl World {
    /// With an agent, or without.
    async fn start(has_agent: bool) -> World {
        let tasks = Supervisor::new();
        let agent = match has_agent {
            true => agent(&tasks).await,
            false => SocketAddr::from(([127, 0, 0, 1], 1)),
        };
        World::with(tasks, agent).await
    }

    async fn with(tasks: Supervisor, agent: SocketAddr) -> World {
        let controller = controller(agent, &tasks).await;
        let folder = tempfile::tempdir().unwrap();
        let (key, print) = (folder.path().join("key"), folder.path().join("print"));
        let key = super::host_key::open(&key, &print).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let proxy = listener.local_addr().unwrap();
        let door = Arc::new(Door {
            ssh: Arc::new(configuration(key)),
            controller: Controller::new(&format!("http://{controller}")).unwrap(),
            calls: Arc::default(),
            tasks: tasks.clone(),
            open: Arc::new(Open::default()),
        });
        let calling = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        calling.set_nonblocking(true).unwrap();
        let address = calling.local_addr().unwrap();
        let (calls, supervisor) = (door.calls.clone(), tasks.clone());
        tasks.spawn("calls", Policy::Critical, move |shutdown| {
            let (calls, supervisor) = (calls.clone(), supervisor.clone());
            calls::serve(calling.try_clone(), calls, supervisor, shutdown)
        });
        tasks.spawn("ssh", Policy::Critical, move |shutdown| {
            serve(listener.try_clone(), door.clone(), shutdown)
        });
        World {
            tasks,
            proxy,
            calls: address,
            _folder: folder,
        }
    }

    async fn log_in(&self, user: &str, code: &str) -> Option<client::Handle<Trusting>> {
        let config = Arc::new(client::Config::default());
        let mut session = client::connect(config, self.proxy, Trusting).await.unwrap();
        let answer = session.authenticate_password(user, code).await.unwrap();
        answer.success().then_some(session)
    }
}

/// What a channel brings until its end.
#[derive(Debug, Default)]
struct Heard {
    output: String,
    errors: String,
    status: Option<u32>,
    signal: Option<String>,
    /// To the requests, in their order: whether they were granted.
    answers: Vec<bool>,
}

async fn hear(mut channel: Channel<client::Msg>) -> Heard {
    let mut heard = Heard::default();
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => heard.output += &String::from_utf8_lossy(&data),
            ChannelMsg::ExtendedData { data, .. } => {
                heard.errors += &String::from_utf8_lossy(&data);
            }
            ChannelMsg::ExitStatus { exit_status } => heard.status = Some(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => {
                heard.signal = Some(format!("{signal_name:?}"));
            }
            ChannelMsg::Success => heard.answers.push(true),
            ChannelMsg::Failure => heard.answers.push(false),
            _ => {}
        }
    }
    heard
}

async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(WITHIN, work).await.expect("in time")
}

#[tokio::test]
async fn a_command_is_carried_to_its_end() {
    bounded(async {
        let world = World::start(true).await;
        let session = world.log_in(USER, "good").await.unwrap();
        let channel = session.channel_open_session().await.unwrap();
        channel.set_env(true, "A", "1").await.unwrap();
        channel.exec(true, "the command").await.unwrap();
        channel.data_bytes(b"hello".to_vec()).await.unwrap();
        channel.eof().await.unwrap();
        let heard = hear(channel).await;
        assert_eq!((heard.output.as_str(), heard.status), ("hello", Some(7)));
        assert!(heard.errors.contains("the command"), "{}", heard.errors);
        assert!(heard.errors.contains("\"A\": \"1\""), "{}", heard.errors);
        assert!(heard.errors.contains("terminal: None"), "{}", heard.errors);
        world.tasks.stop(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_cannot_be_reached_calls() {
    bounded(async {
        let agent = SocketAddr::from(([127, 0, 0, 1], CALLS));
        let world = World::with(Supervisor::new(), agent).await;
        let session = world.log_in(USER, "good").await.unwrap();
        let channel = session.channel_open_session().await.unwrap();
        // Who has another ticket, and who says nothing, is in nobody's way.
        let _silent = TcpStream::connect(world.calls).await.unwrap();
        world
            .tasks
            .spawn_once("stranger", caller(world.calls, "another"));
        world.tasks.spawn_once("agent", caller(world.calls, "t"));
        channel.exec(true, "the command").await.unwrap();
        channel.data_bytes(b"hello".to_vec()).await.unwrap();
        channel.eof().await.unwrap();
        let heard = hear(channel).await;
        assert_eq!((heard.output.as_str(), heard.status), ("hello", Some(7)));
        world.tasks.stop(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_terminal_has_its_size_and_a_signal_its_name() {
    bounded(async {
        let world = World::start(true).await;
        let session = world.log_in(USER, "good").await.unwrap();
        let channel = session.channel_open_session().await.unwrap();
        channel
            .request_pty(true, "vt220", 81, 25, 0, 0, &[])
            .await
            .unwrap();
        channel.request_shell(true).await.unwrap();
        channel.window_change(100, 30, 0, 0).await.unwrap();
        channel.signal(russh::Sig::TERM).await.unwrap();
        let heard = hear(channel).await;
        for words in ["vt220", "columns: 81, rows: 25", "100x30"] {
            assert!(heard.errors.contains(words), "{}", heard.errors);
        }
        assert_eq!(heard.signal.as_deref(), Some("TERM"));
        world.tasks.stop(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn requests_are_answered_in_their_order_though_none_was_waited_for() {
    bounded(async {
        let world = World::start(true).await;
        let session = world.log_in(USER, "good").await.unwrap();
        let channel = session.channel_open_session().await.unwrap();
        // As OpenSSH does with an agent to forward: it wants no answer to this one.
        channel.agent_forward(false).await.unwrap();
        channel
            .request_pty(true, "vt220", 81, 25, 0, 0, &[])
            .await
            .unwrap();
        channel.set_env(false, "A", "1").await.unwrap();
        channel.request_subsystem(true, "shell").await.unwrap();
        channel.request_shell(true).await.unwrap();
        channel.exec(true, "a second one").await.unwrap();
        channel.eof().await.unwrap();
        let heard = hear(channel).await;
        assert_eq!(heard.answers, [true, false, true, false]);
        assert!(heard.errors.contains("command: None"), "{}", heard.errors);
        world.tasks.stop(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_port_is_forwarded_or_refused() {
    bounded(async {
        let world = World::start(true).await;
        let session = world.log_in(USER, "good").await.unwrap();
        let refused = session
            .channel_open_direct_tcpip("localhost", 1, "127.0.0.1", 2)
            .await;
        assert!(refused.is_err());
        let channel = session
            .channel_open_direct_tcpip("db", 5432, "127.0.0.1", 2)
            .await
            .unwrap();
        channel.data_bytes(b"query".to_vec()).await.unwrap();
        channel.eof().await.unwrap();
        assert_eq!(hear(channel).await.output, "query");
        world.tasks.stop(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn nobody_comes_in_without_a_code_for_an_instance() {
    bounded(async {
        let world = World::start(true).await;
        let other = USER.replace("/0", "/1");
        for (user, code) in [(USER, "bad"), (&other, "good"), ("root", "good")] {
            assert!(world.log_in(user, code).await.is_none(), "{user} {code}");
        }
        world.tasks.stop(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn why_there_is_no_session_is_said() {
    bounded(async {
        let world = World::start(false).await;
        let session = world.log_in(USER, "good").await.unwrap();
        let channel = session.channel_open_session().await.unwrap();
        channel.exec(true, "id").await.unwrap();
        let heard = hear(channel).await;
        assert_eq!(heard.status, Some(255));
        assert_eq!(heard.errors, "There is no running instance 0\r\n");
        world.tasks.stop(Duration::ZERO).await;
    })
    .await;
}
