//! Sessions inside instances: where `ssh-proxy` connects to.
//!
//! ```text
//! controller ── yard.dea.{id}.enter {instance, ticket} ──▶ agent: "show it at 127.0.0.1:…"
//! ssh-proxy ── ticket, then one session ([`proto::inside`]) ──▶ agent ──▶ the sandbox's init
//! ```
//! On another machine than the proxy's the agent is not shown the ticket but shows it: it calls the proxy, through the
//! machine's link. The listener is on the loopback, which no sandbox reaches, and what comes without a fresh ticket is hung up
//! on. The bytes of users travel here and not over the bus: a large copy must not make heartbeats wait. The
//! session's two protocols ([`proto::inside`] with the proxy, [`dea_shim::session`] with the sandbox) are
//! turned into each other message by message, so that nothing but a session comes out of a sandbox.

use super::agent::{Agent, Entry};
use super::chain;
use crate::domain::instance::State;
use crate::domain::session::{self as rules, Doors};
use crate::sandbox::session::{FromSession, Opening as SandboxOpening, Size, ToSession};
use crate::sandbox::{ExitStatus, Sandbox, Splitter};
use anyhow::Context;
use daemon::{Received, Shutdown};
use proto::bus::catalogue;
use proto::bus::dea::{EnterInstance, EnterReply};
use proto::ids::InstanceId;
use proto::inside::{self, End, FromInstance, Opening, ToInstance};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long somebody may take to show a ticket and to say what is to be opened.
const PATIENCE: Duration = Duration::from_secs(10);
const PIECE: usize = 32 * 1024;

/// The door to this agent's instances.
pub struct Inside {
    listener: std::net::TcpListener,
    address: SocketAddr,
    doors: Mutex<Doors>,
}

impl Inside {
    /// The port is any: whoever gets a ticket gets the address with it.
    pub fn open() -> std::io::Result<Inside> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        Ok(Inside {
            address: listener.local_addr()?,
            listener,
            doors: Mutex::default(),
        })
    }

    fn doors(&self) -> MutexGuard<'_, Doors> {
        self.doors
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Open now.
    pub fn sessions(&self) -> usize {
        self.doors().sessions()
    }
}

impl Agent {
    pub async fn listen_for_entries(self: &Arc<Self>) {
        self.answer("enter", catalogue::dea_enter(&self.id).filter(), promise)
            .await;
    }
}

fn promise(agent: &Arc<Agent>, received: Received<EnterInstance>) {
    let asked = received.message.clone();
    let now = agent.now().uptime;
    let proxy = agent.config.ssh_calls;
    let promised = match enterable(agent, &asked.instance) {
        Ok(_) => agent
            .inside
            .doors()
            .promise(
                asked.ticket.clone(),
                asked.instance,
                now,
                Duration::from_secs(asked.seconds),
            )
            .map_err(|refused| refused.to_string()),
        Err(problem) => Err(problem.to_string()),
    };
    let proxy = proxy.filter(|_| promised.is_ok());
    let here = promised.is_ok() && proxy.is_none();
    let reply = EnterReply {
        address: here.then_some(agent.inside.address),
        calls: proxy.is_some(),
        problem: promised.err(),
    };
    agent.tasks.spawn_once("answer", async move {
        if let Err(error) = received.respond(&reply).await {
            tracing::debug!(%error, "an answer was not sent");
        }
    });
    if let Some(proxy) = proxy {
        let (caller, ticket) = (agent.clone(), asked.ticket);
        let calling = async move { serve(&caller, call(proxy, ticket).await?).await };
        spawn(agent, agent.tasks.shutdown(), calling);
    }
}

/// Shows the ticket to the proxy, which then takes it as if it had come here.
async fn call(proxy: SocketAddr, ticket: String) -> anyhow::Result<TcpStream> {
    let calling = async {
        let mut stream = TcpStream::connect(proxy).await?;
        stream.set_nodelay(true)?;
        let called = FromInstance::Called { ticket };
        stream.write_all(&called.encode()).await?;
        Ok::<_, std::io::Error>(stream)
    };
    let called = tokio::time::timeout(PATIENCE, calling).await;
    called
        .context("the SSH proxy did not answer in time")?
        .with_context(|| format!("the SSH proxy cannot be called at {proxy}"))
}

