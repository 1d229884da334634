//! Every answer the router gives by itself: status, code for `X-Cf-RouterError`, text
//! (contract §3 row 13). Clients and acceptance tests compare these texts.

use super::route_rules::Excess;
use http::StatusCode;
use std::borrow::Cow;

/// Why the router answers instead of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No route of that name.
    UnknownRoute { host: String },
    /// The route is known, its instances are gone (or the route's app is being brought back).
    NoEndpoints { host: String },
    /// An instance header names an instance that does not serve the route.
    UnknownInstance {
        instance: String,
        guid: String,
        host: String,
    },
    /// `X-Cf-App-Instance` cannot be read.
    MalformedInstanceHeader,
    /// Each instance serves as many requests as it may.
    ConnectionLimit,
    /// More requests came than the route's owner lets in; again after so many seconds.
    RateLimit { retry_after: u64 },
    /// As many requests are there as the route's owner lets in.
    ConcurrencyLimit,
    /// The body is longer than the route's owner lets in.
    BodyLimit,
    /// No instance answered within what the route's owner gives it.
    TimeLimit,
    /// No instance could be reached, or it broke before it answered.
    EndpointFailure { why: String, fault: EndpointFault },
    /// An instance did not answer in time.
    EndpointTimeout,
    /// The route wants a route service, and this router sends requests to none; sending the request
    /// past it could skip a check the route's owner relies on.
    RouteServiceUnsupported,
    /// No tunnel leads through a route service.
    RouteServiceUpgrade,
    /// The request did not come back from its route service, or not from this one.
    RouteServiceSignature,
    /// It came back too late.
    RouteServiceExpired,
    /// The app sleeps, and as many requests wait for it as may.
    TooManyHeld,
    /// The app slept, and no instance of it came in time.
    NotAwake,
    /// The request's head cannot be understood in exactly one way.
    Malformed(Fault),
    /// The client's body broke its own framing.
    BrokenBody,
    /// The head did not come in time.
    HeadTimeout,
    /// No more of the body came for too long.
    BodyTimeout,
    /// A bug: the handler panicked.
    Unknown,
}

/// What is wrong with an instance that could not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndpointFault {
    /// It could not be reached, or broke before it answered.
    Broken,
    /// Its certificate is another instance's: the address has changed hands.
    OtherIdentity,
    /// It does not speak TLS, or not so that the router understands it.
    Handshake,
    /// Its certificate is of nobody whom the router believes.
    Untrusted,
    /// It wants a certificate of the router's that it believes.
    WantsCertificate,
}

impl EndpointFault {
    /// As Cloud Foundry's router has them (contract §3 row 13).
    fn status(self) -> StatusCode {
        let (code, otherwise) = match self {
            EndpointFault::Broken => return StatusCode::BAD_GATEWAY,
            EndpointFault::OtherIdentity => return StatusCode::SERVICE_UNAVAILABLE,
            EndpointFault::Handshake => (525, StatusCode::BAD_GATEWAY),
            EndpointFault::Untrusted => (526, StatusCode::BAD_GATEWAY),
            EndpointFault::WantsCertificate => (496, StatusCode::BAD_GATEWAY),
        };
        StatusCode::from_u16(code).unwrap_or(otherwise)
    }

    /// What stands after the number for which there is no standard's word.
    fn reason(self) -> Option<&'static str> {
        match self {
            EndpointFault::Broken | EndpointFault::OtherIdentity => None,
            EndpointFault::Handshake => Some("SSL Handshake Failed"),
            EndpointFault::Untrusted => Some("Invalid SSL Certificate"),
            EndpointFault::WantsCertificate => Some("SSL Certificate Required"),
        }
    }

    /// The counter of it.
    pub fn metric(self) -> Option<&'static str> {
        match self {
            EndpointFault::Broken => None,
            EndpointFault::OtherIdentity => Some("backend_invalid_id"),
            EndpointFault::Handshake => Some("backend_tls_handshake_failed"),
            EndpointFault::Untrusted | EndpointFault::WantsCertificate => {
                Some("backend_invalid_tls_cert")
            }
        }
    }
}

/// What is wrong with a request's head. Names the rule, never quotes the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    RequestLine,
    Version,
    Target,
    BareLineFeed,
    BareCarriageReturn,
    HeaderName,
    HeaderValue,
    ObsoleteFold,
    MissingHost,
    RepeatedHost,
    InvalidHost,
    HostDisagrees,
    RepeatedContentLength,
    InvalidContentLength,
    LengthAndCoding,
    TransferCoding,
    CodingInOldVersion,
    LookalikeFraming,
    Connect,
    TooLarge,
    TooManyHeaders,
    TargetTooLong,
    OneHopHeader,
    Scheme,
}

