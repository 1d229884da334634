//! Sending: connections, repeats, the one renewal of the token.
//!
//! Repeated is what cannot have had an effect (the connection was refused, the router knew no
//! API) and, for methods that may be repeated, also what broke in the middle. A POST that broke in
//! the middle is not, unless its caller says that it means the same twice: the server may have done it.
//! Who sent it looks what became of it ([`Client::sent_once`]), or the user is told.

use super::fault::Fault;
use super::resolver::ClusterResolver;
use super::{ANSWER_WITHIN, Client, Reply, names};
use crate::failure::{Code, Failure, Outcome};
use reqwest::{Method, RequestBuilder, Response};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Waits between attempts: a restarted API or router is back within their sum.
const WAITS: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1500),
    Duration::from_millis(2500),
];

/// What a request means when it comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    /// What its method says.
    ByMethod,
    Same,
}

/// `127.0.0.1:8080` or `127.0.0.1`.
pub fn address_of(connect: &str) -> Option<IpAddr> {
    connect
        .parse::<SocketAddr>()
        .map(|address| address.ip())
        .or_else(|_| connect.parse::<IpAddr>())
        .ok()
}

pub(super) fn http(api: &str, connect: Option<&str>) -> Outcome<reqwest::Client> {
    http_with(api, connect, reqwest::redirect::Policy::limited(5))
}

/// One that reads redirections and follows none.
pub(super) fn http_staying(api: &str, connect: Option<&str>) -> Outcome<reqwest::Client> {
    http_with(api, connect, reqwest::redirect::Policy::none())
}

fn http_with(
    api: &str,
    connect: Option<&str>,
    redirections: reqwest::redirect::Policy,
) -> Outcome<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("yard/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(5))
        .redirect(redirections);
    if let (Some(address), Some(domain)) = (connect.and_then(address_of), names::domain_of_api(api))
    {
        // A proxy would not know this address.
        builder = builder
            .no_proxy()
            .dns_resolver(Arc::new(ClusterResolver { domain, address }));
    }
    builder
        .build()
        .map_err(|error| Failure::failed("prepare the connection").because(error))
}

impl Client {
    /// Sends a request as the logged-in user and reads the answer whole.
    pub(super) async fn call(
        &self,
        method: Method,
        url: &str,
        make: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Outcome<Reply> {
        self.call_again(method, url, Twice::ByMethod, make).await
    }

    pub(super) async fn call_again(
        &self,
        method: Method,
        url: &str,
        twice: Twice,
        make: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Outcome<Reply> {
        let response = self
            .exchange_again(method, url, twice, |request| {
                make(request).timeout(ANSWER_WITHIN)
            })
            .await?;
        read(response, &self.target.api).await
    }

    /// Sends a request and gives back a success; everything else is a failure.
    pub(super) async fn exchange(
        &self,
        method: Method,
        url: &str,
        make: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Outcome<Response> {
        self.exchange_again(method, url, Twice::ByMethod, make)
            .await
    }

    async fn exchange_again(
        &self,
        method: Method,
        url: &str,
        twice: Twice,
        make: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Outcome<Response> {
        let mut renewed = false;
        let mut waits = WAITS.iter();
        loop {
            let token = self.access_token();
            let mut request = self
                .http
                .request(method.clone(), url)
                .header("accept", "application/json");
            if let Some(token) = &token {
                request = request.header("authorization", format!("bearer {token}"));
            }
            let repeatable =
                twice == Twice::Same || (method != Method::POST && method != Method::PATCH);
            let failure = match make(request).send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let fault = fault_of(response).await;
                    if fault.token_refused() && !renewed && self.renew(token.as_deref()).await? {
                        renewed = true;
                        continue;
                    }
                    if !(fault.passing() && (repeatable || fault.unseen())) {
                        return Err(fault.failure());
                    }
                    fault.failure()
                }
                Err(error) => {
                    let again = error.is_connect()
                        || (repeatable && !error.is_timeout() && !error.is_builder());
                    let failure = unreachable(&self.target.api, error);
                    if !again {
                        return Err(failure);
                    }
                    failure
                }
            };
            match waits.next() {
                Some(wait) => tokio::time::sleep(*wait).await,
                None => return Err(failure),
            }
        }
    }

    pub(super) fn access_token(&self) -> Option<String> {
        self.tokens
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .access
            .clone()
    }
}

pub(super) async fn read(response: Response, api: &str) -> Outcome<Reply> {
    let location = response
        .headers()
        .get("location")
        .and_then(|value| value.to_str().ok())
        .map(str::to_string)
        .filter(|text| !text.is_empty());
    let body = response
        .bytes()
        .await
        .map_err(|error| unreachable(api, error))?;
    Ok(Reply { location, body })
}

pub(super) async fn fault_of(response: Response) -> Fault {
    let status = response.status().as_u16();
    let router_error = response
        .headers()
        .get("x-cf-routererror")
        .and_then(|value| value.to_str().ok())
        .map(str::to_string);
    let body = response.bytes().await.unwrap_or_default();
    Fault::read(status, router_error, &body)
}

pub(super) fn unreachable(api: &str, error: reqwest::Error) -> Failure {
    if error.is_timeout() && !error.is_connect() {
        return Failure::new(
            Code::TimedOut,
            format!("the cluster at {api} did not answer in time"),
        )
        .because(error)
        .fix("`yard status`");
    }
    let what = if error.is_connect() {
        "cannot be reached"
    } else {
        "broke the connection"
    };
    Failure::new(Code::Unreachable, format!("the cluster at {api} {what}"))
        .because(error)
        .fix("`sudo yard up` if it should run here, `yard login URL --connect ADDRESS` if its name is not known here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_address_may_have_a_port() {
        assert_eq!(address_of("127.0.0.1:8080"), Some([127, 0, 0, 1].into()));
        assert_eq!(address_of("10.0.0.7"), Some([10, 0, 0, 7].into()));
        assert_eq!(address_of("router"), None);
    }
}
