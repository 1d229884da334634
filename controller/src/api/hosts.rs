//! One socket, two faces: requests for `st2.<domain>` go to the automation API, all others to the
//! platform's. Their paths do collide (`/`, `/v1/...`), so the host decides.

use axum::Router;
use axum::extract::Request;
use http::header;
use tower::ServiceExt;

/// First label of the automation API's host.
const AUTOMATION: &str = "st2";

/// Serves `automation` under its host and `platform` under every other.
pub fn split(automation: Router, platform: Router) -> Router {
    Router::new().fallback(move |request: Request| {
        let face = if is_automation(&request) {
            automation.clone()
        } else {
            platform.clone()
        };
        async move { face.oneshot(request).await }
    })
}

fn is_automation(request: &Request) -> bool {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .or_else(|| request.uri().host())
        .unwrap_or_default();
    host.split_once('.')
        .is_some_and(|(label, _)| label.eq_ignore_ascii_case(AUTOMATION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_decides() {
        let check = |host: &str, expected: bool| {
            let request = Request::builder()
                .uri("/v1/actions")
                .header("host", host)
                .body(axum::body::Body::empty())
                .expect("a request");
            assert_eq!(is_automation(&request), expected, "{host}");
        };
        check("st2.yard.internal:8080", true);
        check("ST2.yard.internal", true);
        check("api.yard.internal:8080", false);
        check("127.0.0.1:9000", false);
        check("st2", false);
    }
}
