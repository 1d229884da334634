//! The SSH server: connections, logins, channels.

use super::calls::Calls;
use super::channel::{self, Pass};
use super::controller::{Controller, NotLetIn};
use super::instance;
use crate::domain::target;
use anyhow::Context;
use daemon::{Shutdown, Supervisor};
use proto::inside::Opening;
use russh::keys::PrivateKey;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty, SshId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Connections at once.
const MOST_CONNECTIONS: usize = 512;
/// Channels of one connection at once; an instance has a bound of its own.
const MOST_CHANNELS: usize = 64;
/// From the connection to the login: whoever has no code leaves the place to others.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);
const ATTEMPTS: usize = 3;
/// The answer to a wrong code takes as long whatever is wrong with it.
const REFUSED_AFTER: Duration = Duration::from_secs(1);
/// A client that answers no more is gone after three of these.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What every connection needs.
pub struct Door {
    pub ssh: Arc<Config>,
    pub controller: Controller,
    pub calls: Arc<Calls>,
    pub tasks: Supervisor,
    pub open: Arc<Open>,
}

/// What is open now.
#[derive(Default)]
pub struct Open {
    connections: AtomicUsize,
    channels: AtomicUsize,
}

impl Open {
    pub fn document(&self) -> Value {
        json!({
            "connections": self.connections.load(Ordering::Relaxed),
            "channels": self.channels.load(Ordering::Relaxed),
        })
    }
}

/// Counts for as long as it is held.
struct Counted<T: AsRef<AtomicUsize>>(T);

impl<T: AsRef<AtomicUsize>> Counted<T> {
    fn more(counter: T) -> Counted<T> {
        counter.as_ref().fetch_add(1, Ordering::Relaxed);
        Counted(counter)
    }
}

impl<T: AsRef<AtomicUsize>> Drop for Counted<T> {
    fn drop(&mut self) {
        self.0.as_ref().fetch_sub(1, Ordering::Relaxed);
    }
}

struct Connections(Arc<Open>);
impl AsRef<AtomicUsize> for Connections {
    fn as_ref(&self) -> &AtomicUsize {
        &self.0.connections
    }
}

struct Channels(Arc<Open>);
impl AsRef<AtomicUsize> for Channels {
    fn as_ref(&self) -> &AtomicUsize {
        &self.0.channels
    }
}

pub fn configuration(key: PrivateKey) -> Config {
    Config {
        server_id: SshId::Standard(concat!("SSH-2.0-stackyard_", env!("CARGO_PKG_VERSION")).into()),
        methods: MethodSet::from(&[MethodKind::Password][..]),
        auth_rejection_time: REFUSED_AFTER,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        max_auth_attempts: ATTEMPTS,
        // A shell may be idle for a day.
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE),
        nodelay: true,
        ..Config::default()
    }
}

/// Takes connections in until the daemon ends.
pub async fn serve(
    listener: std::io::Result<std::net::TcpListener>,
    door: Arc<Door>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener.context("cloning the listening socket")?)?;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if door.open.connections.load(Ordering::Relaxed) >= MOST_CONNECTIONS {
                        tracing::warn!(%peer, most = MOST_CONNECTIONS, "a connection was refused: too many are open");
                        continue;
                    }
                    let counted = Counted::more(Connections(door.open.clone()));
                    let (door, shutdown) = (door.clone(), shutdown.clone());
                    door.tasks.clone().spawn_once("connection", async move {
                        let _counted = counted;
                        connection(&door, stream, peer, shutdown).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = shutdown.draining() => return Ok(()),
        }
    }
}

async fn connection(door: &Arc<Door>, stream: TcpStream, peer: SocketAddr, shutdown: Shutdown) {
    let logged_in = Arc::new(Notify::new());
    let user = User {
        door: door.clone(),
        peer,
        permit: None,
        logged_in: logged_in.clone(),
        channels: Arc::new(AtomicUsize::new(0)),
        asked: BTreeMap::new(),
    };
    let running = tokio::time::timeout(
        LOGIN_WITHIN,
        russh::server::run_stream(door.ssh.clone(), stream, user),
    );
    let running = match running.await {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "a connection broke off"),
        Err(_) => return tracing::debug!(%peer, "a connection said nothing"),
    };
    let handle = running.handle();
    let goodbye = |why: &'static str| {
        let handle = handle.clone();
        async move {
            let _ = handle
                .disconnect(
                    russh::Disconnect::ByApplication,
                    why.to_string(),
                    "en".to_string(),
                )
                .await;
        }
    };
    let late = async {
        if tokio::time::timeout(LOGIN_WITHIN, logged_in.notified())
            .await
            .is_ok()
        {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = running => {
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection broke off");
            }
        }
        () = late => goodbye("no login came in time").await,
        () = shutdown.cancelled() => goodbye("the proxy ends").await,
    }
}

