//! What handlers take out of a request: who sent it, its query, the document in it.

use super::listing;
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::domain::access::Actor;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::HeaderMap;
use http::header;
use http::request::Parts;
use serde::de::DeserializeOwned;

/// Who sent the request, and what he may do in automation.
#[derive(Debug, Clone)]
pub struct Caller {
    pub actor: Actor,
    /// Roles of automation: `admin`, `observer`, ….
    pub roles: Vec<String>,
    pub by: Credential,
}

/// What the caller showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A token of this API.
    Token {
        /// Unix microseconds.
        expires_at: i64,
        from_query: bool,
        /// Ref of the sensor that it was made for.
        sensor: Option<String>,
    },
    ApiKey,
    /// A token of the platform's own login.
    Bearer,
}

/// Anything a request may carry to say who sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    Token { token: String, from_query: bool },
    ApiKey(String),
    Bearer(String),
}

/// The first credential in the order of the contract: headers, query, cookie.
pub fn shown(headers: &HeaderMap, query: &str) -> Option<Shown> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .filter(|value| !value.is_empty())
            .map(str::to_string)
    };
    let asked = listing::Asked::parse(query);
    let token = |token: String, from_query| Shown::Token { token, from_query };
    text("x-auth-token")
        .map(|found| token(found, false))
        .or_else(|| text("st2-api-key").map(Shown::ApiKey))
        .or_else(|| {
            asked
                .text("x-auth-token")
                .map(|found| token(found.to_string(), true))
        })
        .or_else(|| {
            asked
                .text("st2-api-key")
                .map(|key| Shown::ApiKey(key.to_string()))
        })
        .or_else(|| cookie(headers, "auth-token").map(|found| token(found, false)))
        .or_else(|| {
            crate::api::extract::bearer(headers).map(|bearer| Shown::Bearer(bearer.to_string()))
        })
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, value)| *found == name && !value.is_empty())
        .map(|(_, value)| value.trim_matches('"').to_string())
}

impl FromRequestParts<Automation> for Caller {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &Automation) -> Result<Caller, Fault> {
        let query = parts.uri.query().unwrap_or_default();
        let shown = shown(&parts.headers, query).ok_or(Fault::NotAuthenticated)?;
        state.caller(shown).await
    }
}

impl FromRequestParts<Automation> for listing::Asked {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        _: &Automation,
    ) -> Result<listing::Asked, Self::Rejection> {
        Ok(listing::Asked::parse(parts.uri.query().unwrap_or_default()))
    }
}

/// A JSON document; an empty body is an empty object.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Automation> for Body<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &Automation) -> Result<Body<T>, Fault> {
        let bytes = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Fault::TooLarge(rejection.body_text()))?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let mut reader = serde_json::Deserializer::from_slice(text);
        serde_path_to_error::deserialize(&mut reader)
            .map(Body)
            .map_err(|error| Fault::Invalid(format!("Invalid request body: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_credential_in_the_order_of_the_contract_counts() {
        let headers = |pairs: &[(&'static str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| {
                    (
                        http::HeaderName::from_static(name),
                        value.parse().expect("a header value"),
                    )
                })
                .collect::<HeaderMap>()
        };
        let check = |pairs: &[(&'static str, &str)], query: &str, expected: Option<Shown>| {
            assert_eq!(shown(&headers(pairs), query), expected, "{pairs:?} {query}");
        };
        let token = |text: &str, from_query| {
            Some(Shown::Token {
                token: text.into(),
                from_query,
            })
        };
        check(&[], "", None);
        check(
            &[("x-auth-token", "a"), ("st2-api-key", "b")],
            "x-auth-token=c",
            token("a", false),
        );
        check(
            &[("st2-api-key", "b")],
            "x-auth-token=c",
            Some(Shown::ApiKey("b".into())),
        );
        check(
            &[("cookie", "x=1; auth-token=d")],
            "x-auth-token=c",
            token("c", true),
        );
        check(&[("cookie", "x=1; auth-token=d")], "", token("d", false));
        check(
            &[("authorization", "bearer e")],
            "",
            Some(Shown::Bearer("e".into())),
        );
    }
}
