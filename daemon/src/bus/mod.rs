//! The connection to the bus (NATS).
//!
//! One connection per daemon, with the daemon's own credential and inbox. It reconnects for
//! ever; meanwhile publishing is an *error*, not a promise: whoever wants a message delivered
//! later repeats it by its own clock (heartbeats) or keeps it (facts). Subscriptions survive
//! reconnects; what was published while we were away is gone, so whoever watches
//! [`Bus::status`] asks again after a reconnect.
//!
//! What a newcomer gets wrong: a forbidden publish or subscribe succeeds in the client. Only the
//! connection's event callback hears the server's refusal; it is counted and logged here
//! (`bus_permission_violations_total`). And a subscription that is not read fast enough loses
//! messages without an error: counted as `bus_slow_consumer_total`.
//!
//! Every message that comes is counted (`bus_received_total`), and so is each that is not followed: because
//! it makes no sense (`bus_malformed_total`), or because of what its receiver knows
//! (`bus_ignored_total`, told by [`Received::ignore`]). All three name the subject as it was subscribed
//! to, so that what strangers send makes no new series.

mod faults;

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{ConnectOptions, Event, HeaderMap, ServerError, StatusCode};
use futures_util::StreamExt;
use proto::bus::{Filter, Malformed, Payload, Topic, catalogue};
use proto::ids::ComponentId;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::bootstrap::BusConfig;
use faults::Faults;

/// Says who sent a message; ours only, strangers need not set it.
const SENDER: &str = "Yard-Sender";
/// Longest time a publish may wait for room in the connection's queue.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(2);
/// Messages kept per subscription until they are read.
const SUBSCRIPTION_CAPACITY: usize = 16 * 1024;

/// Why something on the bus did not happen.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("the bus is away ({0} was not sent)")]
    Disconnected(String),
    #[error("nobody listens on {0}")]
    NoResponders(String),
    #[error("no answer to {subject} within {within:?}")]
    Timeout { subject: String, within: Duration },
    #[error("the answer to {subject} makes no sense")]
    Malformed {
        subject: String,
        #[source]
        source: Malformed,
    },
    #[error("the bus address {0:?} is none")]
    Address(String, #[source] std::io::Error),
    #[error(
        "the message for {subject} is larger than the bus takes ({bytes} bytes, limit {limit})"
    )]
    TooLarge {
        subject: String,
        bytes: usize,
        limit: usize,
    },
    #[error("{operation} {subject} failed: {reason}")]
    Failed {
        operation: &'static str,
        subject: String,
        reason: String,
    },
}

/// Whether the bus is there.
#[derive(Debug, Clone, PartialEq)]
pub struct BusStatus {
    pub connected: bool,
    /// Since when it is as it is.
    pub since: Instant,
    /// Connections after the first one.
    pub reconnects: u64,
}

/// What went wrong on this connection so far.
#[derive(Debug, Default)]
struct Counters {
    malformed: AtomicU64,
    ignored: AtomicU64,
    violations: AtomicU64,
    slow: AtomicU64,
}

/// A snapshot of the connection's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct BusCounts {
    pub malformed: u64,
    pub ignored: u64,
    pub permission_violations: u64,
    pub slow_consumer: u64,
}

struct Inner {
    client: async_nats::Client,
    status: watch::Receiver<BusStatus>,
    counters: Arc<Counters>,
    faults: Mutex<Faults>,
    sender: String,
    inbox: String,
}

/// The connection. Cheap to clone.
#[derive(Clone)]
pub struct Bus {
    inner: Arc<Inner>,
}

/// Short, because a one-machine bus that restarts is back within a second.
fn reconnect_delay(attempt: usize) -> Duration {
    match attempt {
        0 | 1 => Duration::ZERO,
        2..=6 => Duration::from_millis(50 << (attempt - 2)),
        _ => Duration::from_secs(1),
    }
}

