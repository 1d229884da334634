//! Answers of the router's own.

use super::bodies::ResponseBody;
use super::exchange::Exchange;
use crate::domain::forwarding;
use crate::domain::refusal::Refusal;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

/// Sends the client to the entrance for TLS.
pub fn redirect(
    location: HeaderValue,
    mut exchange: Box<Exchange>,
    request_id: &HeaderValue,
) -> Response<ResponseBody> {
    let status = StatusCode::PERMANENT_REDIRECT;
    exchange.answered(status.as_u16());
    let mut response = own(status, None, Some(exchange));
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(forwarding::X_VCAP_REQUEST_ID, request_id.clone());
    response
}

/// Whether the router takes requests, for a load balancer that asks at the entrance.
pub fn health(is_ending: bool, mut exchange: Box<Exchange>) -> Response<ResponseBody> {
    let (status, text) = match is_ending {
        false => (StatusCode::OK, "ok\n"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "the router ends\n"),
    };
    exchange.answered(status.as_u16());
    let mut response = own(
        status,
        Some(Bytes::from_static(text.as_bytes())),
        Some(exchange),
    );
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, TEXT);
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=0"),
    );
    response
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

fn own(
    status: StatusCode,
    text: Option<Bytes>,
    exchange: Option<Box<Exchange>>,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Own { text, exchange });
    *response.status_mut() = status;
    response
}

/// Says why there is no other answer.
pub fn refuse(
    refusal: Refusal,
    mut exchange: Option<Box<Exchange>>,
    request_id: Option<&HeaderValue>,
) -> Response<ResponseBody> {
    let code = refusal.code();
    let status = refusal.status();
    if let Some(exchange) = &mut exchange {
        exchange.refused(status.as_u16(), &code);
    }
    let mut response = own(status, Some(Bytes::from(refusal.body())), exchange);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, TEXT);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(code) = HeaderValue::from_str(&code) {
        headers.insert(forwarding::X_CF_ROUTER_ERROR, code);
    }
    if let Some(id) = request_id {
        headers.insert(forwarding::X_VCAP_REQUEST_ID, id.clone());
    }
    if refusal.no_cache() {
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache, no-store"),
        );
    }
    if let Some(seconds) = refusal.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal.closes() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