/// A session, until it ends or the agent does.
fn spawn(
    agent: &Arc<Agent>,
    shutdown: Shutdown,
    session: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) {
    agent.tasks.spawn_once("session", async move {
        tokio::select! {
            served = session => {
                if let Err(error) = served {
                    tracing::debug!(error = format!("{error:#}"), "a session broke off");
                }
            }
            () = shutdown.cancelled() => {}
        }
    });
}

/// The sandbox of an instance that can be entered, and whether it has crashed.
fn enterable(agent: &Agent, instance: &InstanceId) -> Result<(Sandbox, bool), &'static str> {
    let table = agent.table();
    let Some(Entry {
        machine, sandbox, ..
    }) = table.instances.get(instance)
    else {
        return Err("the instance is not on this agent any more");
    };
    let crashed = match machine.state() {
        State::Born => return Err("the instance is being prepared"),
        State::Stopped => return Err("the instance has stopped"),
        State::Starting { .. } | State::Running { .. } | State::Stopping { .. } => false,
        State::Crashed { .. } => true,
    };
    match sandbox {
        Some(sandbox) => Ok((sandbox.clone(), crashed)),
        None => Err("nothing was kept of the instance"),
    }
}

/// Takes in whoever has a ticket.
pub async fn run(agent: Arc<Agent>, shutdown: Shutdown) -> anyhow::Result<()> {
    let listener = agent.inside.listener.try_clone()?;
    let listener = TcpListener::from_std(listener).context("cannot serve sessions")?;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let entered = agent.clone();
                    let session = async move { serve(&entered, stream).await };
                    spawn(&agent, shutdown.clone(), session);
                }
                Err(error) => {
                    tracing::warn!(%error, "a session could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Counts a session for as long as it is.
struct Place<'a> {
    inside: &'a Inside,
    instance: InstanceId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.inside.doors().left(&self.instance);
    }
}

async fn serve(agent: &Arc<Agent>, mut stream: TcpStream) -> anyhow::Result<()> {
    let mut splitter = inside::Splitter::default();
    let hello = next_order(&mut stream, &mut splitter);
    let hello = tokio::time::timeout(PATIENCE, hello).await;
    let Some(ToInstance::Hello { ticket }) = hello.context("no ticket came in time")?? else {
        anyhow::bail!("something else came before the ticket");
    };
    let entered = agent.inside.doors().enter(&ticket, agent.now().uptime);
    let Some(instance) = entered else {
        metrics::counter!("dea_session_tickets_refused_total").increment(1);
        tracing::warn!("somebody came without a ticket, with an old one or with one too many");
        return Ok(());
    };
    let _place = Place {
        inside: &agent.inside,
        instance: instance.clone(),
    };
    let opening = next_order(&mut stream, &mut splitter);
    let opening = tokio::time::timeout(PATIENCE, opening).await;
    let Some(ToInstance::Open(opening)) = opening.context("no order came in time")?? else {
        anyhow::bail!("something else came before the order");
    };
    let session = match open(agent, &instance, &opening).await {
        Ok(session) => session,
        Err(problem) => {
            stream
                .write_all(&FromInstance::Refused { problem }.encode())
                .await?;
            return Ok(());
        }
    };
    metrics::counter!("dea_sessions_total").increment(1);
    let (from_proxy, to_proxy) = stream.into_split();
    let (from_session, to_session) = session.into_split();
    tokio::select! {
        inward = inward(from_proxy, splitter, to_session) => inward,
        outward = outward(from_session, to_proxy) => outward,
    }
}

async fn open(
    agent: &Agent,
    instance: &InstanceId,
    opening: &Opening,
) -> Result<tokio::net::UnixStream, String> {
    let (sandbox, crashed) = enterable(agent, instance)?;
    let order = match opening {
        Opening::Connect { host, port } => SandboxOpening::Connect {
            to: SocketAddr::new(resolve(agent, host).await?, *port),
        },
        Opening::Run { .. } | Opening::Transfer => {
            let (env, terminal) = match opening {
                Opening::Run {
                    environment,
                    terminal,
                    ..
                } => (
                    rules::environment(environment, terminal.as_ref()),
                    terminal.as_ref().map(|terminal| size(terminal.size)),
                ),
                Opening::Transfer | Opening::Connect { .. } => (Vec::new(), None),
            };
            SandboxOpening::Run {
                argv: rules::arguments(opening, crashed).unwrap_or_default(),
                env,
                terminal,
            }
        }
    };
    let mut session = sandbox.enter().await.map_err(|error| chain(&error))?;
    // One that is refused hangs up without hearing this; why is there to be read.
    let _ = session.write_all(&ToSession::Open(order).encode()).await;
    Ok(session)
}

