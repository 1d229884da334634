//! One authority that certificates are ordered from (ACME, RFC 8555), as this controller talks with it.
//!
//! The protocol is `instant-acme`'s; here is what belongs to an order of ours: one name each, proven by HTTP
//! (http-01), with a bound for every wait, and failures in words that name what the authority said of the name
//! rather than "the order is invalid". No private key and no credential gets into an error or a log.

use super::Shared;
use super::challenges::NotShown;
use crate::api::errors::chain;
use crate::automation::ops::trusted_http::{self, TrustError};
use bytes::Bytes;
use http_body_util::BodyExt;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse,
    CertificateIdentifier, ChallengeStatus, ChallengeType, HttpClient, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// One request to the authority.
const ANSWER: Duration = Duration::from_secs(30);
/// A whole order: the authority may look from several places, some time apart.
const ORDER: Duration = Duration::from_secs(240);
const POLL: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(90));
/// More is no document of ACME.
const LARGEST: usize = 1 << 20;
const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Why there is no certificate, or no authority.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcmeError {
    #[error("the HTTP client for the authority {directory}")]
    Client {
        directory: String,
        #[source]
        source: TrustError,
    },
    #[error("{operation} the account with {directory}")]
    Account {
        operation: &'static str,
        directory: String,
        #[source]
        source: instant_acme::Error,
    },
    #[error("{operation} {domain}")]
    Order {
        operation: &'static str,
        domain: String,
        #[source]
        source: instant_acme::Error,
    },
    #[error("the authority could not see that {domain} leads here: {said}")]
    NotProven { domain: String, said: String },
    #[error("the authority does not offer to prove {domain} by HTTP (http-01)")]
    NoHttp { domain: String },
    #[error(transparent)]
    NotShown(#[from] NotShown),
    #[error("the order of a certificate for {domain} was not done within {ORDER:?}")]
    Late { domain: String },
    #[error("the certificate that was issued for {domain} is of no use: {reason}")]
    Useless { domain: String, reason: String },
}

impl AcmeError {
    fn problem(&self) -> Option<&str> {
        match self {
            AcmeError::Account {
                source: instant_acme::Error::Api(problem),
                ..
            }
            | AcmeError::Order {
                source: instant_acme::Error::Api(problem),
                ..
            } => problem.r#type.as_deref(),
            AcmeError::Client { .. }
            | AcmeError::Account { .. }
            | AcmeError::Order { .. }
            | AcmeError::NotProven { .. }
            | AcmeError::NoHttp { .. }
            | AcmeError::NotShown(_)
            | AcmeError::Late { .. }
            | AcmeError::Useless { .. } => None,
        }
    }

    /// The authority was asked more often than it likes.
    pub(super) fn is_limit(&self) -> bool {
        self.problem() == Some(RATE_LIMITED)
    }

    /// The authority does not know the account: another one is to be made.
    pub(super) fn is_unknown_account(&self) -> bool {
        self.problem() == Some(NO_ACCOUNT)
    }

    /// In one line.
    pub(super) fn told(&self) -> String {
        chain(self)
    }
}

/// A certificate as it was issued. `key` is secret.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
    /// Unix microseconds.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

/// What an authority is reached with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) url: String,
    pub(super) trust_file: Option<String>,
    pub(super) email: String,
}

/// An account with an authority.
pub(super) struct Authority {
    pub(super) directory: Directory,
    account: Account,
    patience: Arc<Mutex<Option<Duration>>>,
}

/// What is to be kept of an account: secret.
pub(super) struct Credentials(pub(super) Value);

