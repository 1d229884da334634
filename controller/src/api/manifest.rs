//! Manifests: `/v3/spaces/:guid/actions/apply_manifest`, `/v3/spaces/:guid/manifest_diff`, `/v3/apps/:guid/manifest`.

use super::extract::Caller;
use super::{Answer, Api, accepted_job, created};
use crate::ops::Refusal;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http::header;
use proto::api::{ManifestChange, ManifestDiff};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/v3/spaces/{guid}/actions/apply_manifest", post(apply))
        .route("/v3/spaces/{guid}/manifest_diff", post(diff))
        .route("/v3/apps/{guid}/manifest", get(of_app))
}

pub(super) fn present(diff: Vec<ManifestChange>) -> ManifestDiff {
    ManifestDiff { diff }
}

type Received = Result<Bytes, BytesRejection>;

fn text(received: Received) -> Result<String, Refusal> {
    let bytes = received.map_err(|rejection| Refusal::TooLarge(rejection.body_text()))?;
    String::from_utf8(bytes.into())
        .map_err(|_| Refusal::Unparsable("the manifest is not UTF-8".into()))
}

/// A manifest that cannot be read is refused at once; one that cannot be applied has a job that says why.
async fn apply(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(space): Path<String>,
    received: Received,
) -> Answer {
    const OPERATION: &str = "space.apply_manifest";
    let manifest = api
        .ops
        .check_manifest(&actor, &space, &text(received)?)
        .await?;
    let job = match api.ops.apply_manifest(&actor, &space, &manifest).await {
        Ok(()) => api.ops.record_job(OPERATION, None).await?,
        Err(
            refusal @ (Refusal::Unprocessable(_)
            | Refusal::AllUnprocessable(_)
            | Refusal::QuotaExceeded { .. }),
        ) => {
            let error = (10008, "CF-UnprocessableEntity", refusal.to_string());
            api.ops
                .record_job(OPERATION, Some((error.0, error.1, &error.2)))
                .await?
        }
        Err(refusal) => return Err(refusal),
    };
    Ok(accepted_job(&api, &job))
}

async fn of_app(State(api): State<Api>, Caller(actor): Caller, Path(app): Path<String>) -> Answer {
    let text = api.ops.manifest_of(&actor, &app).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-yaml")], text).into_response())
}

async fn diff(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(space): Path<String>,
    received: Received,
) -> Answer {
    Ok(created(present(
        api.ops
            .diff_manifest(&actor, &space, &text(received)?)
            .await?,
    )))
}
