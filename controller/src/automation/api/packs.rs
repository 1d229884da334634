//! `packs`: what is installed, installing and removing, and the index of what could be installed.
//!
//! Installing and removing are executions of `packs.install` and `packs.uninstall`; the answer names them.
//! `packs/upload` is ours: it takes the pack itself, a tar.gz or zip, as the body or as a file of a form.

use super::extract::{Body, Caller};
use super::listing::{Asked, page};
use super::resources::{Columns, filter, projection};
use super::{Answer, accepted, ok};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::executions::Wanted;
use crate::automation::ops::packs::{RegisterAsked, present_pack};
use crate::blobs::{ReceiveError, receive};
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Path, Request, State};
use axum::routing::{get, post};
use http::header;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Largest upload of a pack.
const LARGEST_UPLOAD: u64 = 128 << 20;
/// Longest wait for the next part of a form.
const PART: Duration = Duration::from_secs(60);

const COLUMNS: Columns = Columns {
    texts: &[("ref", "reference"), ("name", "name")],
    flags: &[],
    orders: &[("ref", "reference"), ("name", "name")],
    key: "reference",
    default_order: ("reference", false),
};

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/packs", get(list))
        .route("/packs/{reference}", get(show))
        .route("/packs/register", post(register))
        .route("/packs/install", post(install))
        .route("/packs/uninstall", post(uninstall))
        .route("/packs/index", get(index))
        .route("/packs/index/search", post(search))
        .route("/packs/index/health", get(health))
        .route(
            "/packs/upload",
            // It goes to disk and is bounded while it is received.
            post(upload).layer(DefaultBodyLimit::disable()),
        )
}

async fn list(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let window = asked.window(caller.is_admin())?;
    let projection = projection(&asked, &["id", "ref"], |_| true)?;
    let filter = filter(&asked, &COLUMNS)?;
    let (rows, total) = automation
        .list_packs(&caller, filter, window.limit, window.offset)
        .await?;
    let documents = rows
        .iter()
        .map(|row| projection.apply(&present_pack(row)))
        .collect();
    Ok(page(documents, total, window))
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(reference): Path<String>,
    asked: Asked,
) -> Answer {
    let projection = projection(&asked, &["id", "ref"], |_| true)?;
    let row = automation.pack(&caller, &reference).await?;
    Ok(ok(projection.apply(&present_pack(&row))))
}

async fn register(
    State(automation): State<Automation>,
    caller: Caller,
    Body(asked): Body<RegisterAsked>,
) -> Answer {
    Ok(ok(automation.register_packs(&caller, &asked).await?))
}

#[derive(Debug, Deserialize)]
struct Installed {
    packs: Vec<String>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    skip_dependencies: bool,
}

/// Begins an execution of one of the actions that change packs.
async fn begin(
    automation: &Automation,
    caller: &Caller,
    action: &str,
    parameters: Value,
) -> Answer {
    let wanted = Wanted {
        action: action.to_string(),
        parameters: parameters.as_object().cloned().unwrap_or_default(),
        ..Wanted::default()
    };
    let row = automation.execute(caller, wanted).await?;
    Ok(accepted(json!({"execution_id": row.id})))
}

async fn install(
    State(automation): State<Automation>,
    caller: Caller,
    Body(asked): Body<Installed>,
) -> Answer {
    let parameters = json!({
        "packs": asked.packs, "force": asked.force, "skip_dependencies": asked.skip_dependencies,
    });
    begin(&automation, &caller, "packs.install", parameters).await
}

#[derive(Debug, Deserialize)]
struct Uninstalled {
    packs: Vec<String>,
}

async fn uninstall(
    State(automation): State<Automation>,
    caller: Caller,
    Body(asked): Body<Uninstalled>,
) -> Answer {
    let parameters = json!({"packs": asked.packs});
    begin(&automation, &caller, "packs.uninstall", parameters).await
}

async fn index(State(automation): State<Automation>, caller: Caller) -> Answer {
    Ok(ok(automation.pack_index(&caller).await?))
}

async fn health(State(automation): State<Automation>, caller: Caller) -> Answer {
    Ok(ok(automation.index_health(&caller).await?))
}

/// One pack by name, or those that have the words of a query.
#[derive(Debug, Deserialize)]
struct Searched {
    pack: Option<String>,
    query: Option<String>,
}

async fn search(
    State(automation): State<Automation>,
    caller: Caller,
    Body(asked): Body<Searched>,
) -> Answer {
    match (asked.query, asked.pack) {
        (Some(query), _) => Ok(ok(automation.search_index(&caller, &query).await?)),
        (None, Some(name)) => Ok(match automation.find_in_index(&caller, &name).await? {
            Some(pack) => ok(pack),
            None => ok(json!([])),
        }),
        (None, None) => Err(Fault::Invalid(
            "Name a \"pack\", or give words to look for as \"query\".".into(),
        )),
    }
}

fn refused(error: ReceiveError) -> Fault {
    match error {
        error @ ReceiveError::TooLarge { .. } => Fault::TooLarge(error.to_string()),
        error @ ReceiveError::BrokenOff => Fault::Invalid(error.to_string()),
        error @ ReceiveError::Disk(_) => Fault::internal("receiving a pack")(error),
    }
}

async fn upload(
    State(automation): State<Automation>,
    caller: Caller,
    asked: Asked,
    request: Request,
) -> Answer {
    let folder = automation.ops.upload_folder()?;
    let path = folder.path().join("upload");
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("multipart/form-data"));
    if is_form {
        let mut form = Multipart::from_request(request, &())
            .await
            .map_err(|rejection| Fault::Invalid(rejection.body_text()))?;
        let part = tokio::time::timeout(PART, form.next_field())
            .await
            .map_err(|_| Fault::Invalid("the upload broke off".into()))?
            .map_err(|error| Fault::Invalid(error.body_text()))?;
        let Some(field) = part else {
            return Err(Fault::Invalid("The form has no file.".into()));
        };
        receive(&path, field, LARGEST_UPLOAD)
            .await
            .map_err(refused)?;
    } else {
        let body = request.into_body().into_data_stream();
        receive(&path, body, LARGEST_UPLOAD)
            .await
            .map_err(refused)?;
    }
    let source = automation.keep_upload(&caller, path).await?;
    drop(folder);
    let mut parameters = Map::from_iter([("packs".to_string(), json!([source]))]);
    for name in ["force", "skip_dependencies"] {
        if let Some(flag) = asked.flag(name)? {
            parameters.insert(name.to_string(), json!(flag));
        }
    }
    begin(
        &automation,
        &caller,
        "packs.install",
        Value::Object(parameters),
    )
    .await
}
