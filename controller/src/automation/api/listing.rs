//! Queries of lists: paging, order, which attributes; and the headers that tell the rest.

use crate::automation::ops::Fault;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use std::collections::BTreeMap;

/// Largest page for who is not an administrator.
pub const LARGEST_PAGE: i64 = 100;
const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");
const LIMIT: HeaderName = HeaderName::from_static("x-limit");

/// The query of a request, with StackStorm's conventions (contract §1.2, §16).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    parameters: BTreeMap<String, String>,
}

impl Asked {
    pub fn parse(query: &str) -> Asked {
        Asked {
            parameters: form_urlencoded::parse(query.as_bytes())
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.parameters
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// `True`, `true`, `1`, `yes`, `y`, `on` in any case; None if absent.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "y" | "on" => Ok(Some(true)),
            "false" | "0" | "no" | "n" | "off" => Ok(Some(false)),
            _ => Err(Fault::Invalid(format!(
                "Query parameter \"{name}\": \"{text}\" is not a boolean"
            ))),
        }
    }

    pub fn number(&self, name: &str) -> Result<Option<i64>, Fault> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    Fault::Invalid(format!(
                        "Query parameter \"{name}\": \"{text}\" is not an integer"
                    ))
                })
            })
            .transpose()
    }

    /// A comma list.
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        self.text(name).map(|text| {
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(str::to_string)
                .collect()
        })
    }

    /// Where the page begins, and how many it may hold. -1 (all) and more than
    /// [`LARGEST_PAGE`] only for administrators.
    pub fn window(&self, is_admin: bool) -> Result<Window, Fault> {
        let offset = self.number("offset")?.unwrap_or(0);
        if !(0..1 << 31).contains(&offset) {
            return Err(Fault::Invalid(format!(
                "Invalid value \"{offset}\" for the parameter \"offset\": it must be from 0 to 2147483647"
            )));
        }
        let limit = self.number("limit")?;
        match limit {
            None => Ok(Window {
                offset,
                limit: LARGEST_PAGE,
                told: Some(LARGEST_PAGE),
            }),
            Some(0) => Err(Fault::Invalid(
                "Invalid value \"0\" for the parameter \"limit\": it must be positive, or -1 for all".into(),
            )),
            Some(number) if number < -1 => Err(Fault::Invalid(format!(
                "Invalid value \"{number}\" for the parameter \"limit\": it must be positive, or -1 for all"
            ))),
            Some(number) if (number == -1 || number > LARGEST_PAGE) && !is_admin => {
                Err(Fault::Forbidden(format!(
                    "Limit \"{number}\" specified, maximum value is \"{LARGEST_PAGE}\""
                )))
            }
            Some(-1) => Ok(Window {
                offset,
                limit: i64::from(i32::MAX),
                told: None,
            }),
            Some(number) => Ok(Window {
                offset,
                limit: number,
                told: Some(number),
            }),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub offset: i64,
    pub limit: i64,
    /// What `X-Limit` says.
    told: Option<i64>,
}

/// 200 with a list, and how many there are at all.
pub fn page(documents: Vec<Value>, total: u64, window: Window) -> Response {
    let mut response = axum::Json(documents).into_response();
    let headers = response.headers_mut();
    headers.insert(TOTAL_COUNT, HeaderValue::from(total));
    if let Some(limit) = window.told {
        headers.insert(LIMIT, HeaderValue::from(limit));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_pythons() {
        for (text, expected) in [("True", true), ("false", false), ("1", true), ("NO", false)] {
            let asked = Asked::parse(&format!("enabled={text}"));
            assert_eq!(asked.flag("enabled").unwrap(), Some(expected), "{text}");
        }
        assert!(Asked::parse("enabled=maybe").flag("enabled").is_err());
        assert_eq!(Asked::parse("").flag("enabled").unwrap(), None);
    }

    #[test]
    fn pages_are_bounded_for_who_is_not_an_administrator() {
        let window = |query: &str, admin| Asked::parse(query).window(admin);
        assert_eq!(window("", false).unwrap().limit, 100);
        assert_eq!(window("limit=-1", true).unwrap().told, None);
        assert!(matches!(
            window("limit=-1", false),
            Err(Fault::Forbidden(_))
        ));
        assert!(matches!(
            window("limit=101", false),
            Err(Fault::Forbidden(_))
        ));
        assert!(matches!(window("limit=0", true), Err(Fault::Invalid(_))));
        assert!(matches!(window("limit=x", true), Err(Fault::Invalid(_))));
        assert!(matches!(
            window("offset=2147483648", true),
            Err(Fault::Invalid(_))
        ));
    }
}
