//! Traces (contract §3 row 21): headers by which the spans of one request find each other. B3 (Zipkin) as
//! several headers and as one, W3C `traceparent` and `tracestate`. The router makes a trace where a
//! request has none, else goes on with the one it has.
//!
//! The id of a trace that begins here is that of the request: what is found in one log is found in the other.

use http::header::{HeaderMap, HeaderName, HeaderValue};

const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Whose entry of `tracestate` ours is.
const VENDOR: &str = "gorouter";
/// Most entries that are passed on (W3C Trace Context §3.3.1.1).
const MOST_STATES: usize = 32;

/// Ids for a request that has none.
#[derive(Debug, Clone, Copy)]
pub struct Ids {
    pub trace: u128,
    /// Not 0.
    pub span: u64,
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let text = headers.get(name)?.to_str().ok()?;
    (!text.is_empty()).then_some(text)
}

/// Makes B3's headers complete.
pub fn add_b3(headers: &mut HeaderMap, ids: Ids) {
    if headers.contains_key(B3) {
        return;
    }
    let single = match (text(headers, &B3_TRACE), text(headers, &B3_SPAN)) {
        (Some(trace), Some(span)) => {
            let mut single = format!("{trace}-{span}");
            // Debug is said by the flag and means sampled.
            let sampled = match text(headers, &B3_FLAGS) {
                Some("1") => Some("d"),
                _ => text(headers, &B3_SAMPLED),
            };
            if let Some(sampled) = sampled {
                single.push_str(&format!("-{sampled}"));
                if let Some(parent) = text(headers, &B3_PARENT) {
                    single.push_str(&format!("-{parent}"));
                }
            }
            single
        }
        _ => {
            let (trace, span) = (format!("{:032x}", ids.trace), format!("{:016x}", ids.span));
            put(headers, B3_TRACE, &trace);
            put(headers, B3_SPAN, &span);
            format!("{trace}-{span}")
        }
    };
    put(headers, B3, &single);
}

/// Makes this router a span of the W3C trace. `tenant` distinguishes routers of several platforms.
pub fn add_w3c(headers: &mut HeaderMap, ids: Ids, tenant: &str) {
    let span = format!("{:016x}", ids.span);
    let known = text(headers, &TRACEPARENT).and_then(parent);
    let goes_on = known.is_some();
    let (trace, flags) = match known {
        Some((trace, flags)) => (trace.to_string(), flags.to_string()),
        None => (format!("{:032x}", ids.trace), "01".to_string()),
    };
    put(headers, TRACEPARENT, &format!("00-{trace}-{span}-{flags}"));
    let own = match tenant {
        "" => VENDOR.to_string(),
        tenant => format!("{tenant}@{VENDOR}"),
    };
    let mut states = vec![format!("{own}={span}")];
    // A state without its parent means nothing.
    if goes_on {
        let others = headers
            .get_all(TRACESTATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|entry| {
                entry
                    .split_once('=')
                    .is_some_and(|(key, _)| !key.is_empty() && key != own)
            });
        states.extend(others.take(MOST_STATES - 1).map(str::to_string));
    }
    put(headers, TRACESTATE, &states.join(","));
}

/// Trace id and flags of a `traceparent` that can be gone on with.
fn parent(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.splitn(5, '-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (span, flags) = (parts.next()?, parts.next()?);
    let rest = parts.next();
    let hex = |text: &str, length: usize| {
        text.len() == length
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let nothing = |text: &str| text.bytes().all(|b| b == b'0');
    let fine = hex(version, 2)
        && version != "ff"
        // Later versions may say more.
        && (version != "00" || rest.is_none())
        && hex(trace, 32)
        && !nothing(trace)
        && hex(span, 16)
        && !nothing(span)
        && hex(flags, 2);
    fine.then_some((trace, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: Ids = Ids {
        trace: 0x0123,
        span: 0x45,
    };

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn b3_is_begun_or_gone_on_with() {
        let mut headers = HeaderMap::new();
        add_b3(&mut headers, IDS);
        let (trace, span) = (format!("{:032x}", 0x0123), format!("{:016x}", 0x45));
        assert_eq!(headers["x-b3-traceid"], trace);
        assert_eq!(headers["x-b3-spanid"], span);
        assert_eq!(headers["b3"], format!("{trace}-{span}"));

        let with = |more: &[(&'static str, &'static str)]| {
            let mut headers = map(&[("x-b3-traceid", "aa"), ("x-b3-spanid", "bb")]);
            headers.extend(map(more));
            add_b3(&mut headers, IDS);
            headers["b3"].to_str().unwrap().to_string()
        };
        assert_eq!(with(&[]), "aa-bb");
        let sampled = ("x-b3-sampled", "1");
        assert_eq!(with(&[sampled]), "aa-bb-1");
        assert_eq!(with(&[sampled, ("x-b3-parentspanid", "cc")]), "aa-bb-1-cc");
        assert_eq!(with(&[("x-b3-flags", "1")]), "aa-bb-d");
        assert_eq!(with(&[("b3", "own")]), "own");
    }

    #[test]
    fn w3c_is_begun_or_gone_on_with() {
        let (trace, span) = (format!("{:032x}", 0x0123), format!("{:016x}", 0x45));
        let mut headers = map(&[("tracestate", "stale=1")]);
        add_w3c(&mut headers, IDS, "");
        assert_eq!(headers["traceparent"], format!("00-{trace}-{span}-01"));
        assert_eq!(headers["tracestate"], format!("gorouter={span}"));

        let known = "4bf92f3577b34da6a3ce929d0e0e4736";
        let mut headers = map(&[
            (
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            ),
            ("tracestate", "a=1, t@gorouter=old"),
            ("tracestate", "b=2,nonsense"),
        ]);
        add_w3c(&mut headers, IDS, "t");
        assert_eq!(headers["traceparent"], format!("00-{known}-{span}-00"));
        assert_eq!(headers["tracestate"], format!("t@gorouter={span},a=1,b=2"));
    }

    #[test]
    fn what_is_no_traceparent_begins_a_new_trace() {
        for bad in [
            "",
            "00-x-y-z",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(parent(bad), None, "{bad}");
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(parent(later).is_some());
    }
}
