//! `workflows/inspect`: workflows are not supported yet, and this says so.

use super::extract::Caller;
use crate::automation::Automation;
use crate::automation::ops::{Fault, Permission};
use axum::Router;
use axum::routing::post;

pub fn routes() -> Router<Automation> {
    Router::new().route("/workflows/inspect", post(inspect))
}

async fn inspect(caller: Caller) -> Fault {
    match caller.allow(Permission::View, "workflow_inspect") {
        Ok(()) => Fault::NotSupported(
            "Workflows are not supported yet: there is nothing that could inspect one.".into(),
        ),
        Err(fault) => fault,
    }
}