impl Bus {
    /// Opens the connection in the background; returns also when the server is away. Fails only
    /// for an address that is none.
    pub async fn connect(config: &BusConfig, component: &ComponentId) -> Result<Bus, BusError> {
        let mut servers = Vec::new();
        for server in &config.servers {
            let address: async_nats::ServerAddr = server
                .parse()
                .map_err(|error| BusError::Address(server.clone(), error))?;
            servers.push(address);
        }
        let (sender, status) = watch::channel(BusStatus {
            connected: false,
            since: Instant::now(),
            reconnects: 0,
        });
        let sender = Arc::new(sender);
        let counters = Arc::new(Counters::default());
        let events = (
            sender.clone(),
            counters.clone(),
            Arc::new(AtomicU64::new(0)),
        );
        let client =
            ConnectOptions::with_user_and_password(config.user.clone(), config.password.clone())
                .name(component)
                .custom_inbox_prefix(catalogue::inbox_prefix(component))
                .retry_on_initial_connect()
                .connection_timeout(Duration::from_secs(2))
                .ping_interval(Duration::from_secs(5))
                .reconnect_delay_callback(reconnect_delay)
                .subscription_capacity(SUBSCRIPTION_CAPACITY)
                .event_callback(move |event| {
                    let (status, counters, connections) = &events;
                    heard(event, status, counters, connections);
                    async {}
                })
                .connect(servers)
                .await
                .map_err(|error| BusError::Failed {
                    operation: "connecting to",
                    subject: config.servers.join(" "),
                    reason: error.to_string(),
                })?;
        Ok(Bus {
            inner: Arc::new(Inner {
                client,
                status,
                counters,
                faults: Mutex::new(Faults::default()),
                sender: component.to_string(),
                inbox: catalogue::inbox_prefix(component),
            }),
        })
    }

