//! Four thousand clients that only take: honest clients hardly notice, the router's memory stays bounded, and who abuses it
//! is let go.
//!
//! The abusers are a process of their own that the kernel prefers least: on a real network they have machines of their own.
//! The router has one too, this one, so that what it takes can be told; honest clients and the instance have threads of their
//! own in it, so that they wait for the router and not in its queues. What is asserted bears with a busy machine; the figures
//! are printed.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test"
)]

mod support;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::frames::*;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// How many hold on to what they got.
const SLOW: usize = 4000;
/// How many make work: each as much as it can until it is let go.
const FLOODS: usize = 200;
/// They come within this time.
const ARRIVAL: Duration = Duration::from_secs(1);
/// The router's patience with its clients.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long it may take beyond that until the last one is let go.
const CUT_WITHIN: Duration = Duration::from_secs(20);
const HONEST: usize = 4;
const HONEST_PAUSE: Duration = Duration::from_millis(2);
/// Measured again so often before it is a failure: the machine may be busy with something else for a moment.
const ATTEMPTS: usize = 3;
/// What the 99th percentile may rise by besides: what was promised is that it is at most doubled; a machine that is busy with
/// other tests is given more.
const SLACK: Duration = Duration::from_millis(200);
/// What may be kept once for all of them.
const MEMORY_ALL: usize = 64 << 20;
/// Descriptors for each slow client: its own, and both ends of the connection to the instance.
const FILES_EACH: u64 = 3;

const ABUSE: &str = "ROUTER_TEST_ABUSE";
const ALL_CAME: &str = "all came";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    SlowHeaders,
    SlowBodies,
    SlowReaders,
    RapidReset,
    EmptyFrames,
    Continuations,
    HeaderBomb,
}

impl Way {
    const ALL: [Way; 7] = [
        Way::SlowHeaders,
        Way::SlowBodies,
        Way::SlowReaders,
        Way::RapidReset,
        Way::EmptyFrames,
        Way::Continuations,
        Way::HeaderBomb,
    ];

    fn clients(self) -> usize {
        match self {
            Way::SlowHeaders | Way::SlowBodies | Way::SlowReaders => SLOW,
            Way::RapidReset | Way::EmptyFrames | Way::Continuations | Way::HeaderBomb => FLOODS,
        }
    }

    /// What each may cost. For who does not read an answer waits what was read of it at once: the largest buffer of a
    /// connection to an instance, once more while it fills again.
    fn memory(self) -> usize {
        match self {
            Way::SlowReaders => 256 << 10,
            Way::HeaderBomb => 128 << 10,
            Way::SlowHeaders
            | Way::SlowBodies
            | Way::RapidReset
            | Way::EmptyFrames
            | Way::Continuations => 32 << 10,
        }
    }
}

#[test]
fn thousands_who_abuse_it_are_let_go_and_the_honest_hardly_notice() {
    raise_limit();
    // As many threads as the router itself would have.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(1, usize::from))
        .enable_all()
        .build()
        .unwrap();
    let reached = Arc::new(AtomicUsize::new(0));
    let instance = instance(reached.clone());
    let router = runtime.block_on(TestRouter::with(|policy| {
        policy.http2.plain = true;
        policy.header_timeout = PATIENCE;
        policy.body_timeout = PATIENCE;
        policy.send_timeout = PATIENCE;
        policy.idle_timeout = PATIENCE;
        // Thousands of connections to one instance take their time on a busy machine.
        policy.connect_timeout = SOON;
    }));
    let address = router.address;
    router.route("honest", instance);
    router.route("victim", instance);
    let mut worst = Vec::new();
    for way in Way::ALL {
        for attempt in 1.. {
            reached.store(0, Ordering::Relaxed);
            let seen = suffer(&router, address, way);
            println!("{way:?}, {} clients: {}", way.clients(), seen.in_words());
            let mut faults = seen.faults(way);
            // Otherwise they waited for something else than what they abuse.
            let reached = reached.load(Ordering::Relaxed);
            if matches!(way, Way::SlowBodies | Way::SlowReaders) && reached < SLOW {
                faults.push(format!("only {reached} reached the instance"));
            }
            if faults.is_empty() {
                break;
            }
            if attempt == ATTEMPTS {
                worst.push(format!("{way:?}: {}", faults.join(", ")));
                break;
            }
        }
    }
    assert!(worst.is_empty(), "{worst:#?}");
}

struct Seen {
    without: Duration,
    with: Duration,
    requests: usize,
    failed: usize,
    /// Abusers that were not let go, and how long it took.
    left: usize,
    after: Duration,
    grown: usize,
}

