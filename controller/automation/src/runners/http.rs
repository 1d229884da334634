//! The HTTP runner: the request as a value, and what a response means.
//!
//! What a newcomer gets wrong: the lists of hosts must be asked again for every redirect
//! ([`HttpRequest::allows`]), or a permitted host sends the request on to a forbidden one.

use super::command_line::Sensitive;
use super::conclude::Conclusion;
use crate::execution::Status;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;
use url::Url;

/// A request to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRequest {
    /// `GET` and the like.
    pub method: String,
    /// With the query.
    pub url: Url,
    /// By name. May hold credentials.
    pub headers: BTreeMap<String, Sensitive>,
    /// What is sent.
    pub body: Body,
    /// User and password of basic authentication.
    pub basic: Option<(String, Sensitive)>,
    /// Milliseconds for the whole request.
    pub timeout: i64,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// Whether the server's certificate is checked.
    pub verify_certificate: bool,
    /// The proxy for http URLs.
    pub http_proxy: Option<String>,
    /// The proxy for https URLs.
    pub https_proxy: Option<String>,
    hosts: Hosts,
}

/// What a request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// This text.
    Text(String),
    /// A file, as a form.
    File {
        /// Its name, which is the field's name too.
        name: String,
        /// Its content.
        content: String,
        /// Its type.
        content_type: Option<String>,
    },
}

/// Where requests may go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    AllBut(BTreeSet<String>),
    Only(BTreeSet<String>),
}

/// Why no request is sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HttpError {
    /// No URL, or none for HTTP.
    #[error("the URL \"{url}\" cannot be requested: {problem}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// A parameter has the wrong type.
    #[error("the parameter \"{name}\" must be {expected}")]
    Parameter {
        /// Which.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// No header can be called that, or say that.
    #[error("\"{0}\" is not a header that can be sent")]
    Header(String),
    /// The content type says JSON, the body does not.
    #[error("Request body ({0}) can't be parsed as JSON")]
    Json(String),
    /// Both lists were given.
    #[error(
        "\"url_hosts_blacklist\" and \"url_hosts_whitelist\" parameters are mutually exclusive. Only one should be provided."
    )]
    BothLists,
    /// A list forbids it.
    #[error("URL \"{0}\" is blacklisted")]
    Blacklisted(String),
    /// A list does not permit it.
    #[error("URL \"{0}\" is not whitelisted")]
    NotWhitelisted(String),
    /// A request carries one thing.
    #[error("a request carries either a body or a file, not both")]
    BodyAndFile,
}

