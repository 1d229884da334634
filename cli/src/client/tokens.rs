//! Finding a cluster, logging in, renewing a token.
//!
//! A refresh token is spent by its first use. Renewal therefore happens under the lock of the
//! login file, and looks first whether another `yard` renewed meanwhile.

use super::{ANSWER_WITHIN, Client, Tokens, transport};
use crate::failure::{Code, Failure, Outcome};
use crate::targets::Target;
use proto::api::{Root, TokenResponse};
use std::time::Duration;

/// Asks an API where everything is. `patience` is how long it may be unreachable.
pub async fn discover(api: &str, connect: Option<&str>, patience: Duration) -> Outcome<Target> {
    let http = transport::http(api, connect)?;
    let started = tokio::time::Instant::now();
    let failure = loop {
        let failure = match http
            .get(format!("{api}/"))
            .header("accept", "application/json")
            .timeout(Duration::from_secs(10))
            .send()
            .await
        {
            Ok(response) if response.status().is_success() => {
                let reply = transport::read(response, api).await?;
                let root: Root = reply.json("/").map_err(|failure| {
                    failure.doing(format!("{api} is not the API of a cluster"))
                })?;
                return target_of(api, connect, &root);
            }
            Ok(response) => {
                let fault = transport::fault_of(response).await;
                let passing = fault.passing();
                let failure = fault.failure();
                if !passing {
                    return Err(Failure::new(
                        Code::Unreachable,
                        format!("{api} is not the API of a cluster: {}", failure.what),
                    ));
                }
                failure
            }
            Err(error) => transport::unreachable(api, error),
        };
        if started.elapsed() >= patience {
            break failure;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    Err(failure)
}

fn target_of(api: &str, connect: Option<&str>, root: &Root) -> Outcome<Target> {
    let login = root.href("login").or_else(|| root.href("uaa"));
    let login = login.ok_or_else(|| {
        Failure::new(
            Code::Unreachable,
            format!("{api} does not say where to log in: is it the API of a cluster?"),
        )
    })?;
    Ok(Target {
        api: api.to_string(),
        connect: connect.map(str::to_string),
        login: login.trim_end_matches('/').to_string(),
        log_cache: root
            .href("log_cache")
            .unwrap_or_default()
            .trim_end_matches('/')
            .to_string(),
        ..Target::default()
    })
}

/// Exchanges name and password for tokens.
pub async fn log_in(target: &Target, user: &str, password: &str) -> Outcome<TokenResponse> {
    let form = [
        ("grant_type", "password"),
        ("username", user),
        ("password", password),
    ];
    token_request(target, &form)
        .await
        .map_err(|failure| match failure.code {
            Code::NotAllowed => Failure::new(
                Code::NotAllowed,
                format!("wrong password for {user}, or no such user"),
            )
            .because(failure),
            _ => failure.doing(format!("log in as {user}")),
        })
}

/// Makes a stored refresh token worthless. The token server has no request to revoke one, but a
/// token is spent by its use: so it is used, and what comes in exchange is thrown away unread by
/// anybody. A cluster that does not answer does not keep anyone from logging out.
pub async fn spend(target: &Target) {
    if let Some(refresh) = &target.refresh_token {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.as_str()),
        ];
        let spent = token_request(target, &form);
        let _ = tokio::time::timeout(Duration::from_secs(2), spent).await;
    }
}

async fn token_request(target: &Target, form: &[(&str, &str)]) -> Outcome<TokenResponse> {
    let http = transport::http(&target.api, target.connect.as_deref())?;
    let url = format!("{}/oauth/token", target.login);
    let response = http
        .post(&url)
        .basic_auth("cf", Some(""))
        .header("accept", "application/json")
        .form(form)
        .timeout(ANSWER_WITHIN)
        .send()
        .await
        .map_err(|error| transport::unreachable(&target.login, error))?;
    if !response.status().is_success() {
        let fault = transport::fault_of(response).await;
        // Servers answer a wrong password with 400 or 401.
        if fault.status == 400 || fault.status == 401 {
            return Err(Failure::new(Code::NotAllowed, fault.detail));
        }
        return Err(fault.failure());
    }
    transport::read(response, &target.login)
        .await?
        .json("/oauth/token")
}

impl Client {
    /// Gets a new access token in place of `used`. False: there is nothing to renew with.
    pub(super) async fn renew(&self, used: Option<&str>) -> Outcome<bool> {
        let _lock = self.store.lock()?;
        let mut targets = self.store.read()?;
        let Some(stored) = targets.targets.get_mut(&self.target.api) else {
            return Ok(false);
        };
        if stored.access_token.is_some() && stored.access_token.as_deref() != used {
            self.adopt(Tokens {
                access: stored.access_token.clone(),
                refresh: stored.refresh_token.clone(),
            });
            return Ok(true);
        }
        let refresh = {
            let tokens = self
                .tokens
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            stored
                .refresh_token
                .clone()
                .or_else(|| tokens.refresh.clone())
        };
        let Some(refresh) = refresh else {
            return Ok(false);
        };
        let fresh = match token_request(
            &self.target,
            &[("grant_type", "refresh_token"), ("refresh_token", &refresh)],
        )
        .await
        {
            Ok(fresh) => fresh,
            Err(failure) if failure.code == Code::NotAllowed => {
                return Err(Failure::new(Code::NotAllowed, "your login ran out")
                    .because(failure)
                    .fix("`yard login`"));
            }
            Err(failure) => return Err(failure.doing("renew the login")),
        };
        let tokens = Tokens {
            access: Some(fresh.access_token),
            refresh: fresh.refresh_token.or(Some(refresh)),
        };
        stored.access_token.clone_from(&tokens.access);
        stored.refresh_token.clone_from(&tokens.refresh);
        self.store.write(&targets)?;
        self.adopt(tokens);
        Ok(true)
    }

    fn adopt(&self, tokens: Tokens) {
        *self
            .tokens
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = tokens;
    }
}
