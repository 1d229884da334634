//! Lists and single documents of what packs bring, and of what has only an id, written once for all nouns.

use super::extract::{Body, Caller};
use super::listing::{Asked, Window, page};
use super::{Answer, created, no_content, ok};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::resources::{Resource, Written, present};
use crate::store::query::Filter;
use automation::documents::{Projection, ProjectionError};
use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::Value;

/// What a list of one noun can be filtered and sorted by.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// Query parameter and column.
    pub texts: &'static [(&'static str, &'static str)],
    /// Query parameter and column of 0 or 1.
    pub flags: &'static [(&'static str, &'static str)],
    /// Names `sort` understands, and their columns.
    pub orders: &'static [(&'static str, &'static str)],
    /// Key of the table, the last word in every order.
    pub key: &'static str,
    /// Order without `sort`: column, and whether the largest comes first.
    pub default_order: (&'static str, bool),
}

/// Columns every resource of a pack has.
pub const COMMON: Columns = Columns {
    texts: &[("pack", "pack"), ("name", "name"), ("ref", "reference")],
    flags: &[("enabled", "enabled")],
    orders: &[("ref", "reference"), ("pack", "pack"), ("name", "name")],
    key: "reference",
    default_order: ("reference", false),
};

impl From<ProjectionError> for Fault {
    fn from(error: ProjectionError) -> Fault {
        Fault::Invalid(error.to_string())
    }
}

/// The attributes a request wants. Every document may have attributes of its pack's making, so no
/// name is unknown where `known` says so.
pub fn projection(
    asked: &Asked,
    always: &[&str],
    known: impl Fn(&str) -> bool,
) -> Result<Projection, Fault> {
    Ok(Projection::parse(
        asked.text("include_attributes"),
        asked.text("exclude_attributes"),
        always,
        known,
    )?)
}

/// Conditions and order of a list.
pub fn filter(asked: &Asked, columns: &Columns) -> Result<Filter, Fault> {
    let mut filter = Filter::new();
    for (parameter, column) in columns.texts {
        if let Some(value) = asked.text(parameter) {
            filter = filter.equals(column, value);
        }
    }
    for (parameter, column) in columns.flags {
        if let Some(value) = asked.flag(parameter)? {
            filter = filter.equals_number(column, i64::from(value));
        }
    }
    if let Some(ids) = asked.list("id") {
        if ids.len() > 100 {
            return Err(Fault::Invalid(
                "At most 100 ids can be asked for at once".into(),
            ));
        }
        filter = filter.any("id", &ids);
    }
    order(asked, filter, columns)
}

fn order(asked: &Asked, filter: Filter, columns: &Columns) -> Result<Filter, Fault> {
    let (mut column, mut descending) = columns.default_order;
    if let Some(sort) = asked.text("sort") {
        let first = sort.split(',').next().unwrap_or_default();
        let (name, down) = match first.strip_prefix('-') {
            Some(name) => (name, true),
            None => (first.trim_start_matches(['+', ' ']), false),
        };
        column = columns
            .orders
            .iter()
            .chain(std::iter::once(&("id", "id")))
            .find(|(known, _)| *known == name)
            .map(|(_, column)| *column)
            .ok_or_else(|| {
                let known: Vec<&str> = columns.orders.iter().map(|(name, _)| *name).collect();
                Fault::Invalid(format!(
                    "Unsupported sort attribute \"{name}\": use one of id, {}",
                    known.join(", ")
                ))
            })?;
        descending = down;
    } else if asked.flag("sort_desc")?.unwrap_or(false) {
        descending = true;
    } else if asked.flag("sort_asc")?.unwrap_or(false) {
        descending = false;
    }
    Ok(filter.order_by(column, columns.key, descending))
}

/// A page of one noun.
pub async fn list<R: Resource>(
    automation: &Automation,
    caller: &Caller,
    asked: &Asked,
    columns: &Columns,
) -> Answer {
    let window = asked.window(caller.is_admin())?;
    let projection = projection(asked, &["id", "ref"], |_| true)?;
    let filter = filter(asked, columns)?;
    let (rows, total) = automation
        .list_resources::<R>(caller, filter, window.limit, window.offset)
        .await?;
    let documents = rows
        .iter()
        .map(|row| projection.apply(&present(row)))
        .collect();
    Ok(page(documents, total, window))
}

/// One of a noun, by reference or id.
pub async fn show<R: Resource>(
    automation: &Automation,
    caller: &Caller,
    ref_or_id: &str,
    asked: &Asked,
) -> Answer {
    let projection = projection(asked, &["id", "ref"], |_| true)?;
    let row = automation.resource::<R>(caller, ref_or_id).await?;
    Ok(ok(projection.apply(&present(&row))))
}

/// The addresses of a noun whose whole document users write: below `path`, by reference or id.
pub fn written<R: Written + 'static>(
    path: &'static str,
    columns: &'static Columns,
) -> Router<Automation> {
    let listed = move |State(automation): State<Automation>, caller: Caller, asked: Asked| async move {
        list::<R>(&automation, &caller, &asked, columns).await
    };
    Router::new()
        .route(path, get(listed).post(create::<R>))
        .route(
            &format!("{path}/{{ref_or_id}}"),
            get(show_written::<R>).put(update::<R>).delete(remove::<R>),
        )
}

async fn show_written<R: Written>(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
    asked: Asked,
) -> Answer {
    show::<R>(&automation, &caller, &ref_or_id, &asked).await
}

async fn create<R: Written>(
    State(automation): State<Automation>,
    caller: Caller,
    Body(document): Body<Value>,
) -> Answer {
    let row = R::create(&automation, &caller, &document).await?;
    Ok(created(present(&row)))
}

async fn update<R: Written>(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
    Body(document): Body<Value>,
) -> Answer {
    let row = R::update(&automation, &caller, &ref_or_id, &document).await?;
    Ok(ok(present(&row)))
}

async fn remove<R: Written>(
    State(automation): State<Automation>,
    caller: Caller,
    Path(ref_or_id): Path<String>,
) -> Answer {
    R::delete(&automation, &caller, &ref_or_id).await?;
    Ok(no_content())
}

/// A page of what has only an id: rows, and how many there are in all.
pub fn page_of<R>(
    asked: &Asked,
    window: Window,
    (rows, total): (Vec<R>, u64),
    present: impl Fn(&R) -> Value,
) -> Answer {
    let projection = projection(asked, &["id"], |_| true)?;
    let documents = rows
        .iter()
        .map(|row| projection.apply(&present(row)))
        .collect();
    Ok(page(documents, total, window))
}

/// One of what has only an id.
pub fn projected(asked: &Asked, document: &Value) -> Answer {
    let projection = projection(asked, &["id"], |_| true)?;
    Ok(ok(projection.apply(document)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_becomes_conditions_and_an_order() {
        let sql = |query: &str| {
            filter(&Asked::parse(query), &COMMON).map(|filter| filter.sql("SELECT x FROM y"))
        };
        assert_eq!(
            sql("pack=core&enabled=True&sort=-name").unwrap(),
            "SELECT x FROM y WHERE pack = $1 AND enabled = $2 ORDER BY name DESC, reference DESC"
        );
        assert_eq!(
            sql("id=a,b").unwrap(),
            "SELECT x FROM y WHERE id IN ($1, $2) ORDER BY reference ASC"
        );
        assert!(sql("sort=colour").is_err());
    }
}