/// Whoever is at the other end of a connection.
struct User {
    door: Arc<Door>,
    peer: SocketAddr,
    permit: Option<String>,
    logged_in: Arc<Notify>,
    channels: Arc<AtomicUsize>,
    asked: BTreeMap<ChannelId, Asked>,
}

/// What was asked for on a channel.
#[derive(Default)]
struct Asked {
    variables: usize,
    /// A program, a shell or a subsystem: the first is the only one.
    begun: bool,
}

impl User {
    /// Answers a request. Here and not where it is carried out: a client may send the next request before it has the
    /// answer to this one, and answers have no number, only their order.
    fn answer(
        channel: ChannelId,
        granted: bool,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if granted {
            session.channel_success(channel)
        } else {
            session.channel_failure(channel)
        }
    }

    fn begin(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        let asked = self.asked.entry(channel).or_default();
        let first = !std::mem::replace(&mut asked.begun, true);
        User::answer(channel, first, session)
    }

    fn pass(&self, session: &Session) -> Option<Pass> {
        Some(Pass {
            controller: self.door.controller.clone(),
            calls: self.door.calls.clone(),
            permit: self.permit.clone()?,
            handle: session.handle(),
        })
    }

    /// Runs a channel; false: there are too many.
    fn start(&self, life: impl Future<Output = ()> + Send + 'static) -> bool {
        if self.channels.load(Ordering::Relaxed) >= MOST_CHANNELS {
            return false;
        }
        let own = Counted::more(self.channels.clone());
        let counted = Counted::more(Channels(self.door.open.clone()));
        self.door.tasks.spawn_once("channel", async move {
            let _counted = (own, counted);
            life.await;
        });
        true
    }
}

impl Handler for User {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let Some(target) = target::parse(user) else {
            return Ok(Auth::reject());
        };
        match self.door.controller.permit(&target, password).await {
            Ok(permit) => {
                tracing::info!(peer = %self.peer, process = %target.process, index = target.index, crashed = target.crashed, "somebody came in");
                metrics::counter!("ssh_proxy_logins_total").increment(1);
                self.permit = Some(permit);
                self.logged_in.notify_one();
                Ok(Auth::Accept)
            }
            Err(error) => {
                metrics::counter!("ssh_proxy_logins_refused_total").increment(1);
                match &error {
                    NotLetIn::Refused(because) => {
                        tracing::info!(peer = %self.peer, process = %target.process, because, "a login was refused");
                    }
                    NotLetIn::Away(_) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "a login could not be decided"
                        );
                    }
                }
                Ok(Auth::reject())
            }
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let Some(pass) = self.pass(session) else {
            return Ok(());
        };
        if self.start(channel::session(channel, pass)) {
            reply.accept().await;
        } else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let (Some(pass), Ok(port)) = (self.pass(session), u16::try_from(port_to_connect)) else {
            return Ok(());
        };
        let host = host_to_connect.to_string();
        // Without a place it is refused by the drop of the reply.
        self.start(async move {
            let opening = Opening::Connect { host, port };
            match instance::open(&pass.controller, &pass.calls, &pass.permit, opening).await {
                Ok((listening, telling)) => {
                    reply.accept().await;
                    let id = channel.id();
                    let (reading, writing) = channel.split();
                    channel::carry(reading, writing, id, &pass.handle, listening, telling).await;
                }
                Err(error) => {
                    // OpenSSH shows the reason of this one.
                    let reason = channel::sentence(&error);
                    const CONNECT_FAILED: u32 = 2;
                    let code = CONNECT_FAILED;
                    reply
                        .reject(ChannelOpenFailure::Other { code, reason })
                        .await;
                }
            }
        });
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        User::answer(channel, true, session)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let asked = self.asked.entry(channel).or_default();
        let fits = asked.variables < channel::MOST_VARIABLES;
        asked.variables += 1;
        User::answer(channel, fits, session)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.begin(channel, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.begin(channel, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if name == channel::TRANSFER {
            self.begin(channel, session)
        } else {
            User::answer(channel, false, session)
        }
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        User::answer(channel, false, session)
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.asked.remove(&channel);
        Ok(())
    }
}
