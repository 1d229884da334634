//! The token endpoints: `uaa.` and `login.<domain>` (contract §1.2, §1.3).
//!
//! They speak OAuth 2 and SCIM as far as Cloud Foundry's clients do: tokens for a password or a
//! refresh token, and accounts. Errors have a shape of their own, `{error, error_description}`, and
//! clients act on the pair of status and `error`: the table is [`Fault`].

use super::extract::Caller;
use super::root::{Hosts, VERSION};
use super::{Api, ok};
use crate::ops::Refusal;
use crate::ops::list::ListQuery;
use crate::ops::ssh;
use crate::ops::tokens::{Denied, ORIGIN};
use crate::store::users::User;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use base64::Engine;
use http::{HeaderMap, StatusCode, header};
use proto::api::{LoginInfo, TokenError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/login", get(login))
        .route("/oauth/token", post(token))
        .route("/oauth/authorize", get(authorize))
        .route("/Users", get(list_users).post(create_user))
        .route("/Users/{guid}", delete(delete_user))
        .route("/Users/{guid}/password", put(change_password))
}

/// The only client: the command lines share its name, which is no secret.
const CLIENT: &str = "cf";

/// An error as the token endpoints tell it.
struct Fault {
    status: StatusCode,
    error: &'static str,
    description: String,
}

fn fault<T>(
    status: StatusCode,
    error: &'static str,
    description: impl Into<String>,
) -> Result<T, Fault> {
    Err(Fault {
        status,
        error,
        description: description.into(),
    })
}

/// The parameters of a request.
fn queried<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Fault> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => fault(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            rejection.body_text(),
        ),
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        use StatusCode as S;
        let description = refusal.to_string();
        let (status, error) = match &refusal {
            Refusal::InvalidToken => (S::UNAUTHORIZED, "invalid_token"),
            Refusal::NotAuthenticated => (S::UNAUTHORIZED, "unauthorized"),
            Refusal::NotAuthorized => (S::FORBIDDEN, "insufficient_scope"),
            Refusal::NotFound(_) => (S::NOT_FOUND, "scim_resource_not_found"),
            Refusal::Conflict(_) => (S::CONFLICT, "scim_resource_already_exists"),
            Refusal::Unprocessable(_) | Refusal::AllUnprocessable(_) | Refusal::BadQuery(_) => {
                (S::BAD_REQUEST, "invalid_scim_resource")
            }
            _ => {
                // Told and logged as everywhere; only the shape differs.
                let response = refusal.into_response();
                let status = response.status();
                let description = status.canonical_reason().unwrap_or("error").to_string();
                let error = if status.is_server_error() {
                    "server_error"
                } else {
                    "invalid_request"
                };
                return Fault {
                    status,
                    error,
                    description,
                };
            }
        };
        Fault {
            status,
            error,
            description,
        }
    }
}

