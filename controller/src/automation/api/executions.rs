//! `executions` (contract §1.4, §1.7, §2). Lists and families show results only where
//! `include_attributes` names them; a single execution shows its own.

use super::extract::{Body, Caller};
use super::listing::{Asked, page};
use super::resources::{self, Columns};
use super::{Answer, created, ok};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::execution_documents::{ATTRIBUTES, masked_result};
use crate::automation::ops::executions::{Again, Wanted};
use crate::domain::times;
use crate::store::automation::executions::Listed;
use crate::store::query::Filter;
use automation::documents::Projection;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::Write as _;

/// More of the context of a new execution, as JSON.
const CONTEXT: &str = "st2-context";

const COLUMNS: Columns = Columns {
    texts: &[
        ("action", "action_ref"),
        ("user", "username"),
        ("runner", "runner_type"),
        ("rule", "rule_ref"),
        ("trigger", "trigger_ref"),
        ("trigger_type", "trigger_type"),
        ("trigger_instance", "trigger_instance"),
        ("liveaction", "liveaction_id"),
    ],
    flags: &[],
    orders: &[
        ("start_timestamp", "started_at"),
        ("end_timestamp", "ended_at"),
        ("status", "status"),
        ("action.ref", "action_ref"),
        ("context.user", "username"),
    ],
    key: "id",
    default_order: ("started_at", true),
};

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/executions", get(list).post(create))
        .route("/actionexecutions", get(list).post(create))
        .route("/executions/views/filters", get(filters))
        .route("/executions/{id}", get(show).put(change).delete(cancel))
        .route(
            "/actionexecutions/{id}",
            get(show).put(change).delete(cancel),
        )
        .route("/executions/{id}/children", get(children))
        .route("/executions/{id}/attribute/{attribute}", get(attribute))
        .route("/executions/{id}/result", get(result))
        .route("/executions/{id}/output", get(output))
        .route("/executions/{id}/re_run", post(run_again))
}

fn projection(asked: &Asked) -> Result<Projection, Fault> {
    resources::projection(asked, &["id"], |name| ATTRIBUTES.contains(&name))
}

/// A time of a query, as RFC 3339 or shorter: `2026-01-31`, `2026-01-31 12:00:00`. Without zone it is UTC.
fn time(asked: &Asked, name: &str) -> Result<Option<i64>, Fault> {
    let Some(text) = asked.text(name) else {
        return Ok(None);
    };
    // A plus sign of a zone arrives as a space.
    let (day, rest) = text
        .split_at_checked(text.len().min(10))
        .unwrap_or((text, ""));
    let rest = rest.trim_start_matches(['T', ' ']).replace(' ', "+");
    let rest = if rest.is_empty() { "00:00:00" } else { &rest };
    [format!("{day}T{rest}"), format!("{day}T{rest}Z")]
        .iter()
        .find_map(|text| times::parse(text))
        .map(Some)
        .ok_or_else(|| {
            Fault::Invalid(format!(
                "Query parameter \"{name}\": \"{text}\" is not a time like 2026-01-31T12:00:00Z"
            ))
        })
}

fn filter(asked: &Asked) -> Result<Filter, Fault> {
    let mut filter = resources::filter(asked, &COLUMNS)?;
    match asked.text("parent") {
        Some("null") => filter = filter.only("parent IS NULL"),
        Some(parent) => filter = filter.equals("parent", parent),
        None => {}
    }
    if let Some(statuses) = asked.list("status") {
        filter = filter.any("status", &statuses);
    }
    for (name, operator) in [
        ("timestamp", "="),
        ("timestamp_gt", ">"),
        ("timestamp_lt", "<"),
    ] {
        if let Some(at) = time(asked, name)? {
            filter = filter.compare("started_at", operator, at);
        }
    }
    Ok(filter)
}

/// The documents of rows of a list, with all that the reader wants of them.
async fn present(
    automation: &Automation,
    rows: &[Listed],
    asked: &Asked,
    projection: &Projection,
    show_secrets: bool,
) -> Result<Vec<Value>, Fault> {
    let shows_results = asked.text("include_attributes").is_some() && projection.wants("result");
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let mut children = if projection.wants("children") {
        automation.children_ids(&ids).await?
    } else {
        Default::default()
    };
    let mut documents = Vec::with_capacity(rows.len());
    for row in rows {
        let result = match shows_results {
            true => automation.result_of_listed(row).await?,
            false => None,
        };
        let mut document = automation.present_execution(row, result.as_ref(), show_secrets)?;
        if let Some(children) = children.remove(&row.id) {
            document["children"] = json!(children);
        }
        documents.push(projection.apply(&document));
    }
    Ok(documents)
}

