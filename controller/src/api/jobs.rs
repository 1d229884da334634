//! `/v3/jobs/:guid`

use super::extract::Caller;
use super::{Answer, Api, ok};
use crate::domain::times::rfc3339;
use crate::store::jobs::Job;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use proto::api::{ApiError, JobWarning, Link};
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new().route("/v3/jobs/{guid}", get(show))
}

pub(super) fn present(api: &Api, row: Job) -> proto::api::Job {
    let error = row.error_detail.map(|detail| ApiError {
        code: row.error_code.unwrap_or(10001),
        title: row
            .error_title
            .unwrap_or_else(|| "CF-UnknownError".to_string()),
        detail,
    });
    proto::api::Job {
        links: BTreeMap::from([(
            "self".to_string(),
            Link::to(format!("{}/v3/jobs/{}", api.ops.public_url, row.guid)),
        )]),
        guid: row.guid,
        operation: row.operation,
        state: row.state,
        errors: error.into_iter().collect(),
        warnings: row
            .warnings
            .0
            .into_iter()
            .map(|detail| JobWarning { detail })
            .collect(),
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
    }
}

async fn show(State(api): State<Api>, _: Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.job(&guid).await?)))
}
