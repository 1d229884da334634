//! So many requests a second, whatever becomes of them, from clients with kept connections, with uploads, slow answers and
//! WebSockets among them: what a push must not disturb.
//!
//! **Open loop.** A request is due at its time and not when the one before it is answered: a cluster that stands still for a
//! second is asked all the same, and each request waits from when it was due. A generator that cannot keep up says so
//! ([`Outcome::fell_behind`]): fewer requests would prove less.
//!
//! **Failed** is
//! - a request without a 2xx answer to the end, or whose answer is not the one of this request,
//! - an upload whose length and digest do not come back,
//! - a WebSocket that cannot be opened, whose echo does not come, or that ends without a word. Its instance may end it with a
//!   close frame that says that it goes (1001) or that the service restarts (1012): a tunnel cannot move to another
//!   instance, and neither here nor at Cloud Foundry does one outlive its instance. Its client opens another at once.
//!
//! Clients write bytes themselves: a library that retries would hide what is looked for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Of so many requests one is an upload, another one is answered slowly.
const EVERY: u64 = 20;
const UPLOAD: usize = 64 << 10;
/// An upload comes in so many pieces with pauses, so that some are always under way.
const PIECES: usize = 8;
const PIECE_PAUSE: Duration = Duration::from_millis(25);
/// How long the slow answers take: longer than an instance is left alone before it is told to end.
const SLOW: Duration = Duration::from_millis(1500);
const SOCKET_PAUSE: Duration = Duration::from_millis(500);
/// The generator fell behind if it sent a request so late.
const LATE: Duration = Duration::from_secs(1);

/// What a barrage asks for: an app of [`SERVER`].
#[derive(Debug, Clone)]
pub struct Target {
    pub port: u16,
    pub host: String,
    pub rate: u32,
    pub sockets: usize,
}

/// A running barrage; [`Barrage::stop`] ends it.
pub struct Barrage {
    stop: CancellationToken,
    shared: Arc<Shared>,
    pacer: tokio::task::JoinHandle<()>,
    sockets: Vec<tokio::task::JoinHandle<()>>,
}

struct Shared {
    target: Target,
    begun: Instant,
    /// Kept connections that wait for a request, the one used last at the end.
    kept: Mutex<Vec<Connection>>,
    outcome: Mutex<Outcome>,
}

/// What became of a barrage.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub lasted: Duration,
    pub requests: u64,
    pub uploads: u64,
    pub slow: u64,
    /// Connections that were made for the requests.
    pub connections: u64,
    pub echoes: u64,
    /// WebSockets that were opened; all but the first ones because their instance said that it goes.
    pub opened: u64,
    /// Answers by the version that gave them.
    pub versions: BTreeMap<String, u64>,
    /// When (since the begin) and how.
    pub failures: Vec<(Duration, String)>,
    /// From when each request was due to its whole answer, the quickest first; without uploads and slow ones, which take
    /// their time by intention.
    pub took: Vec<Duration>,
    /// The longest that a request was sent after it was due.
    pub latest: Duration,
}

impl Outcome {
    /// Whether less was sent than was to be, or much later.
    pub fn fell_behind(&self, rate: u32) -> Option<String> {
        let due = self.lasted.as_secs_f64() * f64::from(rate);
        let behind = self.latest > LATE || (self.requests as f64) < due * 0.99;
        behind.then(|| {
            format!(
                "THE GENERATOR FELL BEHIND: {} of {due:.0} requests, the latest {:?} late",
                self.requests, self.latest
            )
        })
    }

    pub fn percentile(&self, part: f64) -> Duration {
        crate::load::percentile(&self.took, part)
    }

    pub fn without_failure(&self) -> anyhow::Result<()> {
        if self.failures.is_empty() {
            return Ok(());
        }
        let mut kinds: BTreeMap<&str, (Duration, u64)> = BTreeMap::new();
        for (at, failure) in &self.failures {
            kinds.entry(failure).or_insert((*at, 0)).1 += 1;
        }
        anyhow::bail!(
            "{} of {} requests, {} echoes and {} WebSockets failed (first at, times): {kinds:?}",
            self.failures.len(),
            self.requests,
            self.echoes,
            self.opened
        )
    }
}

impl Barrage {
    pub fn start(target: Target) -> Barrage {
        let stop = CancellationToken::new();
        let sockets = target.sockets;
        let shared = Arc::new(Shared {
            target,
            begun: Instant::now(),
            kept: Mutex::default(),
            outcome: Mutex::default(),
        });
        let pacer = tokio::spawn(pace(shared.clone(), stop.clone()));
        let sockets = (0..sockets)
            .map(|number| tokio::spawn(talk(shared.clone(), number, stop.clone())))
            .collect();
        Barrage {
            stop,
            shared,
            pacer,
            sockets,
        }
    }