    /// Sends a message. An error when the bus is away.
    pub async fn publish<M: Payload>(&self, topic: &Topic<M>, message: &M) -> Result<(), BusError> {
        let bytes = self.outgoing(topic.subject(), message)?;
        let sending = self.inner.client.publish_with_headers(
            topic.subject().to_string(),
            self.headers(),
            bytes.into(),
        );
        match tokio::time::timeout(PUBLISH_DEADLINE, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed("publishing to", topic.subject(), error)),
            Err(_) => Err(BusError::Disconnected(topic.subject().to_string())),
        }
    }

    /// Sends a message and waits for one answer.
    pub async fn request<M: Payload, R: Payload>(
        &self,
        topic: &Topic<M>,
        message: &M,
        within: Duration,
    ) -> Result<R, BusError> {
        let subject = topic.subject();
        let bytes = self.outgoing(subject, message)?;
        let request = async_nats::Request::new()
            .headers(self.headers())
            .payload(bytes.into())
            .timeout(Some(within));
        let timeout = || BusError::Timeout {
            subject: subject.to_string(),
            within,
        };
        // The client's own deadline begins once the request is queued; ours covers the queueing.
        let answer = tokio::time::timeout(
            within,
            self.inner.client.send_request(subject.to_string(), request),
        )
        .await
        .map_err(|_| timeout())?
        .map_err(|error| match error.kind() {
            async_nats::RequestErrorKind::TimedOut => timeout(),
            async_nats::RequestErrorKind::NoResponders => {
                BusError::NoResponders(subject.to_string())
            }
            _ => failed("asking", subject, error),
        })?;
        R::decode(&answer.payload).map_err(|source| {
            self.malformed(subject, &source, sender_of(&answer));
            BusError::Malformed {
                subject: subject.to_string(),
                source,
            }
        })
    }

    /// Sends a message and gathers all answers that come within the time. Nobody listening is an
    /// empty answer, at once.
    pub async fn request_many<M: Payload, R: Payload>(
        &self,
        topic: &Topic<M>,
        message: &M,
        within: Duration,
    ) -> Result<Vec<R>, BusError> {
        let subject = topic.subject();
        let bytes = self.outgoing(subject, message)?;
        let client = &self.inner.client;
        let inbox = client.new_inbox();
        let deadline = tokio::time::Instant::now() + within;
        let gathering = async {
            let answers = client
                .subscribe(inbox.clone())
                .await
                .map_err(|error| failed("listening for answers to", subject, error))?;
            client
                .publish_with_reply_and_headers(
                    subject.to_string(),
                    inbox,
                    self.headers(),
                    bytes.into(),
                )
                .await
                .map_err(|error| failed("asking", subject, error))?;
            Ok(answers)
        };
        let mut answers = tokio::time::timeout_at(deadline, gathering)
            .await
            .map_err(|_| BusError::Disconnected(subject.to_string()))??;
        let mut received = Vec::new();
        while let Ok(Some(answer)) = tokio::time::timeout_at(deadline, answers.next()).await {
            if answer.status == Some(StatusCode::NO_RESPONDERS) {
                break;
            }
            match R::decode(&answer.payload) {
                Ok(answer) => received.push(answer),
                Err(fault) => self.malformed(subject, &fault, sender_of(&answer)),
            }
        }
        Ok(received)
    }

    /// Listens. Also when the bus is away: the subscription begins when it is back.
    pub async fn subscribe<M: Payload>(
        &self,
        filter: &Filter<M>,
    ) -> Result<Subscription<M>, BusError> {
        let subject = filter.subject().to_string();
        let client = &self.inner.client;
        let subscribing = async {
            match filter.queue() {
                Some(queue) => {
                    client
                        .queue_subscribe(subject.clone(), queue.to_string())
                        .await
                }
                None => client.subscribe(subject.clone()).await,
            }
        };
        match tokio::time::timeout(PUBLISH_DEADLINE, subscribing).await {
            Ok(Ok(messages)) => Ok(Subscription {
                bus: self.clone(),
                received: metrics::counter!("bus_received_total", "subject" => subject.clone()),
                subject: subject.into(),
                messages,
                message: PhantomData,
            }),
            Ok(Err(error)) => Err(failed("subscribing to", &subject, error)),
            Err(_) => Err(BusError::Disconnected(subject)),
        }
    }

    /// Counts and, now and then, logs a message that makes sense and is not followed. `reason` is one of
    /// few; what else there is to say of it is `detail`.
    pub fn ignored<M>(
        &self,
        topic: &Topic<M>,
        sender: &str,
        reason: &'static str,
        detail: impl fmt::Display,
    ) {
        self.not_followed(topic.subject(), sender, reason, &detail);
    }

    fn not_followed(
        &self,
        filter: &str,
        sender: &str,
        reason: &'static str,
        detail: &dyn fmt::Display,
    ) {
        self.count_ignored(filter, reason);
        if let Some(unlogged) = self.loggable(filter, reason, sender) {
            info!(subject = filter, sender, reason, %detail, unlogged, "a message was ignored");
        }
    }

    fn count_ignored(&self, filter: &str, reason: &'static str) {
        self.inner.counters.ignored.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("bus_ignored_total", "subject" => filter.to_string(), "reason" => reason)
            .increment(1);
    }

    /// Whether it is to be said again, and how many like it were not said since the last time.
    fn loggable(&self, subject: &str, kind: &str, sender: &str) -> Option<u64> {
        let mut faults = self
            .inner
            .faults
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        faults.admit(subject, kind, sender, Instant::now())
    }

    /// Whether the bus is there, now and later.
    pub fn status(&self) -> watch::Receiver<BusStatus> {
        self.inner.status.clone()
    }

    /// Waits until the server has taken everything published and subscribed so far.
    pub async fn flush(&self) -> Result<(), BusError> {
        // The server handles a connection's messages in order, so its answer to a message to
        // ourselves ("nobody listens there") comes after all before it.
        let probe = format!("{}.flush", self.inner.inbox);
        if self.inner.client.connection_state() != State::Connected {
            return Err(BusError::Disconnected("the rest".to_string()));
        }
        let request = async_nats::Request::new()
            .payload(Vec::new().into())
            .timeout(Some(PUBLISH_DEADLINE));
        match tokio::time::timeout(
            PUBLISH_DEADLINE,
            self.inner.client.send_request(probe, request),
        )
        .await
        {
            Ok(Err(error)) if error.kind() != async_nats::RequestErrorKind::NoResponders => {
                Err(failed("flushing", "", error))
            }
            Ok(_) => Ok(()),
            Err(_) => Err(BusError::Disconnected("the rest".to_string())),
        }
    }

    /// What went wrong on this connection so far.
    pub fn counts(&self) -> BusCounts {
        let counters = &self.inner.counters;
        BusCounts {
            malformed: counters.malformed.load(Ordering::Relaxed),
            ignored: counters.ignored.load(Ordering::Relaxed),
            permission_violations: counters.violations.load(Ordering::Relaxed),
            slow_consumer: counters.slow.load(Ordering::Relaxed),
        }
    }

    fn outgoing<M: Payload>(&self, subject: &str, message: &M) -> Result<Vec<u8>, BusError> {
        if self.inner.client.connection_state() != State::Connected {
            return Err(BusError::Disconnected(subject.to_string()));
        }
        let bytes = message.encode();
        let limit = self.inner.client.max_payload();
        // Room for the header, which counts too.
        if bytes.len() + 256 > limit {
            return Err(BusError::TooLarge {
                subject: subject.to_string(),
                bytes: bytes.len(),
                limit,
            });
        }
        Ok(bytes)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(SENDER, self.inner.sender.as_str());
        headers
    }

    /// Counts and, now and then, logs a message that makes no sense.
    fn malformed(&self, subject: &str, fault: &Malformed, sender: &str) {
        self.inner
            .counters
            .malformed
            .fetch_add(1, Ordering::Relaxed);
        let kind = faults::kind(&fault.fault);
        metrics::counter!("bus_malformed_total", "subject" => subject.to_string(), "fault" => kind.clone()).increment(1);
        if let Some(unlogged) = self.loggable(subject, &kind, sender) {
            warn!(subject, sender, fault = %fault, unlogged, "a message made no sense and was ignored");
        }
    }
}

