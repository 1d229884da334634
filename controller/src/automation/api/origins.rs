//! Which web pages may use the API from a browser (CORS): those of the origins that the setting
//! `automation/api/allow_origin` names.
//!
//! As in StackStorm, any OPTIONS request is answered 200 without a look at its address or at who asks: a
//! browser asks before it sends what it knows of the user. Unlike there, a page that may not gets no
//! `Access-Control-Allow-Origin` at all instead of somebody else's, and `*` does not let every page use the
//! cookie of whoever is logged in.

use crate::automation::Automation;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

const METHODS: HeaderValue = HeaderValue::from_static("GET,POST,PUT,DELETE,OPTIONS");
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("Content-Type,Authorization,X-Auth-Token,St2-Api-Key,X-Request-ID");
const RESPONSE_HEADERS: HeaderValue =
    HeaderValue::from_static("Content-Type,X-Limit,X-Total-Count,X-Request-ID");

/// What a page of an origin may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// As the user who is logged in there.
    WithCookies,
    WithoutCookies,
    No,
}

/// `allowed`: origins, separated by commas.
fn access(allowed: &str, origin: &str) -> Access {
    let allowed = || allowed.split(',').map(str::trim);
    if allowed().any(|one| !one.is_empty() && one == origin) {
        Access::WithCookies
    } else if allowed().any(|one| one == "*") {
        Access::WithoutCookies
    } else {
        Access::No
    }
}

/// Answers OPTIONS, and says on every answer which page may read it.
pub async fn allow(State(automation): State<Automation>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::OK.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin {
        let allowed = automation
            .ops
            .settings()
            .text("automation/api/allow_origin");
        say(
            headers,
            access(&allowed, origin.to_str().unwrap_or_default()),
            origin,
        );
    }
    response
}

fn say(headers: &mut HeaderMap, access: Access, origin: HeaderValue) {
    let shown = match access {
        Access::No => return,
        Access::WithoutCookies => HeaderValue::from_static("*"),
        Access::WithCookies => {
            let yes = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            origin
        }
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, shown);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_allowed_by_its_whole_name() {
        let check = |allowed: &str, origin: &str, expected| {
            assert_eq!(access(allowed, origin), expected, "{origin} in {allowed}");
        };
        let both = "https://a.example, http://b.example:3000";
        check(both, "https://a.example", Access::WithCookies);
        check(both, "http://b.example:3000", Access::WithCookies);
        check(both, "http://a.example", Access::No);
        check(both, "https://a.example.evil", Access::No);
        check(both, "", Access::No);
        check("", "", Access::No);
        check("*", "https://x", Access::WithoutCookies);
        check("*,https://x", "https://x", Access::WithCookies);
    }
}