async fn list(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let show_secrets = super::shows_secrets(&caller, &asked)?;
    let projection = projection(&asked)?;
    let window = asked.window(caller.is_admin())?;
    let (rows, total) = automation
        .list_executions(&caller, filter(&asked)?, window.limit, window.offset)
        .await?;
    let documents = present(&automation, &rows, &asked, &projection, show_secrets).await?;
    Ok(page(documents, total, window))
}

/// Everything of an execution that the reader wants.
async fn document(
    automation: &Automation,
    caller: &Caller,
    id: &str,
    asked: &Asked,
) -> Result<Value, Fault> {
    let show_secrets = super::shows_secrets(caller, asked)?;
    let projection = projection(asked)?;
    let largest = asked.number("max_result_size")?;
    if largest.is_some_and(|size| size < 1) {
        return Err(Fault::Invalid(
            "max_result_size must be a positive number".into(),
        ));
    }
    let row = automation.execution(caller, id).await?;
    let fits = largest.is_none_or(|largest| row.result_size <= largest);
    let result = match projection.wants("result") && fits {
        true => automation.result_of(&row).await?,
        false => None,
    };
    let mut document = automation.present_execution(&row, result.as_ref(), show_secrets)?;
    if projection.wants("children")
        && let Some(children) = automation.children_ids(&[id]).await?.remove(id)
    {
        document["children"] = json!(children);
    }
    Ok(projection.apply(&document))
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Asked,
) -> Answer {
    Ok(ok(document(&automation, &caller, &id, &asked).await?))
}

#[derive(Debug, Deserialize)]
struct New {
    action: String,
    parameters: Option<Map<String, Value>>,
    user: Option<String>,
    context: Option<Map<String, Value>>,
    delay: Option<i64>,
    notify: Option<Value>,
}

/// What the header adds to the context.
fn context_of(headers: &HeaderMap) -> Result<Map<String, Value>, Fault> {
    let Some(value) = headers.get(CONTEXT) else {
        return Ok(Map::new());
    };
    serde_json::from_slice(value.as_bytes()).map_err(|error| {
        Fault::Invalid(format!(
            "Unable to convert st2-context from the headers into JSON: {error}"
        ))
    })
}

async fn create(
    State(automation): State<Automation>,
    caller: Caller,
    headers: HeaderMap,
    asked: Asked,
    Body(new): Body<New>,
) -> Answer {
    let show_secrets = super::shows_secrets(&caller, &asked)?;
    let mut context = new.context.unwrap_or_default();
    context.extend(context_of(&headers)?);
    let row = automation
        .execute(
            &caller,
            Wanted {
                action: new.action,
                parameters: new.parameters.unwrap_or_default(),
                context,
                username: new.user.unwrap_or_default(),
                delay: new.delay,
                notify: new.notify,
                ..Wanted::default()
            },
        )
        .await?;
    Ok(created(automation.present_execution(
        &row,
        None,
        show_secrets,
    )?))
}

#[derive(Debug, Deserialize)]
struct Change {
    status: Option<String>,
}

async fn change(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Asked,
    Body(change): Body<Change>,
) -> Answer {
    let show_secrets = super::shows_secrets(&caller, &asked)?;
    let status = change.status.ok_or_else(|| {
        Fault::Invalid("The body must say the new status: {\"status\": \"pausing\"}".into())
    })?;
    let row = automation.pause_or_resume(&caller, &id, &status).await?;
    Ok(ok(automation.present_execution(
        &row,
        None,
        show_secrets,
    )?))
}

/// 200 also where there is nothing to cancel: scripts read the `faultstring`.
async fn cancel(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Asked,
) -> Answer {
    match automation.cancel(&caller, &id).await? {
        Ok(_) => Ok(ok(document(&automation, &caller, &id, &asked).await?)),
        Err(text) => Ok(ok(json!({ "faultstring": text }))),
    }
}

#[derive(Debug, Default, Deserialize)]
struct AgainAsked {
    parameters: Option<Map<String, Value>>,
    tasks: Option<Vec<String>>,
    reset: Option<Vec<String>>,
    delay: Option<i64>,
}

async fn run_again(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Asked,
    Body(again): Body<AgainAsked>,
) -> Answer {
    let show_secrets = super::shows_secrets(&caller, &asked)?;
    let again = Again {
        parameters: again.parameters.unwrap_or_default(),
        tasks: again.tasks.unwrap_or_default(),
        reset: again.reset.unwrap_or_default(),
        delay: again.delay,
    };
    let row = automation.run_again(&caller, &id, again).await?;
    Ok(created(automation.present_execution(
        &row,
        None,
        show_secrets,
    )?))
}

