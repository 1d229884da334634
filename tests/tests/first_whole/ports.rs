//! An app that speaks protocols of its own, over TCP and over UDP, reached by ports of the routers.

use anyhow::{Context, bail, ensure};
use std::collections::BTreeSet;
use std::time::Duration;
use tests::apps::{app, wait_running};
use tests::cluster::free_port;
use tests::{Cluster, eventually};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long what was told may take until the router does it.
const SOON: Duration = Duration::from_secs(60);

/// Says its index before each line that it is told, until the client has no more; `die` is the end of it.
const SERVER: &str = r#"
import os, signal, socketserver, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
INDEX = os.environ["CF_INSTANCE_INDEX"].encode()
class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            if line == b"die\n": os._exit(7)
            self.wfile.write(INDEX + b" " + line)
        self.wfile.write(INDEX + b" bye\n")
class Datagrams(socketserver.BaseRequestHandler):
    def handle(self):
        datagram, socket = self.request
        socket.sendto(INDEX + b" " + datagram, self.client_address)
place = ("0.0.0.0", int(os.environ["PORT"]))
socketserver.ThreadingTCPServer.allow_reuse_address = True
threading.Thread(target=socketserver.ThreadingUDPServer(place, Datagrams).serve_forever).start()
socketserver.ThreadingTCPServer(place, Lines).serve_forever()
"#;

/// A conversation with one end after the other: the index of the instance.
async fn converse(port: u16) -> anyhow::Result<String> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    let (from, mut to) = socket.into_split();
    let mut from = BufReader::new(from).lines();
    let mut line = async || {
        let line = timeout(SOON, from.next_line()).await??;
        line.context("the conversation ended")
    };
    to.write_all(b"hello\n").await?;
    let heard = line().await?;
    let index = heard.strip_suffix(" hello").context(heard.clone())?;
    to.shutdown().await?;
    let last = line().await?;
    ensure!(last == format!("{index} bye"), "{last}");
    Ok(index.to_string())
}

async fn ask_by_datagram(port: u16) -> anyhow::Result<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(("127.0.0.1", port)).await?;
    socket.send(b"hello").await?;
    let mut bytes = [0; 64];
    let length = timeout(Duration::from_secs(2), socket.recv(&mut bytes)).await??;
    let heard = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let index = heard.strip_suffix(" hello").context(heard.clone())?;
    Ok(index.to_string())
}

/// Asks until both instances have answered.
async fn both<F: Future<Output = anyhow::Result<String>>>(
    what: &str,
    ask: impl Fn() -> F,
) -> anyhow::Result<()> {
    let seen = std::sync::Mutex::new(BTreeSet::new());
    eventually(what, SOON, || async {
        let index = ask().await?;
        let mut seen = seen.lock().expect("nobody panics with it");
        seen.insert(index);
        match seen.len() {
            2 => Ok(()),
            _ => bail!("{seen:?}"),
        }
    })
    .await
}

async fn refuses(port: u16) -> anyhow::Result<()> {
    match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(_) => bail!("somebody listens"),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The port of the app's route of this protocol, as the platform chose it.
async fn port_of(cluster: &Cluster, protocol: &str) -> anyhow::Result<u16> {
    let routes = cluster.ok(["routes", "--json"]).await?.json()?;
    let routes = routes.as_array().context("a list")?;
    let route = routes.iter().find(|route| route["protocol"] == protocol);
    let port = route.and_then(|route| route["port"].as_u64());
    let port = port.with_context(|| format!("{routes:?}"))?;
    Ok(u16::try_from(port)?)
}

pub async fn an_app_has_ports_for_protocols_of_its_own(cluster: &Cluster) -> anyhow::Result<()> {
    let port = free_port()?;
    for key in ["router/tcp/ports", "router/udp/ports"] {
        cluster
            .ok(["config", "set", key, &port.to_string()])
            .await?;
    }
    let (tcp, udp) = (cluster.host("tcp"), cluster.host("udp"));
    for (domain, group) in [(&tcp, "default-tcp"), (&udp, "default-udp")] {
        cluster
            .ok(["domain", "create", domain, "--router-group", group])
            .await?;
    }
    let manifest = format!(
        "applications:\n- name: mud\n  memory: 64M\n  instances: 2\n  routes:\n  - route: {tcp}:{port}\n"
    );
    let folder = app(
        cluster,
        "mud",
        &[
            ("server.py", SERVER),
            ("Procfile", "web: exec python3 -u server.py\n"),
            ("manifest.yml", &manifest),
        ],
    );
    let pushed = cluster.yard_in(&folder, ["push"]).await?.success()?;
    let url = format!("tcp://{tcp}:{port}");
    ensure!(pushed.stdout.contains(&url), "{}", pushed.stdout);
    wait_running(cluster, "mud", 2, SOON).await?;
    both("a conversation with both", || converse(port)).await?;
    let told = cluster.ok(["router", "routes", &tcp]).await?.stdout;
    ensure!(told.contains(&url) && told.contains("serving"), "{told}");

    // The platform chooses: there is one.
    cluster.ok(["map-route", "mud", &udp]).await?;
    let chosen = port_of(cluster, "udp").await?;
    ensure!(chosen == port, "{chosen}");
    both("a datagram of both", || ask_by_datagram(chosen)).await?;
    let taken = cluster.yard(["map-route", "mud", &udp]).await?;
    ensure!(
        taken.status != 0 && taken.stderr.contains("no more ports"),
        "{}",
        taken.stderr
    );

    // One of the two dies, and the other goes on.
    let mut last = TcpStream::connect(("127.0.0.1", port)).await?;
    last.write_all(b"die\n").await?;
    for _ in 0..20 {
        eventually("a conversation with who is left", SOON, || converse(port)).await?;
        eventually("a datagram of who is left", SOON, || {
            ask_by_datagram(chosen)
        })
        .await?;
    }
    wait_running(cluster, "mud", 2, SOON).await?;
    both("a conversation with both again", || converse(port)).await?;

    cluster
        .ok(["unmap-route", "mud", &format!("{tcp}:{port}")])
        .await?;
    eventually("nobody listens", SOON, || refuses(port)).await?;
    ensure!(!ask_by_datagram(chosen).await?.is_empty());
    cluster.ok(["delete", "mud", "--force", "--routes"]).await?;
    for key in ["router/tcp/ports", "router/udp/ports"] {
        cluster.ok(["config", "unset", key]).await?;
    }
    Ok(())
}