/// What the connection's event callback does: no waiting, no publishing.
fn heard(
    event: Event,
    status: &watch::Sender<BusStatus>,
    counters: &Counters,
    connections: &AtomicU64,
) {
    let now_connected = |connected: bool| {
        status.send_if_modified(|current| {
            if current.connected == connected && !connected {
                return false;
            }
            let before = if connected {
                connections.fetch_add(1, Ordering::Relaxed)
            } else {
                current.reconnects
            };
            *current = BusStatus {
                connected,
                since: Instant::now(),
                reconnects: before,
            };
            true
        });
    };
    match event {
        Event::Connected => {
            now_connected(true);
            metrics::gauge!("bus_connected").set(1.0);
            info!("the bus is there");
        }
        Event::Disconnected | Event::Closed => {
            now_connected(false);
            metrics::gauge!("bus_connected").set(0.0);
            warn!("the bus is away");
        }
        Event::SlowConsumer(subscription) => {
            let count = counters.slow.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("bus_slow_consumer_total").increment(1);
            // Each lost message is an event: say it at 1, 2, 4, 8 …
            if (count + 1).is_power_of_two() {
                warn!(
                    subscription,
                    lost = count + 1,
                    "messages were lost: a subscription is not read fast enough"
                );
            }
        }
        Event::ServerError(ServerError::Other(text))
            if text.to_lowercase().contains("permissions violation") =>
        {
            counters.violations.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("bus_permission_violations_total").increment(1);
            warn!(violation = %text, "the bus refused a subject to this component");
        }
        Event::ServerError(error) => warn!(%error, "the bus reports an error"),
        // One per failed attempt to connect: the status already says that the bus is away.
        Event::ClientError(error) => tracing::debug!(%error, "the bus connection has an error"),
        Event::LameDuckMode | Event::Draining => info!(%event, "the bus connection changes"),
    }
}

