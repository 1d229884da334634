//! Traces: what belongs together, from trigger to last execution.

use crate::store::row::{groups, values};
use crate::store::sql::{self, Connection, query};
use crate::store::{StoreError, row};

pub const EXECUTION: &str = "action_execution";
pub const RULE: &str = "rule";
pub const INSTANCE: &str = "trigger_instance";

row! {
    pub struct Trace in "traces", key id {
        id: String,
        trace_tag: String,
        started_at: i64,
    }
}

/// One thing that belongs to a trace, and what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// [`EXECUTION`], [`RULE`] or [`INSTANCE`].
    pub kind: String,
    pub object_id: String,
    pub object_ref: String,
    /// Kind and id.
    pub caused_by: Option<(String, String)>,
    pub updated_at: i64,
}

/// Adds components, each to the trace beside it; the same one twice is one.
pub async fn add_all(
    connection: &mut Connection,
    components: &[(&str, &Component)],
) -> Result<(), StoreError> {
    for group in groups(components) {
        let sql = format!(
            "INSERT INTO trace_components (trace_id, kind, object_id, object_ref, caused_by_type, caused_by_id, updated_at) \
             VALUES {} ON CONFLICT (trace_id, kind, object_id) DO NOTHING",
            values(connection, group.len(), 7)
        );
        let mut statement = query(sql);
        for (trace, component) in group {
            let (cause, cause_id) = component
                .caused_by
                .clone()
                .map_or((None, None), |(kind, id)| (Some(kind), Some(id)));
            statement = statement
                .bind(trace.to_string())
                .bind(component.kind.clone())
                .bind(component.object_id.clone())
                .bind(component.object_ref.clone())
                .bind(cause)
                .bind(cause_id)
                .bind(component.updated_at);
        }
        statement
            .execute(&mut *connection)
            .await
            .map_err(StoreError::during("add to a trace"))?;
    }
    Ok(())
}

/// What belongs to a trace, in order of time.
pub async fn components(
    connection: &mut Connection,
    trace: &str,
) -> Result<Vec<Component>, StoreError> {
    let operation = "read the components of a trace";
    let rows = query(
        "SELECT kind, object_id, object_ref, caused_by_type, caused_by_id, updated_at \
         FROM trace_components WHERE trace_id = $1 ORDER BY updated_at, kind, object_id",
    )
    .bind(trace.to_string())
    .fetch_all(connection)
    .await
    .map_err(StoreError::during(operation))?;
    rows.iter()
        .map(|row| {
            let cause: Option<String> = row.try_get(3)?;
            let cause_id: Option<String> = row.try_get(4)?;
            Ok(Component {
                kind: row.try_get(0)?,
                object_id: row.try_get(1)?,
                object_ref: row.try_get(2)?,
                caused_by: cause.zip(cause_id),
                updated_at: row.try_get(5)?,
            })
        })
        .collect::<Result<_, sql::Error>>()
        .map_err(StoreError::during(operation))
}
