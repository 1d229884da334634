//! Our router, alone: the daemon as a cluster runs it, with a bus of its own and nothing else.

use super::client::Client;
use super::process::Process;
use super::routes::{self, BACKENDS, Certificate, HOSTS, STEPS};
use crate::yardsticks::nats;
use anyhow::{Context, ensure};
use bytes::Bytes;
use proto::bus::catalogue;
use proto::bus::router::Registration;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::cluster::{free_port, programs};
use tests::eventually;

/// Registrations that may be on their way.
const ON_THEIR_WAY: usize = 4000;
const REGISTERED_WITHIN: Duration = Duration::from_secs(60);
const SECRET: &str = "bench";

pub struct Router {
    pub process: Process,
    pub port: u16,
    pub tls_port: u16,
    status: String,
    bus: async_nats::Client,
    asking: reqwest::Client,
}

impl Router {
    pub async fn start(
        folder: &Path,
        bus: &nats::Server,
        certificate: &Certificate,
        core: usize,
    ) -> anyhow::Result<Router> {
        let (port, tls_port, admin) = (free_port()?, free_port()?, free_port()?);
        let listen = |port: u16| format!("127.0.0.1:{port}");
        let bootstrap = json!({
            "role": "router", "component": "router-1", "index": 1,
            "cluster": {"id": "c0ffee12", "domain": "apps.test"},
            "home": folder, "folder": folder, "run": folder,
            "bus": {"servers": [bus.url()], "user": "router-1", "password": SECRET},
            // There is no store; the router asks nobody for anything.
            "store": {"endpoints": [format!("http://{}", listen(free_port()?))], "user": "", "password": ""},
            "admin": {"address": listen(admin), "user": SECRET, "password": SECRET},
            "settings": {
                "address": listen(port),
                "tls": {"socket": "router-https", "address": listen(tls_port), "certificates": certificate.folder},
            },
        });
        let path = folder.join("bootstrap.json");
        std::fs::write(&path, bootstrap.to_string())?;
        let program = program()?.display().to_string();
        let arguments = ["daemon", "--config", &path.display().to_string()];
        let mut router = Router {
            process: Process::start("the router", core, &program, &arguments)?,
            port,
            tls_port,
            status: format!("http://{}", listen(admin)),
            bus: nats::connect(bus.url()).await?,
            asking: reqwest::Client::new(),
        };
        router.process.listens(port).await?;
        router.process.listens(tls_port).await?;
        // It listens before it hears the bus, and what is said before is lost.
        eventually("the router hears the bus", REGISTERED_WITHIN, || async {
            let first = Registration {
                uris: vec!["first.test".to_string()],
                ..instance(0, 0, port)
            };
            router.publish(&first).await?;
            ensure!(router.registered().await? > 0, "nothing is registered");
            Ok(())
        })
        .await?;
        Ok(router)
    }

    pub async fn publish(&self, registration: &Registration) -> anyhow::Result<()> {
        let body = Bytes::from(serde_json::to_vec(registration)?);
        let subject = catalogue::router_register().subject().to_string();
        Ok(self.bus.publish(subject, body).await?)
    }

    /// Registers all of them; they are served then.
    pub async fn register(
        &self,
        registrations: impl Iterator<Item = Registration>,
    ) -> anyhow::Result<()> {
        let name = self.announce(registrations).await?;
        eventually("the last name is served", REGISTERED_WITHIN, || async {
            let status = Client::connect(self.port).await?.get(&name).await?;
            ensure!(status == 200, "{name}: {status}");
            Ok(())
        })
        .await
    }

    /// Tells it of all of them, no faster than it takes them; the last name.
    pub async fn announce(
        &self,
        registrations: impl Iterator<Item = Registration>,
    ) -> anyhow::Result<String> {
        let before = self.registered().await?;
        let (mut sent, mut last) = (0, None);
        for mut registration in registrations {
            self.publish(&registration).await?;
            last = registration.uris.pop();
            sent += 1;
            if sent % ON_THEIR_WAY == 0 {
                self.has_registered(before + sent).await?;
            }
        }
        self.has_registered(before + sent).await?;
        last.context("nothing to register")
    }

    async fn has_registered(&self, count: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let registered = self.registered().await?;
            if registered >= count {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < REGISTERED_WITHIN,
                "the router has taken {registered} of {count} registrations within {REGISTERED_WITHIN:?}"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// How many registrations it has taken.
    pub async fn registered(&self) -> anyhow::Result<usize> {
        let answer = self.asking.get(format!("{}/metrics", self.status)).send();
        let text = answer.await?.error_for_status()?.text().await?;
        let mut counts = text.lines().filter_map(|line| {
            let (name, count) = line.rsplit_once(' ')?;
            name.starts_with("registry_message{action=\"register\"")
                .then_some(count)
        });
        Ok(counts.next().map_or(Ok(0), str::parse)?)
    }
}

fn program() -> anyhow::Result<PathBuf> {
    let program = programs().join("stackyard");
    ensure!(
        program.exists(),
        "{} is missing: `make bench` builds it",
        program.display()
    );
    Ok(program)
}

/// The names that all proxies serve: an endpoint for each backend, which serves three of each group of names.
pub fn shared(first_backend: u16, hosts: usize) -> impl Iterator<Item = Registration> {
    (0..BACKENDS)
        .map(move |backend| {
            let port = first_backend + backend as u16;
            let serves = |number: &usize| {
                routes::instances(first_backend, routes::group(*number)).any(|at| at == port)
            };
            Registration {
                uris: (0..hosts).filter(serves).map(routes::host).collect(),
                ..instance(backend, backend, port)
            }
        })
        .filter(|registration| !registration.uris.is_empty())
}

/// A name that nobody asks for, with three instances at addresses that nobody else has, as agents have them; the
/// generation of an instance makes it another one.
pub fn own(number: usize, generation: usize) -> impl Iterator<Item = Registration> {
    (0..STEPS.len()).map(move |place| {
        let [_, a, b, c] = (number as u32).to_be_bytes();
        Registration {
            uris: vec![routes::host(HOSTS + number)],
            host: format!("10.{a}.{b}.{c}"),
            ..instance(
                HOSTS + number,
                generation * 10 + place,
                61_001 + place as u16,
            )
        }
    })
}

/// A name at one of the backends, as a route registrar registers a server that is no app: the backend has other
/// names, too.
pub fn beside(first_backend: u16, number: usize) -> Registration {
    let backend = number % BACKENDS;
    Registration {
        uris: vec![routes::host(HOSTS + number)],
        host: "127.0.0.1".to_string(),
        port: Some(first_backend + backend as u16),
        ..Registration::default()
    }
}

/// As agents register an instance of an app.
fn instance(app: usize, instance: usize, port: u16) -> Registration {
    let guid = |kind: usize, number: usize| format!("{kind:08x}-5eed-4b1d-8a7e-{number:012x}");
    Registration {
        host: "127.0.0.1".to_string(),
        port: Some(port),
        app: Some(guid(1, app)),
        dea: Some("dea-1".to_string()),
        private_instance_id: Some(guid(2 + instance, app)),
        private_instance_index: Some((instance % 10).to_string()),
        tags: [
            ("component".to_string(), "dea-1".to_string()),
            ("process_id".to_string(), guid(1, app)),
        ]
        .into(),
        ..Registration::default()
    }
}