/// The request of an action.
///
/// `runner` are the parameters of the runner, `parameters` the action's own; `version` is what the
/// request says it was sent by.
pub fn http_request(
    action: &str,
    version: &str,
    runner: &Map<String, Value>,
    parameters: &Map<String, Value>,
) -> Result<HttpRequest, HttpError> {
    let given = text(runner, "url")?.unwrap_or_default();
    let mut url = Url::parse(given).map_err(|error| HttpError::Url {
        url: given.to_owned(),
        problem: error.to_string(),
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(HttpError::Url {
            url: given.to_owned(),
            problem: format!("the scheme \"{}\" is not http or https", url.scheme()),
        });
    }
    let params = object(parameters, "params")?;
    if params.is_some_and(|params| !params.is_empty()) {
        let mut query = url.query_pairs_mut();
        for (name, value) in params.into_iter().flatten() {
            for value in as_list(value) {
                query.append_pair(name, &printed(value));
            }
        }
    }

    let mut headers = Headers::default();
    for (name, value) in object(runner, "headers")?.into_iter().flatten() {
        headers.set(name, printed(value))?;
    }
    let cookies: Vec<String> = object(runner, "cookies")?
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", printed(value)))
        .collect();
    if !cookies.is_empty() {
        headers.set("Cookie", cookies.join("; "))?;
    }
    if let Some(auth) = text(parameters, "auth")? {
        let (name, value) = auth.split_once('=').ok_or(HttpError::Parameter {
            name: "auth",
            expected: "like x-auth-token=XYZ: a header's name and value",
        })?;
        headers.set(name.trim(), value.trim().to_owned())?;
    }
    headers.set("User-Agent", format!("st2/v{version}"))?;
    headers.set("X-Stanley-Action", action.to_owned())?;

    let body = body(parameters, &mut headers)?;
    let method = match text(parameters, "method")? {
        Some(method) if method.bytes().all(|byte| byte.is_ascii_alphabetic()) => method.to_owned(),
        Some(_) => {
            return Err(HttpError::Parameter {
                name: "method",
                expected: "a word like GET",
            });
        }
        None if body == Body::Empty => "GET".to_owned(),
        None => "POST".to_owned(),
    };
    let user = text(runner, "username")?;
    let password = text(runner, "password")?;
    let basic = (user.is_some() || password.is_some()).then(|| {
        let password = Sensitive::new(password.unwrap_or_default());
        (user.unwrap_or_default().to_owned(), password)
    });
    let request = HttpRequest {
        method,
        headers: headers.0.into_values().collect(),
        body,
        basic,
        timeout: timeout(parameters)?,
        follow_redirects: flag(runner, "allow_redirects", false)?,
        verify_certificate: flag(runner, "verify_ssl_cert", true)?,
        http_proxy: text(runner, "http_proxy")?.map(str::to_owned),
        https_proxy: text(runner, "https_proxy")?.map(str::to_owned),
        hosts: hosts(runner)?,
        url,
    };
    request.allows(&request.url)?;
    Ok(request)
}

impl HttpRequest {
    /// Whether the request may go to this URL; to be asked for each redirect.
    pub fn allows(&self, url: &Url) -> Result<(), HttpError> {
        let host = url
            .host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        match &self.hosts {
            Hosts::AllBut(hosts) if hosts.contains(&host) => {
                Err(HttpError::Blacklisted(url.to_string()))
            }
            Hosts::Only(hosts) if !hosts.contains(&host) => {
                Err(HttpError::NotWhitelisted(url.to_string()))
            }
            Hosts::All | Hosts::AllBut(_) | Hosts::Only(_) => Ok(()),
        }
    }
}

/// Headers by their name in lower case; the name is kept as first written.
#[derive(Default)]
struct Headers(BTreeMap<String, (String, Sensitive)>);

impl Headers {
    fn set(&mut self, name: &str, value: String) -> Result<(), HttpError> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let proper =
            !name.is_empty() && name.bytes().all(token) && !value.contains(['\r', '\n', '\0']);
        if !proper {
            return Err(HttpError::Header(name.to_owned()));
        }
        self.0.insert(
            name.to_ascii_lowercase(),
            (name.to_owned(), Sensitive::new(value)),
        );
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(_, value)| value.expose())
    }
}

/// The body: a file, a text, or anything else as JSON.
fn body(parameters: &Map<String, Value>, headers: &mut Headers) -> Result<Body, HttpError> {
    let file = match (
        text(parameters, "file_name")?,
        text(parameters, "file_content")?,
    ) {
        (Some(name), Some(content)) => Some(Body::File {
            name: name.to_owned(),
            content: content.to_owned(),
            content_type: text(parameters, "file_content_type")?.map(str::to_owned),
        }),
        (Some(_), None) | (None, Some(_)) | (None, None) => None,
    };
    let given = match parameters.get("body") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(body) => Some(body),
    };
    let as_json = headers
        .get("content-type")
        .and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    match (file, given) {
        (Some(_), Some(_)) => Err(HttpError::BodyAndFile),
        (Some(file), None) => Ok(file),
        (None, None) => Ok(Body::Empty),
        (None, Some(Value::String(text))) if as_json => serde_json::from_str::<Value>(text)
            .map(|value| Body::Text(value.to_string()))
            .map_err(|_| HttpError::Json(text.clone())),
        (None, Some(Value::String(text))) => Ok(Body::Text(text.clone())),
        (None, Some(value)) => {
            if headers.get("content-type").is_none() {
                headers.set("Content-Type", "application/json".to_owned())?;
            }
            Ok(Body::Text(value.to_string()))
        }
    }
}

