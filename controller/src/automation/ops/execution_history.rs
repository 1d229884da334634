//! Reading executions: lists, families, results, output. A list does not read results unless it shows them.

use super::callers::Permission;
use super::executions::missing;
use super::fault::Fault;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::store::automation::execution_outputs::{self, ExecutionOutput};
use crate::store::automation::executions::{self, Execution, Listed};
use crate::store::query::Filter;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Pieces of output read at once.
const PIECES: i64 = 1000;

/// What lists of executions can be filtered by whose values are worth offering: the query parameter and
/// the column.
const OFFERED: &[(&str, &str)] = &[
    ("action", "action_ref"),
    ("rule", "rule_ref"),
    ("runner", "runner_type"),
    ("status", "status"),
    ("trigger", "trigger_ref"),
    ("trigger_type", "trigger_type"),
    ("user", "username"),
];

impl Automation {
    pub async fn list_executions(
        &self,
        caller: &Caller,
        filter: Filter,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<Listed>, u64), Fault> {
        caller.allow(Permission::View, "execution_list")?;
        let mut connection = self.ops.store.read().await?;
        Ok(executions::list(&mut connection, filter, limit, offset).await?)
    }

    /// The result, wherever it is kept.
    pub async fn result_of(&self, row: &Execution) -> Result<Option<Value>, Fault> {
        let text = match (&row.result, &row.result_sha256) {
            (Some(text), _) => text.clone(),
            (None, Some(sum)) => {
                let bytes = self.read_result(sum).await?;
                String::from_utf8_lossy(&bytes).into_owned()
            }
            (None, None) => return Ok(None),
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(Fault::internal("reading the result of an execution"))
    }

    /// The result of what a list shows; None also for what was deleted meanwhile.
    pub async fn result_of_listed(&self, row: &Listed) -> Result<Option<Value>, Fault> {
        let whole = Execution::find(&mut *self.ops.store.read().await?, &row.id).await?;
        match whole {
            Some(whole) => self.result_of(&whole).await,
            None => Ok(None),
        }
    }

    /// Ids of the children of each of these, oldest first.
    pub async fn children_ids(
        &self,
        parents: &[&str],
    ) -> Result<BTreeMap<String, Vec<String>>, Fault> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut connection = self.ops.store.read().await?;
        for some in parents.chunks(500) {
            for (parent, child) in executions::ids_of_children(&mut connection, some).await? {
                found.entry(parent).or_default().push(child);
            }
        }
        Ok(found)
    }

    /// Descendants down to a depth (-1: all), parents before children.
    pub async fn descendants(
        &self,
        caller: &Caller,
        id: &str,
        depth: i64,
    ) -> Result<Vec<Listed>, Fault> {
        caller.allow(Permission::View, "execution_view")?;
        let mut connection = self.ops.store.read().await?;
        if Execution::find(&mut connection, id).await?.is_none() {
            return Err(missing(id));
        }
        let mut found = Vec::new();
        let mut level = vec![id.to_string()];
        let mut at = 0;
        while !level.is_empty() && (depth < 0 || at < depth) {
            let mut next = Vec::new();
            for parents in level.chunks(500) {
                let filter =
                    Filter::new()
                        .any("parent", parents)
                        .order_by("started_at", "id", false);
                let (children, _) =
                    executions::list(&mut connection, filter, i64::from(i32::MAX), 0).await?;
                next.extend(children);
            }
            level = next.iter().map(|child| child.id.clone()).collect();
            found.extend(next);
            at += 1;
        }
        Ok(found)
    }

    /// What an execution printed so far, of one stream or of all.
    pub async fn output_of(
        &self,
        caller: &Caller,
        id: &str,
        output_type: Option<&str>,
    ) -> Result<String, Fault> {
        caller.allow(Permission::View, "execution_view")?;
        let mut connection = self.ops.store.read().await?;
        if Execution::find(&mut connection, id).await?.is_none() {
            return Err(missing(id));
        }
        let mut text = String::new();
        let mut position = 0;
        loop {
            let pieces = execution_outputs::after(&mut connection, id, position, PIECES).await?;
            let Some(last) = pieces.last() else {
                return Ok(text);
            };
            position = last.position;
            for piece in pieces {
                if output_type.is_none_or(|wanted| wanted == piece.output_type) {
                    text.push_str(&piece.data);
                }
            }
        }
    }

    /// Output after a position, for who follows it.
    pub async fn output_after(
        &self,
        id: &str,
        position: i64,
    ) -> Result<Vec<ExecutionOutput>, Fault> {
        let mut connection = self.ops.store.read().await?;
        Ok(execution_outputs::after(&mut connection, id, position, PIECES).await?)
    }

    /// Values that occur in what lists can be filtered by; of the filters in `types`, or of all.
    pub async fn filter_values(
        &self,
        caller: &Caller,
        types: Option<&[String]>,
    ) -> Result<Value, Fault> {
        caller.allow(Permission::View, "execution_views_filters_list")?;
        let mut connection = self.ops.store.read().await?;
        let mut found = Map::new();
        for (name, column) in OFFERED {
            if types.is_none_or(|types| types.iter().any(|wanted| wanted == name)) {
                let values = executions::distinct(&mut connection, column).await?;
                found.insert(name.to_string(), json!(values));
            }
        }
        Ok(Value::Object(found))
    }
}
