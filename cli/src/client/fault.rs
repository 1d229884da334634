//! What an answer that is no success means to the user.

use crate::failure::{Code, Failure};
use proto::api::{ErrorDocument, TokenError};
use serde::Deserialize;

/// How the automation API tells an error.
#[derive(Debug, Deserialize)]
struct AutomationError {
    faultstring: String,
}

/// An error answer, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub status: u16,
    pub title: String,
    pub detail: String,
    /// The router answered, not the API.
    pub router_error: Option<String>,
}

impl Fault {
    pub(super) fn read(status: u16, router_error: Option<String>, body: &[u8]) -> Fault {
        if let Ok(document) = serde_json::from_slice::<ErrorDocument>(body)
            && let Some(first) = document.errors.first()
        {
            let detail = document
                .errors
                .iter()
                .map(|error| error.detail.as_str())
                .collect::<Vec<_>>()
                .join("\n");
            return Fault {
                status,
                title: first.title.clone(),
                detail,
                router_error,
            };
        }
        if let Ok(document) = serde_json::from_slice::<TokenError>(body) {
            let detail = if document.error_description.is_empty() {
                document.error.clone()
            } else {
                document.error_description
            };
            return Fault {
                status,
                title: document.error,
                detail,
                router_error,
            };
        }
        if let Ok(document) = serde_json::from_slice::<AutomationError>(body) {
            return Fault {
                status,
                title: String::new(),
                detail: document.faultstring,
                router_error,
            };
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(300)]);
        let detail = match text.lines().next().map(str::trim) {
            Some(line) if !line.is_empty() => format!("status {status}: {line}"),
            _ => format!("status {status}"),
        };
        Fault {
            status,
            title: String::new(),
            detail,
            router_error,
        }
    }

    /// The access token ran out: worth one renewal. The API says so in a title, the log server has
    /// no titles; a login that was never there has no token to renew and stays an error.
    pub(super) fn token_refused(&self) -> bool {
        self.status == 401
    }

    /// Nobody saw the request, or nobody could serve it just now.
    pub(super) fn passing(&self) -> bool {
        matches!(self.status, 502..=504) || (self.status == 404 && self.router_error.is_some())
    }

    /// The router found nobody to give the request to: it had no effect. One that it did give to an API which
    /// then broke may have had.
    pub(super) fn unseen(&self) -> bool {
        let nobody = ["unknown_route", "no_endpoints", "Connection Limit Reached"];
        self.router_error
            .as_deref()
            .is_some_and(|code| nobody.contains(&code))
    }

    pub(super) fn failure(self) -> Failure {
        if self.router_error.is_some() && self.status == 404 {
            return Failure::new(
                Code::Unreachable,
                "the cluster's router answers, but its API is not there",
            )
            .fix("`yard status` shows what is missing, `sudo yard up` starts it");
        }
        match self.status {
            401 if self.title == "CF-NotAuthenticated" => {
                Failure::new(Code::NotAllowed, "not logged in").fix("`yard login`")
            }
            401 => Failure::new(Code::NotAllowed, format!("not logged in: {}", self.detail))
                .fix("`yard login`"),
            403 => Failure::new(Code::NotAllowed, self.detail),
            404 => Failure::new(Code::NotFound, self.detail),
            502..=504 => Failure::new(
                Code::Unreachable,
                format!("the cluster cannot answer just now ({})", self.detail),
            )
            .fix("try again, or look at `yard status`"),
            _ => Failure::failed(self.detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_exit_codes() {
        let error = |status: u16, title: &str| {
            let body =
                format!(r#"{{"errors":[{{"code":1,"title":"{title}","detail":"because"}}]}}"#);
            Fault::read(status, None, body.as_bytes())
        };
        for (status, code) in [
            (401, Code::NotAllowed),
            (403, Code::NotAllowed),
            (404, Code::NotFound),
            (422, Code::Failed),
            (500, Code::Failed),
            (503, Code::Unreachable),
        ] {
            assert_eq!(error(status, "CF-X").failure().code, code, "{status}");
        }
        assert!(error(401, "CF-InvalidAuthToken").token_refused());
        assert!(!error(403, "CF-NotAuthorized").token_refused());
        assert_eq!(error(422, "CF-X").failure().what, "because");
    }

    #[test]
    fn the_routers_own_404_is_no_missing_resource() {
        let fault = Fault::read(
            404,
            Some("unknown_route".into()),
            b"404 Not Found: no such route",
        );
        assert!(fault.passing() && fault.unseen());
        assert_eq!(fault.failure().code, Code::Unreachable);
    }

    #[test]
    fn what_broke_behind_the_router_may_have_been_seen() {
        let code = "endpoint_failure (connection reset)";
        let fault = Fault::read(502, Some(code.into()), b"502 Bad Gateway");
        assert!(fault.passing() && !fault.unseen());
    }

    #[test]
    fn an_error_of_automation_tells_its_text() {
        let fault = Fault::read(404, None, br#"{"faultstring":"no such rule"}"#);
        assert_eq!(fault.detail, "no such rule");
        assert_eq!(fault.failure().code, Code::NotFound);
    }

    #[test]
    fn a_token_error_tells_its_description() {
        let fault = Fault::read(
            401,
            None,
            br#"{"error":"unauthorized","error_description":"Bad credentials"}"#,
        );
        assert_eq!(fault.detail, "Bad credentials");
    }
}
