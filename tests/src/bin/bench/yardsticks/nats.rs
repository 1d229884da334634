//! A nats-server of our own, without accounts, clustering or storage, and bare clients.

use crate::cores;
use crate::machine::milliseconds;
use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tests::eventually;

const SUBJECT: &str = "bench.yardstick";
/// As large as most messages of ours.
const BYTES: usize = 256;
/// Messages that wait for the subscriber, at most.
const WAITING: usize = 1 << 20;
const HEARD_WITHIN: Duration = Duration::from_secs(10);

pub struct Server {
    child: Child,
    url: String,
    /// The core that server and clients share, or none.
    core: Option<usize>,
}

impl Server {
    /// On any core, or on one that its clients share with it.
    pub async fn start(core: Option<usize>) -> anyhow::Result<Server> {
        let port = tests::cluster::free_port()?.to_string();
        let mut words = Vec::new();
        let number = core.map(|core| core.to_string());
        if let Some(number) = &number {
            words.extend(["taskset", "-c", number]);
        }
        words.extend(["nats-server", "-a", "127.0.0.1", "-p", &port]);
        let child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", words.join(" ")))?;
        let server = Server {
            child,
            url: format!("nats://127.0.0.1:{port}"),
            core,
        };
        eventually(
            "the yardstick's nats-server",
            Duration::from_secs(20),
            || connect(&server.url),
        )
        .await?;
        Ok(server)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// From before a request to the arrival of its answer, which another connection gives, one at a time, in
    /// milliseconds.
    pub async fn requests(&self, count: usize) -> anyhow::Result<Vec<f64>> {
        let (asking, mut requests) = pair(&self.url).await?;
        let answering = connect(&self.url).await?;
        let answers = async {
            while let Some(request) = requests.next().await {
                if let Some(reply) = request.reply {
                    answering.publish(reply, Bytes::new()).await?;
                }
            }
            anyhow::bail!("the subscription of the yardstick ended")
        };
        let asks = async {
            let mut values = Vec::with_capacity(count);
            for _ in 0..count {
                let begun = Instant::now();
                asking.request(SUBJECT, vec![b'x'; BYTES].into()).await?;
                values.push(milliseconds(begun.elapsed()));
            }
            Ok(values)
        };
        tokio::select! {
            ended = answers => ended,
            values = asks => values,
        }
    }

    /// From before a message is published on one connection to its arrival on another, one at a
    /// time, in milliseconds.
    pub async fn hops(&self, count: usize) -> anyhow::Result<Vec<f64>> {
        let (sender, mut arrivals) = pair(&self.url).await?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            sender.publish(SUBJECT, vec![b'x'; BYTES].into()).await?;
            let arrived = tokio::time::timeout(HEARD_WITHIN, arrivals.next()).await;
            ensure!(
                matches!(arrived, Ok(Some(_))),
                "a message of the yardstick did not arrive"
            );
            values.push(milliseconds(begun.elapsed()));
        }
        Ok(values)
    }

    /// Messages a second from one publisher to one subscriber, on the server's core.
    pub fn messages_per_second(&self, count: usize) -> anyhow::Result<f64> {
        let core = self.core.context("the yardstick needs a core of its own")?;
        let url = self.url.clone();
        cores::run_on(core, move || async move { flood(&url, count).await })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A publisher, and a subscriber on another connection that the server knows of.
async fn pair(url: &str) -> anyhow::Result<(async_nats::Client, async_nats::Subscriber)> {
    let (sender, receiver) = (connect(url).await?, connect(url).await?);
    let mut arrivals = receiver.subscribe(SUBJECT).await?;
    // What a connection publishes is handled after its subscription.
    receiver.publish(SUBJECT, Bytes::new()).await?;
    let own = tokio::time::timeout(HEARD_WITHIN, arrivals.next()).await;
    ensure!(
        matches!(own, Ok(Some(_))),
        "the subscription of the yardstick hears nothing"
    );
    Ok((sender, arrivals))
}

pub async fn connect(url: &str) -> anyhow::Result<async_nats::Client> {
    Ok(async_nats::ConnectOptions::new()
        .subscription_capacity(WAITING)
        .connect(url)
        .await?)
}

async fn flood(url: &str, count: usize) -> anyhow::Result<f64> {
    let (sender, mut arrivals) = pair(url).await?;
    let body = Bytes::from(vec![b'x'; BYTES]);
    let begun = Instant::now();
    let sending = async {
        for _ in 0..count {
            sender.publish(SUBJECT, body.clone()).await?;
        }
        sender.flush().await?;
        anyhow::Ok(())
    };
    let receiving = async {
        for number in 0..count {
            let arrived = tokio::time::timeout(HEARD_WITHIN, arrivals.next()).await;
            ensure!(
                matches!(arrived, Ok(Some(_))),
                "message {number} of {count} of the yardstick did not arrive"
            );
        }
        Ok(())
    };
    tokio::try_join!(sending, receiving)?;
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}
