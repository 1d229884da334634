//! The link of a joined machine: loopback ports here that lead to services of the first machine, through its gate.
//!
//! Each connection is a TLS connection of its own. One that the gate does not take is closed: to the daemon behind it
//! the bus or the store is away, which it knows how to live with, and it tries again by itself.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use daemon::{Policy, Supervisor};
use proto::join::{GateAnswer, GateRequest, Identity, Refused, Standing};
use proto::roles::Roles;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{debug, info, warn};

use super::wire;

/// How long a gate may take to be reached, and to answer what it knows by itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for what the cluster store is asked for.
const LONG_PATIENCE: Duration = Duration::from_secs(70);
/// Connections at once.
const MOST_CONNECTIONS: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the gate at {gate} is not reached")]
    Away {
        gate: SocketAddrV4,
        #[source]
        source: io::Error,
    },
    #[error(
        "who listens at {0} is not the gate of this cluster: its certificate has another fingerprint"
    )]
    Stranger(SocketAddrV4),
    #[error("the gate at {0} did not answer in time")]
    Silent(SocketAddrV4),
    #[error("the cluster refuses: {0}")]
    Refused(Refused),
    #[error(
        "the gate's answer makes no sense: yard and stackyard must be of the same version on both machines"
    )]
    Nonsense,
}

/// How a gate is called.
pub struct Caller {
    gate: SocketAddrV4,
    connector: TlsConnector,
}

impl Caller {
    pub fn new(gate: SocketAddrV4, fingerprint: &str) -> anyhow::Result<Caller> {
        Ok(Caller {
            gate,
            connector: wire::connector(fingerprint)?,
        })
    }

    /// One question; a refusal is an error.
    pub async fn ask(
        &self,
        request: &GateRequest,
    ) -> Result<(GateAnswer, TlsStream<TcpStream>), LinkError> {
        let patience = match request {
            GateRequest::Connect { .. } => PATIENCE,
            GateRequest::Join(_)
            | GateRequest::Standing { .. }
            | GateRequest::Leave { .. }
            | GateRequest::Farewell { .. } => LONG_PATIENCE,
        };
        let reaching = tokio::time::timeout(PATIENCE, self.reach());
        let mut stream = reaching.await.map_err(|_| LinkError::Silent(self.gate))??;
        let exchange = async {
            wire::write(&mut stream, request).await?;
            wire::read::<GateAnswer>(&mut stream).await
        };
        let answer = tokio::time::timeout(patience, exchange)
            .await
            .map_err(|_| LinkError::Silent(self.gate))?
            .map_err(self.away())?;
        match answer {
            GateAnswer::Refused(refused) => Err(LinkError::Refused(refused)),
            answer @ (GateAnswer::Joined { .. }
            | GateAnswer::Standing(_)
            | GateAnswer::Connected
            | GateAnswer::Done) => Ok((answer, stream)),
        }
    }

    async fn reach(&self) -> Result<TlsStream<TcpStream>, LinkError> {
        let stream = TcpStream::connect(self.gate).await.map_err(self.away())?;
        wire::tune(&stream).map_err(self.away())?;
        let name = wire::server_name(self.gate);
        self.connector.connect(name, stream).await.map_err(|error| {
            let strange = error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<rustls::Error>())
                .is_some_and(|inner| matches!(inner, rustls::Error::InvalidCertificate(_)));
            match strange {
                true => LinkError::Stranger(self.gate),
                false => self.away()(error),
            }
        })
    }

    fn away(&self) -> impl FnOnce(io::Error) -> LinkError + use<> {
        let gate = self.gate;
        move |source| LinkError::Away { gate, source }
    }
}

/// What a joined machine's node has of its cluster.
pub struct Link {
    caller: Caller,
    identity: Identity,
    tasks: Supervisor,
    /// Services whose ports are listened on.
    open: Mutex<BTreeMap<String, u16>>,
    places: Arc<Semaphore>,
    /// So that a broken gate is told once, and its return too.
    is_broken: AtomicBool,
    /// The cluster said that it does not know this machine any more: that is final, and it is not asked again.
    withdrawn: Mutex<Option<Refused>>,
}

impl Link {
    pub fn new(caller: Caller, identity: Identity, tasks: &Supervisor) -> Arc<Link> {
        Arc::new(Link {
            caller,
            identity,
            tasks: tasks.clone(),
            open: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            is_broken: AtomicBool::new(false),
            withdrawn: Mutex::default(),
        })
    }

    /// Whether the identity of this machine was taken away.
    pub fn is_withdrawn(&self) -> bool {
        self.withdrawn().is_some()
    }

