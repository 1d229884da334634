//! Tells rules of errors and of request rates.
//!
//! Every controller hears the routers, so that a new leader knows the last window already; the leader alone tells,
//! and what it told is rows, written in the transaction of the event: a new leader tells nothing twice. What
//! rose while nobody led is told by the next leader, if it still is so.

use super::{Shared, clock};
use crate::domain::times::rfc3339_micros;
use crate::domain::traffic::{Count, News, Policy, Subject, Told};
use crate::store::apps::App;
use crate::store::sql::Connection;
use crate::store::{StoreError, platform_events, told_traffic};
use automation::triggers::yard::{PlatformEvent, RouteErrors, RouteRate};
use daemon::{Received, Shutdown};
use proto::bus::stream::RouterTraffic;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_millis(500);
/// News told in one transaction.
const BATCH: usize = 100;

/// What a leader remembers.
struct Term {
    epoch: i64,
    told: BTreeMap<Subject, Told>,
    /// When the request rates were judged last.
    turned: Duration,
}

pub(super) fn heard(shared: &Arc<Shared>, received: Received<RouterTraffic>) {
    let policy = Policy::read(&shared.settings());
    let now = shared.clock.now();
    let fresh = shared.state().traffic.hear(&received.message, now, &policy);
    if !fresh {
        received.pass_over("came before");
        metrics::counter!("controller_traffic_reports_repeated_total").increment(1);
    }
}

pub(super) async fn watch(shared: Arc<Shared>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut term: Option<Term> = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let policy = Policy::read(&shared.settings());
        shared.state().traffic.expire(shared.clock.now(), &policy);
        let epoch = *shared.epoch.borrow();
        let Some(epoch) = epoch else {
            term = None;
            continue;
        };
        if let Err(error) = look(&shared, &policy, &mut term, epoch).await {
            // The rows are read again before anything is told.
            term = None;
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "rules could not be told of traffic; it is tried again"
            );
        }
    }
}

async fn look(
    shared: &Shared,
    policy: &Policy,
    term: &mut Option<Term>,
    epoch: i64,
) -> Result<(), StoreError> {
    let term = match term {
        Some(same) if same.epoch == epoch => same,
        _ => {
            let mut reader = shared.store.read().await?;
            term.insert(Term {
                epoch,
                told: told_traffic::all(&mut reader).await?,
                turned: shared.clock.now(),
            })
        }
    };
    let now = shared.clock.now();
    let turn = now.saturating_sub(term.turned) >= policy.window;
    let news = {
        let state = shared.state();
        // While the bus is away nobody is heard.
        let Some(since) = state.picture.connected_since else {
            return Ok(());
        };
        let whole = state.traffic.is_whole(since, now, policy);
        state.traffic.plan(&term.told, now, policy, whole, turn)
    };
    for some in news.chunks(BATCH) {
        let at = clock::unix_micros();
        let mut told = term.told.clone();
        let mut tx = shared
            .write_as_leader("tell of traffic", term.epoch)
            .await?;
        let mut events = Vec::new();
        for one in some {
            let subject = one.subject();
            let after = one.after(told.remove(&subject).unwrap_or_default());
            let place = place_of(&mut tx, &subject).await?;
            let row = match &place {
                // The app is gone, and with it what was told of it. Its last requests still count here.
                Place::Gone => Told::default(),
                Place::App(_) | Place::None => after,
            };
            told_traffic::put(&mut tx, &subject, row, at).await?;
            if after != Told::default() {
                told.insert(subject, after);
            }
            events.extend(event(one, place, policy, at));
        }
        // Facts last: the other writers of facts wait from the first one on.
        for (object, event) in events {
            platform_events::tell(&mut tx, event, &object, at).await?;
        }
        tx.commit().await?;
        term.told = told;
        shared.committed.notify_one();
    }
    if turn {
        term.turned = now;
    }
    Ok(())
}

/// Where the traffic goes.
enum Place {
    App(automation::triggers::yard::AppPlace),
    /// An app that was deleted.
    Gone,
    /// No app.
    None,
}

async fn place_of(connection: &mut Connection, subject: &Subject) -> Result<Place, StoreError> {
    let guid = match subject {
        Subject::App(guid) => guid,
        Subject::Route(_) => return Ok(Place::None),
    };
    let Some(app) = App::find(connection, guid).await? else {
        return Ok(Place::Gone);
    };
    let place = platform_events::place(connection, &app).await?;
    Ok(place.map_or(Place::Gone, Place::App))
}

/// What rules are told of it, and the guid (or the route) it is about.
fn event(news: &News, place: Place, policy: &Policy, at: i64) -> Option<(String, PlatformEvent)> {
    let window_seconds = policy.window.as_secs();
    let at = rfc3339_micros(at);
    match (news, place) {
        (News::ErrorsEnded { .. }, _) | (_, Place::Gone) => None,
        (
            News::ErrorsRose {
                subject,
                route,
                count,
            },
            place,
        ) => {
            let Count { requests, errors } = *count;
            let (app, space, organization) = match place {
                Place::App(place) => (Some(place.app), Some(place.space), Some(place.organization)),
                Place::Gone | Place::None => (None, None, None),
            };
            let object = match subject {
                Subject::App(guid) => guid.clone(),
                Subject::Route(route) => route.clone(),
            };
            let event = RouteErrors {
                at,
                host: route.clone(),
                app,
                space,
                organization,
                requests,
                errors,
                rate: count.error_rate(),
                window_seconds,
            };
            Some((object, event.into()))
        }
        (
            News::RateChanged {
                app,
                requests,
                millirequests,
                previous,
            },
            Place::App(place),
        ) => {
            let event = RouteRate {
                at,
                place,
                requests: *requests,
                requests_per_second: *millirequests as f64 / 1000.0,
                previous_requests_per_second: *previous as f64 / 1000.0,
                window_seconds,
            };
            Some((app.clone(), event.into()))
        }
        (News::RateChanged { .. }, Place::None) => None,
    }
}