/// `depth`: how many generations, -1 for all. `result_fmt`: `list`, or `tree` to have each child's own
/// children nested in it.
async fn children(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Asked,
) -> Answer {
    let depth = asked.number("depth")?.unwrap_or(-1);
    let projection = projection(&asked)?;
    let rows = automation.descendants(&caller, &id, depth).await?;
    let documents = present(&automation, &rows, &asked, &projection, false).await?;
    match asked.text("result_fmt").unwrap_or("list") {
        "list" => Ok(ok(documents)),
        "tree" => {
            let parents = rows
                .iter()
                .map(|row| row.parent.clone().unwrap_or_default());
            Ok(ok(nested(&id, parents.zip(documents).collect())))
        }
        other => Err(Fault::Invalid(format!(
            "Query parameter \"result_fmt\": \"{other}\" is neither list nor tree"
        ))),
    }
}

/// Documents with their children's in place of the children's ids. Parents come before their children.
fn nested(root: &str, mut documents: Vec<(String, Value)>) -> Vec<Value> {
    let mut roots = Vec::new();
    while let Some((parent, document)) = documents.pop() {
        let above = documents
            .iter_mut()
            .find(|(_, above)| above["id"] == parent.as_str());
        match above {
            Some((_, above)) => {
                let is_fresh = above["children"]
                    .as_array()
                    .is_none_or(|children| children.iter().all(Value::is_string));
                if is_fresh {
                    above["children"] = json!([]);
                }
                if let Some(children) = above["children"].as_array_mut() {
                    children.insert(0, document);
                }
            }
            None if parent == root => roots.insert(0, document),
            None => {}
        }
    }
    roots
}

async fn attribute(
    State(automation): State<Automation>,
    caller: Caller,
    Path((id, attribute)): Path<(String, String)>,
) -> Answer {
    if !ATTRIBUTES.contains(&attribute.as_str()) {
        return Err(Fault::Invalid(format!(
            "Invalid attribute \"{attribute}\" specified."
        )));
    }
    let asked = Asked::parse("");
    let document = document(&automation, &caller, &id, &asked).await?;
    Ok(ok(document.get(&attribute).cloned().unwrap_or_default()))
}

/// The result alone; `{}` while there is none.
async fn result(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Asked,
) -> Answer {
    let flag = |name: &str| Ok::<bool, Fault>(asked.flag(name)?.unwrap_or(false));
    let (download, compress, pretty) =
        (flag("download")?, flag("compress")?, flag("pretty_format")?);
    let row = automation.execution(&caller, &id).await?;
    let value = automation
        .result_of(&row)
        .await?
        .map_or_else(|| json!({}), |result| masked_result(&row, &result));
    let text = if pretty {
        format!("{value:#}")
    } else {
        value.to_string()
    };
    let mut name = format!("execution_{id}_result.json");
    let (media, bytes) = if compress {
        name.push_str(".gz");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let bytes = encoder
            .write_all(text.as_bytes())
            .and_then(|()| encoder.finish())
            .map_err(Fault::internal("compressing the result of an execution"))?;
        ("application/x-gzip", bytes)
    } else {
        ("application/json", text.into_bytes())
    };
    let mut response = ([(header::CONTENT_TYPE, media)], bytes).into_response();
    if download {
        let disposition = format!("attachment; filename={name}");
        let value = http::HeaderValue::from_str(&disposition)
            .map_err(Fault::internal("naming the file of a result"))?;
        response
            .headers_mut()
            .insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

async fn output(
    State(automation): State<Automation>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Asked,
) -> Answer {
    let wanted = asked.text("output_type").filter(|wanted| *wanted != "all");
    let text = automation.output_of(&caller, &id, wanted).await?;
    Ok(text.into_response())
}

async fn filters(State(automation): State<Automation>, caller: Caller, asked: Asked) -> Answer {
    let types = asked.list("types");
    Ok(ok(automation
        .filter_values(&caller, types.as_deref())
        .await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_be_short_and_have_zones() {
        let at = |text: &str| {
            let query: String = form_urlencoded::Serializer::new(String::new())
                .append_pair("t", text)
                .finish();
            time(&Asked::parse(&query), "t").map(|at| at.map(times::rfc3339))
        };
        for (text, expected) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:00:00", "2026-01-31T12:00:00Z"),
            ("2026-01-31 12:00:00.5", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
        ] {
            assert_eq!(at(text).unwrap().as_deref(), Some(expected), "{text}");
        }
        assert!(at("yesterday").is_err());
        // Sent without encoding, a plus is a space.
        let raw = Asked::parse("t=2026-01-31T12:00:00+02:00");
        assert!(time(&raw, "t").unwrap().is_some());
    }

    #[test]
    fn a_tree_nests_children_in_order() {
        let child = |parent: &str, id: &str| (parent.to_string(), json!({ "id": id }));
        let tree = nested(
            "r",
            vec![
                child("r", "a"),
                child("r", "b"),
                child("a", "a1"),
                child("a", "a2"),
            ],
        );
        assert_eq!(
            tree,
            [
                json!({"id": "a", "children": [{"id": "a1"}, {"id": "a2"}]}),
                json!({"id": "b"})
            ]
        );
    }
}