impl Seen {
    fn in_words(&self) -> String {
        let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        format!(
            "p99 {} without, {} with; {} honest requests, {} failed; after {:.1} s {} of the abusers were left; memory grew by {} MiB",
            millis(self.without),
            millis(self.with),
            self.requests,
            self.failed,
            self.after.as_secs_f64(),
            self.left,
            self.grown >> 20
        )
    }

    fn faults(&self, way: Way) -> Vec<String> {
        let mut faults = Vec::new();
        if self.with > self.without * 3 + SLACK {
            faults.push(format!("p99 {:?} instead of {:?}", self.with, self.without));
        }
        if self.failed > 0 {
            faults.push(format!("{} honest requests failed", self.failed));
        }
        if self.left > 0 {
            faults.push(format!("{} were not let go", self.left));
        }
        if self.grown > MEMORY_ALL + way.clients() * way.memory() {
            faults.push(format!("{} bytes more", self.grown));
        }
        faults
    }
}

fn suffer(router: &TestRouter, address: SocketAddr, way: Way) -> Seen {
    let (before, _) = honest(address, || std::thread::sleep(Duration::from_secs(1)));
    let memory = resident();
    let mut most = memory;
    let (during, (left, after)) = honest(address, || {
        let begun = Instant::now();
        let mut abusers = abusers(way, address);
        let output = BufReader::new(abusers.stdout.take().unwrap());
        let all_came = std::thread::spawn(move || {
            let mut lines = output.lines().map_while(Result::ok);
            assert!(lines.any(|line| line == ALL_CAME));
        });
        let present = || router.worker.crowd.present().saturating_sub(HONEST);
        while !all_came.is_finished() || (present() > 0 && begun.elapsed() < PATIENCE + CUT_WITHIN)
        {
            most = most.max(resident());
            std::thread::sleep(Duration::from_millis(20));
        }
        let (left, after) = (present(), begun.elapsed());
        // They hold on until now, whatever the router did.
        drop(abusers.stdin.take());
        abusers.wait().unwrap();
        all_came.join().unwrap();
        (left, after)
    });
    let begun = Instant::now();
    while router.worker.crowd.present() > 0 && begun.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(20));
    }
    Seen {
        without: before.p99,
        with: during.p99,
        requests: during.requests,
        failed: during.failed + before.failed,
        left,
        after,
        grown: most.saturating_sub(memory),
    }
}

struct Honest {
    p99: Duration,
    requests: usize,
    failed: usize,
}

/// What honest clients see while something happens.
fn honest<T>(address: SocketAddr, during: impl FnOnce() -> T) -> (Honest, T) {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let asking = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let clients = (0..HONEST).map(|_| ask_on(address, asked.clone()));
            futures_util::future::join_all(clients).await
        })
    });
    let outcome = during();
    stop.store(true, Ordering::Relaxed);
    let asked = asking.join().unwrap();
    let failed = asked.iter().map(|(_, failed)| failed).sum();
    let mut took: Vec<Duration> = asked.into_iter().flat_map(|(took, _)| took).collect();
    took.sort();
    let honest = Honest {
        p99: took[took.len() * 99 / 100],
        requests: took.len(),
        failed,
    };
    (honest, outcome)
}

/// Asks on one connection until it is told to stop: how long each took, and how many failed.
async fn ask_on(address: SocketAddr, stop: Arc<AtomicBool>) -> (Vec<Duration>, usize) {
    let (mut took, mut failed) = (Vec::new(), 0);
    let mut socket = TcpStream::connect(address).await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let asked = async {
            socket
                .write_all(b"GET / HTTP/1.1\r\nHost: honest\r\n\r\n")
                .await?;
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\nok") {
                if socket.read_buf(&mut read).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            std::io::Result::Ok(read.starts_with(b"HTTP/1.1 200 "))
        };
        let well = matches!(tokio::time::timeout(SOON, asked).await, Ok(Ok(true)));
        took.push(begun.elapsed());
        if !well {
            failed += 1;
            socket = TcpStream::connect(address).await.unwrap();
        }
        tokio::time::sleep(HONEST_PAUSE).await;
    }
    (took, failed)
}

/// An instance on a thread of its own, for as long as the process lives. Counts whom it answers without end, and whose body
/// it waits for. It takes little memory: what is measured is the router's.
fn instance(reached: Arc<AtomicUsize>) -> SocketAddr {
    let (told, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(SLOW as u32).unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(socket, reached.clone()));
            }
        })
    });
    address.recv().unwrap()
}

