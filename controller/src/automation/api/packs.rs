//! `packs`: what is installed, and registering it again.

use super::extract::{Body, Caller};
use super::listing::{Asked, page};
use super::resources::{Columns, filter, projection};
use super::{Answer, ok};
use crate::automation::Automation;
use crate::automation::ops::packs::{RegisterAsked, present_pack};
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};

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
