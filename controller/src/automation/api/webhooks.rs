//! `webhooks`: what anybody with a credential may send. Below a rate for each hook, and while the rules keep
//! up; else 429 with `Retry-After`.

use super::extract::Caller;
use super::{Answer, accepted, ok};
use crate::automation::Automation;
use crate::automation::ops::Fault;
use crate::automation::ops::resources::present;
use crate::automation::ops::webhooks::{Call, normalized};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Hooks whose calls are counted at once.
const MOST_COUNTED: usize = 10_000;
/// How long to wait when the rules do not keep up.
const PAUSE: Duration = Duration::from_secs(5);

pub fn routes() -> Router<Automation> {
    Router::new()
        .route("/webhooks", get(list))
        .route("/webhooks/{*hook}", get(show).post(call))
        .layer(Extension(Arc::new(Rates::default())))
}

/// Calls of each hook, as a bucket that fills with the allowed rate and holds one second's worth.
#[derive(Default)]
struct Rates {
    buckets: Mutex<HashMap<String, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Rates {
    /// Err: how long to wait.
    fn take(&self, hook: &str, rate: f64, now: Instant) -> Result<(), Duration> {
        let mut buckets = self
            .buckets
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if buckets.len() >= MOST_COUNTED && !buckets.contains_key(hook) {
            buckets.retain(|_, bucket| {
                now.saturating_duration_since(bucket.at) < Duration::from_secs(1)
            });
            if buckets.len() >= MOST_COUNTED {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = buckets.entry(hook.to_string()).or_insert(Bucket {
            left: rate,
            at: now,
        });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + passed * rate).min(rate);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / rate));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

fn come_back(fault: Fault, after: Duration) -> Response {
    let mut response = fault.into_response();
    let seconds = after.as_secs_f64().ceil().max(1.0) as u64;
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

async fn list(State(automation): State<Automation>, caller: Caller) -> Answer {
    let rows = automation.list_webhooks(&caller).await?;
    Ok(ok(rows.iter().map(present).collect::<Vec<_>>()))
}

async fn show(
    State(automation): State<Automation>,
    caller: Caller,
    Path(hook): Path<String>,
) -> Answer {
    let row = automation.webhook(&caller, &hook).await?;
    Ok(ok(present(&row)))
}

/// The body as rules see it: JSON, or the fields of a form.
fn parsed(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, Fault> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let is_form = content_type.split(';').next().is_some_and(|kind| {
        kind.trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    });
    if !is_form {
        if bytes.is_empty() {
            return Ok(Value::Object(Map::new()));
        }
        return serde_json::from_slice(bytes)
            .map_err(|error| Fault::Invalid(format!("Failed to parse request body: {error}")));
    }
    let mut fields = Map::new();
    for (name, value) in form_urlencoded::parse(bytes) {
        let value = Value::String(value.into_owned());
        match fields.get_mut(name.as_ref()) {
            None => {
                fields.insert(name.into_owned(), value);
            }
            Some(Value::Array(several)) => several.push(value),
            Some(first) => *first = Value::Array(vec![first.clone(), value]),
        }
    }
    Ok(Value::Object(fields))
}

/// `x-github-event` as rules for StackStorm write it, `X-Github-Event`: the case a name was sent in is lost on
/// the way here as it is there.
fn capitalized(name: &str) -> String {
    name.split('-')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| {
                first.to_uppercase().chain(letters).collect()
            })
        })
        .collect::<Vec<_>>()
        .join("-")
}

async fn call(
    State(automation): State<Automation>,
    Extension(rates): Extension<Arc<Rates>>,
    caller: Caller,
    Path(hook): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let settings = automation.ops.settings();
    let rate = settings.integer("automation/webhook/rate") as f64;
    if let Err(after) = rates.take(normalized(&hook), rate, Instant::now()) {
        metrics::counter!("automation_webhooks_refused_total", "why" => "rate").increment(1);
        let text = format!("More than {rate} requests a second for the webhook {hook}.");
        return Ok(come_back(Fault::TooMany(text), after));
    }
    match automation.admit_instances().await {
        Err(fault @ Fault::TooMany(_)) => {
            metrics::counter!("automation_webhooks_refused_total", "why" => "pending").increment(1);
            return Ok(come_back(fault, PAUSE));
        }
        other => other?,
    }
    let limit = settings.size("automation/webhook/max_body");
    let bytes = axum::body::to_bytes(body, usize::try_from(limit).unwrap_or(usize::MAX))
        .await
        .map_err(|_| {
            Fault::TooLarge(format!(
                "The body of a request to a webhook may have at most {limit} bytes."
            ))
        })?;
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .filter(|value| !value.is_empty())
            .map(str::to_string)
    };
    let body = parsed(&headers, &bytes)?;
    let names: Vec<(String, &str)> = headers
        .iter()
        .filter_map(|(name, value)| Some((capitalized(name.as_str()), value.to_str().ok()?)))
        .collect();
    let call = Call {
        hook: &hook,
        headers: names
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect(),
        body: body.clone(),
        trace_tag: text("st2-trace-tag"),
        request: text("x-request-id"),
    };
    automation.call_webhook(&caller, &call).await?;
    Ok(accepted(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_hook_has_its_rate_and_others_have_theirs() {
        let rates = Rates::default();
        let begin = Instant::now();
        assert!(rates.take("a", 2.0, begin).is_ok());
        assert!(rates.take("a", 2.0, begin).is_ok());
        assert_eq!(rates.take("a", 2.0, begin), Err(Duration::from_millis(500)));
        assert!(rates.take("b", 2.0, begin).is_ok());
        let later = begin + Duration::from_millis(500);
        assert!(rates.take("a", 2.0, later).is_ok());
        assert!(rates.take("a", 2.0, later).is_err());
    }

    #[test]
    fn names_of_headers_are_capitalized() {
        assert_eq!(capitalized("x-github-event"), "X-Github-Event");
        assert_eq!(capitalized("host"), "Host");
    }

    #[test]
    fn forms_and_json_are_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(parsed(&headers, b"").unwrap(), json!({}));
        assert_eq!(parsed(&headers, b"[1]").unwrap(), json!([1]));
        assert!(parsed(&headers, b"a=1").is_err());
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"),
        );
        assert_eq!(
            parsed(&headers, b"a=1&b=x+y&a=2").unwrap(),
            json!({"a": ["1", "2"], "b": "x y"})
        );
    }
}
