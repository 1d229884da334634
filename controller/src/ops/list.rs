//! Lists: what was asked for, checked against what a list can be filtered and ordered by.

use super::Refusal;
use crate::domain::labels::{self, Requirement};
use crate::domain::pagination::Window;
use crate::domain::times;
use crate::store::query::Filter;
use std::collections::BTreeMap;

/// A parsed query.
#[derive(Debug, Clone, PartialEq)]
pub struct ListQuery {
    pub window: Window,
    /// `name`, `-created_at`
    pub order_by: Option<String>,
    /// Comma lists, by parameter.
    pub filters: BTreeMap<String, Vec<String>>,
}

/// What a list knows.
pub struct Columns {
    /// Parameter and column; the values are alternatives.
    pub filters: &'static [(&'static str, &'static str)],
    /// Parameters the operation looks at itself.
    pub others: &'static [&'static str],
    /// Name and column.
    pub orders: &'static [(&'static str, &'static str)],
}

/// The parameter that lists of what has labels name among their others.
pub const LABEL_SELECTOR: &str = "label_selector";

/// Every list can be ordered by these.
const ORDERS: &[(&str, &str)] = &[("created_at", "created_at"), ("updated_at", "updated_at")];

impl ListQuery {
    pub fn all() -> ListQuery {
        let window = Window {
            page: 1,
            per_page: crate::domain::pagination::MAX_PER_PAGE,
        };
        ListQuery {
            window,
            order_by: None,
            filters: BTreeMap::new(),
        }
    }

    pub fn with(mut self, parameter: &str, values: &[&str]) -> ListQuery {
        self.filters.insert(
            parameter.to_string(),
            values.iter().map(|value| value.to_string()).collect(),
        );
        self
    }

    pub fn list(&self, parameter: &str) -> Option<&[String]> {
        self.filters.get(parameter).map(Vec::as_slice)
    }

    /// Adds bounds of the time of creation: parameters and how what is listed compares to them.
    pub fn created(
        &self,
        mut filter: Filter,
        bounds: &[(&'static str, &'static str)],
    ) -> Result<Filter, Refusal> {
        for &(parameter, operator) in bounds {
            let Some([text, ..]) = self.list(parameter) else {
                continue;
            };
            let time = times::parse(text).ok_or_else(|| {
                Refusal::BadQuery(format!("'{parameter}' is not an RFC 3339 time"))
            })?;
            filter = filter.compare("created_at", operator, time);
        }
        Ok(filter)
    }

    /// The conditions and the order of a list; refuses parameters the list does not know.
    pub fn filter(&self, columns: &Columns) -> Result<Filter, Refusal> {
        let known = |name: &str| {
            columns.others.contains(&name)
                || columns
                    .filters
                    .iter()
                    .any(|(parameter, _)| *parameter == name)
        };
        let unknown: Vec<String> = self
            .filters
            .keys()
            .filter(|name| !known(name))
            .map(|name| format!("'{name}'"))
            .collect();
        if !unknown.is_empty() {
            let mut valid: Vec<String> = columns
                .filters
                .iter()
                .map(|(name, _)| format!("'{name}'"))
                .collect();
            valid.extend(columns.others.iter().map(|name| format!("'{name}'")));
            valid.extend([
                "'page'".to_string(),
                "'per_page'".to_string(),
                "'order_by'".to_string(),
            ]);
            return Err(Refusal::BadQuery(format!(
                "Unknown query parameter(s): {}. Valid parameters are: {}",
                unknown.join(", "),
                valid.join(", ")
            )));
        }
        let mut filter = Filter::new();
        for (parameter, column) in columns.filters {
            filter = filter.any_if(column, self.list(parameter));
        }
        if let Some(parts) = self.list(LABEL_SELECTOR) {
            filter = selected(filter, &parts.join(","))?;
        }
        let (name, descending) = match self.order_by.as_deref() {
            Some(order) => (
                order.strip_prefix(['-', '+']).unwrap_or(order),
                order.starts_with('-'),
            ),
            None => ("created_at", false),
        };
        match columns
            .orders
            .iter()
            .chain(ORDERS)
            .find(|(order, _)| *order == name)
        {
            Some((_, column)) => Ok(filter.order(column, descending)),
            None => {
                let orders: Vec<String> = columns
                    .orders
                    .iter()
                    .chain(ORDERS)
                    .map(|(order, _)| format!("'{order}'"))
                    .collect();
                Err(Refusal::BadQuery(format!(
                    "Order by can only be: {}",
                    orders.join(", ")
                )))
            }
        }
    }
}

/// Only what a selector means. Labels are kept as one JSON object, whose text has no spaces: a label is its key and
/// value in their quotes, and nothing else in the text can look like it.
fn selected(mut filter: Filter, selector: &str) -> Result<Filter, Refusal> {
    let requirements =
        labels::parse_selector(selector).map_err(|it| Refusal::BadQuery(it.to_string()))?;
    for requirement in requirements {
        let (pieces, wanted) = match requirement {
            Requirement::Exists(key) => (vec![format!("\"{key}\":")], true),
            Requirement::IsMissing(key) => (vec![format!("\"{key}\":")], false),
            Requirement::In(key, values) => (pairs(&key, values), true),
            Requirement::NotIn(key, values) => (pairs(&key, values), false),
        };
        filter = filter.contains("labels", &pieces, wanted);
    }
    Ok(filter)
}

fn pairs(key: &str, values: impl IntoIterator<Item = String>) -> Vec<String> {
    let pair = |value: String| format!("\"{key}\":\"{value}\"");
    values.into_iter().map(pair).collect()
}

/// One page of rows and how many there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing<T> {
    pub rows: Vec<T>,
    pub total: u64,
}

impl<T> From<(Vec<T>, u64)> for Listing<T> {
    fn from((rows, total): (Vec<T>, u64)) -> Listing<T> {
        Listing { rows, total }
    }
}