impl From<Denied> for Fault {
    fn from(denied: Denied) -> Fault {
        match denied {
            Denied::BadCredentials => Fault {
                status: StatusCode::UNAUTHORIZED,
                error: "unauthorized",
                description: denied.to_string(),
            },
            Denied::InvalidGrant(why) => Fault {
                status: StatusCode::UNAUTHORIZED,
                error: "invalid_token",
                description: why.to_string(),
            },
            Denied::Refused(refusal) => refusal.into(),
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let document = TokenError {
            error: self.error.to_string(),
            error_description: self.description,
        };
        (
            self.status,
            [(header::CACHE_CONTROL, "no-store")],
            axum::Json(document),
        )
            .into_response()
    }
}

async fn login(State(api): State<Api>) -> Response {
    let hosts = Hosts::of(&api);
    let prompt = |kind: &str, caption: &str| vec![kind.to_string(), caption.to_string()];
    ok(LoginInfo {
        app: BTreeMap::from([("version".to_string(), VERSION.to_string())]),
        links: BTreeMap::from([
            ("uaa".to_string(), hosts.url("uaa")),
            ("login".to_string(), hosts.url("login")),
        ]),
        prompts: BTreeMap::from([
            ("username".to_string(), prompt("text", "Username")),
            ("password".to_string(), prompt("password", "Password")),
        ]),
    })
}

#[derive(Deserialize)]
struct Grant {
    grant_type: String,
    username: Option<String>,
    password: Option<String>,
    passcode: Option<String>,
    refresh_token: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// The client that asks: by `Authorization: Basic`, or named in the form.
fn check_client(headers: &HeaderMap, grant: &Grant) -> Result<(), Fault> {
    let given = headers.get(header::AUTHORIZATION).map(|value| {
        let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
        let basic = scheme
            .eq_ignore_ascii_case("basic")
            .then_some(encoded.trim())?;
        let text = String::from_utf8(
            base64::engine::general_purpose::STANDARD
                .decode(basic)
                .ok()?,
        )
        .ok()?;
        let (name, secret) = text.split_once(':')?;
        Some((name.to_string(), secret.to_string()))
    });
    let (name, secret) = match given {
        Some(Some(basic)) => basic,
        Some(None) => {
            return fault(
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "The Authorization header is not 'Basic name:secret'",
            );
        }
        None => match &grant.client_id {
            Some(name) => (
                name.clone(),
                grant.client_secret.clone().unwrap_or_default(),
            ),
            None => {
                return fault(
                    StatusCode::UNAUTHORIZED,
                    "invalid_client",
                    format!("A client must be named: '{CLIENT}' with an empty secret"),
                );
            }
        },
    };
    if name == CLIENT && secret.is_empty() {
        return Ok(());
    }
    fault(
        StatusCode::UNAUTHORIZED,
        "invalid_client",
        format!("There is no client '{name}' with this secret: '{CLIENT}' has an empty one"),
    )
}

async fn token(
    State(api): State<Api>,
    headers: HeaderMap,
    uri: http::Uri,
    form: Result<Form<Grant>, FormRejection>,
) -> Result<Response, Fault> {
    let Form(grant) = match form {
        Ok(form) => form,
        Err(rejection) => {
            return fault(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                rejection.body_text(),
            );
        }
    };
    let missing = |name: &str| Fault {
        status: StatusCode::BAD_REQUEST,
        error: "invalid_request",
        description: format!("Missing parameter: {name}"),
    };
    let response = match grant.grant_type.as_str() {
        "password" => {
            check_client(&headers, &grant)?;
            check_hint(uri.query().unwrap_or_default())?;
            if grant.passcode.is_some() {
                return fault(
                    StatusCode::BAD_REQUEST,
                    "invalid_grant",
                    "One-time passcodes are not supported: log in with name and password",
                );
            }
            let username = grant.username.ok_or_else(|| missing("username"))?;
            let password = grant.password.ok_or_else(|| missing("password"))?;
            api.ops.password_grant(CLIENT, &username, &password).await?
        }
        "refresh_token" => {
            check_client(&headers, &grant)?;
            let token = grant
                .refresh_token
                .ok_or_else(|| missing("refresh_token"))?;
            api.ops.refresh_grant(CLIENT, &token).await?
        }
        "client_credentials" => {
            return fault(
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "Clients have no accounts of their own here: log in as a user (grant_type=password)",
            );
        }
        other => {
            return fault(
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                format!(
                    "The grant type '{other}' is not supported; supported: password, refresh_token"
                ),
            );
        }
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(response)).into_response())
}

#[derive(Deserialize)]
struct Authorization {
    response_type: String,
    client_id: String,
    /// Sent by Cloud Foundry's client; says the same as the response type.
    grant_type: Option<String>,
}

/// A code for one login of the SSH proxy, in the address that is redirected to. Nobody follows it: the client
/// takes the code out.
async fn authorize(
    State(api): State<Api>,
    caller: Result<Caller, Refusal>,
    query: Result<Query<Authorization>, QueryRejection>,
) -> Result<Response, Fault> {
    let Caller(actor) = caller?;
    let asked = queried(query)?;
    if asked.client_id != ssh::CLIENT {
        return fault(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            format!("Codes are given for the client '{}' only", ssh::CLIENT),
        );
    }
    let other_grant = asked
        .grant_type
        .as_deref()
        .is_some_and(|kind| kind != "authorization_code");
    if asked.response_type != "code" || other_grant {
        return fault(
            StatusCode::BAD_REQUEST,
            "unsupported_response_type",
            "A code is all that is given here: response_type=code",
        );
    }
    let code = api.ops.authorization_code(&actor).await?;
    let location = format!("{}?code={code}", Hosts::of(&api).url("login"));
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, "no-store".to_string()),
    ];
    Ok((StatusCode::FOUND, headers).into_response())
}