    /// How many failed up to now.
    pub fn failed(&self) -> usize {
        self.shared.outcome().failures.len()
    }

    /// Sends nothing more, waits for what is under way, and tells.
    pub async fn stop(self) -> Outcome {
        self.stop.cancel();
        let lasted = self.shared.begun.elapsed();
        let _ = self.pacer.await;
        for socket in self.sockets {
            let _ = socket.await;
        }
        let mut outcome = self.shared.outcome().clone();
        outcome.lasted = lasted;
        outcome.took.sort();
        outcome
    }
}

impl Shared {
    fn outcome(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, what: &str, why: String) {
        let at = self.begun.elapsed();
        self.outcome().failures.push((at, format!("{what}: {why}")));
    }
}

/// Sends each request when it is due; ends when all are answered.
async fn pace(shared: Arc<Shared>, stop: CancellationToken) {
    let mut under_way = tokio::task::JoinSet::new();
    let gap = Duration::from_secs(1) / shared.target.rate;
    for number in 0_u32.. {
        let due = shared.begun + gap * number;
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = stop.cancelled() => break,
        }
        under_way.spawn(send(shared.clone(), u64::from(number), due));
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Quick,
    Slow,
    Upload,
}

impl Kind {
    fn of(number: u64) -> Kind {
        match number % EVERY {
            5 => Kind::Slow,
            10 => Kind::Upload,
            _ => Kind::Quick,
        }
    }
}

async fn send(shared: Arc<Shared>, number: u64, due: Instant) {
    let kind = Kind::of(number);
    let late = due.elapsed();
    let asked = tokio::time::timeout(PATIENCE, ask(&shared, number, kind)).await;
    let took = due.elapsed();
    let answer = asked.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
    let mut outcome = shared.outcome();
    outcome.requests += 1;
    outcome.latest = outcome.latest.max(late);
    match kind {
        Kind::Quick => outcome.took.push(took),
        Kind::Slow => outcome.slow += 1,
        Kind::Upload => outcome.uploads += 1,
    }
    match answer {
        Ok(version) => *outcome.versions.entry(version).or_default() += 1,
        Err(why) => {
            drop(outcome);
            shared.fail(&format!("{kind:?}"), why);
        }
    }
}

