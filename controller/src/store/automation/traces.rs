//! Traces: what belongs together, from trigger to last execution.

use crate::store::row;

row! {
    pub struct Trace in "traces", key id {
        id: String,
        trace_tag: String,
        started_at: i64,
    }
}
