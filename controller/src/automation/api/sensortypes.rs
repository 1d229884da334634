//! `sensortypes`: the sensors of packs.

use super::extract::{Body, Caller};
use super::listing::Asked;
use super::resources::{self, COMMON};
use super::{Answer, ok};
use crate::automation::Automation;
use crate::automation::ops::resources::present;
use crate::store::automation::sensor_types::SensorType;
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde::Deserialize;

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/sensortypes", get(list))
        .route("/sensortypes/{reference}", get(show).put(change))
}

async fn list(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    resources::list::<SensorType>(&automation, &caller, &asked, &COMMON).await
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(reference): Path<String>,
    asked: Asked,
) -> Answer {
    resources::show::<SensorType>(&automation, &caller, &reference, &asked).await
}

/// The whole document comes back; only this of it can be changed.
#[derive(Debug, Deserialize)]
struct Changed {
    enabled: bool,
}

async fn change(
    State(automation): State<Automation>,
    caller: Caller,
    Path(reference): Path<String>,
    Body(changed): Body<Changed>,
) -> Answer {
    let row = automation
        .enable_sensor(&caller, &reference, changed.enabled)
        .await?;
    Ok(ok(present(&row)))
}
