//! The answers to the authorities' challenges (http-01) that are under way.
//!
//! An authority asks `http://<domain>/.well-known/acme-challenge/<token>`, and reaches any of the routers. They
//! know nothing of certificates: for as long as the challenge is under way the controller that ordered registers
//! this one path of the domain as leading to itself, as any component registers its names, and takes it back afterwards. Every
//! other request goes where it went before, also under the same folder, and a token that nobody waits for is a path of
//! the app like any other.
//!
//! Before the authority is told to look, the routers are asked whether they know the path: a challenge that fails
//! counts against the limits of the authority, a router that has not heard yet costs nothing.

use super::{Shared, routers};
use crate::api::announce;
use proto::bus::catalogue;
use proto::bus::router::Registration;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Where authorities look.
pub const FOLDER: &str = "/.well-known/acme-challenge/";
/// How long the routers may take to know the path. Then those that know it have to do.
const KNOWN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(200);
/// How often it is said again while the authority looks: a router may have started anew.
const AGAIN: Duration = Duration::from_secs(5);
/// Routes of the domain that are looked through.
const MOST: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub(super) enum NotShown {
    #[error("the address of this controller leads nowhere: {0}")]
    Address(String),
    #[error("no router knows the challenge of {domain} after {KNOWN:?}: {because}")]
    Unknown { domain: String, because: String },
}

struct UnderWay {
    answer: String,
    registration: Registration,
}

/// By token.
#[derive(Default)]
pub(super) struct Challenges {
    under_way: Mutex<BTreeMap<String, UnderWay>>,
}

impl Challenges {
    fn under_way(&self) -> MutexGuard<'_, BTreeMap<String, UnderWay>> {
        self.under_way
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What is to be answered; None: nobody waits for this token.
    pub(super) fn answer(&self, token: &str) -> Option<String> {
        self.under_way().get(token).map(|one| one.answer.clone())
    }

    fn registration(&self, token: &str) -> Option<Registration> {
        self.under_way()
            .get(token)
            .map(|one| one.registration.clone())
    }

    /// Answers it from now on, and returns once the routers lead there.
    pub(super) async fn show(
        &self,
        shared: &Shared,
        domain: &str,
        token: &str,
        answer: String,
    ) -> Result<(), NotShown> {
        let route = format!("{domain}{FOLDER}{token}");
        let served = announce::served("", &shared.config.advertise)
            .ok_or_else(|| NotShown::Address(shared.config.advertise.clone()))?;
        let registration = Registration {
            uris: vec![route.clone()],
            // The same endpoint as that of the controller's own names.
            ..served.registration(&shared.component)
        };
        let one = UnderWay {
            answer,
            registration,
        };
        self.under_way().insert(token.to_string(), one);
        self.known(shared, domain, token, &route).await
    }

    async fn known(
        &self,
        shared: &Shared,
        domain: &str,
        token: &str,
        route: &str,
    ) -> Result<(), NotShown> {
        // Routers fold the case of paths.
        let route = route.to_ascii_lowercase();
        let begun = Instant::now();
        loop {
            self.say(shared, token).await;
            let tables = routers::tables(shared, Some(domain), MOST).await;
            let answered: Vec<_> = tables
                .iter()
                .filter(|table| table.problem.is_none())
                .collect();
            let knowing = answered
                .iter()
                .filter(|table| {
                    let mut routes = table.routes.iter();
                    routes.any(|one| one.route == route && !one.endpoints.is_empty())
                })
                .count();
            if knowing > 0 && (knowing == tables.len() || begun.elapsed() > KNOWN) {
                return Ok(());
            }
            if begun.elapsed() > KNOWN {
                let because = match answered.len() {
                    0 => "none answers".to_string(),
                    count => format!("{count} answer"),
                };
                return Err(NotShown::Unknown {
                    domain: domain.to_string(),
                    because,
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits for something, and keeps the routers knowing meanwhile.
    pub(super) async fn shown_while<T>(
        &self,
        shared: &Shared,
        token: &str,
        waiting: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                done = waiting.as_mut() => return done,
                () = tokio::time::sleep(AGAIN) => self.say(shared, token).await,
            }
        }
    }

    async fn say(&self, shared: &Shared, token: &str) {
        let Some(registration) = self.registration(token) else {
            return;
        };
        let sent = shared
            .bus
            .publish(&catalogue::router_register(), &registration)
            .await;
        if let Err(error) = sent {
            tracing::debug!(%error, "a challenge could not be registered");
        }
    }

    /// Answers none any more. (A router that does not hear it forgets the paths as those of any component that ended.)
    pub(super) async fn hide(&self, shared: &Shared) {
        let shown = std::mem::take(&mut *self.under_way());
        for one in shown.into_values() {
            let sent = shared
                .bus
                .publish(&catalogue::router_unregister(), &one.registration)
                .await;
            if let Err(error) = sent {
                tracing::debug!(%error, "a challenge could not be taken back");
            }
        }
    }
}