fn hosts(runner: &Map<String, Value>) -> Result<Hosts, HttpError> {
    let deny = list(runner, "url_hosts_blacklist")?;
    let allow = list(runner, "url_hosts_whitelist")?;
    match (deny.is_empty(), allow.is_empty()) {
        (false, false) => Err(HttpError::BothLists),
        (false, true) => Ok(Hosts::AllBut(deny)),
        (true, false) => Ok(Hosts::Only(allow)),
        (true, true) => Ok(Hosts::All),
    }
}

fn list(
    parameters: &Map<String, Value>,
    name: &'static str,
) -> Result<BTreeSet<String>, HttpError> {
    let wrong = HttpError::Parameter {
        name,
        expected: "a list of hosts",
    };
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(BTreeSet::new()),
        Some(Value::Array(hosts)) => hosts
            .iter()
            .map(|host| {
                let host = host.as_str()?.trim_matches(['[', ']']);
                Some(host.to_ascii_lowercase())
            })
            .collect::<Option<_>>()
            .ok_or(wrong),
        Some(_) => Err(wrong),
    }
}

fn timeout(parameters: &Map<String, Value>) -> Result<i64, HttpError> {
    match parameters.get("timeout") {
        None | Some(Value::Null) => Ok(60_000),
        Some(value) => value
            .as_f64()
            .filter(|seconds| *seconds > 0.0 && *seconds <= 86_400.0)
            .map(|seconds| (seconds * 1000.0).ceil() as i64)
            .ok_or(HttpError::Parameter {
                name: "timeout",
                expected: "a number of seconds above 0, at most 86400",
            }),
    }
}

fn flag(
    parameters: &Map<String, Value>,
    name: &'static str,
    default: bool,
) -> Result<bool, HttpError> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(HttpError::Parameter {
            name,
            expected: "a boolean",
        }),
    }
}

/// A text that is given and not empty.
fn text<'a>(
    parameters: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, HttpError> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(HttpError::Parameter {
            name,
            expected: "a text",
        }),
    }
}

fn object<'a>(
    parameters: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a Map<String, Value>>, HttpError> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(HttpError::Parameter {
            name,
            expected: "an object",
        }),
    }
}

fn as_list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![value],
    }
}

fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpOutcome {
    /// The server answered.
    Response {
        /// The status.
        status: u16,
        /// By name, as received.
        headers: BTreeMap<String, String>,
        /// The body as text.
        body: String,
    },
    /// It took too long.
    TimedOut {
        /// In words.
        error: String,
    },
    /// No answer came.
    Failed {
        /// Why.
        error: String,
    },
}

impl HttpOutcome {
    pub(super) fn conclusion(self) -> Conclusion {
        match self {
            HttpOutcome::Response {
                status,
                headers,
                body,
            } => {
                let is_json = headers.iter().any(|(name, value)| {
                    name.eq_ignore_ascii_case("content-type")
                        && value.split(';').next().is_some_and(|kind| {
                            kind.trim().eq_ignore_ascii_case("application/json")
                        })
                });
                let parsed = if is_json {
                    serde_json::from_str::<Value>(&body).ok()
                } else {
                    None
                };
                // Redirects that are not followed count as failures, as upstream.
                let succeeded = (200..=206).contains(&status);
                Conclusion {
                    status: if succeeded {
                        Status::Succeeded
                    } else {
                        Status::Failed
                    },
                    result: json!({
                        "status_code": status,
                        "parsed": parsed.is_some(),
                        "body": parsed.unwrap_or(Value::from(body)),
                        "headers": headers,
                    }),
                }
            }
            HttpOutcome::TimedOut { error } => Conclusion {
                status: Status::Timeout,
                result: json!({"error": error}),
            },
            HttpOutcome::Failed { error } => Conclusion {
                status: Status::Failed,
                result: json!({"error": error}),
            },
        }
    }
}

#[cfg(test)]
mod tests;
