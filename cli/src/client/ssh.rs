//! The way into instances: where the SSH proxy is, and a code that lets in once.

use super::{Client, names, transport};
use crate::failure::{Code, Failure, Outcome};
use proto::api::Root;

/// Where the proxy is, and what its key must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `host:port`
    pub address: String,
    /// SHA-256 of its key, base64 without padding.
    pub fingerprint: String,
}

impl Client {
    /// What the API says of the proxy.
    pub async fn ssh_proxy(&self) -> Outcome<Proxy> {
        let root: Root = self.get("/", &[]).await?;
        let none = || {
            Failure::new(Code::NotFound, "this cluster has no SSH proxy")
                .fix("`yard status` shows whether ssh-proxy runs")
        };
        let link = root.links.get("app_ssh").cloned().flatten();
        let link = link.ok_or_else(none)?;
        let fingerprint = link
            .meta
            .as_ref()
            .and_then(|meta| meta["host_key_fingerprint"].as_str())
            .ok_or_else(none)?;
        let (host, port) = link.href.rsplit_once(':').ok_or_else(none)?;
        // As for every name of the cluster: at the address that the login knows.
        let ours = names::domain_of_api(&self.target.api)
            .is_some_and(|domain| host.ends_with(&format!(".{domain}")));
        let known = self.target.connect.as_deref().filter(|_| ours);
        let host = match known.and_then(transport::address_of) {
            Some(address) => address.to_string(),
            None => host.to_string(),
        };
        Ok(Proxy {
            address: format!("{host}:{port}"),
            fingerprint: fingerprint.to_string(),
        })
    }

    /// A code for one login there.
    pub async fn ssh_code(&self) -> Outcome<String> {
        let address = names::with_query(
            &format!("{}/oauth/authorize", self.target.login),
            &[
                ("response_type", "code"),
                ("client_id", "ssh-proxy"),
                ("grant_type", "authorization_code"),
            ],
        );
        // The code is in an address that nobody is to follow.
        let http = transport::http_staying(&self.target.api, self.target.connect.as_deref())?;
        let token = self.access_token().unwrap_or_default();
        let answer = http
            .get(address)
            .bearer_auth(token)
            .send()
            .await
            .map_err(|error| transport::unreachable(&self.target.api, error))?;
        let location = answer.headers().get("location");
        let code = location
            .and_then(|location| location.to_str().ok())
            .and_then(|location| location.split_once("code="))
            .map(|(_, code)| code.split('&').next().unwrap_or_default().to_string());
        match code {
            Some(code) if !code.is_empty() => Ok(code),
            _ => Err(Failure::new(
                Code::NotAllowed,
                format!(
                    "the cluster gave no code for a login by SSH ({})",
                    answer.status()
                ),
            )),
        }
    }
}