impl Authority {
    /// Opens the account that these credentials are of, or makes one and gives its own. `known_email` is what the authority
    /// was told of that account.
    pub(super) async fn open(
        directory: Directory,
        known: Option<(AccountCredentials, String)>,
    ) -> Result<(Authority, Option<Credentials>), AcmeError> {
        let own = directory.trust_file.clone().map(PathBuf::from);
        let client = tokio::task::spawn_blocking(move || trusted_http::client(own.as_deref()))
            .await
            .map_err(|_| TrustError::Tls(rustls::Error::General("its task ended".into())))
            .and_then(|made| made)
            .map_err(|source| AcmeError::Client {
                directory: directory.url.clone(),
                source,
            })?;
        let patience = Arc::new(Mutex::new(None));
        let wire = Wire {
            client,
            patience: patience.clone(),
        };
        let failed = |operation| {
            let directory = directory.url.clone();
            move |source| AcmeError::Account {
                operation,
                directory,
                source,
            }
        };
        let builder = Account::builder_with_http(Box::new(wire));
        let contact = match directory.email.is_empty() {
            true => Vec::new(),
            false => vec![format!("mailto:{}", directory.email)],
        };
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let (account, credentials) = match known {
            Some((credentials, email)) => {
                let account = builder
                    .from_credentials(credentials)
                    .await
                    .map_err(failed("opening"))?;
                if email != directory.email {
                    account
                        .update_contacts(&contact)
                        .await
                        .map_err(failed("changing the address of"))?;
                }
                (account, None)
            }
            None => {
                let asked = NewAccount {
                    contact: &contact,
                    terms_of_service_agreed: true,
                    only_return_existing: false,
                };
                let (account, credentials) = builder
                    .create(&asked, directory.url.clone(), None)
                    .await
                    .map_err(failed("making"))?;
                let credentials = serde_json::to_value(&credentials)
                    .map_err(instant_acme::Error::from)
                    .map_err(failed("keeping"))?;
                (account, Some(Credentials(credentials)))
            }
        };
        let authority = Authority {
            directory,
            account,
            patience,
        };
        Ok((authority, credentials))
    }

    /// How long the authority wanted not to be asked, if it said so since this was asked last.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.patience
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .take()
    }

    /// Orders a certificate for one name and proves that it leads here.
    pub(super) async fn order(&self, shared: &Shared, domain: &str) -> Result<Issued, AcmeError> {
        let walked = tokio::time::timeout(ORDER, self.walk(shared, domain)).await;
        // However it went: nobody waits for an answer any more.
        shared.challenges.hide(shared).await;
        walked.unwrap_or_else(|_| {
            Err(AcmeError::Late {
                domain: domain.to_string(),
            })
        })
    }

    async fn walk(&self, shared: &Shared, domain: &str) -> Result<Issued, AcmeError> {
        let failed = |operation| in_order(operation, domain);
        let names = [Identifier::Dns(domain.to_string())];
        let mut order = self
            .account
            .new_order(&NewOrder::new(&names))
            .await
            .map_err(failed("ordering a certificate for"))?;
        let token = self.challenge(&mut order, shared, domain).await?;
        let proven = async {
            match order.poll_ready(&POLL).await {
                Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(None),
                Ok(_) => Ok(Some("it does not say why".to_string())),
                Err(instant_acme::Error::Api(problem)) => Ok(Some(problem.to_string())),
                Err(source) => Err(failed("waiting for the proof of")(source)),
            }
        };
        let proven = match &token {
            None => proven.await,
            Some(token) => shared.challenges.shown_while(shared, token, proven).await,
        };
        if let Some(said) = proven? {
            let said = said_of(&mut order).await.unwrap_or(said);
            return Err(AcmeError::NotProven {
                domain: domain.to_string(),
                said,
            });
        }
        let key = order
            .finalize()
            .await
            .map_err(failed("asking for the certificate of"))?;
        let chain = order
            .poll_certificate(&POLL)
            .await
            .map_err(failed("waiting for the certificate of"))?;
        checked(chain, key).map_err(|reason| AcmeError::Useless {
            domain: domain.to_string(),
            reason,
        })
    }

    /// Shows the answer of the challenge and tells the authority to look; the token, unless nothing is to be proven.
    async fn challenge(
        &self,
        order: &mut Order,
        shared: &Shared,
        domain: &str,
    ) -> Result<Option<String>, AcmeError> {
        let failed = |operation| in_order(operation, domain);
        let mut authorizations = order.authorizations();
        let Some(authorization) = authorizations.next().await else {
            return Ok(None);
        };
        let mut authorization = authorization.map_err(failed("reading what is to be proven of"))?;
        if authorization.status == AuthorizationStatus::Valid {
            return Ok(None);
        }
        let mut challenge = authorization
            .challenge(ChallengeType::Http01)
            .ok_or_else(|| AcmeError::NoHttp {
                domain: domain.to_string(),
            })?;
        let token = challenge.token.clone();
        let answer = challenge.key_authorization().as_str().to_string();
        shared
            .challenges
            .show(shared, domain, &token, answer)
            .await?;
        challenge
            .set_ready()
            .await
            .map_err(failed("asking to look at"))?;
        Ok(Some(token))
    }

    /// Between which times the authority wants this certificate of its own to be renewed, in Unix microseconds, and after
    /// how long it is to be asked again. None: it has no such advice.
    pub(super) async fn advice(
        &self,
        domain: &str,
        chain: &str,
    ) -> Result<Option<(i64, i64, Duration)>, AcmeError> {
        let useless = |reason: String| AcmeError::Useless {
            domain: domain.to_string(),
            reason,
        };
        let certificate = CertificateDer::from_pem_slice(chain.as_bytes())
            .map_err(|error| useless(error.to_string()))?;
        let id = CertificateIdentifier::try_from(&certificate).map_err(useless)?;
        match self.account.renewal_info(&id).await {
            Ok((told, again)) => {
                let window = told.suggested_window;
                let micros = |time: time::OffsetDateTime| {
                    i64::try_from(time.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
                };
                Ok(Some((micros(window.start), micros(window.end), again)))
            }
            Err(instant_acme::Error::Unsupported(_)) => Ok(None),
            Err(source) => Err(AcmeError::Order {
                operation: "asking when to renew the certificate of",
                domain: domain.to_string(),
                source,
            }),
        }
    }
}

