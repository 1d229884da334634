//! How each refusal is told: status, code, title and text. Clients act on the status and the exact
//! text of the first error (contract §1.0), so this is the only place that writes them.

use crate::ops::Refusal;
use crate::store::StoreError;
use crate::store::sql;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use proto::api::{ApiError, ErrorDocument};
use std::error::Error;
use std::io::ErrorKind;

struct Told {
    status: StatusCode,
    code: i64,
    title: &'static str,
    details: Vec<String>,
}

fn told(status: StatusCode, code: i64, title: &'static str, detail: impl Into<String>) -> Told {
    Told {
        status,
        code,
        title,
        details: vec![detail.into()],
    }
}

fn tell(refusal: &Refusal) -> Told {
    use StatusCode as S;
    match refusal {
        Refusal::NotFound(noun) => told(
            S::NOT_FOUND,
            10010,
            "CF-ResourceNotFound",
            format!("{noun} not found"),
        ),
        Refusal::UnknownRequest => told(S::NOT_FOUND, 10000, "CF-NotFound", "Unknown request"),
        Refusal::InvalidToken => told(
            S::UNAUTHORIZED,
            1000,
            "CF-InvalidAuthToken",
            "Invalid Auth Token",
        ),
        Refusal::NotAuthenticated => told(
            S::UNAUTHORIZED,
            10002,
            "CF-NotAuthenticated",
            "Authentication error",
        ),
        Refusal::NotAuthorized => told(
            S::FORBIDDEN,
            10003,
            "CF-NotAuthorized",
            "You are not authorized to perform the requested action",
        ),
        Refusal::Unprocessable(text) | Refusal::QuotaExceeded { text, .. } => told(
            S::UNPROCESSABLE_ENTITY,
            10008,
            "CF-UnprocessableEntity",
            text,
        ),
        Refusal::AllUnprocessable(texts) => Told {
            status: S::UNPROCESSABLE_ENTITY,
            code: 10008,
            title: "CF-UnprocessableEntity",
            details: texts.clone(),
        },
        Refusal::BadRequest(text) => told(
            S::BAD_REQUEST,
            1004,
            "CF-BadRequest",
            format!("Bad request: {text}"),
        ),
        Refusal::BadQuery(text) => told(
            S::BAD_REQUEST,
            10005,
            "CF-BadQueryParameter",
            format!("The query parameter is invalid: {text}"),
        ),
        Refusal::Unparsable(text) => told(
            S::BAD_REQUEST,
            1001,
            "CF-MessageParseError",
            format!("Request invalid due to parse error: {text}"),
        ),
        Refusal::FeatureDisabled(flag) => told(
            S::FORBIDDEN,
            330_002,
            "CF-FeatureDisabled",
            format!("Feature Disabled: {flag}"),
        ),
        Refusal::BitsAlreadyUploaded => told(
            S::UNPROCESSABLE_ENTITY,
            150_004,
            "CF-PackageBitsAlreadyUploaded",
            "Bits may be uploaded only once. Create a new package to upload different bits.",
        ),
        Refusal::InvalidBits(text) => told(
            S::UNPROCESSABLE_ENTITY,
            160_001,
            "CF-AppBitsUploadInvalid",
            format!("The app upload is invalid: {text}"),
        ),
        Refusal::TooLarge(text) => told(S::PAYLOAD_TOO_LARGE, 160_004, "CF-UploadTooLarge", text),
        Refusal::Conflict(text) => told(S::CONFLICT, 10016, "CF-Conflict", text),
        Refusal::Unavailable(text) => {
            told(S::SERVICE_UNAVAILABLE, 10015, "CF-ServiceUnavailable", text)
        }
        Refusal::Store(error) => store(error),
        Refusal::Internal { source, .. } if is_disk_full(source.as_ref()) => disk_is_full(),
        Refusal::Internal { .. } => told(
            S::INTERNAL_SERVER_ERROR,
            10001,
            "CF-UnknownError",
            "An unknown error occurred; the controller's log has its causes",
        ),
    }
}

