//! `actions`: what can be run.

use super::extract::{Body, Caller};
use super::listing::{Asked, page};
use super::resources::{self, COMMON, Columns, filter, projection};
use super::{Answer, created, no_content, ok};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::actions::CloneAsked;
use crate::automation::ops::executions::schema_of;
use crate::automation::ops::resources::present;
use crate::store::automation::actions::Action;
use automation::runners::Runner;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http::header;
use serde::Deserialize;
use serde_json::{Map, Value, json};

const COLUMNS: Columns = Columns {
    texts: &[
        ("pack", "pack"),
        ("name", "name"),
        ("ref", "reference"),
        ("runner_type", "runner_type"),
    ],
    ..COMMON
};

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/actions", get(list).post(create))
        .route("/actions/{reference}", get(show).put(change).delete(remove))
        .route("/actions/{reference}/clone", post(copy))
        .route("/actions/views/parameters/{reference}", get(parameters))
        .route("/actions/views/overview", get(overviews))
        .route("/actions/views/overview/{reference}", get(overview))
        .route("/actions/views/entry_point/{reference}", get(entry_point))
}

/// `tags` is in the document, not in a column: it is looked for there.
fn has_tag(row: &Action, wanted: &str) -> bool {
    row.document
        .get("tags")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .any(|tag| tag["name"] == wanted || tag["value"] == wanted)
}

async fn list(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let Some(tag) = asked.text("tags") else {
        return resources::list::<Action>(&automation, &caller, &asked, &COLUMNS).await;
    };
    let window = asked.window(caller.is_admin())?;
    let projection = projection(&asked, &["id", "ref"], |_| true)?;
    let (rows, _) = automation
        .list_resources::<Action>(&caller, filter(&asked, &COLUMNS)?, i64::from(i32::MAX), 0)
        .await?;
    let tagged: Vec<&Action> = rows.iter().filter(|row| has_tag(row, tag)).collect();
    let documents = tagged
        .iter()
        .skip(usize::try_from(window.offset).unwrap_or(usize::MAX))
        .take(usize::try_from(window.limit).unwrap_or(usize::MAX))
        .map(|row| projection.apply(&present(*row)))
        .collect();
    Ok(page(documents, tagged.len() as u64, window))
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(reference): Path<String>,
    asked: Asked,
) -> Answer {
    resources::show::<Action>(&automation, &caller, &reference, &asked).await
}

async fn create(
    State(automation): State<Automation>,
    caller: Caller,
    Body(document): Body<Map<String, Value>>,
) -> Answer {
    let row = automation.create_action(&caller, &document).await?;
    Ok(created(present(&row)))
}

async fn change(
    State(automation): State<Automation>,
    caller: Caller,
    Path(reference): Path<String>,
    Body(document): Body<Map<String, Value>>,
) -> Answer {
    let row = automation
        .update_action(&caller, &reference, &document)
        .await?;
    Ok(ok(present(&row)))
}

#[derive(Debug, Default, Deserialize)]
struct Removed {
    #[serde(default)]
    remove_files: bool,
}

async fn remove(
    State(automation): State<Automation>,
    caller: Caller,
    Path(reference): Path<String>,
    Body(asked): Body<Removed>,
) -> Answer {
    automation
        .delete_action(&caller, &reference, asked.remove_files)
        .await?;
    Ok(no_content())
}

async fn copy(
    State(automation): State<Automation>,
    caller: Caller,
    Path(reference): Path<String>,
    Body(asked): Body<CloneAsked>,
) -> Answer {
    let row = automation.clone_action(&caller, &reference, &asked).await?;
    Ok(created(present(&row)))
}

/// Parameters of the action over those of its runner.
fn merged_parameters(row: &Action) -> Result<Value, Fault> {
    let runner = Runner::from_name(&row.runner_type).ok_or_else(|| {
        Fault::NotFound(format!(
            "Unable to find runnertype with name=\"{}\"",
            row.runner_type
        ))
    })?;
    let schema = schema_of(&row.reference, runner, &row.document)?;
    Ok(json!(schema.view()))
}

async fn parameters(
    State(automation): State<Automation>,
    caller: Caller,
    Path(reference): Path<String>,
) -> Answer {
    let row = automation.resource::<Action>(&caller, &reference).await?;
    Ok(ok(json!({"parameters": merged_parameters(&row)?})))
}

fn with_parameters(row: &Action) -> Result<Value, Fault> {
    let mut document = present(row);
    document["parameters"] = merged_parameters(row)?;
    Ok(document)
}

async fn overviews(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let window = asked.window(caller.is_admin())?;
    let projection = projection(&asked, &["id", "ref"], |_| true)?;
    let (rows, total) = automation
        .list_resources::<Action>(
            &caller,
            filter(&asked, &COLUMNS)?,
            window.limit,
            window.offset,
        )
        .await?;
    let mut documents = Vec::with_capacity(rows.len());
    for row in &rows {
        documents.push(projection.apply(&with_parameters(row)?));
    }
    Ok(page(documents, total, window))
}

async fn overview(
    State(automation): State<Automation>,
    caller: Caller,
    Path(reference): Path<String>,
    asked: Asked,
) -> Answer {
    let projection = projection(&asked, &["id", "ref"], |_| true)?;
    let row = automation.resource::<Action>(&caller, &reference).await?;
    Ok(ok(projection.apply(&with_parameters(&row)?)))
}

async fn entry_point(
    State(automation): State<Automation>,
    caller: Caller,
    Path(reference): Path<String>,
) -> Answer {
    let bytes = automation.entry_point_of(&caller, &reference).await?;
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((headers, bytes).into_response())
}
