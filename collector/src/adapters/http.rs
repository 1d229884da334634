//! Readers over HTTP: Cloud Foundry's log API (contract §1.8) and our live stream.

use super::access::{Access, AccessError, Verdict};
use super::hub::{Hub, Passed, Watched};
use super::now;
use crate::domain::store::Entry;
use crate::domain::{document, query};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use daemon::Shutdown;
use futures_util::Stream;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tracing::warn;

/// Our log API speaks this version of Cloud Foundry's.
const VERSION: &str = "2.11.0";
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often a stream asks whether its reader may still read.
const RECHECK: Duration = Duration::from_secs(30);
/// Recent entries a stream begins with at most.
const MOST_RECENT: usize = 100_000;

#[derive(Clone)]
pub(crate) struct Face {
    pub hub: Arc<Hub>,
    pub access: Arc<Access>,
    pub shutdown: Shutdown,
    pub started: Instant,
}

pub(crate) async fn serve(
    listener: std::io::Result<std::net::TcpListener>,
    face: Face,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener?)?;
    let routes = Router::new()
        .route("/api/v1/info", get(info))
        .route("/api/v1/read/{source}", get(read))
        .route("/yard/v1/logs/{app}/stream", get(stream))
        .fallback(async || refusal(StatusCode::NOT_FOUND, "there is nothing here"))
        .with_state(face);
    let end = async move { shutdown.draining().await };
    axum::serve(listener, routes)
        .with_graceful_shutdown(end)
        .await?;
    Ok(())
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (
        status,
        Json(json!({ "error": message, "code": status.as_u16(), "message": message })),
    )
        .into_response()
}

async fn info(State(face): State<Face>) -> Json<Value> {
    Json(json!({ "version": VERSION, "vm_uptime": face.started.elapsed().as_secs().to_string() }))
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
}

fn unavailable(error: &AccessError) -> Response {
    warn!(
        error = error as &dyn std::error::Error,
        "a reader could not be checked"
    );
    refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "the controller cannot be asked who may read this log; try again",
    )
}

/// Foreign clients expect 404 for whatever they may not see, a bad token included.
async fn read(
    State(face): State<Face>,
    Path(source): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    match face.access.check(authorization(&headers), &source).await {
        Ok(Verdict::Granted) => {}
        Ok(Verdict::NoLogin | Verdict::NotFound) => {
            return refusal(
                StatusCode::NOT_FOUND,
                "there is no log of that name for you",
            );
        }
        Err(error) => return unavailable(&error),
    }
    let parameters = parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    match query::parse(parameters, now()) {
        Ok(query) => {
            let entries = if query.logs {
                face.hub.range(
                    &source,
                    query.start,
                    query.end,
                    query.limit,
                    query.descending,
                )
            } else {
                Vec::new()
            };
            Json(document::envelopes(
                &source,
                entries.iter().map(Arc::as_ref),
            ))
            .into_response()
        }
        Err(error) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// `?recent=N` entries first (none if not given), then what comes, until the reader goes.
async fn stream(
    State(face): State<Face>,
    Path(app): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let token = authorization(&headers).map(String::from);
    match face.access.check(token.as_deref(), &app).await {
        Ok(Verdict::Granted) => {}
        Ok(Verdict::NoLogin) => return refusal(StatusCode::UNAUTHORIZED, "log in first"),
        Ok(Verdict::NotFound) => {
            return refusal(StatusCode::NOT_FOUND, "there is no app of that id for you");
        }
        Err(error) => return unavailable(&error),
    }
    let mut recent = 0;
    for (name, value) in &parameters {
        match (name.as_str(), value.parse::<usize>()) {
            ("recent", Ok(count)) => recent = count.min(MOST_RECENT),
            ("recent", Err(_)) => return refusal(StatusCode::BAD_REQUEST, "recent is no number"),
            (other, _) => {
                return refusal(
                    StatusCode::BAD_REQUEST,
                    &format!("the parameter {other} is unknown"),
                );
            }
        }
    }
    let Watched {
        recent,
        live,
        before,
    } = face.hub.watch(&app, recent);
    metrics::gauge!("collector_streams").increment(1.0);
    let watching = Watching {
        face,
        app,
        token,
        recent: recent.into(),
        live: Some(live),
        lines: before,
        recheck: tokio::time::Instant::now() + RECHECK,
    };
    Sse::new(watching.events())
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

/// One reader of a live stream.
struct Watching {
    face: Face,
    app: String,
    token: Option<String>,
    /// Entries to tell before the next live one.
    recent: VecDeque<Arc<Entry>>,
    live: Option<broadcast::Receiver<Passed>>,
    /// Lines of the live ones that were told, or told to be missing.
    lines: u64,
    recheck: tokio::time::Instant,
}

impl Drop for Watching {
    fn drop(&mut self) {
        // The receiver first: the hub counts receivers.
        self.live = None;
        self.face.hub.unwatch(&self.app);
        metrics::gauge!("collector_streams").decrement(1.0);
    }
}

enum Next {
    Entry(Passed),
    Ended,
    Recheck,
}

impl Watching {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures_util::stream::unfold(self, async |mut watching| {
            let event = watching.next().await?;
            Some((Ok(event), watching))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        if let Some(entry) = self.recent.pop_front() {
            return Some(event(&entry));
        }
        loop {
            match self.wait().await {
                Next::Entry(passed) if passed.before == self.lines => {
                    self.lines += passed.entry.lines();
                    return Some(event(&passed.entry));
                }
                Next::Entry(passed) => {
                    // It was too slow for those before; this one comes right after the word of it.
                    let lines = passed.before.saturating_sub(self.lines);
                    self.lines = passed.before + passed.entry.lines();
                    self.recent.push_back(passed.entry);
                    self.face.hub.missed(lines);
                    return Some(
                        Event::default()
                            .event("lost")
                            .data(document::lost(lines, "collector")),
                    );
                }
                Next::Ended => return None,
                Next::Recheck => {
                    self.recheck = tokio::time::Instant::now() + RECHECK;
                    // A controller that is away takes no right away.
                    if let Ok(Verdict::NoLogin | Verdict::NotFound) = self
                        .face
                        .access
                        .check(self.token.as_deref(), &self.app)
                        .await
                    {
                        self.live = None;
                        return Some(Event::default().event("end").data(json!({"reason": "the right to read this log has ended; log in again"}).to_string()));
                    }
                }
            }
        }
    }

    async fn wait(&mut self) -> Next {
        let Some(live) = &mut self.live else {
            return Next::Ended;
        };
        loop {
            return tokio::select! {
                received = live.recv() => match received {
                    Ok(passed) => Next::Entry(passed),
                    // The next one tells how many lines that were.
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => Next::Ended,
                },
                () = tokio::time::sleep_until(self.recheck) => Next::Recheck,
                () = self.face.shutdown.draining() => Next::Ended,
            };
        }
    }
}

fn event(entry: &Entry) -> Event {
    let (name, data) = document::event(entry);
    let event = Event::default().data(data);
    match name {
        Some(name) => event.event(name),
        None => event,
    }
}
