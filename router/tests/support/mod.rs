//! A router in this process, backends as raw sockets, clients as raw sockets: what is on the wire is
//! what is tested.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests; each test file uses a part"
)]

pub mod authority;
pub mod corpus;
pub mod frames;
pub mod streaming;

use arc_swap::ArcSwap;
use bytes::Bytes;
use daemon::{Policy as TaskPolicy, Supervisor};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto::bus::router::Registration;
use proto::config::Settings;
use router::adapters::access_log::AccessLog;
use router::adapters::backends::Backends;
use router::adapters::clock::Clock;
use router::adapters::counters::Counters;
use router::adapters::error_page::ErrorPage;
use router::adapters::proxy::Worker;
use router::adapters::server::{self, Entrance, Tls};
use router::adapters::trust::Trust;
use router::domain::announcement::Announcement;
use router::domain::policy::Policy;
use router::domain::route_service::Seals;
use router::domain::table::Registry;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const SOON: Duration = Duration::from_secs(10);

pub async fn eventually<T, F: AsyncFnMut() -> Result<T, String>>(
    within: Duration,
    mut check: F,
) -> T {
    let begun = Instant::now();
    loop {
        match check().await {
            Ok(value) => return value,
            Err(status) if begun.elapsed() > within => panic!("not within {within:?}: {status}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

pub struct TestRouter {
    pub address: SocketAddr,
    pub worker: Arc<Worker>,
    pub registry: Arc<Mutex<Registry>>,
    pub trust: Arc<Trust>,
    pub tasks: Supervisor,
    pub folder: tempfile::TempDir,
}

impl TestRouter {
    pub async fn start() -> TestRouter {
        TestRouter::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Policy)) -> TestRouter {
        TestRouter::beside(None, change).await
    }

    /// A router that has an entrance for TLS at this port.
    pub async fn beside(tls_port: Option<u16>, change: impl FnOnce(&mut Policy)) -> TestRouter {
        TestRouter::made(tls_port, None, change).await
    }

    /// A router that believes the authorities of this folder.
    pub async fn believing(
        folder: &std::path::Path,
        change: impl FnOnce(&mut Policy),
    ) -> TestRouter {
        TestRouter::made(None, Some(folder), change).await
    }

    /// A router that reaches instances over TLS, if this folder says whom to believe.
    pub async fn trusting(folder: &std::path::Path) -> TestRouter {
        TestRouter::made(None, Some(folder), |policy| policy.http2.plain = true).await
    }

    async fn made(
        tls_port: Option<u16>,
        trust: Option<&std::path::Path>,
        change: impl FnOnce(&mut Policy),
    ) -> TestRouter {
        let folder = tempfile::tempdir().unwrap();
        let tasks = Supervisor::new();
        let clock = Clock::start();
        let counters = Arc::new(Counters::default());
        let mut policy = Policy::read(&Settings::default());
        change(&mut policy);
        let registry = Registry::default();
        let trust = Trust::new(trust.map(Into::into));
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let worker = Arc::new(Worker {
            table: Arc::new(ArcSwap::from_pointee(registry.snapshot())),
            error_page: ErrorPage::new(policy.clone()),
            seals: Seals::read("a secret of this cluster").map(Arc::new),
            shown_address: "10.0.0.9".to_string(),
            latencies: Arc::default(),
            policy,
            backends: Backends::new(tasks.clone(), clock, trust.clone()),
            log: AccessLog::start(
                folder.path().join("access.log"),
                None,
                counters.clone(),
                &tasks,
            ),
            counters,
            clock,
            tasks: tasks.clone(),
            crowd: Arc::default(),
            condemned: Arc::default(),
            failures: Arc::default(),
            tls_port,
            sleepers: Arc::default(),
        });
        let mut router = TestRouter {
            address: "127.0.0.1:0".parse().unwrap(),
            worker,
            registry: Arc::new(Mutex::new(registry)),
            trust,
            tasks,
            folder,
        };
        router.remove_condemned();
        router.address = router.enter(None);
        router
    }

    /// What the keeper of the table does in the daemon.
    fn remove_condemned(&self) {
        let (worker, registry) = (self.worker.clone(), self.registry.clone());
        self.tasks
            .spawn("condemned", TaskPolicy::Critical, move |shutdown| {
                let (worker, registry) = (worker.clone(), registry.clone());
                async move {
                    loop {
                        let numbers = tokio::select! {
                            numbers = worker.condemned.next() => numbers,
                            () = shutdown.draining() => return Ok(()),
                        };
                        let mut registry = registry.lock().unwrap();
                        registry.remove(&numbers, worker.clock.now());
                        worker.table.store(Arc::new(registry.snapshot()));
                    }
                }
            });
    }

    /// Opens one more entrance.
    pub fn enter(&self, tls: Option<Tls>) -> SocketAddr {
        let listener = Arc::new(server::bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let address = listener.local_addr().unwrap();
        let entrance = Entrance { listener, tls };
        let worker = self.worker.clone();
        self.tasks
            .spawn("front", TaskPolicy::Critical, move |shutdown| {
                server::accept(entrance.clone(), worker.clone(), shutdown)
            });
        address
    }

    pub fn register(&self, message: &Registration) {
        let mut registry = self.registry.lock().unwrap();
        registry.register(
            &Announcement::read(message, self.trust.is_there()).unwrap(),
            self.worker.clock.now(),
        );
        self.worker.table.store(Arc::new(registry.snapshot()));
        self.worker.sleepers.table_changed();
    }

    pub fn unregister(&self, message: &Registration) {
        let mut registry = self.registry.lock().unwrap();
        let announcement = Announcement::read(message, self.trust.is_there()).unwrap();
        registry.unregister(&announcement, self.worker.clock.now());
        self.worker.table.store(Arc::new(registry.snapshot()));
        self.worker.sleepers.table_changed();
    }

    pub fn route(&self, uri: &str, address: SocketAddr) {
        self.register(&registration(uri, address));
    }

    pub async fn connect(&self) -> Client {
        Client {
            socket: TcpStream::connect(self.address).await.unwrap(),
            read: Vec::new(),
        }
    }

    /// One request on a connection of its own; the whole answer as text.
    pub async fn ask(&self, request: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(request).await;
        client.answer().await
    }

    pub async fn get(&self, host: &str, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await
    }

    pub async fn access_log(&self, lines: usize) -> Vec<String> {
        let path = self.folder.path().join("access.log");
        eventually(SOON, async || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let found: Vec<String> = text.lines().map(str::to_string).collect();
            if found.len() >= lines {
                Ok(found)
            } else {
                Err(text)
            }
        })
        .await
    }
}

pub fn registration(uri: &str, address: SocketAddr) -> Registration {
    Registration {
        uris: vec![uri.to_string()],
        host: address.ip().to_string(),
        port: Some(address.port()),
        app: Some("app-guid".into()),
        private_instance_id: Some(format!("instance-{}", address.port())),
        private_instance_index: Some("0".into()),
        ..Registration::default()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// A client that says exactly what it is told to say.
pub struct Client {
    pub socket: TcpStream,
    pub read: Vec<u8>,
}

impl Client {
    pub async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.socket.write_all(text.as_ref()).await.unwrap();
    }

    /// Reads until `done` says how much of what was read it wants.
    pub async fn read_until(&mut self, done: impl Fn(&[u8]) -> Option<usize>) -> Vec<u8> {
        let reading = async {
            loop {
                if let Some(length) = done(&self.read) {
                    return self.read.drain(..length).collect();
                }
                let mut piece = vec![0; 65536];
                let count = self.socket.read(&mut piece).await.unwrap();
                assert!(
                    count > 0,
                    "the connection ended after {:?}",
                    String::from_utf8_lossy(&self.read)
                );
                self.read.extend_from_slice(&piece[..count]);
            }
        };
        tokio::time::timeout(SOON, reading)
            .await
            .expect("an answer in time")
    }

    pub async fn head(&mut self) -> String {
        let bytes = self
            .read_until(|read| {
                read.windows(4)
                    .position(|end| end == b"\r\n\r\n")
                    .map(|at| at + 4)
            })
            .await;
        String::from_utf8(bytes).unwrap()
    }

    pub async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            body: String::new(),
        };
        let length = answer
            .header("content-length")
            .map(|length| length.parse::<usize>().unwrap());
        let chunked = answer.header("transfer-encoding") == Some("chunked");
        let body = match (length, chunked) {
            (Some(length), _) => {
                self.read_until(|read| (read.len() >= length).then_some(length))
                    .await
            }
            (None, true) => {
                self.read_until(|read| {
                    read.windows(5)
                        .position(|end| end == b"0\r\n\r\n")
                        .map(|at| at + 5)
                })
                .await
            }
            (None, false) => Vec::new(),
        };
        answer.body = String::from_utf8_lossy(&body).into_owned();
        answer
    }

    /// Whether the router closes, and sends nothing more before it.
    pub async fn is_closed(&mut self) -> bool {
        let mut piece = [0; 1024];
        matches!(
            tokio::time::timeout(SOON, self.socket.read(&mut piece)).await,
            Ok(Ok(0) | Err(_))
        )
    }
}

/// A backend: `serve` gets each connection with its number.
pub struct Backend {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Backend {
    pub async fn start<F, Fut>(serve: F) -> Backend
    where
        F: Fn(Peer, usize) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let task = tokio::spawn(async move {
            let mut served = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let number = counted.fetch_add(1, Ordering::SeqCst);
                served.spawn(serve(
                    Peer {
                        socket,
                        read: Vec::new(),
                    },
                    number,
                ));
            }
        });
        Backend {
            address,
            connections,
            task,
        }
    }

    /// Answers each request with what it received: head and body as text.
    pub async fn echo() -> Backend {
        Backend::start(|mut peer, _| async move {
            while let Some(request) = peer.request().await {
                let text = request.text();
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                ))
                .await;
            }
        })
        .await
    }

    /// Answers each request with a fixed text.
    pub async fn saying(text: &'static str) -> Backend {
        Backend::start(move |mut peer, _| async move {
            while peer.request().await.is_some() {
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                ))
                .await;
            }
        })
        .await
    }

    pub fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The backend's end of a connection.
