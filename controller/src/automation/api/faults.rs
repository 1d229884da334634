//! How each fault is told: status and `{"faultstring": …}` (contract §1.2). The only place that
//! writes them.

use crate::automation::ops::Fault;
use crate::store::StoreError;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        use StatusCode as S;
        let status = match &self {
            Fault::NotFound(_) => S::NOT_FOUND,
            Fault::Invalid(_) => S::BAD_REQUEST,
            Fault::Conflict { .. } => S::CONFLICT,
            Fault::NotAuthenticated | Fault::BadCredentials(_) => S::UNAUTHORIZED,
            Fault::Forbidden(_) => S::FORBIDDEN,
            Fault::TooLarge(_) => S::PAYLOAD_TOO_LARGE,
            Fault::TooMany(_) => S::TOO_MANY_REQUESTS,
            Fault::Unavailable(_) => S::SERVICE_UNAVAILABLE,
            Fault::NotSupported(_) => S::NOT_IMPLEMENTED,
            Fault::Store(StoreError::Stale { .. } | StoreError::Taken { .. }) => S::CONFLICT,
            Fault::Store(StoreError::Unavailable { .. }) => S::SERVICE_UNAVAILABLE,
            Fault::Store(_) | Fault::Internal { .. } => S::INTERNAL_SERVER_ERROR,
        };
        let text = match status {
            S::INTERNAL_SERVER_ERROR => {
                tracing::error!(
                    error = &self as &dyn std::error::Error,
                    "a request of the automation API failed"
                );
                "Internal Server Error".to_string()
            }
            _ => self.to_string(),
        };
        let mut document = json!({ "faultstring": text });
        if let Fault::Conflict { id, .. } = &self {
            document["conflict-id"] = json!(id);
        }
        (status, axum::Json(document)).into_response()
    }
}
