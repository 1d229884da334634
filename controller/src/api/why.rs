//! `/yard/v1/apps/{guid}/why`: why an app is as it is.

use super::extract::{Caller, limit, queried};
use super::{Answer, Api, ok};
use crate::domain::times::rfc3339_micros;
use crate::domain::why::{Cause, Outcome};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::routing::get;
use proto::api::{Why, WhyApp, WhyCause, WhyOutcome};
use serde::Deserialize;

/// Outcomes told if nobody says how many, and at most.
const DEFAULT: usize = 10;
const MOST: usize = 200;

pub fn routes() -> Router<Api> {
    Router::new().route("/yard/v1/apps/{guid}/why", get(show))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    limit: Option<usize>,
}

async fn show(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    asked: Result<Query<Asked>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let asked = queried(asked)?;
    let most = limit(asked.limit, DEFAULT, MOST)?;
    let (app, outcomes) = api.ops.why(&actor, &guid, most).await?;
    Ok(ok(Why {
        app: WhyApp {
            guid: app.guid,
            name: app.name,
        },
        outcomes: outcomes.into_iter().map(present).collect(),
    }))
}

fn present(outcome: Outcome) -> WhyOutcome {
    let (process_type, index) = match outcome.slot {
        Some(slot) => (Some(slot.process_type), Some(slot.index)),
        None => (None, None),
    };
    WhyOutcome {
        at: rfc3339_micros(outcome.at),
        kind: outcome.kind.name().to_string(),
        text: outcome.text,
        process_type,
        index,
        instance: outcome.instance,
        agent: outcome.agent,
        placement: outcome.placement,
        causes: outcome.causes.into_iter().map(cause).collect(),
    }
}

fn cause(cause: Cause) -> WhyCause {
    WhyCause {
        at: rfc3339_micros(cause.at),
        kind: cause.kind.name().to_string(),
        text: cause.text,
        by: cause.by,
    }
}