fn store(error: &StoreError) -> Told {
    use StatusCode as S;
    match error {
        StoreError::Stale { noun, .. } => told(
            S::CONFLICT,
            10016,
            "CF-Conflict",
            format!("The {noun} was changed by somebody else meanwhile: try again"),
        ),
        StoreError::Taken { .. } => told(
            S::UNPROCESSABLE_ENTITY,
            10008,
            "CF-UnprocessableEntity",
            "It already exists.",
        ),
        StoreError::Referenced { .. } => told(
            S::UNPROCESSABLE_ENTITY,
            10008,
            "CF-UnprocessableEntity",
            "Something still refers to it, or it refers to what is gone",
        ),
        StoreError::Unavailable { .. } => told(
            S::SERVICE_UNAVAILABLE,
            10015,
            "CF-ServiceUnavailable",
            "The database does not answer: try again in a moment",
        ),
        _ if is_disk_full(error) => disk_is_full(),
        _ => told(
            S::INTERNAL_SERVER_ERROR,
            10001,
            "CF-UnknownError",
            "An unknown error occurred; the controller's log has its causes",
        ),
    }
}

fn disk_is_full() -> Told {
    told(
        StatusCode::INSUFFICIENT_STORAGE,
        10015,
        "CF-ServiceUnavailable",
        "The cluster's disk is full: nothing can be changed until an operator makes room. What runs goes on",
    )
}

/// Whether it failed for want of room, in a file or in the database.
pub(super) fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            let kinds = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
            if kinds.contains(&error.kind()) {
                return true;
            }
        }
        if let Some(error) = error.downcast_ref::<sql::Error>()
            && error.sort() == sql::Sort::DiskFull
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The error and all its causes in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let told = tell(&self);
        if told.status.is_server_error() {
            tracing::error!(error = chain(&self), "a request failed");
        }
        let errors = told
            .details
            .into_iter()
            .map(|detail| ApiError {
                code: told.code,
                title: told.title.to_string(),
                detail,
            })
            .collect();
        (told.status, axum::Json(ErrorDocument { errors })).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_find_the_words_they_look_for() {
        let cases = [
            (Refusal::NotFound("App"), 404, "App not found"),
            (Refusal::UnknownRequest, 404, "Unknown request"),
            (
                Refusal::BadRequest("Cannot stage package whose state is not ready.".into()),
                400,
                "Bad request: Cannot stage package whose state is not ready.",
            ),
            (
                Refusal::Unprocessable("App with the name 'a' already exists.".into()),
                422,
                "App with the name 'a' already exists.",
            ),
        ];
        for (refusal, status, detail) in cases {
            let told = tell(&refusal);
            assert_eq!(
                (told.status.as_u16(), told.details),
                (status, vec![detail.to_string()])
            );
        }
        assert_eq!(tell(&Refusal::InvalidToken).title, "CF-InvalidAuthToken");
    }

    #[tokio::test]
    async fn a_full_disk_is_told_as_such_wherever_it_was_met() {
        let no_room = || std::io::Error::from(ErrorKind::StorageFull);
        let blob = crate::blobs::BlobError::File {
            key: "packages/a".into(),
            source: no_room(),
        };
        let received = crate::blobs::ReceiveError::Disk(no_room());
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("full.sqlite").display());
        let store = crate::store::Store::open(&url).await.unwrap();
        let mut tx = store.write("fill the disk").await.unwrap();
        sql::query("PRAGMA max_page_count = 1")
            .fetch_all(&mut tx)
            .await
            .unwrap();
        let full = sql::query("INSERT INTO cursors VALUES (hex(zeroblob(100000)), 0)")
            .execute(&mut tx)
            .await
            .unwrap_err();
        for refusal in [
            Refusal::from(blob),
            Refusal::internal("receiving a package")(received),
            Refusal::Store(StoreError::during("create an app")(full)),
        ] {
            let told = tell(&refusal);
            assert_eq!(told.status.as_u16(), 507, "{refusal:?}");
            assert!(told.details[0].contains("disk is full"), "{refusal:?}");
        }
        let other = Refusal::internal("reading")(std::io::Error::from(ErrorKind::NotFound));
        assert_eq!(tell(&other).status.as_u16(), 500);
    }

    #[test]
    fn an_inner_error_is_not_shown_to_strangers() {
        let refusal = Refusal::Internal {
            operation: "reading",
            source: "/secret/path is missing".into(),
        };
        assert!(!tell(&refusal).details[0].contains("secret"));
        assert!(chain(&refusal).contains("secret"));
    }
}
