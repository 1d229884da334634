//! What handlers take out of a request: who sent it, what list is asked for, the document in it.

use super::Api;
use crate::domain::access::Actor;
use crate::domain::pagination::Window;
use crate::ops::Refusal;
use crate::ops::list::{ListQuery, Listing};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, header};
use proto::api::Page;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// The sender, by its bearer token.
pub struct Caller(pub Actor);

/// The token of `Authorization: bearer …`; None if there is none.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Caller, Refusal> {
        let token = bearer(&parts.headers).ok_or(Refusal::NotAuthenticated)?;
        Ok(Caller(api.ops.actor(token).await?))
    }
}

/// A query that holds nothing but what is asked for here.
pub fn queried<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Refusal> {
    let Query(query) = query.map_err(|rejection| Refusal::BadQuery(rejection.body_text()))?;
    Ok(query)
}

/// How many are told if nobody says how many, and at most.
pub fn limit(asked: Option<usize>, default: usize, most: usize) -> Result<usize, Refusal> {
    let limit = asked.unwrap_or(default);
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    Err(Refusal::BadQuery(format!(
        "limit must be between 1 and {most}"
    )))
}

/// The query of a list.
pub struct Asked {
    pub query: ListQuery,
    /// Absolute address of the list, without its query.
    url: String,
    /// The rest of the query, encoded, for the links to other pages.
    rest: String,
}

impl FromRequestParts<Api> for Asked {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Asked, Refusal> {
        let url = format!("{}{}", api.ops.public_url, parts.uri.path());
        Asked::parse(url, parts.uri.query().unwrap_or_default())
    }
}

impl Asked {
    fn parse(url: String, query: &str) -> Result<Asked, Refusal> {
        let (mut page, mut per_page, mut order_by) = (None, None, None);
        let mut filters = BTreeMap::new();
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            match name.as_str() {
                "page" => page = Some(value),
                "per_page" => per_page = Some(value),
                "order_by" => {
                    rest.push(pair);
                    order_by = Some(value);
                }
                _ => {
                    rest.push(pair);
                    // A comma that belongs to a name is encoded twice.
                    let values = value
                        .split(',')
                        .map(decode)
                        .collect::<Result<Vec<String>, Refusal>>()?;
                    filters.insert(name, values);
                }
            }
        }
        let window =
            Window::parse(page.as_deref(), per_page.as_deref()).map_err(Refusal::BadQuery)?;
        Ok(Asked {
            query: ListQuery {
                window,
                order_by,
                filters,
            },
            url,
            rest: rest.join("&"),
        })
    }

    /// Takes out a parameter that the handler itself understands.
    pub fn take(&mut self, parameter: &str) -> Option<Vec<String>> {
        self.query.filters.remove(parameter)
    }

    /// The page as a document.
    pub fn document<R, T>(&self, listing: Listing<R>, present: impl FnMut(R) -> T) -> Page<T> {
        let pagination = self
            .query
            .window
            .links(&self.url, &self.rest, listing.total);
        Page {
            pagination,
            resources: listing.rows.into_iter().map(present).collect(),
            included: None,
        }
    }

    /// 200 with the page.
    pub fn page<R, T: Serialize>(
        &self,
        listing: Listing<R>,
        present: impl FnMut(R) -> T,
    ) -> Response {
        super::ok(self.document(listing, present))
    }
}

/// Percent-decoding, `+` being a space.
fn decode(text: &str) -> Result<String, Refusal> {
    let invalid = || {
        Refusal::BadQuery(format!(
            "'{}' is not encoded properly",
            text.chars().take(80).collect::<String>()
        ))
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut digit = || {
                    rest.next()
                        .and_then(|byte| char::from(byte).to_digit(16))
                        .ok_or_else(invalid)
                };
                let (high, low) = (digit()?, digit()?);
                bytes.push((high * 16 + low) as u8);
            }
            byte => bytes.push(byte),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| invalid())?;
    if text.contains('\0') {
        Err(invalid())
    } else {
        Ok(text)
    }
}

/// A JSON document. What cannot be parsed is 400; what has another shape than expected is 422 and
/// names the place.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Api) -> Result<Body<T>, Refusal> {
        let bytes = axum::body::Bytes::from_request(request, api)
            .await
            .map_err(|rejection| Refusal::TooLarge(rejection.body_text()))?;
        read(&bytes).map(Body)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    // An empty body means an empty document: some clients send none where all is optional.
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    let mut reader = serde_json::Deserializer::from_slice(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            let place = if path == "." {
                String::new()
            } else {
                format!("{path}: ")
            };
            let fault = inner.to_string();
            let fault = fault.split(" at line ").next().unwrap_or_default();
            Refusal::Unprocessable(format!("{place}{fault}"))
        } else {
            Refusal::Unparsable(inner.to_string())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[test]
    fn a_query_becomes_a_window_an_order_and_filters() {
        let asked = Asked::parse(
            "http://api/v3/apps".into(),
            "names=a%2Cb,c%252Cd&page=2&per_page=10&order_by=-name&paths=",
        )
        .unwrap();
        assert_eq!(
            asked.query.window,
            Window {
                page: 2,
                per_page: 10
            }
        );
        assert_eq!(asked.query.order_by.as_deref(), Some("-name"));
        assert_eq!(
            asked.query.list("names"),
            Some(["a".to_string(), "b".to_string(), "c,d".to_string()].as_slice())
        );
        assert_eq!(
            asked.query.list("paths"),
            Some([String::new()].as_slice()),
            "an empty value is a value"
        );
        let page = asked.document(Listing::from((vec![1, 2], 40)), |row| row);
        let next = page.pagination.next.unwrap().href;
        assert_eq!(
            next,
            "http://api/v3/apps?page=3&per_page=10&names=a%2Cb,c%252Cd&order_by=-name&paths="
        );
        assert!(Asked::parse("x".into(), "names=%zz").is_err());
    }

    #[test]
    fn a_fault_in_a_document_is_named_by_its_place() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Outer {
            #[expect(dead_code, reason = "only its reading is tested")]
            inner: Inner,
        }
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Inner {
            #[expect(dead_code, reason = "only its reading is tested")]
            count: u32,
        }
        let fault = |text: &str| read::<Outer>(text.as_bytes()).unwrap_err().to_string();
        assert!(fault(r#"{"inner":{"count":"many"}}"#).starts_with("inner.count: invalid type"));
        assert!(fault(r#"{"inner":{"cuont":1}}"#).contains("unknown field `cuont`"));
        assert!(matches!(
            read::<Outer>(b"{oops"),
            Err(Refusal::Unparsable(_))
        ));
    }
}
