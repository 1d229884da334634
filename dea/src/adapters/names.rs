//! The name server of the sandboxes (what it answers: [`crate::domain::dns`]).

use super::agent::Agent;
use crate::domain::dns::{self, Decision, LARGEST, Zone};
use anyhow::Context;
use daemon::Shutdown;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

pub const PORT: u16 = 53;
/// Questions under way to the machine's resolvers; more are dropped, their askers ask again.
const AT_ONCE: usize = 512;
/// How long one resolver may take.
const PATIENCE: Duration = Duration::from_millis(2500);
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Opens the server's socket at the gateway's address.
pub async fn open(gateway: Ipv4Addr) -> anyhow::Result<Arc<UdpSocket>> {
    let address = SocketAddr::from((gateway, PORT));
    let socket = UdpSocket::bind(address).await.with_context(|| {
        format!(
            "cannot open the name server of the sandboxes on {address}/udp: another name server listens there, \
             perhaps one that was told to listen on every address"
        )
    })?;
    Ok(Arc::new(socket))
}

pub async fn run(
    agent: Arc<Agent>,
    socket: Arc<UdpSocket>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let zone = Zone::new(&agent.config.domain, agent.config.address);
    let under_way = Arc::new(Semaphore::new(AT_ONCE));
    let mut packet = vec![0; LARGEST];
    loop {
        let (length, asker) = tokio::select! {
            received = socket.recv_from(&mut packet) => match received {
                Ok(received) => received,
                // Says that an earlier answer found nobody.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error).context("the name server cannot receive"),
            },
            () = shutdown.cancelled() => return Ok(()),
        };
        let question = &packet[..length];
        match zone.decide(question) {
            Decision::Drop => metrics::counter!("dea_dns_dropped_total").increment(1),
            Decision::Answer(answer) => {
                let _ = socket.send_to(&answer, asker).await;
            }
            Decision::Forward => {
                let Ok(permit) = under_way.clone().try_acquire_owned() else {
                    metrics::counter!("dea_dns_dropped_total").increment(1);
                    continue;
                };
                let (question, socket) = (question.to_vec(), socket.clone());
                agent.tasks.spawn_once("name", async move {
                    let _permit = permit;
                    let answer = match forward(&question).await {
                        Some(answer) => Some(answer),
                        None => dns::failure(&question),
                    };
                    if let Some(answer) = answer {
                        let _ = socket.send_to(&answer, asker).await;
                    }
                });
            }
        }
    }
}

/// Asks the machine's resolvers in turn. The file is read each time: it changes with the network.
async fn forward(question: &[u8]) -> Option<Vec<u8>> {
    let conf = tokio::fs::read_to_string(RESOLV_CONF).await.ok()?;
    for resolver in dns::resolvers(&conf) {
        if let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, ask(resolver, question)).await {
            return Some(answer);
        }
    }
    None
}

async fn ask(resolver: IpAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = if resolver.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect((resolver, PORT)).await?;
    socket.send(question).await?;
    let mut answer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut answer).await?;
        if dns::belongs(question, &answer[..length]) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}