    fn withdrawn(&self) -> MutexGuard<'_, Option<Refused>> {
        self.withdrawn
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    async fn ask(
        &self,
        request: &GateRequest,
    ) -> Result<(GateAnswer, TlsStream<TcpStream>), LinkError> {
        if let Some(refused) = self.withdrawn().clone() {
            return Err(LinkError::Refused(refused));
        }
        let answer = self.caller.ask(request).await;
        if let Err(LinkError::Refused(refused)) = &answer
            && refused.withdrawn
        {
            self.withdrawn().replace(refused.clone());
        }
        answer
    }

    /// Listens for services, by the ports they have here; those that are listened for stay.
    pub async fn listen(self: &Arc<Self>, ports: &BTreeMap<String, u16>) -> anyhow::Result<()> {
        for (service, port) in ports {
            if self.listens(service) {
                continue;
            }
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).await;
            let listener = listener.map_err(|error| {
                anyhow::anyhow!(
                    "127.0.0.1:{port} cannot be listened on ({error}): the cluster has its {service} at that port, stop the program that has it here"
                )
            })?;
            if let Ok(mut open) = self.open.lock() {
                open.insert(service.clone(), *port);
            }
            self.serve(service.clone(), Arc::new(listener));
        }
        Ok(())
    }

    fn listens(&self, service: &str) -> bool {
        self.open
            .lock()
            .is_ok_and(|open| open.contains_key(service))
    }

    fn serve(self: &Arc<Self>, service: String, listener: Arc<TcpListener>) {
        let link = self.clone();
        self.tasks.spawn("link", Policy::Restart, move |shutdown| {
            let (link, service, listener) = (link.clone(), service.clone(), listener.clone());
            async move {
                loop {
                    let place = link.places.clone().acquire_owned().await?;
                    let stream = tokio::select! {
                        accepted = listener.accept() => match accepted {
                            Ok((stream, _)) => stream,
                            Err(error) => {
                                warn!(%error, "a connection to the link was not accepted");
                                tokio::time::sleep(Duration::from_millis(200)).await;
                                continue;
                            }
                        },
                        () = shutdown.cancelled() => return Ok(()),
                    };
                    let (one, service, shutdown) =
                        (link.clone(), service.clone(), shutdown.clone());
                    link.tasks.spawn_once("link-connection", async move {
                        let _place = place;
                        tokio::select! {
                            result = one.forward(stream, &service) => if let Err(error) = result {
                                debug!(%error, service, "a connection of the link ended");
                            },
                            () = shutdown.cancelled() => {}
                        }
                    });
                }
            }
        });
    }

    async fn forward(&self, mut near: TcpStream, service: &str) -> io::Result<()> {
        near.set_nodelay(true)?;
        let request = GateRequest::Connect {
            identity: self.identity.clone(),
            service: service.to_string(),
        };
        let asked = self.ask(&request).await;
        self.tell(asked.as_ref().err());
        let (_, mut far) = asked.map_err(io::Error::other)?;
        copy_bidirectional(&mut near, &mut far).await.map(drop)
    }

    fn tell(&self, error: Option<&LinkError>) {
        let is_broken = error.is_some();
        if self.is_broken.swap(is_broken, Ordering::Relaxed) == is_broken {
            return;
        }
        match error {
            Some(error) => warn!(
                error = error as &dyn std::error::Error,
                "the link to the cluster is broken; it is tried again with every connection"
            ),
            None => info!("the link to the cluster holds"),
        }
    }

    /// What the cluster says this machine is to be.
    pub async fn standing(&self, holds: &Roles) -> Result<Standing, LinkError> {
        let request = GateRequest::Standing {
            identity: self.identity.clone(),
            holds: holds.clone(),
        };
        match self.ask(&request).await?.0 {
            GateAnswer::Standing(standing) => Ok(standing),
            _ => Err(LinkError::Nonsense),
        }
    }

    /// Has the cluster take all roles from this machine.
    pub async fn leave(&self) -> Result<(), LinkError> {
        self.order(GateRequest::Leave {
            identity: self.identity.clone(),
        })
        .await
    }

    /// Gives the identity back.
    pub async fn farewell(&self) -> Result<(), LinkError> {
        self.order(GateRequest::Farewell {
            identity: self.identity.clone(),
        })
        .await
    }

    async fn order(&self, request: GateRequest) -> Result<(), LinkError> {
        match self.ask(&request).await?.0 {
            GateAnswer::Done => Ok(()),
            _ => Err(LinkError::Nonsense),
        }
    }
}