impl Fault {
    pub fn text(self) -> &'static str {
        match self {
            Fault::RequestLine => "malformed request line",
            Fault::Version => "unsupported protocol version",
            Fault::Target => "malformed request target",
            Fault::BareLineFeed => "line feed without carriage return",
            Fault::BareCarriageReturn => "carriage return without line feed",
            Fault::HeaderName => "invalid header name",
            Fault::HeaderValue => "invalid header value",
            Fault::ObsoleteFold => "folded header line",
            Fault::MissingHost => "missing Host header",
            Fault::RepeatedHost => "more than one Host header",
            Fault::InvalidHost => "invalid Host header",
            Fault::HostDisagrees => "request target and Host header disagree",
            Fault::RepeatedContentLength => "more than one Content-Length",
            Fault::InvalidContentLength => "invalid Content-Length",
            Fault::LengthAndCoding => "both Content-Length and Transfer-Encoding",
            Fault::TransferCoding => "Transfer-Encoding other than chunked",
            Fault::CodingInOldVersion => "Transfer-Encoding in an HTTP/1.0 request",
            Fault::LookalikeFraming => "header name that could be taken for a framing header",
            Fault::Connect => "CONNECT is not supported",
            Fault::TooLarge => "request line and headers are too large",
            Fault::TooManyHeaders => "too many headers",
            Fault::TargetTooLong => "request target is too long",
            Fault::OneHopHeader => "header of one connection in an HTTP/2 request",
            Fault::Scheme => "scheme other than http and https",
        }
    }
}

impl From<Excess> for Refusal {
    fn from(excess: Excess) -> Refusal {
        match excess {
            // Whole seconds, and not before there is room.
            Excess::Rate(wait) => Refusal::RateLimit {
                retry_after: wait.as_millis().div_ceil(1000).max(1) as u64,
            },
            Excess::Concurrency => Refusal::ConcurrencyLimit,
        }
    }
}

impl Refusal {
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::UnknownRoute { .. } => StatusCode::NOT_FOUND,
            Refusal::NoEndpoints { .. } | Refusal::ConnectionLimit => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::UnknownInstance { .. }
            | Refusal::MalformedInstanceHeader
            | Refusal::RouteServiceSignature
            | Refusal::BrokenBody => StatusCode::BAD_REQUEST,
            Refusal::RouteServiceUpgrade
            | Refusal::ConcurrencyLimit
            | Refusal::TooManyHeld
            | Refusal::NotAwake => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::RateLimit { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::BodyLimit => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::EndpointFailure { fault, .. } => fault.status(),
            Refusal::RouteServiceUnsupported | Refusal::Unknown => StatusCode::BAD_GATEWAY,
            Refusal::EndpointTimeout | Refusal::RouteServiceExpired | Refusal::TimeLimit => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Refusal::HeadTimeout | Refusal::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Refusal::Malformed(Fault::TooLarge | Fault::TooManyHeaders) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Refusal::Malformed(Fault::TargetTooLong) => StatusCode::URI_TOO_LONG,
            Refusal::Malformed(Fault::Connect) => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Malformed(Fault::Version) => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// Value of `X-Cf-RouterError`.
    pub fn code(&self) -> Cow<'static, str> {
        match self {
            Refusal::UnknownRoute { .. } | Refusal::UnknownInstance { .. } => {
                "unknown_route".into()
            }
            Refusal::NoEndpoints { .. } => "no_endpoints".into(),
            Refusal::MalformedInstanceHeader => "invalid_cf_app_instance_header".into(),
            Refusal::ConnectionLimit => "Connection Limit Reached".into(),
            Refusal::EndpointFailure { why, .. } => format!("endpoint_failure ({why})").into(),
            Refusal::EndpointTimeout => {
                "endpoint_failure (timeout awaiting response headers)".into()
            }
            Refusal::RouteServiceUnsupported | Refusal::RouteServiceUpgrade => {
                "route_service_unsupported".into()
            }
            Refusal::RateLimit { .. } => "route_rate_limit".into(),
            Refusal::ConcurrencyLimit => "route_concurrency_limit".into(),
            Refusal::TooManyHeld => "too_many_held".into(),
            Refusal::NotAwake => "not_awake".into(),
            Refusal::BodyLimit => "route_body_limit".into(),
            Refusal::TimeLimit => "route_time_limit".into(),
            Refusal::RouteServiceSignature => "invalid_route_service_signature".into(),
            Refusal::RouteServiceExpired => "expired_route_service_signature".into(),
            Refusal::Malformed(Fault::MissingHost) => "empty_host".into(),
            Refusal::Malformed(Fault::TooLarge | Fault::TooManyHeaders) => {
                "max-request-size-exceeded".into()
            }
            Refusal::Malformed(_) => "malformed_request".into(),
            Refusal::BrokenBody => "malformed_request_body".into(),
            Refusal::HeadTimeout => "request_header_timeout".into(),
            Refusal::BodyTimeout => "request_body_timeout".into(),
            Refusal::Unknown => "unknown_failure".into(),
        }
    }

