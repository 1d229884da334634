//! What executions print, in order.

use crate::store::row;

row! {
    pub struct ExecutionOutput in "execution_outputs", key id {
        id: String,
        execution_id: String,
        position: i64,
        /// stdout, stderr, other
        output_type: String,
        data: String,
        created_at: i64,
    }
}