/// `login_hint={"origin":"x"}` chooses an identity provider; there is one.
fn check_hint(query: &str) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Query {
        login_hint: Option<String>,
    }
    #[derive(Deserialize)]
    struct Hint {
        origin: Option<String>,
    }
    let uri: Result<http::Uri, _> = format!("/?{query}").parse();
    let Some(text) = uri
        .ok()
        .and_then(|uri| axum::extract::Query::<Query>::try_from_uri(&uri).ok())
        .and_then(|axum::extract::Query(query)| query.login_hint)
    else {
        return Ok(());
    };
    let origin = serde_json::from_str::<Hint>(&text)
        .ok()
        .and_then(|hint| hint.origin);
    match origin {
        Some(origin) if origin != ORIGIN => fault(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            format!("There is no identity provider '{origin}'; there is '{ORIGIN}'"),
        ),
        _ => Ok(()),
    }
}

fn present(user: User) -> Value {
    json!({
        "id": user.guid,
        "userName": user.username,
        "origin": user.origin,
        "active": true,
        "verified": true,
        "name": {"familyName": user.username, "givenName": user.username},
        "emails": [{"value": user.username, "primary": true}],
        "schemas": ["urn:scim:schemas:core:1.0"],
    })
}

/// Reads `name eq "value"` parts joined by `and`: what clients send.
fn filter(text: &str) -> Option<Vec<(String, String)>> {
    let mut rest = text.trim();
    let mut parts = Vec::new();
    loop {
        let (name, after) = rest.split_once(' ')?;
        let (operator, after) = after.trim_start().split_once(' ')?;
        if !operator.eq_ignore_ascii_case("eq") {
            return None;
        }
        let quoted = after.trim_start();
        let quote = quoted
            .chars()
            .next()
            .filter(|quote| ['"', '\''].contains(quote))?;
        let (value, after) = quoted[1..].split_once(quote)?;
        parts.push((name.to_string(), value.to_string()));
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(parts);
        }
        rest = rest
            .get(..4)
            .filter(|and| and.eq_ignore_ascii_case("and "))
            .map(|_| rest[4..].trim_start())?;
    }
}

