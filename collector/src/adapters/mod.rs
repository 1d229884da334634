//! The collector's edges: lines from the bus ([`ingest`]), and readers over HTTP ([`http`]) with the
//! controller's word on who may read ([`access`]). [`hub`] stands between them.

pub(crate) mod access;
pub(crate) mod http;
pub(crate) mod hub;
pub(crate) mod ingest;

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix nanoseconds.
pub(crate) fn now() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX)
}