fn failed(operation: &'static str, subject: &str, error: impl fmt::Display) -> BusError {
    BusError::Failed {
        operation,
        subject: subject.to_string(),
        reason: error.to_string(),
    }
}

fn sender_of(message: &async_nats::Message) -> &str {
    let named = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get(SENDER))
        .map(|value| value.as_str());
    // A stranger that asks shows its inbox.
    named
        .or_else(|| message.reply.as_ref()?.split('.').next())
        .unwrap_or("unknown")
}

/// The messages of one filter.
pub struct Subscription<M> {
    bus: Bus,
    subject: Arc<str>,
    received: metrics::Counter,
    messages: async_nats::Subscriber,
    message: PhantomData<fn() -> M>,
}

impl<M: Payload> Subscription<M> {
    /// The next message that makes sense. `None` when the connection was closed for good.
    pub async fn next(&mut self) -> Option<Received<M>> {
        loop {
            let raw = self.messages.next().await?;
            self.received.increment(1);
            match M::decode(&raw.payload) {
                Ok(message) => {
                    return Some(Received {
                        message,
                        filter: self.subject.clone(),
                        subject: raw.subject.to_string(),
                        sender: sender_of(&raw).to_string(),
                        reply: raw.reply.map(|reply| reply.to_string()),
                        bus: self.bus.clone(),
                    });
                }
                Err(fault) => self.bus.malformed(&self.subject, &fault, sender_of(&raw)),
            }
        }
    }
}

/// One message, with the way back to who sent it.
pub struct Received<M> {
    pub message: M,
    pub subject: String,
    /// Who says to have sent it; for logs, not for access.
    pub sender: String,
    /// The subject as it was subscribed to.
    filter: Arc<str>,
    reply: Option<String>,
    bus: Bus,
}

impl<M> Received<M> {
    pub fn wants_reply(&self) -> bool {
        self.reply.is_some()
    }

    /// The message, and what is left to say to and of its sender.
    pub fn open(self) -> (M, Received<()>) {
        let rest = Received {
            message: (),
            subject: self.subject,
            sender: self.sender,
            filter: self.filter,
            reply: self.reply,
            bus: self.bus,
        };
        (self.message, rest)
    }

    /// It makes sense and is not followed: counted with the reason, which is one of few, and now and
    /// then logged with the detail.
    pub fn ignore(&self, reason: &'static str, detail: impl fmt::Display) {
        self.bus
            .not_followed(&self.filter, &self.sender, reason, &detail);
    }

    /// The same where it is everyday life, such as an order to all agents that concerns one of them.
    pub fn pass_over(&self, reason: &'static str) {
        self.bus.count_ignored(&self.filter, reason);
    }

    /// Answers; does nothing if no answer is wanted.
    pub async fn respond<R: Payload>(&self, reply: &R) -> Result<(), BusError> {
        let Some(inbox) = &self.reply else {
            return Ok(());
        };
        let bytes = self.bus.outgoing(inbox, reply)?;
        let sending = self.bus.inner.client.publish_with_headers(
            inbox.clone(),
            self.bus.headers(),
            bytes.into(),
        );
        match tokio::time::timeout(PUBLISH_DEADLINE, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed("answering", &self.subject, error)),
            Err(_) => Err(BusError::Disconnected(inbox.clone())),
        }
    }
}

impl<M: fmt::Debug> fmt::Debug for Received<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("subject", &self.subject)
            .field("sender", &self.sender)
            .field("message", &self.message)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconnect_is_tried_at_least_every_second() {
        for attempt in 0..100 {
            assert!(reconnect_delay(attempt) <= Duration::from_secs(1));
        }
    }
}