/// Parameters of SCIM, not of our lists: the value is taken as it is, commas too.
async fn list_users(
    State(api): State<Api>,
    caller: Result<Caller, Refusal>,
    query: Result<Query<BTreeMap<String, String>>, QueryRejection>,
) -> Result<Response, Fault> {
    let Caller(actor) = caller?;
    let query = queried(query)?;
    let mut listed = ListQuery::all();
    if let Some(text) = query.get("filter") {
        let Some(parts) = filter(text) else {
            return fault(
                StatusCode::BAD_REQUEST,
                "scim",
                format!(
                    "Invalid filter expression: [{text}]; supported: userName, id and origin with eq and \"…\", joined by and"
                ),
            );
        };
        for (name, value) in parts {
            let parameter = match name.to_ascii_lowercase().as_str() {
                "username" => "usernames",
                "id" => "guids",
                "origin" => "origins",
                _ => {
                    return fault(
                        StatusCode::BAD_REQUEST,
                        "scim",
                        format!("Invalid filter expression: '{name}' is not known"),
                    );
                }
            };
            listed = listed.with(parameter, &[&value]);
        }
    }
    let listing = api.ops.list_users(&actor, &listed).await?;
    let resources: Vec<Value> = listing.rows.into_iter().map(present).collect();
    Ok(ok(json!({
        "startIndex": 1,
        "itemsPerPage": resources.len(),
        "totalResults": listing.total,
        "resources": resources,
        "schemas": ["urn:scim:schemas:core:1.0"],
    })))
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Fault> {
    serde_json::from_slice(body).or_else(|error| {
        fault(
            StatusCode::BAD_REQUEST,
            "invalid_scim_resource",
            error.to_string(),
        )
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    #[serde(rename = "userName")]
    username: String,
    password: Option<String>,
    origin: Option<String>,
    /// SCIM wants names and addresses; an account here is its user name.
    #[serde(rename = "name", default)]
    _name: Value,
    #[serde(rename = "emails", default)]
    _emails: Value,
    #[serde(rename = "schemas", default)]
    _schemas: Value,
}

async fn create_user(
    State(api): State<Api>,
    caller: Result<Caller, Refusal>,
    body: Bytes,
) -> Result<Response, Fault> {
    let Caller(actor) = caller?;
    let new: NewUser = read(&body)?;
    let Some(password) = new.password else {
        return fault(
            StatusCode::BAD_REQUEST,
            "invalid_scim_resource",
            "A password is needed",
        );
    };
    let origin = new
        .origin
        .as_deref()
        .filter(|origin| !origin.is_empty())
        .unwrap_or(ORIGIN);
    let user = api
        .ops
        .create_account(&actor, &new.username, &password, origin)
        .await?;
    Ok((StatusCode::CREATED, axum::Json(present(user))).into_response())
}

/// Clients delete a user of the platform and then the account: here that is one row, and the second
/// deletion finds what it wants.
async fn delete_user(
    State(api): State<Api>,
    caller: Result<Caller, Refusal>,
    Path(guid): Path<String>,
) -> Result<Response, Fault> {
    let Caller(actor) = caller?;
    match api.ops.delete_user(&actor, &guid).await {
        Ok(()) => {}
        Err(Refusal::NotFound(_)) if actor.is_admin => {}
        Err(refusal) => return Err(refusal.into()),
    }
    Ok(ok(json!({"id": guid})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    #[serde(rename = "oldPassword")]
    old: Option<String>,
    #[serde(rename = "password")]
    new: String,
    #[serde(rename = "schemas", default)]
    _schemas: Value,
}

async fn change_password(
    State(api): State<Api>,
    caller: Result<Caller, Refusal>,
    Path(guid): Path<String>,
    body: Bytes,
) -> Result<Response, Fault> {
    let Caller(actor) = caller?;
    let change: PasswordChange = read(&body)?;
    match api
        .ops
        .change_password(&actor, &guid, change.old.as_deref(), &change.new)
        .await
    {
        Ok(()) => Ok(ok(json!({"status": "ok", "message": "password updated"}))),
        Err(Refusal::Unprocessable(why)) => {
            fault(StatusCode::UNPROCESSABLE_ENTITY, "invalid_password", why)
        }
        Err(refusal) => Err(refusal.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_as_clients_write_it() {
        let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
        assert_eq!(
            filter("userName eq \"dora\" and origin eq \"uaa\""),
            Some(vec![pair("userName", "dora"), pair("origin", "uaa")])
        );
        assert_eq!(
            filter("userName Eq \"a and b\""),
            Some(vec![pair("userName", "a and b")])
        );
        for text in [
            "",
            "userName",
            "userName co \"x\"",
            "userName eq x",
            "userName eq \"x",
            "userName eq \"x\" or a eq \"b\"",
            "a eq é",
        ] {
            assert_eq!(filter(text), None, "{text}");
        }
    }

    #[test]
    fn another_identity_provider_is_refused() {
        assert!(check_hint("").is_ok());
        assert!(check_hint("login_hint=%7B%22origin%22%3A%22uaa%22%7D").is_ok());
        assert!(check_hint("login_hint=%7B%22origin%22%3A%22ldap%22%7D").is_err());
    }
}