fn size(size: inside::Size) -> Size {
    Size {
        columns: size.columns,
        rows: size.rows,
    }
}

/// The address of a name as the instance would be told: the cluster's names lead to the router.
async fn resolve(agent: &Agent, host: &str) -> Result<IpAddr, String> {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let domain = agent.config.domain.to_ascii_lowercase();
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    if name == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    if name == domain || name.ends_with(&format!(".{domain}")) {
        return Ok(agent.config.address.into());
    }
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name.as_str(), 0))).await;
    let mut found = match found {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(format!("look up {name}: {error}")),
        Err(_) => return Err(format!("look up {name}: no answer within {PATIENCE:?}")),
    };
    // Sandboxes have no address of the other kind.
    found
        .find(SocketAddr::is_ipv4)
        .map(|address| address.ip())
        .ok_or_else(|| format!("look up {name}: it has no IPv4 address"))
}

async fn next_order(
    stream: &mut (impl AsyncRead + Unpin),
    splitter: &mut inside::Splitter,
) -> anyhow::Result<Option<ToInstance>> {
    let mut buffer = vec![0; PIECE];
    loop {
        if let Some(message) = ToInstance::next(splitter)? {
            return Ok(Some(message));
        }
        match stream.read(&mut buffer).await? {
            0 => return Ok(None),
            length => splitter.push(&buffer[..length]),
        }
    }
}

/// From the proxy to the session, until the proxy leaves.
async fn inward(
    mut proxy: tokio::net::tcp::OwnedReadHalf,
    mut splitter: inside::Splitter,
    mut session: tokio::net::unix::OwnedWriteHalf,
) -> anyhow::Result<()> {
    while let Some(message) = next_order(&mut proxy, &mut splitter).await? {
        let message = match message {
            ToInstance::Input(bytes) => ToSession::Input(bytes),
            ToInstance::InputEnded => ToSession::InputEnded,
            ToInstance::Resize(to) => ToSession::Resize(size(to)),
            ToInstance::Signal(number) => ToSession::Signal(number),
            ToInstance::Hello { .. } | ToInstance::Open(_) => {
                anyhow::bail!("the session is open already")
            }
        };
        if session.write_all(&message.encode()).await.is_err() {
            // It has ended; what it said last is still on its way outward.
            std::future::pending::<()>().await;
        }
    }
    Ok(())
}

/// From the session to the proxy, until the session ends.
async fn outward(
    mut session: tokio::net::unix::OwnedReadHalf,
    mut proxy: tokio::net::tcp::OwnedWriteHalf,
) -> anyhow::Result<()> {
    let mut splitter = Splitter::default();
    let mut buffer = vec![0; PIECE];
    loop {
        while let Some(message) = FromSession::next(&mut splitter)? {
            let (message, last) = match message {
                FromSession::Opened => (FromInstance::Opened, false),
                FromSession::Refused { problem } => (FromInstance::Refused { problem }, true),
                FromSession::Output(bytes) => (FromInstance::Output(bytes), false),
                FromSession::Errors(bytes) => (FromInstance::Errors(bytes), false),
                FromSession::OutputEnded => (FromInstance::OutputEnded, false),
                FromSession::Ended { status } => (FromInstance::Ended(end(status)), true),
            };
            proxy.write_all(&message.encode()).await?;
            if last {
                return Ok(());
            }
        }
        // A session that is killed has no last words: its app ended, or memory was short.
        match session.read(&mut buffer).await {
            Ok(length) if length > 0 => splitter.push(&buffer[..length]),
            Ok(_) | Err(_) => {
                const SIGKILL: i32 = 9;
                let end = FromInstance::Ended(End::Signal(SIGKILL));
                proxy.write_all(&end.encode()).await?;
                return Ok(());
            }
        }
    }
}

fn end(status: ExitStatus) -> End {
    match status {
        ExitStatus::Code(code) => End::Status(code),
        ExitStatus::Signal(signal) => End::Signal(signal),
    }
}