pub struct Peer {
    pub socket: TcpStream,
    pub read: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    pub fn text(&self) -> String {
        format!("{}{}", self.head, String::from_utf8_lossy(&self.body))
    }
}

impl Peer {
    pub async fn send(&mut self, text: impl AsRef<[u8]>) {
        // The router may have left.
        let _ = self.socket.write_all(text.as_ref()).await;
    }

    pub async fn more(&mut self) -> bool {
        let mut piece = vec![0; 65536];
        match self.socket.read(&mut piece).await {
            Ok(count) if count > 0 => {
                self.read.extend_from_slice(&piece[..count]);
                true
            }
            _ => false,
        }
    }

    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.read.windows(4).position(|end| end == b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..at + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    pub async fn request(&mut self) -> Option<Received> {
        let head = self.head().await?;
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| {
            line.strip_prefix("content-length: ")?
                .trim()
                .parse::<usize>()
                .ok()
        });
        let chunked = lower.contains("transfer-encoding: chunked");
        let end = |read: &[u8]| match (length, chunked) {
            (Some(length), _) => (read.len() >= length).then_some(length),
            (None, true) => read
                .windows(5)
                .position(|end| end == b"0\r\n\r\n")
                .map(|at| at + 5),
            (None, false) => Some(0),
        };
        loop {
            if let Some(length) = end(&self.read) {
                return Some(Received {
                    head,
                    body: self.read.drain(..length).collect(),
                });
            }
            if !self.more().await {
                return None;
            }
        }
    }
}

/// An address where nobody listens.
pub fn dead_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// A server of hyper's that answers each request with its target, once it has read all of it; and what it was
/// asked: `METHOD target`.
pub async fn hyper_backend() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = lines.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let noted = noted.clone();
            tokio::spawn(async move {
                let service = service_fn(|request: hyper::Request<Incoming>| {
                    let target = request.uri().to_string();
                    let line = format!("{} {target}", request.method());
                    noted.lock().unwrap().push(line);
                    async move {
                        request.into_body().collect().await?;
                        Ok::<_, hyper::Error>(hyper::Response::new(Full::new(Bytes::from(target))))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    });
    (address, lines)
}

/// Bytes of memory that this process has.
pub fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