/// One request on a kept connection, or on one more if all are taken. The version that answered.
async fn ask(shared: &Shared, number: u64, kind: Kind) -> Result<String, String> {
    let kept = {
        let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.pop()
    };
    let mut connection = match kept {
        Some(connection) => connection,
        None => {
            shared.outcome().connections += 1;
            Connection::open(shared.target.port).await?
        }
    };
    let host = &shared.target.host;
    let expected = match kind {
        Kind::Quick => {
            let head = format!("GET /quick/{number} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            connection.write(head.as_bytes()).await?;
            format!("/quick/{number}")
        }
        Kind::Slow => {
            let milliseconds = SLOW.as_millis();
            let path = format!("/slow/{milliseconds}/{number}");
            let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            connection.write(head.as_bytes()).await?;
            path
        }
        Kind::Upload => {
            let body: Vec<u8> = (0..UPLOAD)
                .map(|at| (at as u64 * 31 + number) as u8)
                .collect();
            let head = format!(
                "POST /upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: {UPLOAD}\r\n\r\n"
            );
            connection.write(head.as_bytes()).await?;
            for piece in body.chunks(UPLOAD / PIECES) {
                connection.write(piece).await?;
                tokio::time::sleep(PIECE_PAUSE).await;
            }
            let digest = digest::digest(&digest::SHA256, &body);
            let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
            format!("{UPLOAD} {}", digest.collect::<String>())
        }
    };
    let answer = connection.answer().await?;
    if !(200..300).contains(&answer.status) {
        let first = answer.body.lines().next().unwrap_or_default();
        return Err(format!("{} {first}", answer.status));
    }
    if answer.keep {
        let mut kept = shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(connection);
    }
    match answer.body.trim_end().split_once(' ') {
        Some((version, rest)) if rest == expected => Ok(version.to_string()),
        _ => Err(format!("{:?} instead of {expected}", answer.body)),
    }
}

struct Answer {
    status: u16,
    keep: bool,
    body: String,
}

/// A client's connection of HTTP/1.1.
struct Connection {
    socket: TcpStream,
    read: Vec<u8>,
}

fn told(what: &'static str) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{what}: {}", error.kind())
}

impl Connection {
    async fn open(port: u16) -> Result<Connection, String> {
        let socket = TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(told("connecting"))?;
        socket.set_nodelay(true).map_err(told("connecting"))?;
        Ok(Connection {
            socket,
            read: Vec::new(),
        })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.socket.write_all(bytes).await.map_err(told("writing"))
    }

    /// Reads until there are so many bytes; takes none.
    async fn fill(&mut self, length: usize) -> Result<(), String> {
        while self.read.len() < length {
            let count = self.socket.read_buf(&mut self.read).await;
            if count.map_err(told("reading"))? == 0 {
                return Err(format!("closed after {} bytes", self.read.len()));
            }
        }
        Ok(())
    }

    async fn head(&mut self) -> Result<String, String> {
        loop {
            let end = self.read.windows(4).position(|end| end == b"\r\n\r\n");
            if let Some(end) = end {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).map_err(|_| "a head that is no text".to_string());
            }
            self.fill(self.read.len() + 1).await?;
        }
    }

    async fn answer(&mut self) -> Result<Answer, String> {
        let head = self.head().await?;
        let (status, length, keep) = read_head(&head)?;
        self.fill(length).await?;
        let body: Vec<u8> = self.read.drain(..length).collect();
        Ok(Answer {
            status,
            keep,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

/// Status, length of the body, and whether the connection stays.
fn read_head(head: &str) -> Result<(u16, usize, bool), String> {
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let (mut length, mut keep) = (None, true);
    for line in head.lines().skip(1) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            keep = !value.trim().eq_ignore_ascii_case("close");
        }
    }
    match (status, length) {
        (Some(status), Some(length)) => Ok((status, length, keep)),
        (Some(status @ 101), None) => Ok((status, 0, false)),
        _ => Err(format!("an answer that says {head:?}")),
    }
}

/// How a WebSocket ended that did not fail.
enum End {
    /// Nothing more is to be sent.
    Told,
    /// Its instance goes.
    Gone,
}

/// Keeps one WebSocket open and says something now and then.
async fn talk(shared: Arc<Shared>, number: usize, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match socket(&shared, number, &stop).await {
            Ok(End::Told) => return,
            Ok(End::Gone) => {}
            Err(why) => {
                shared.fail("WebSocket", why);
                tokio::time::sleep(SOCKET_PAUSE).await;
            }
        }
    }
}

async fn socket(shared: &Shared, number: usize, stop: &CancellationToken) -> Result<End, String> {
    let mut connection = Connection::open(shared.target.port).await?;
    let host = &shared.target.host;
    let key = BASE64.encode(format!("{number:016}"));
    let head = format!(
        "GET /socket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    connection.write(head.as_bytes()).await?;
    let opening = tokio::time::timeout(PATIENCE, connection.head()).await;
    let head = opening.map_err(|_| "no handshake in time".to_string())??;
    if read_head(&head)?.0 != 101 || !head.contains(&acceptance(&key)) {
        return Err(format!("no WebSocket: {head:?}"));
    }
    shared.outcome().opened += 1;
    for word in 0.. {
        let text = format!("{number}:{word}");
        connection.write(&masked(1, text.as_bytes())).await?;
        let echo = tokio::time::timeout(PATIENCE, received(&mut connection)).await;
        match echo.map_err(|_| "no echo in time".to_string())?? {
            Received::Text(echo) if echo == text => shared.outcome().echoes += 1,
            Received::Text(echo) => return Err(format!("{echo:?} instead of {text:?}")),
            Received::Close(code) => return closed(&mut connection, code).await,
        }
        // A close may come at any time.
        tokio::select! {
            () = tokio::time::sleep(SOCKET_PAUSE) => {}
            () = stop.cancelled() => {
                connection.write(&masked(8, &1000_u16.to_be_bytes())).await?;
                return Ok(End::Told);
            }
            more = received(&mut connection) => match more? {
                Received::Close(code) => return closed(&mut connection, code).await,
                Received::Text(text) => return Err(format!("{text:?} unasked")),
            },
        }
    }
    Ok(End::Told)
}

async fn closed(connection: &mut Connection, code: u16) -> Result<End, String> {
    if !matches!(code, 1001 | 1012) {
        return Err(format!("closed with {code}"));
    }
    // Its instance may be gone before it reads this.
    let _ = connection.write(&masked(8, &code.to_be_bytes())).await;
    Ok(End::Gone)
}

/// What proves that a WebSocket is meant (RFC 6455, 1.3).
fn acceptance(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    ))
}

