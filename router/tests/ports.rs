//! Routes that have a port of the router to themselves: real sockets on both sides.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod support;

use proto::bus::router::Registration;
use proto::ports::{Port, PortRanges, Transport};
use router::adapters::doors::Doors;
use router::domain::announcement::Announcement;
use router::domain::policy::Policy;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use support::{SOON, TestRouter, eventually, registration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Notify;

/// A router that opens ports.
struct Yard {
    router: TestRouter,
    doors: Arc<Doors>,
    changed: Arc<Notify>,
}

impl Yard {
    async fn start() -> Yard {
        Yard::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Policy)) -> Yard {
        let router = TestRouter::with(|policy| {
            policy.tcp.allowed = PortRanges::read("1024-65535");
            policy.udp.allowed = PortRanges::read("1024-65535");
            change(policy);
        })
        .await;
        let changed = Arc::new(Notify::new());
        let doors = Doors::new(
            router.worker.clone(),
            "127.0.0.1".parse().unwrap(),
            changed.clone(),
        );
        let runs = doors.clone();
        router
            .tasks
            .spawn("ports", daemon::Policy::Restart, move |shutdown| {
                runs.clone().run(shutdown)
            });
        Yard {
            router,
            doors,
            changed,
        }
    }

    fn register(&self, uri: &str, instance: SocketAddr) {
        self.router.route(uri, instance);
        self.changed.notify_one();
    }

    fn unregister(&self, uri: &str, instance: SocketAddr, returns: bool) {
        let message = Registration {
            yard_returns: Some(returns),
            ..registration(uri, instance)
        };
        let mut registry = self.router.registry.lock().unwrap();
        let gone = Announcement::read(&message, false).unwrap();
        registry.unregister(&gone, self.router.worker.clock.now());
        self.router
            .worker
            .table
            .store(Arc::new(registry.snapshot()));
        drop(registry);
        self.changed.notify_one();
    }

    /// A connection to the port, when it is open.
    async fn connect(&self, port: u16) -> TcpStream {
        eventually(SOON, async || connect(port).await).await
    }

    async fn refuses(&self, port: u16) {
        eventually(SOON, async || match connect(port).await {
            Ok(_) => Err("somebody listens".to_string()),
            Err(_) => Ok(()),
        })
        .await;
    }

    async fn is_closed_because(&self, port: Port, expected: &str) {
        eventually(SOON, async || {
            let reason = self.doors.closed(port).unwrap_or_default();
            match reason.contains(expected) && !expected.is_empty() || reason == expected {
                true => Ok(()),
                false => Err(reason),
            }
        })
        .await;
    }
}

async fn connect(port: u16) -> Result<TcpStream, String> {
    let connected = TcpStream::connect(("127.0.0.1", port)).await;
    connected.map_err(|error| error.to_string())
}

/// A port that nobody has, below those that outgoing connections get.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 11_000
            + (std::process::id() as u16)
                .wrapping_mul(37)
                .wrapping_add(step)
                % 9000;
        let address = ("127.0.0.1", port);
        if std::net::TcpListener::bind(address).is_ok()
            && std::net::UdpSocket::bind(address).is_ok()
        {
            return port;
        }
    }
}

fn tcp(port: u16) -> Port {
    Port {
        transport: Transport::Tcp,
        number: port,
    }
}

/// An instance that says its name, and then what it is sent, until the client has said all; then "bye".
async fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = vec![0; 16 * 1024];
                socket.write_all(name.as_bytes()).await?;
                loop {
                    match socket.read(&mut bytes).await? {
                        0 => break,
                        length => socket.write_all(&bytes[..length]).await?,
                    }
                }
                socket.write_all(b"bye").await
            });
        }
    });
    address
}

/// The address of nobody.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

