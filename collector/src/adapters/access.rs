//! Who may read an app's log: the controller says, asked with the reader's own token.
//!
//! Answers are kept for a short time, so that a client that polls four times a second does not turn
//! every poll into two requests, and a right that was taken away still ends soon.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use proto::ids::AppGuid;

const GRANTED_FOR: Duration = Duration::from_secs(30);
/// Short: somebody may just have been given the right.
const DENIED_FOR: Duration = Duration::from_secs(2);
const CONTROLLER_ANSWER: Duration = Duration::from_secs(5);
const MOST: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Granted,
    /// The token is missing, wrong or expired.
    NoLogin,
    /// There is no such app for this reader.
    NotFound,
}

/// The controller could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error("the controller could not be asked who may read")]
    Away(#[source] reqwest::Error),
    #[error("the controller answered {0} to the question who may read")]
    Odd(u16),
}

pub(crate) struct Access {
    client: reqwest::Client,
    base: String,
    known: Mutex<HashMap<(String, String), (Verdict, Instant)>>,
}

impl Access {
    pub fn new(controller_url: &str) -> anyhow::Result<Access> {
        let client = reqwest::Client::builder()
            .timeout(CONTROLLER_ANSWER)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Access {
            client,
            base: controller_url.trim_end_matches('/').to_string(),
            known: Mutex::default(),
        })
    }

    /// `authorization` is the reader's header as it came.
    pub async fn check(
        &self,
        authorization: Option<&str>,
        app: &str,
    ) -> Result<Verdict, AccessError> {
        let Some(authorization) = authorization
            .filter(|value| value.len() > 7 && value[..7].eq_ignore_ascii_case("bearer "))
        else {
            return Ok(Verdict::NoLogin);
        };
        // What is no id names no app, and must not become part of an URL.
        if AppGuid::new(app).is_err() {
            return Ok(Verdict::NotFound);
        }
        let key = (authorization.to_string(), app.to_string());
        if let Some(verdict) = self.remembered(&key) {
            return Ok(verdict);
        }
        let url = format!("{}/internal/log_access/{app}", self.base);
        let answer = self
            .client
            .get(url)
            .header("authorization", authorization)
            .send()
            .await
            .map_err(AccessError::Away)?;
        let verdict = match answer.status().as_u16() {
            200 | 204 => Verdict::Granted,
            401 => Verdict::NoLogin,
            403 | 404 => Verdict::NotFound,
            other => return Err(AccessError::Odd(other)),
        };
        self.remember(key, verdict);
        Ok(verdict)
    }

    fn remembered(&self, key: &(String, String)) -> Option<Verdict> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(key)
            .filter(|(_, until)| *until > Instant::now())
            .map(|(verdict, _)| *verdict)
    }

    fn remember(&self, key: (String, String), verdict: Verdict) {
        let now = Instant::now();
        let until = now
            + if verdict == Verdict::Granted {
                GRANTED_FOR
            } else {
                DENIED_FOR
            };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, (_, until)| *until > now);
        }
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, (verdict, until));
    }
}