/// A client's frame; the payload is shorter than 126 bytes.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [7, 1, 8, 2];
    let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8];
    frame.extend(MASK);
    let hidden = payload.iter().zip(MASK.iter().cycle());
    frame.extend(hidden.map(|(byte, mask)| byte ^ mask));
    frame
}

enum Received {
    Text(String),
    Close(u16),
}

/// The next frame. May be dropped while it waits: what came stays in the connection.
async fn received(connection: &mut Connection) -> Result<Received, String> {
    connection.fill(2).await?;
    let (opcode, length) = (connection.read[0] & 15, usize::from(connection.read[1]));
    if length > 125 {
        return Err(format!("a frame of {length}"));
    }
    connection.fill(2 + length).await?;
    let payload = connection
        .read
        .drain(..2 + length)
        .skip(2)
        .collect::<Vec<u8>>();
    match opcode {
        1 => Ok(Received::Text(
            String::from_utf8_lossy(&payload).into_owned(),
        )),
        8 => {
            let code = payload
                .first_chunk()
                .map_or(1005, |code| u16::from_be_bytes(*code));
            Ok(Received::Close(code))
        }
        _ => Err(format!("a frame of kind {opcode}")),
    }
}

/// What answers a barrage: its version, and what it was asked for. Told to end, it takes no more connections, closes its
/// WebSockets with 1001 and answers what is under way.
pub const SERVER: &str = r#"
import asyncio, base64, hashlib, os, signal
VERSION = open("version").read().strip()
busy, sockets, ending = set(), set(), asyncio.Event()

def answer(text, keep=True):
    body = ("%s %s\n" % (VERSION, text)).encode()
    close = "" if keep else "Connection: close\r\n"
    return ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), close)).encode() + body

async def echo(reader, writer):
    sockets.add(writer)
    try:
        while True:
            first, second = await reader.readexactly(2)
            mask = await reader.readexactly(4)
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(await reader.readexactly(second & 127)))
            if first & 15 == 8:
                if writer in sockets: writer.write(bytes([0x88, len(payload)]) + payload)
                return
            if writer in sockets: writer.write(bytes([0x81, len(payload)]) + payload)
    finally:
        sockets.discard(writer)

async def serve(reader, writer):
    me = asyncio.current_task()
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            busy.add(me)
            lines = head.decode().split("\r\n")
            path = lines[0].split(" ")[1]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
            if path == "/socket":
                seal = hashlib.sha1((headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
                writer.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n" % base64.b64encode(seal).decode()).encode())
                busy.discard(me)
                return await echo(reader, writer)
            text = path
            if path == "/upload":
                body = await reader.readexactly(int(headers["content-length"]))
                text = "%d %s" % (len(body), hashlib.sha256(body).hexdigest())
            if path.startswith("/slow/"): await asyncio.sleep(int(path.split("/")[2]) / 1000)
            writer.write(answer(text, not ending.is_set()))
            await writer.drain()
            busy.discard(me)
            if ending.is_set(): return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        busy.discard(me)
        writer.close()

async def main():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    server = await asyncio.start_server(serve, "0.0.0.0", int(os.environ["PORT"]), backlog=1024)
    await ending.wait()
    server.close()
    for writer in list(sockets):
        sockets.discard(writer)
        writer.write(bytes([0x88, 2]) + (1001).to_bytes(2, "big"))
    while busy: await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    os._exit(0)

asyncio.run(main())
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_tell_status_length_and_whether_the_connection_stays() {
        let read = |more: &str| read_head(&format!("HTTP/1.1 200 OK\r\n{more}\r\n"));
        assert_eq!(read("content-length: 5\r\n"), Ok((200, 5, true)));
        assert_eq!(
            read("Content-Length: 5\r\nConnection: close\r\n"),
            Ok((200, 5, false))
        );
        assert!(read("").is_err());
        let switched = read_head("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(switched, Ok((101, 0, false)));
    }

    #[test]
    fn a_websocket_is_accepted_as_the_rfc_says() {
        assert_eq!(
            acceptance("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn fewer_requests_than_were_due_are_told() {
        let outcome = |requests, latest| Outcome {
            lasted: Duration::from_secs(10),
            requests,
            latest,
            ..Outcome::default()
        };
        assert_eq!(outcome(4999, Duration::ZERO).fell_behind(500), None);
        assert!(outcome(4000, Duration::ZERO).fell_behind(500).is_some());
        assert!(outcome(5000, LATE * 2).fell_behind(500).is_some());
    }
}