    /// The sentence after the status line in the body.
    pub fn text(&self) -> Cow<'static, str> {
        match self {
            Refusal::UnknownRoute { host } => format!("Requested route ('{host}') does not exist.").into(),
            Refusal::NoEndpoints { host } => {
                format!("Requested route ('{host}') has no available endpoints.").into()
            }
            Refusal::UnknownInstance { instance, guid, host } => format!(
                "Requested instance ('{instance}') with guid ('{guid}') does not exist for route ('{host}')"
            )
            .into(),
            Refusal::MalformedInstanceHeader => "Malformed X-Cf-App-Instance header.".into(),
            Refusal::ConnectionLimit => "Connection Limit Reached".into(),
            Refusal::EndpointFailure { .. } => "Registered endpoint failed to handle the request.".into(),
            Refusal::EndpointTimeout => "Registered endpoint did not answer in time.".into(),
            Refusal::RouteServiceUnsupported => "Support for route services is disabled.".into(),
            Refusal::RouteServiceUpgrade => "Route services do not support upgrades of the protocol.".into(),
            Refusal::RateLimit { .. } => "The route gets more requests than it lets in.".into(),
            Refusal::ConcurrencyLimit => "The route serves as many requests as it lets in.".into(),
            Refusal::TooManyHeld => "The app sleeps, and as many requests wait for it as may.".into(),
            Refusal::NotAwake => "The app slept and did not start in time.".into(),
            Refusal::BodyLimit => "The request's body is longer than the route lets in.".into(),
            Refusal::TimeLimit => "The route's app did not answer within the time it has.".into(),
            Refusal::RouteServiceSignature => "Failed to validate the signature of the route service.".into(),
            Refusal::RouteServiceExpired => "The signature of the route service has expired.".into(),
            Refusal::Malformed(fault) => format!("Malformed request: {}.", fault.text()).into(),
            Refusal::BrokenBody => "Malformed request body.".into(),
            Refusal::HeadTimeout => "The request's headers did not come in time.".into(),
            Refusal::BodyTimeout => "The request's body did not come in time.".into(),
            Refusal::Unknown => "Unknown failure of the router.".into(),
        }
    }

    /// The whole body: `<code> <text>: <message>`.
    pub fn body(&self) -> String {
        let status = self.status();
        let own = match self {
            Refusal::EndpointFailure { fault, .. } => fault.reason(),
            _ => None,
        };
        let reason = own.or(status.canonical_reason()).unwrap_or("Error");
        format!("{} {reason}: {}\n", status.as_u16(), self.text())
    }

    /// Seconds for `Retry-After`, where trying again makes sense.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Refusal::NoEndpoints { .. } | Refusal::TooManyHeld | Refusal::NotAwake => Some(5),
            Refusal::ConnectionLimit | Refusal::ConcurrencyLimit => Some(1),
            Refusal::RateLimit { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// What comes after cannot be told apart from what was refused: the connection ends.
    pub fn closes(&self) -> bool {
        matches!(
            self,
            Refusal::Malformed(_)
                | Refusal::BrokenBody
                | Refusal::BodyLimit
                | Refusal::HeadTimeout
                | Refusal::BodyTimeout
                | Refusal::Unknown
        )
    }

    /// An intermediary must not keep the answer.
    pub fn no_cache(&self) -> bool {
        matches!(
            self,
            Refusal::UnknownRoute { .. }
                | Refusal::UnknownInstance { .. }
                | Refusal::NoEndpoints { .. }
                | Refusal::TooManyHeld
                | Refusal::NotAwake
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(fault: EndpointFault) -> Refusal {
        let why = "dial".to_string();
        Refusal::EndpointFailure { why, fault }
    }

    #[test]
    fn texts_are_those_of_the_contract() {
        let unknown = Refusal::UnknownRoute {
            host: "a.example.com".into(),
        };
        assert_eq!(
            unknown.body(),
            "404 Not Found: Requested route ('a.example.com') does not exist.\n"
        );
        assert_eq!(unknown.code(), "unknown_route");
        let none = Refusal::NoEndpoints {
            host: "a.example.com".into(),
        };
        assert_eq!(
            none.body(),
            "503 Service Unavailable: Requested route ('a.example.com') has no available endpoints.\n"
        );
        assert_eq!(none.code(), "no_endpoints");
        assert!(none.retry_after().is_some());
        assert_eq!(Refusal::Malformed(Fault::MissingHost).code(), "empty_host");
        assert_eq!(Refusal::Malformed(Fault::TooLarge).status().as_u16(), 431);
        assert_eq!(
            failed(EndpointFault::Broken).body(),
            "502 Bad Gateway: Registered endpoint failed to handle the request.\n"
        );
        let statuses = [
            (EndpointFault::OtherIdentity, "503 Service Unavailable: "),
            (EndpointFault::Handshake, "525 SSL Handshake Failed: "),
            (EndpointFault::Untrusted, "526 Invalid SSL Certificate: "),
            (
                EndpointFault::WantsCertificate,
                "496 SSL Certificate Required: ",
            ),
        ];
        for (fault, begin) in statuses {
            assert!(failed(fault).body().starts_with(begin), "{fault:?}");
            assert_eq!(failed(fault).code(), "endpoint_failure (dial)");
        }
    }
}
