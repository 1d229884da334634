//! `packs/views`: the files of packs.

use super::extract::Caller;
use super::{Answer, ok};
use crate::automation::Automation;
use crate::blobs::hex;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime};

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/packs/views/files/{reference}", get(files))
        .route("/packs/views/file/{reference}/{*path}", get(file))
}

/// Texts only.
async fn files(
    State(automation): State<Automation>,
    caller: Caller,
    Path(reference): Path<String>,
) -> Answer {
    let files = automation.files_of_pack(&caller, &reference).await?;
    let documents: Vec<Value> = files
        .into_iter()
        .filter_map(|(path, bytes)| {
            let text = String::from_utf8(bytes).ok()?;
            Some(json!({"file_path": path, "content": text}))
        })
        .collect();
    Ok(ok(documents))
}

async fn file(
    State(automation): State<Automation>,
    caller: Caller,
    Path((reference, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let (bytes, changed) = automation.file_of_pack(&caller, &reference, &path).await?;
    let tag = format!("\"{}\"", &hex(&Sha256::digest(&bytes))[..32]);
    let changed = http_date(changed);
    let answered = [
        (header::ETAG, tag.clone()),
        (header::LAST_MODIFIED, changed.clone()),
    ];
    if is_known(&headers, &tag, &changed) {
        return Ok((StatusCode::NOT_MODIFIED, answered).into_response());
    }
    let kind = [(header::CONTENT_TYPE, content_type(&path))];
    Ok((answered, kind, bytes).into_response())
}

/// Whether the client has it. A tag counts for more than a time.
fn is_known(headers: &HeaderMap, tag: &str, changed: &str) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(known) = text(header::IF_NONE_MATCH) {
        return known
            .split(',')
            .map(|one| one.trim().trim_start_matches("W/"))
            .any(|one| one == "*" || one == tag);
    }
    // Clients give back the text they got.
    text(header::IF_MODIFIED_SINCE) == Some(changed)
}

fn http_date(micros: i64) -> String {
    let since = Duration::from_micros(u64::try_from(micros).unwrap_or_default());
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    time::OffsetDateTime::from(SystemTime::UNIX_EPOCH + since)
        .format(format)
        .unwrap_or_default()
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("png") => "image/png",
        Some("json") => "application/json",
        Some("yaml" | "yml") => "application/x-yaml",
        Some("py") => "text/x-python; charset=utf-8",
        Some("sh") => "application/x-sh",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(
            http_date(784_111_777_000_000),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
    }

    #[test]
    fn a_tag_counts_for_more_than_a_time() {
        let headers = |pairs: &[(header::HeaderName, &'static str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(name, value)| (name.clone(), http::HeaderValue::from_static(value)))
                .collect()
        };
        let known = |pairs: &[(header::HeaderName, &'static str)]| {
            is_known(&headers(pairs), "\"a\"", "then")
        };
        assert!(!known(&[]));
        assert!(known(&[(header::IF_NONE_MATCH, "\"b\", W/\"a\"")]));
        assert!(known(&[(header::IF_MODIFIED_SINCE, "then")]));
        assert!(!known(&[
            (header::IF_NONE_MATCH, "\"b\""),
            (header::IF_MODIFIED_SINCE, "then")
        ]));
    }
}