async fn serve(mut socket: TcpStream, reached: Arc<AtomicUsize>) {
    static MUCH: [u8; 16_384] = [b'x'; 16_384];
    let mut head = Vec::with_capacity(512);
    loop {
        head.clear();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if !matches!(socket.read_buf(&mut head).await, Ok(1..)) {
                return;
            }
        }
        if head.starts_with(b"GET /much ") {
            reached.fetch_add(1, Ordering::Relaxed);
            let begin = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
            let _ = socket.write_all(begin).await;
            while socket.write_all(&MUCH).await.is_ok() {}
            return;
        }
        if head.starts_with(b"POST ") {
            reached.fetch_add(1, Ordering::Relaxed);
            while matches!(socket.read(&mut [0; 64]).await, Ok(1..)) {}
            return;
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        if socket.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// As many open files as may be; with fewer there is nothing to show.
fn raise_limit() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = SLOW as u64 * FILES_EACH + 500;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(wanted), hard).unwrap();
    }
    assert!(
        hard >= wanted,
        "{wanted} open files are needed (`ulimit -Hn` says {hard})"
    );
}

/// Starts the abusers: this program again.
fn abusers(way: Way, address: SocketAddr) -> Child {
    Command::new("nice")
        .args(["-n", "19"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "abusers_in_a_process_of_their_own",
        ])
        .env(ABUSE, format!("{way:?} {address}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
#[ignore = "it is started by the test that it abuses"]
async fn abusers_in_a_process_of_their_own() {
    let Ok(orders) = std::env::var(ABUSE) else {
        return;
    };
    raise_limit();
    let (way, address) = orders.split_once(' ').unwrap();
    let way = Way::ALL
        .into_iter()
        .find(|known| format!("{known:?}") == way)
        .unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let gap = ARRIVAL / way.clients() as u32;
    let begun = tokio::time::Instant::now();
    for number in 0..way.clients() as u32 {
        tokio::time::sleep_until(begun + gap * number).await;
        let socket = TcpSocket::new_v4().unwrap();
        if way == Way::SlowReaders {
            // Who means it offers a small window.
            socket.set_recv_buffer_size(4096).unwrap();
        }
        tokio::spawn(abuse(way, socket.connect(address).await.unwrap()));
    }
    println!("\n{ALL_CAME}");
    // Whoever started this ends it.
    tokio::io::stdin().read_u8().await.unwrap_err();
}

async fn abuse(way: Way, mut socket: TcpStream) {
    match way {
        Way::SlowHeaders => {
            let _ = socket
                .write_all(b"GET / HTTP/1.1\r\nHost: victim\r\nX: ")
                .await;
            drip(&mut socket).await;
        }
        Way::SlowBodies => {
            let head = "POST / HTTP/1.1\r\nHost: victim\r\nContent-Length: 1000000\r\n\r\nx";
            let _ = socket.write_all(head.as_bytes()).await;
            ended(&mut socket).await;
        }
        Way::SlowReaders => {
            let _ = socket
                .write_all(b"GET /much HTTP/1.1\r\nHost: victim\r\n\r\n")
                .await;
            // It reads nothing, and stays whatever the router does.
            std::future::pending().await
        }
        Way::RapidReset => {
            let headers = block(&get("victim"));
            flood(socket, &[], |number| {
                let stream = number * 2 + 1;
                let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &headers);
                bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
                bytes
            })
            .await;
        }
        Way::EmptyFrames => {
            let post = frame(HEADERS, END_HEADERS, 1, &block(&request("POST", "victim")));
            let bytes = frame(DATA, 0, 1, &[]).repeat(100);
            flood(socket, &post, |_| bytes.clone()).await;
        }
        Way::Continuations => {
            let begun = frame(HEADERS, 0, 1, &block(&get("victim")));
            let bytes = frame(CONTINUATION, 0, 1, &[0x88]).repeat(20);
            flood(socket, &begun, |_| bytes.clone()).await;
        }
        Way::HeaderBomb => {
            let bomb = bomb("victim");
            flood(socket, &[], |number| {
                frame(HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &bomb)
            })
            .await;
        }
    }
}

/// A byte now and then, until the router has enough.
async fn drip(socket: &mut TcpStream) {
    let (mut reading, mut writing) = socket.split();
    let dripping = async {
        while writing.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        () = dripping => {}
        _ = reading.read_to_end(&mut rest) => {}
    }
}

async fn ended(socket: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
}

/// Frames as fast as they go, until the router has enough.
async fn flood(socket: TcpStream, begin: &[u8], mut again: impl FnMut(u32) -> Vec<u8>) {
    let (mut reading, mut writing) = socket.into_split();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(begin);
    let _ = writing.write_all(&bytes).await;
    let flooding = async {
        for number in 0.. {
            if writing.write_all(&again(number)).await.is_err() {
                return;
            }
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        () = flooding => {}
        _ = reading.read_to_end(&mut rest) => {}
    }
}
