//! The operator's page for the router's own answers (contract §3 row 13): a file, read again within a second
//! of a change. Clients that do not ask for HTML get plain text as ever.

use super::bodies::ResponseBody;
use super::certificates::keep_looking;
use crate::domain::policy::Policy;
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use daemon::Shutdown;
use http::Response;
use http::header::{self, HeaderMap, HeaderValue};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// More is no page.
const LARGEST: u64 = 1 << 20;

/// Which file was read, and when it was written.
type Mark = (String, Option<SystemTime>, u64);

pub struct ErrorPage {
    policy: Arc<ArcSwap<Policy>>,
    template: ArcSwapOption<String>,
    mark: Mutex<Option<Mark>>,
}

impl ErrorPage {
    pub fn new(policy: Arc<ArcSwap<Policy>>) -> Arc<ErrorPage> {
        let page = Arc::new(ErrorPage {
            policy,
            template: ArcSwapOption::empty(),
            mark: Mutex::default(),
        });
        page.look();
        page
    }

    /// Keeps looking until the daemon ends.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) -> anyhow::Result<()> {
        keep_looking(self, ErrorPage::look, shutdown).await
    }

    /// Reads the file again if it, or the setting, changed. One that cannot be read leaves what was read before.
    pub fn look(&self) {
        let policy = self.policy.load();
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = policy.error_page.as_deref() else {
            if mark.take().is_some() {
                self.template.store(None);
            }
            return;
        };
        let seen = match std::fs::metadata(path) {
            Ok(metadata) => (path.to_string(), metadata.modified().ok(), metadata.len()),
            Err(_) => (path.to_string(), None, 0),
        };
        if mark.as_ref() == Some(&seen) {
            return;
        }
        match std::fs::read_to_string(path) {
            Ok(text) if seen.2 <= LARGEST => self.template.store(Some(Arc::new(text))),
            Ok(_) => tracing::warn!(path, "the page for errors is larger than a mebibyte"),
            Err(error) => tracing::warn!(path, %error, "the page for errors cannot be read"),
        }
        *mark = Some(seen);
    }

    /// The page for this request, if there is one and it may be wanted.
    pub fn of(&self, headers: &HeaderMap) -> Option<Arc<String>> {
        let template = self.template.load();
        let template = template.as_ref()?;
        let html = headers
            .get_all(header::ACCEPT)
            .iter()
            .any(|value| memchr::memmem::find(value.as_bytes(), b"text/html").is_some());
        html.then(|| template.clone())
    }
}

/// Makes a page of an answer of the router's own; others stay as they are.
pub fn dress(response: &mut Response<ResponseBody>, template: &str) {
    let status = response.status();
    let ResponseBody::Own {
        text: Some(text), ..
    } = response.body_mut()
    else {
        return;
    };
    let plain = String::from_utf8_lossy(text);
    // `<status> <reason>: <message>`
    let Some((line, message)) = plain.trim_end().split_once(": ") else {
        return;
    };
    let reason = line.split_once(' ').map_or("", |(_, reason)| reason);
    *text = Bytes::from(fill(template, status.as_str(), reason, message));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
}

fn fill(template: &str, status: &str, reason: &str, message: &str) -> String {
    let mut page = String::with_capacity(template.len() + message.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let Some((name, after)) = after.split_once("}}") else {
            page.push_str("{{");
            rest = after;
            continue;
        };
        match name.trim() {
            ".Status" => escape(&mut page, status),
            ".StatusText" => escape(&mut page, reason),
            ".Message" => escape(&mut page, message),
            _ => {
                page.push_str("{{");
                page.push_str(name);
                page.push_str("}}");
            }
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

/// Messages repeat what a client sent.
fn escape(page: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            c => page.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_filled_in_and_nothing_in_it_can_be_forged() {
        let filled = fill(
            "<h1>{{ .Status }} {{.StatusText}}</h1>{{ .Message }}{{ .Other }}{{",
            "404",
            "Not Found",
            "no <script>'&\"",
        );
        assert_eq!(
            filled,
            "<h1>404 Not Found</h1>no &lt;script&gt;&#39;&amp;&quot;{{ .Other }}{{"
        );
    }
}
