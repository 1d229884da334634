//! `configs` and `config_schemas`: what packs are configured with.

use super::extract::{Body, Caller};
use super::listing::{Asked, page};
use super::resources::{Columns, filter};
use super::{Answer, ok, shows_secrets};
use crate::automation::Automation;
use crate::store::automation::pack_configs::PackConfig;
use crate::store::automation::packs::Pack;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Map, Value, json};

const CONFIGS: Columns = Columns {
    texts: &[("pack", "pack"), ("name", "pack")],
    flags: &[],
    orders: &[("pack", "pack")],
    key: "pack",
    default_order: ("pack", false),
};

const SCHEMAS: Columns = Columns {
    texts: &[("pack", "reference"), ("name", "reference")],
    flags: &[],
    orders: &[("pack", "reference")],
    key: "reference",
    default_order: ("reference", false),
};

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/configs", get(list))
        .route("/configs/{pack}", get(show).put(write))
        .route("/config_schemas", get(list_schemas))
        .route("/config_schemas/{pack}", get(show_schema))
}

fn document(row: &PackConfig, values: Value) -> Value {
    json!({"id": row.id, "pack": row.pack, "values": values})
}

async fn list(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let window = asked.window(caller.is_admin())?;
    let secrets = shows_secrets(&caller, &asked)?;
    let filter = filter(&asked, &CONFIGS)?;
    let (rows, total) = automation
        .list_configs(&caller, filter, (window.limit, window.offset), secrets)
        .await?;
    let documents = rows
        .into_iter()
        .map(|(row, values)| document(&row, values))
        .collect();
    Ok(page(documents, total, window))
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(pack): Path<String>,
    asked: Asked,
) -> Answer {
    let secrets = shows_secrets(&caller, &asked)?;
    let (row, values) = automation.config(&caller, &pack, secrets).await?;
    Ok(ok(document(&row, values)))
}

/// The body is the values themselves.
async fn write(
    State(automation): State<Automation>,
    caller: Caller,
    Path(pack): Path<String>,
    asked: Asked,
    Body(values): Body<Map<String, Value>>,
) -> Answer {
    let secrets = shows_secrets(&caller, &asked)?;
    let (row, shown) = automation.set_config(&caller, &pack, values).await?;
    let shown = if secrets {
        automation.config(&caller, &pack, true).await?.1
    } else {
        shown
    };
    Ok(ok(document(&row, shown)))
}

fn schema_document(pack: &Pack) -> Value {
    json!({"id": pack.id, "pack": pack.reference, "attributes": pack.config_schema.0})
}

async fn list_schemas(
    State(automation): State<Automation>,
    caller: Caller,
    asked: Asked,
) -> Answer {
    let window = asked.window(caller.is_admin())?;
    let filter = filter(&asked, &SCHEMAS)?.only("config_schema <> 'null'");
    let (rows, total) = automation
        .list_packs(&caller, filter, window.limit, window.offset)
        .await?;
    Ok(page(
        rows.iter().map(schema_document).collect(),
        total,
        window,
    ))
}

async fn show_schema(
    State(automation): State<Automation>,
    caller: Caller,
    Path(pack): Path<String>,
) -> Answer {
    let row = automation.config_schema(&caller, &pack).await?;
    Ok(ok(schema_document(&row)))
}
