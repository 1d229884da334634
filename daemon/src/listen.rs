//! Listening to one subject for as long as the daemon runs.
//!
//! What a newcomer gets wrong: a subscription that is made by a task of its own may reach the server
//! after something that was published later, a hello or a question, and its answers are lost. So the
//! first subscription is made by the caller: the bus keeps the order of one connection.

use std::sync::{Arc, Mutex};

use proto::bus::{Filter, Payload};

use crate::bus::{Bus, Received};
use crate::supervise::{Policy, Supervisor};

/// Hands every message of a filter, in turn, to a function that does not wait. Returns when the
/// subscription is on its way to the server, also while the bus is away.
pub async fn follow<M: Payload>(
    bus: &Bus,
    tasks: &Supervisor,
    name: &'static str,
    filter: Filter<M>,
    handle: impl Fn(Received<M>) + Send + Sync + 'static,
) {
    // A failure is the loop's to repeat.
    let first = Arc::new(Mutex::new(bus.subscribe(&filter).await.ok()));
    let (bus, filter, handle) = (bus.clone(), Arc::new(filter), Arc::new(handle));
    tasks.spawn(name, Policy::Restart, move |shutdown| {
        let (bus, filter, handle) = (bus.clone(), filter.clone(), handle.clone());
        let first = first
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .take();
        async move {
            let mut messages = match first {
                Some(first) => first,
                None => bus.subscribe(&filter).await?,
            };
            loop {
                tokio::select! {
                    message = messages.next() => match message {
                        Some(message) => handle(message),
                        None => anyhow::bail!("the subscription ended"),
                    },
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
        }
    });
}