async fn read(socket: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    let reading = socket.read_exact(&mut bytes);
    tokio::time::timeout(SOON, reading).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn rest(socket: &mut TcpStream) -> std::io::Result<String> {
    let mut text = String::new();
    let reading = socket.read_to_string(&mut text);
    tokio::time::timeout(SOON, reading).await.unwrap()?;
    Ok(text)
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_way_ends_by_itself() {
    let yard = Yard::start().await;
    let port = free_port();
    yard.register(&format!("tcp://tcp.example:{port}"), echo("a").await);
    let mut client = yard.connect(port).await;
    assert_eq!(read(&mut client, 1).await, "a");
    let sent = "0123456789".repeat(100_000);
    let (mut from, mut to) = client.into_split();
    let sending = async {
        to.write_all(sent.as_bytes()).await.unwrap();
        // All is said, and the answer is still to come.
        to.shutdown().await.unwrap();
    };
    let mut heard = String::new();
    let hearing = async { from.read_to_string(&mut heard).await.unwrap() };
    tokio::time::timeout(SOON, async { tokio::join!(sending, hearing) })
        .await
        .unwrap();
    assert!(heard == format!("{sent}bye"), "{} bytes", heard.len());
    // A request that names the domain and the port is none of its clients.
    let answer = yard.router.get(&format!("tcp.example:{port}"), "/").await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn a_port_opens_with_its_route_and_closes_after_it() {
    let yard = Yard::start().await;
    let (port, instance) = (free_port(), echo("a").await);
    let uri = format!("tcp://tcp.example:{port}");
    assert!(connect(port).await.is_err());
    yard.register(&uri, instance);
    let mut client = yard.connect(port).await;
    assert_eq!(read(&mut client, 1).await, "a");
    // It crashed, and another comes: the port stays, and who comes meanwhile is not kept waiting.
    yard.unregister(&uri, instance, true);
    let mut early = yard.connect(port).await;
    assert!(rest(&mut early).await.is_err(), "it is reset");
    let successor = echo("b").await;
    yard.register(&uri, successor);
    let mut second = yard.connect(port).await;
    assert_eq!(read(&mut second, 1).await, "b");
    yard.unregister(&uri, successor, false);
    yard.refuses(port).await;
    // Who is joined stays so.
    client.write_all(b"still").await.unwrap();
    assert_eq!(read(&mut client, 5).await, "still");
}

#[tokio::test]
async fn connections_are_spread_and_another_instance_is_tried() {
    let yard = Yard::start().await;
    let port = free_port();
    let uri = format!("tcp://tcp.example:{port}");
    let dead = nobody().await;
    for instance in [echo("a").await, dead, echo("b").await] {
        yard.register(&uri, instance);
    }
    let mut heard = std::collections::BTreeSet::new();
    let mut clients = Vec::new();
    eventually(SOON, async || {
        let mut client = yard.connect(port).await;
        heard.insert(read(&mut client, 1).await);
        clients.push(client);
        match heard.len() {
            2 => Ok(()),
            _ => Err(format!("{heard:?}")),
        }
    })
    .await;
    let table = yard.router.worker.table.load();
    let pool = table.at_port(tcp(port)).unwrap();
    let now = yard.router.worker.clock.now();
    // It is tried sooner or later, and then others go first.
    for _ in 0..100 {
        let mut client = yard.connect(port).await;
        read(&mut client, 1).await;
    }
    for member in &pool.members {
        let is_dead = member.endpoint.identity.port == dead.port();
        assert_eq!(member.endpoint.is_set_aside(now), is_dead);
        let failure = yard.router.worker.failures.of(member.endpoint.number);
        assert_eq!(failure.is_some(), is_dead);
    }
}

#[tokio::test]
async fn a_port_that_cannot_be_opened_is_told_and_stops_nothing() {
    let yard = Yard::with(|policy| policy.tcp.allowed = PortRanges::read("10000-20000")).await;
    let (port, other) = (free_port(), free_port());
    let occupied = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    yard.register(&format!("tcp://tcp.example:{port}"), echo("a").await);
    yard.register("tcp://tcp.example:9000", echo("x").await);
    yard.register(&format!("tcp://tcp.example:{other}"), echo("b").await);
    let mut client = yard.connect(other).await;
    assert_eq!(read(&mut client, 1).await, "b");
    yard.is_closed_because(tcp(port), "cannot be opened").await;
    yard.is_closed_because(tcp(9000), "none of the ports in router/tcp/ports")
        .await;
    assert!(connect(9000).await.is_err());
    drop(occupied);
    yard.is_closed_because(tcp(port), "").await;
    let mut client = yard.connect(port).await;
    assert_eq!(read(&mut client, 1).await, "a");
}

#[tokio::test]
async fn two_routers_of_a_machine_share_a_port() {
    let (first, second) = (Yard::start().await, Yard::start().await);
    let port = free_port();
    let uri = format!("tcp://tcp.example:{port}");
    first.register(&uri, echo("a").await);
    drop(first.connect(port).await);
    second.register(&uri, echo("b").await);
    second.is_closed_because(tcp(port), "").await;
    let mut heard = std::collections::BTreeSet::new();
    eventually(SOON, async || {
        let mut client = first.connect(port).await;
        heard.insert(read(&mut client, 1).await);
        match heard.len() {
            2 => Ok(()),
            _ => Err(format!("{heard:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn more_than_a_port_may_have_wait() {
    let yard = Yard::with(|policy| policy.tcp.max_clients = 1).await;
    let port = free_port();
    yard.register(&format!("tcp://tcp.example:{port}"), echo("a").await);
    let mut first = yard.connect(port).await;
    assert_eq!(read(&mut first, 1).await, "a");
    let mut second = yard.connect(port).await;
    let early = tokio::time::timeout(Duration::from_millis(300), second.read_u8()).await;
    assert!(early.is_err(), "{early:?}");
    drop(first);
    assert_eq!(read(&mut second, 1).await, "a");
}

#[tokio::test]
async fn a_silent_connection_ends_and_one_that_speaks_does_not() {
    let silence = Duration::from_secs(2);
    let yard = Yard::with(|policy| policy.tcp.idle_timeout = silence).await;
    let port = free_port();
    yard.register(&format!("tcp://tcp.example:{port}"), echo("a").await);
    let mut silent = yard.connect(port).await;
    let mut speaks = yard.connect(port).await;
    assert_eq!(read(&mut silent, 1).await, "a");
    assert_eq!(read(&mut speaks, 1).await, "a");
    let ended = tokio::time::timeout(SOON, silent.read_u8());
    let speaking = async {
        loop {
            speaks.write_all(b"x").await.unwrap();
            assert_eq!(read(&mut speaks, 1).await, "x");
            tokio::time::sleep(silence / 20).await;
        }
    };
    tokio::select! {
        ended = ended => assert!(ended.unwrap().is_err()),
        () = speaking => {}
    }
    speaks.write_all(b"y").await.unwrap();
    assert_eq!(read(&mut speaks, 1).await, "y");
}

#[tokio::test]
async fn the_end_of_the_router_closes_ports_and_waits_for_connections() {
    let yard = Yard::start().await;
    let port = free_port();
    yard.register(&format!("tcp://tcp.example:{port}"), echo("a").await);
    let mut client = yard.connect(port).await;
    assert_eq!(read(&mut client, 1).await, "a");
    let tasks = yard.router.tasks.clone();
    let stopping = tokio::spawn(async move { tasks.stop(Duration::from_secs(60)).await });
    yard.refuses(port).await;
    client.write_all(b"still").await.unwrap();
    assert_eq!(read(&mut client, 5).await, "still");
    assert!(!stopping.is_finished());
    drop(client);
    tokio::time::timeout(SOON, stopping).await.unwrap().unwrap();
}

/// An instance that answers each datagram with its name and the datagram.
async fn udp_echo(name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut bytes = vec![0; 65_536];
        loop {
            let (length, from) = socket.recv_from(&mut bytes).await?;
            let answer = [name.as_bytes(), &bytes[..length]].concat();
            socket.send_to(&answer, from).await?;
        }
        #[expect(unreachable_code, reason = "says what the errors are")]
        std::io::Result::Ok(())
    });
    address
}

struct UdpClient(UdpSocket);

impl UdpClient {
    async fn to(port: u16) -> UdpClient {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(("127.0.0.1", port)).await.unwrap();
        UdpClient(socket)
    }

    /// What comes back for a datagram; it may get lost while the port is not open.
    async fn try_ask(&self, datagram: &str, within: Duration) -> Result<String, String> {
        let sent = self.0.send(datagram.as_bytes()).await;
        sent.map_err(|error| error.to_string())?;
        let mut bytes = vec![0; 65_536];
        match tokio::time::timeout(within, self.0.recv(&mut bytes)).await {
            Ok(Ok(length)) => Ok(String::from_utf8_lossy(&bytes[..length]).into_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("nothing came".to_string()),
        }
    }

    async fn ask(&self, datagram: &str) -> String {
        eventually(SOON, async || {
            self.try_ask(datagram, Duration::from_secs(1)).await
        })
        .await
    }
}

#[tokio::test]
async fn each_client_of_udp_has_its_instance_and_gets_its_answers() {
    let yard = Yard::start().await;
    let port = free_port();
    let uri = format!("udp://udp.example:{port}");
    yard.register(&uri, udp_echo("a").await);
    yard.register(&uri, udp_echo("b").await);
    let mut instances = std::collections::BTreeSet::new();
    let mut clients: Vec<(UdpClient, String)> = Vec::new();
    while instances.len() < 2 {
        assert!(clients.len() < 200, "all have the same instance");
        let client = UdpClient::to(port).await;
        let own = format!("-{}", clients.len());
        let heard = client.ask(&own).await;
        let (instance, said) = heard.split_at(1);
        assert_eq!(said, own);
        instances.insert(instance.to_string());
        clients.push((client, instance.to_string()));
    }
    // Beside each other, and the instance stays. (Of what came twice, because it was late, only the name is looked at.)
    for round in 0..3 {
        for (client, instance) in &clients {
            let heard = client.ask(&format!("+{round}")).await;
            assert!(
                heard.starts_with(instance.as_str()),
                "{heard} of {instance}"
            );
        }
    }
    let large = "x".repeat(30_000);
    let alone = UdpClient::to(port).await;
    assert_eq!(alone.ask(&large).await.len(), 30_001);
    // A port of TCP with this number is another one.
    assert!(connect(port).await.is_err());
}

#[tokio::test]
async fn an_instance_that_does_not_listen_loses_nothing() {
    let yard = Yard::start().await;
    let port = free_port();
    let uri = format!("udp://udp.example:{port}");
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dead = nobody.local_addr().unwrap();
    drop(nobody);
    yard.register(&uri, dead);
    yard.register(&uri, udp_echo("a").await);
    let failed = || {
        let table = yard.router.worker.table.load();
        let pool = table
            .at_port(Port {
                transport: Transport::Udp,
                number: port,
            })
            .unwrap();
        let mut members = pool.members.iter();
        let member = members
            .find(|member| member.endpoint.identity.port == dead.port())
            .unwrap();
        let failure = yard.router.worker.failures.of(member.endpoint.number);
        failure.is_some()
    };
    eventually(SOON, async || {
        assert_eq!(UdpClient::to(port).await.ask("1").await, "a1");
        match failed() {
            true => Ok(()),
            false => Err("the other one was not tried".to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_of_udp_follows_when_its_instance_leaves() {
    let yard = Yard::start().await;
    let port = free_port();
    let uri = format!("udp://udp.example:{port}");
    let first = udp_echo("a").await;
    yard.register(&uri, first);
    let client = UdpClient::to(port).await;
    assert_eq!(client.ask("1").await, "a1");
    let second = udp_echo("b").await;
    yard.register(&uri, second);
    yard.unregister(&uri, first, false);
    assert_eq!(client.ask("2").await, "b2");
    // With the route the port goes, also for those who are in the middle of something.
    yard.unregister(&uri, second, false);
    eventually(SOON, async || {
        match client.try_ask("3", Duration::from_millis(200)).await {
            Err(error) if error.contains("refused") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn clients_of_udp_are_so_many_and_quiet_ones_make_room() {
    let yard = Yard::with(|policy| {
        policy.udp.max_clients = 1;
        policy.udp.idle_timeout = Duration::from_secs(2);
    })
    .await;
    let port = free_port();
    yard.register(&format!("udp://udp.example:{port}"), udp_echo("a").await);
    let (first, second) = (UdpClient::to(port).await, UdpClient::to(port).await);
    assert_eq!(first.ask("1").await, "a1");
    let speaking = async {
        loop {
            first.ask("1").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = speaking => {}
        early = second.try_ask("2", Duration::from_millis(500)) => assert!(early.is_err(), "{early:?}"),
    }
    // It is quiet now.
    assert_eq!(second.ask("2").await, "a2");
}
