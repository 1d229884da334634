//! A route registrar of Cloud Foundry on this bus: a service that is no app of the cluster gets a name.
//!
//! `$STACKYARD_TEST_REGISTRAR` names the program of an unmodified one; it is then run as its users run it. Without
//! it the same is done by a client of a few lines that says exactly what that program says: its
//! login in `CONNECT`, and for each route, every interval, `router.register` with the fields it
//! sends; at its end `router.unregister`. It reads nothing and uses nothing of ours.

use crate::By::Scenario;
use crate::wire::{Heard, Wire};
use crate::{LONG, Yard};
use anyhow::{Context, bail, ensure};
use proto::bus::Role::Registrar;
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::eventually;
use tests::inside::BusLogin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const INTERVAL: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "a test has no supervisor")]
/// A server that stands beside the cluster, answering every request with the same words.
async fn legacy() -> anyhow::Result<(u16, tokio::task::JoinHandle<()>)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nlegacy";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok((port, serving))
}

/// One that was given, or the client of a few lines.
enum RouteRegistrar {
    Program(Child),
    Lines { wire: Box<Wire>, message: String },
}

impl RouteRegistrar {
    async fn start(yard: &Yard, login: &BusLogin, host: &str, port: u16) -> anyhow::Result<Self> {
        if let Some(program) = std::env::var_os("STACKYARD_TEST_REGISTRAR") {
            let config = json!({
                "message_bus_servers": [{
                    "host": login.address,
                    "user": login.user,
                    "password": login.password,
                }],
                "host": "127.0.0.1",
                "routes": [{
                    "name": "legacy",
                    "port": port,
                    "uris": [host],
                    "tags": { "component": "legacy" },
                    "registration_interval": format!("{}s", INTERVAL.as_secs()),
                }],
            });
            let file = yard.cluster.root().join("registrar.yml");
            std::fs::write(&file, config.to_string())?;
            let log = std::fs::File::create(yard.cluster.root().join("registrar.log"))?;
            let child = Command::new(program)
                .arg("-configPath")
                .arg(&file)
                .stdout(log)
                .stderr(Stdio::null())
                .spawn()
                .context("starting $STACKYARD_TEST_REGISTRAR")?;
            return Ok(RouteRegistrar::Program(child));
        }
        let message = json!({
            "uris": [host],
            "host": "127.0.0.1",
            "port": port,
            "tags": { "component": "legacy" },
            "private_instance_id": "5b1b0b3e-0b0e-4a7c-5b7c-0f8a4c1f2d11",
        });
        Ok(RouteRegistrar::Lines {
            wire: Box::new(Wire::connect(&login.address, login).await?),
            message: message.to_string(),
        })
    }

    /// Lets it do what it does every interval.
    async fn beat(&mut self) -> anyhow::Result<()> {
        match self {
            RouteRegistrar::Program(child) => match child.try_wait()? {
                Some(status) => bail!("the registrar ended: {status}"),
                None => Ok(()),
            },
            RouteRegistrar::Lines { wire, message } => {
                wire.publish("router.register", "", message.as_bytes())
                    .await?;
                let heard = wire.settle().await?;
                ensure!(heard.is_empty(), "{heard:?}");
                Ok(())
            }
        }
    }

    /// Its end takes the route back.
    async fn end(&mut self) -> anyhow::Result<()> {
        match self {
            RouteRegistrar::Program(child) => {
                let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id())?);
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
                eventually("the registrar ends", LONG, || {
                    let ended = child.try_wait();
                    async move { ended?.context("it goes on") }
                })
                .await
                .map(drop)
            }
            RouteRegistrar::Lines { wire, message } => {
                wire.publish("router.unregister", "", message.as_bytes())
                    .await?;
                let heard = wire.settle().await?;
                ensure!(heard.is_empty(), "{heard:?}");
                Ok(())
            }
        }
    }
}

impl Drop for RouteRegistrar {
    fn drop(&mut self) {
        if let RouteRegistrar::Program(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What older registrars ask first: how often they shall register.
async fn greet(login: &BusLogin) -> anyhow::Result<()> {
    let mut wire = Wire::connect(&login.address, login).await?;
    wire.send(b"SUB _INBOX.greeting 1\r\n").await?;
    wire.publish("router.greet", "_INBOX.greeting", b"").await?;
    let answer = tokio::time::timeout(LONG, wire.next())
        .await
        .context("no router answers")??;
    let Some(Heard::Message { subject, payload }) = answer else {
        bail!("no answer: {answer:?}");
    };
    let greeting: Value = serde_json::from_slice(&payload)?;
    ensure!(
        subject == "_INBOX.greeting" && greeting["minimumRegisterIntervalInSeconds"].is_u64(),
        "{greeting}"
    );
    Ok(())
}

pub async fn a_foreign_route_registrar_registers_a_route_that_works(
    yard: &Yard,
) -> anyhow::Result<()> {
    let login = yard.cluster.bus_login("registrar")?;
    let (port, serving) = legacy().await?;
    let host = yard.cluster.host("legacy");
    let status = async || -> anyhow::Result<u16> {
        Ok(yard.cluster.get(&host, "/").await?.status().as_u16())
    };
    ensure!(status().await? == 404, "the name leads nowhere yet");
    let doing = async {
        greet(&login).await?;
        let mut registrar = RouteRegistrar::start(yard, &login, &host, port).await?;
        for _ in 0..3 {
            registrar.beat().await?;
            eventually("the name leads to the service", LONG, || async {
                let body = yard.cluster.body(&host, "/").await?;
                ensure!(body == "legacy", "{body:?}");
                Ok(())
            })
            .await?;
            tokio::time::sleep(INTERVAL).await;
        }
        registrar.end().await?;
        eventually("the name is gone", LONG, || async {
            let status = status().await?;
            ensure!(status == 404, "it answers {status}");
            Ok(())
        })
        .await
    };
    let shown = yard
        .shows(
            &[
                ("router.greet", Scenario(Registrar)),
                ("router.register", Scenario(Registrar)),
                ("router.unregister", Scenario(Registrar)),
            ],
            doing,
        )
        .await;
    serving.abort();
    shown
}