/// What the authority found when it looked.
async fn said_of(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    let mut authorization = authorizations.next().await?.ok()?;
    let state = authorization.refresh().await.ok()?;
    let failed = state
        .challenges
        .iter()
        .find(|challenge| challenge.status == ChallengeStatus::Invalid)?;
    let problem = failed.error.as_ref()?;
    problem.detail.clone().or_else(|| problem.r#type.clone())
}

/// A chain and a key that belong together, with the time the chain is valid.
fn checked(chain: String, key: String) -> Result<Issued, String> {
    let parsed = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let first = parsed.first().ok_or("it is empty")?;
    let (_, certificate) = x509_parser::parse_x509_certificate(first)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    let validity = certificate.validity();
    let micros = |time: x509_parser::time::ASN1Time| time.timestamp().saturating_mul(1_000_000);
    let (not_before, not_after) = (micros(validity.not_before), micros(validity.not_after));
    // The error of a key that cannot be read might quote it.
    let private =
        PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| "its key cannot be read")?;
    let provider = rustls::crypto::ring::default_provider();
    rustls::sign::CertifiedKey::from_der(parsed, private, &provider)
        .map_err(|error| format!("it does not fit its key: {error}"))?;
    Ok(Issued {
        chain,
        key,
        not_before,
        not_after,
    })
}

/// Carries the requests of the protocol, and notes when the authority wants not to be asked.
struct Wire {
    client: reqwest::Client,
    patience: Arc<Mutex<Option<Duration>>>,
}

type Answering = Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>>;

impl HttpClient for Wire {
    fn request(&self, request: http::Request<BodyWrapper<Bytes>>) -> Answering {
        let (client, patience) = (self.client.clone(), self.patience.clone());
        Box::pin(async move {
            tokio::time::timeout(ANSWER, carry(client, patience, request))
                .await
                .unwrap_or_else(|_| Err(other(format!("no answer within {ANSWER:?}"))))
        })
    }
}

async fn carry(
    client: reqwest::Client,
    patience: Arc<Mutex<Option<Duration>>>,
    request: http::Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, instant_acme::Error> {
    let (head, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    let request =
        reqwest::Request::try_from(http::Request::from_parts(head, body)).map_err(other)?;
    let mut answer = client.execute(request).await.map_err(other)?;
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(other)? {
        if body.len() + piece.len() > LARGEST {
            return Err(other(format!("an answer of more than {LARGEST} bytes")));
        }
        body.extend_from_slice(&piece);
    }
    let mut response = http::Response::new(());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    if matches!(answer.status().as_u16(), 429 | 503) {
        let asked = retry_after(answer.headers(), SystemTime::now());
        *patience
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = asked;
    }
    let (parts, ()) = response.into_parts();
    Ok(BytesResponse {
        parts,
        body: Box::new(Bytes::from(body)),
    })
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(headers: &http::HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers
        .get(http::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .ok(),
    }
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> instant_acme::Error {
    instant_acme::Error::Other(error.into())
}

/// What went wrong with the order of a domain.
fn in_order(
    operation: &'static str,
    domain: &str,
) -> impl FnOnce(instant_acme::Error) -> AcmeError + use<> {
    let domain = domain.to_string();
    move |source| AcmeError::Order {
        operation,
        domain,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wish_of_an_authority_not_to_be_asked_is_read_in_both_forms() {
        let check = |text: &str, expected: Option<u64>| {
            let mut headers = http::HeaderMap::new();
            let value = http::HeaderValue::from_str(text).expect("a value");
            headers.insert(http::header::RETRY_AFTER, value);
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, now), expected, "{text}");
        };
        check("120", Some(120));
        check("Tue, 14 Nov 2023 22:14:20 GMT", Some(60));
        check("Tue, 14 Nov 2023 22:00:00 GMT", None);
        check("soon", None);
    }
}
