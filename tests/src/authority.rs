//! An ACME authority (RFC 8555) for tests, over TLS on loopback: it takes nothing on trust. Each request must carry a
//! nonce it gave and that nobody used, the address it was sent to, and a signature (ES256) of the account; a name is proven
//! by asking for it over the network, at one address whatever the name; what is signed is the key of the request for
//! a certificate, for the ordered names only.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's server"
)]

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::{HeaderMap, HeaderValue, StatusCode};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
};
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const ERROR: &str = "urn:ietf:params:acme:error:";
/// How long a proof may take.
const PROOF: Duration = Duration::from_secs(10);

/// What it is to do.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// Where every name is asked for when it is to be proven.
    pub prove_at: SocketAddr,
    pub lifetime: time::Duration,
    /// How long ago what it issues began.
    pub backdate: time::Duration,
    /// So many orders are refused as too many, with this Retry-After.
    pub limited: u32,
    pub limited_for: u64,
    /// So many nonces are refused though they are good.
    pub bad_nonces: u32,
    /// Renewal advice: from when to when. None: it has none.
    pub advice: Option<(OffsetDateTime, OffsetDateTime)>,
}

#[derive(Default)]
struct Account {
    key: Vec<u8>,
    thumbprint: String,
    contact: Value,
}

struct Order {
    account: usize,
    name: String,
    token: String,
    /// pending, ready, valid, invalid
    status: &'static str,
    challenge: &'static str,
    error: Option<Value>,
    chain: Option<String>,
}

struct Inner {
    address: SocketAddr,
    wishes: Wishes,
    nonces: BTreeSet<String>,
    accounts: Vec<Account>,
    orders: Vec<Order>,
    /// Names, in the order they were asked for.
    asked: Vec<String>,
    issuer: Issuer<'static, KeyPair>,
    issuer_pem: String,
    random: ring::rand::SystemRandom,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Inner>>);

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

/// The authority, for as long as it is held.
pub struct Authority {
    shared: Shared,
    pub address: SocketAddr,
    /// Whom its own certificate, and those it issues, are from (PEM).
    pub root: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Authority {
    pub async fn start(prove_at: SocketAddr) -> Authority {
        let wishes = Wishes {
            prove_at,
            lifetime: time::Duration::days(90),
            backdate: time::Duration::hours(1),
            limited: 0,
            limited_for: 3600,
            bad_nonces: 0,
            advice: None,
        };
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::from_ca_cert_pem(&root, key).unwrap();
        let own_key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["127.0.0.1".to_string()])
            .unwrap()
            .signed_by(&own_key, &issuer)
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(own.der().to_vec())],
                PrivateKeyDer::try_from(own_key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared(Arc::new(Mutex::new(Inner {
            address,
            wishes,
            nonces: BTreeSet::new(),
            accounts: Vec::new(),
            orders: Vec::new(),
            asked: Vec::new(),
            issuer,
            issuer_pem: root.clone(),
            random: ring::rand::SystemRandom::new(),
        })));
        let served = Served {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(tls)),
        };
        let routes = routes(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(served, routes).await.unwrap() });
        Authority {
            shared,
            address,
            root,
            serving,
        }
    }

    pub fn directory(&self) -> String {
        format!("https://{}/directory", self.address)
    }

    pub fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.shared.inner().wishes);
    }

    /// The names that certificates were ordered for, in that order.
    pub fn asked(&self) -> Vec<String> {
        self.shared.inner().asked.clone()
    }

    /// The addresses of its accounts' owners, an entry for each.
    pub fn contacts(&self) -> Vec<Value> {
        let inner = self.shared.inner();
        inner
            .accounts
            .iter()
            .map(|one| one.contact.clone())
            .collect()
    }

    /// It knows no account any more.
    pub fn forget_accounts(&self) {
        for account in &mut self.shared.inner().accounts {
            account.key.clear();
        }
    }
}

/// TLS in front of axum.
struct Served {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Served {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((socket, peer)) = self.listener.accept().await else {
                continue;
            };
            // Who does not trust it hangs up.
            let accepting = tokio::time::timeout(PROOF, self.acceptor.accept(socket));
            if let Ok(Ok(stream)) = accepting.await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// An answer that is a problem.
struct Refused(StatusCode, &'static str, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(status, kind, detail) = self;
        let problem =
            json!({"type": format!("{ERROR}{kind}"), "detail": detail, "status": status.as_u16()});
        (
            status,
            [("content-type", "application/problem+json")],
            problem.to_string(),
        )
            .into_response()
    }
}

fn refused(kind: &'static str, detail: impl Into<String>) -> Refused {
    Refused(StatusCode::BAD_REQUEST, kind, detail.into())
}

type Answer = Result<Response, Refused>;

fn routes(shared: Shared) -> Router {
    Router::new()
        .route("/directory", get(directory))
        .route("/nonce", get(nothing).head(nothing))
        .route("/accounts", post(new_account))
        .route("/accounts/{number}", post(change_account))
        .route("/orders", post(new_order))
        .route("/orders/{number}", post(order))
        .route("/authorizations/{number}", post(authorization))
        .route("/challenges/{number}", post(challenge))
        .route("/finalize/{number}", post(finalize))
        .route("/certificates/{number}", post(certificate))
        .route("/renewal/{id}", get(renewal))
        .layer(axum::middleware::map_response_with_state(
            shared.clone(),
            with_nonce,
        ))
        .with_state(shared)
}

/// Every answer brings a nonce.
async fn with_nonce(State(shared): State<Shared>, mut response: Response) -> Response {
    let mut inner = shared.inner();
    let mut bytes = [0; 16];
    ring::rand::SecureRandom::fill(&inner.random, &mut bytes).unwrap();
    let nonce = BASE64URL.encode(bytes);
    let value = HeaderValue::from_str(&nonce).unwrap();
    inner.nonces.insert(nonce);
    response.headers_mut().insert("replay-nonce", value);
    response
}

async fn nothing() -> StatusCode {
    StatusCode::OK
}

async fn directory(State(shared): State<Shared>) -> Response {
    let inner = shared.inner();
    let at = |path: &str| format!("https://{}/{path}", inner.address);
    let mut directory = json!({
        "newNonce": at("nonce"),
        "newAccount": at("accounts"),
        "newOrder": at("orders"),
        "revokeCert": at("revoke"),
        "keyChange": at("key"),
        "meta": {"termsOfService": at("terms")},
    });
    if inner.wishes.advice.is_some() {
        directory["renewalInfo"] = at("renewal").into();
    }
    axum::Json(directory).into_response()
}

fn decoded(text: &Value) -> Result<Vec<u8>, Refused> {
    let text = text
        .as_str()
        .ok_or_else(|| refused("malformed", "no text"))?;
    BASE64URL
        .decode(text)
        .map_err(|_| refused("malformed", "no base64url"))
}

fn parsed(text: &Value) -> Result<Value, Refused> {
    serde_json::from_slice(&decoded(text)?).map_err(|_| refused("malformed", "no JSON"))
}

/// A request that is what it says: its account, and its payload (null: none).
struct Signed {
    account: Option<usize>,
    key: Vec<u8>,
    thumbprint: String,
    payload: Value,
}

fn signed(
    shared: &Shared,
    headers: &HeaderMap,
    path: &str,
    body: &Bytes,
) -> Result<Signed, Refused> {
    if headers.get("content-type").map(HeaderValue::as_bytes) != Some(b"application/jose+json") {
        return Err(refused("malformed", "the body is no JWS by its type"));
    }
    let jws: Value =
        serde_json::from_slice(body).map_err(|_| refused("malformed", "the body is no JWS"))?;
    let header = parsed(&jws["protected"])?;
    let mut inner = shared.inner();
    let expected = format!("https://{}{path}", inner.address);
    if header["url"] != expected {
        return Err(Refused(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            format!("it was signed for {}, not for {expected}", header["url"]),
        ));
    }
    if header["alg"] != "ES256" {
        return Err(refused("badSignatureAlgorithm", "ES256 alone is known"));
    }
    let nonce = header["nonce"].as_str().unwrap_or_default();
    if !inner.nonces.remove(nonce) {
        return Err(refused("badNonce", "nobody was given this nonce"));
    }
    if inner.wishes.bad_nonces > 0 {
        inner.wishes.bad_nonces -= 1;
        return Err(refused("badNonce", "another one, please"));
    }
    let (account, key, thumbprint) = match (&header["jwk"], &header["kid"]) {
        (Value::Object(jwk), Value::Null) if path == "/accounts" => {
            let jwk = Value::Object(jwk.clone());
            if jwk["kty"] != "EC" || jwk["crv"] != "P-256" {
                return Err(refused("badPublicKey", "P-256 alone is known"));
            }
            let key = [vec![4], decoded(&jwk["x"])?, decoded(&jwk["y"])?].concat();
            // The members in their order, without white space (RFC 7638).
            let canonical = format!(
                r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#,
                jwk["x"], jwk["y"]
            );
            let thumbprint = BASE64URL.encode(digest(&SHA256, canonical.as_bytes()));
            let account = inner.accounts.iter().position(|account| account.key == key);
            (account, key, thumbprint)
        }
        (Value::Null, Value::String(kid)) if path != "/accounts" => {
            let prefix = format!("https://{}/accounts/", inner.address);
            let number: Option<usize> = kid.strip_prefix(&prefix).and_then(|n| n.parse().ok());
            let account = number.filter(|number| {
                let known = inner.accounts.get(*number);
                known.is_some_and(|account| !account.key.is_empty())
            });
            let number = account.ok_or_else(|| {
                Refused(
                    StatusCode::BAD_REQUEST,
                    "accountDoesNotExist",
                    "there is no such account".to_string(),
                )
            })?;
            let account = &inner.accounts[number];
            (
                Some(number),
                account.key.clone(),
                account.thumbprint.clone(),
            )
        }
        _ => return Err(refused("malformed", "either jwk or kid belongs there")),
    };
    let message = format!(
        "{}.{}",
        jws["protected"].as_str().unwrap_or_default(),
        jws["payload"].as_str().unwrap_or_default()
    );
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &key)
        .verify(message.as_bytes(), &decoded(&jws["signature"])?)
        .map_err(|_| refused("malformed", "the signature is wrong"))?;
    let payload = match jws["payload"].as_str() {
        Some("") => Value::Null,
        _ => parsed(&jws["payload"])?,
    };
    Ok(Signed {
        account,
        key,
        thumbprint,
        payload,
    })
}

fn located(status: StatusCode, location: String, document: Value) -> Response {
    (status, [("location", location)], axum::Json(document)).into_response()
}

async fn new_account(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Answer {
    let signed = signed(&shared, &headers, "/accounts", &body)?;
    if signed.payload["termsOfServiceAgreed"] != true {
        return Err(refused("malformed", "the terms were not agreed to"));
    }
    let mut inner = shared.inner();
    let (number, status) = match signed.account {
        Some(number) => (number, StatusCode::OK),
        None => {
            inner.accounts.push(Account {
                key: signed.key,
                thumbprint: signed.thumbprint,
                contact: signed.payload["contact"].clone(),
            });
            (inner.accounts.len() - 1, StatusCode::CREATED)
        }
    };
    let location = format!("https://{}/accounts/{number}", inner.address);
    Ok(located(status, location, json!({"status": "valid"})))
}

async fn change_account(
    State(shared): State<Shared>,
    Path(number): Path<usize>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let signed = signed(&shared, &headers, &format!("/accounts/{number}"), &body)?;
    let mut inner = shared.inner();
    let account = inner
        .accounts
        .get_mut(number)
        .filter(|_| signed.account == Some(number))
        .ok_or_else(|| refused("unauthorized", "of somebody else"))?;
    account.contact = signed.payload["contact"].clone();
    Ok(axum::Json(json!({"status": "valid"})).into_response())
}

fn document(inner: &Inner, number: usize) -> Value {
    let order = &inner.orders[number];
    let at = |what: &str| format!("https://{}/{what}/{number}", inner.address);
    let mut document = json!({
        "status": order.status,
        "identifiers": [{"type": "dns", "value": order.name}],
        "authorizations": [at("authorizations")],
        "finalize": at("finalize"),
    });
    if order.status == "valid" {
        document["certificate"] = at("certificates").into();
    }
    document
}

async fn new_order(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Answer {
    let signed = signed(&shared, &headers, "/orders", &body)?;
    let mut inner = shared.inner();
    if inner.wishes.limited > 0 {
        inner.wishes.limited -= 1;
        let seconds = inner.wishes.limited_for;
        let problem = Refused(
            StatusCode::TOO_MANY_REQUESTS,
            "rateLimited",
            "too many certificates already issued".to_string(),
        );
        return Ok(([("retry-after", seconds.to_string())], problem).into_response());
    }
    let names = signed.payload["identifiers"].as_array();
    let name = match names.map(Vec::as_slice) {
        Some([one]) if one["type"] == "dns" => one["value"].as_str().unwrap_or_default(),
        _ => return Err(refused("malformed", "one name an order")),
    };
    inner.asked.push(name.to_string());
    if name.contains('*') {
        return Err(refused("rejectedIdentifier", "no wildcards here"));
    }
    let mut bytes = [0; 32];
    ring::rand::SecureRandom::fill(&inner.random, &mut bytes).unwrap();
    let order = Order {
        account: signed.account.unwrap_or_default(),
        name: name.to_string(),
        token: BASE64URL.encode(bytes),
        status: "pending",
        challenge: "pending",
        error: None,
        chain: None,
    };
    inner.orders.push(order);
    let number = inner.orders.len() - 1;
    let location = format!("https://{}/orders/{number}", inner.address);
    Ok(located(
        StatusCode::CREATED,
        location,
        document(&inner, number),
    ))
}

/// The order of this number, if it is the account's.
fn own(inner: &Inner, number: usize, signed: &Signed) -> Result<(), Refused> {
    match inner.orders.get(number) {
        Some(order) if Some(order.account) == signed.account => Ok(()),
        _ => Err(refused("unauthorized", "an order of somebody else")),
    }
}

async fn order(
    State(shared): State<Shared>,
    Path(number): Path<usize>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let signed = signed(&shared, &headers, &format!("/orders/{number}"), &body)?;
    let inner = shared.inner();
    own(&inner, number, &signed)?;
    Ok(axum::Json(document(&inner, number)).into_response())
}

fn shown_challenge(inner: &Inner, number: usize) -> Value {
    let order = &inner.orders[number];
    let mut challenge = json!({
        "type": "http-01",
        "url": format!("https://{}/challenges/{number}", inner.address),
        "token": order.token,
        "status": order.challenge,
    });
    if let Some(error) = &order.error {
        challenge["error"] = error.clone();
    }
    challenge
}

async fn authorization(
    State(shared): State<Shared>,
    Path(number): Path<usize>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let path = format!("/authorizations/{number}");
    let signed = signed(&shared, &headers, &path, &body)?;
    let inner = shared.inner();
    own(&inner, number, &signed)?;
    let status = match inner.orders[number].challenge {
        "processing" => "pending",
        status => status,
    };
    let document = json!({
        "status": status,
        "identifier": {"type": "dns", "value": inner.orders[number].name},
        "challenges": [shown_challenge(&inner, number)],
    });
    Ok(axum::Json(document).into_response())
}

async fn challenge(
    State(shared): State<Shared>,
    Path(number): Path<usize>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let signed = signed(&shared, &headers, &format!("/challenges/{number}"), &body)?;
    let (begins, shown) = {
        let mut inner = shared.inner();
        own(&inner, number, &signed)?;
        let begins = inner.orders[number].challenge == "pending" && signed.payload.is_object();
        if begins {
            inner.orders[number].challenge = "processing";
        }
        (begins, shown_challenge(&inner, number))
    };
    if begins {
        tokio::spawn(prove(shared.clone(), number, signed.thumbprint));
    }
    Ok(axum::Json(shown).into_response())
}

/// Asks for the name over the network.
async fn prove(shared: Shared, number: usize, thumbprint: String) {
    let (address, name, token) = {
        let inner = shared.inner();
        let order = &inner.orders[number];
        (
            inner.wishes.prove_at,
            order.name.clone(),
            order.token.clone(),
        )
    };
    let expected = format!("{token}.{thumbprint}");
    let found = tokio::time::timeout(PROOF, fetch(address, &name, &token)).await;
    let problem = match found {
        Ok(Ok((200, body))) if body.trim_end() == expected => None,
        Ok(Ok((status, body))) => Some(format!(
            "Invalid response from http://{name}/.well-known/acme-challenge/{token}: {status} {body:?}"
        )),
        Ok(Err(error)) => Some(format!("{name} cannot be reached: {error}")),
        Err(_) => Some(format!("{name} did not answer")),
    };
    let mut inner = shared.inner();
    let order = &mut inner.orders[number];
    match problem {
        None => (order.challenge, order.status) = ("valid", "ready"),
        Some(detail) => {
            (order.challenge, order.status) = ("invalid", "invalid");
            order.error = Some(json!({"type": format!("{ERROR}unauthorized"), "detail": detail}));
        }
    }
}

async fn fetch(address: SocketAddr, name: &str, token: &str) -> std::io::Result<(u16, String)> {
    let mut socket = TcpStream::connect(address).await?;
    let request = format!(
        "GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut text = Vec::new();
    socket.read_to_end(&mut text).await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_string()))
}

async fn finalize(
    State(shared): State<Shared>,
    Path(number): Path<usize>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let signed = signed(&shared, &headers, &format!("/finalize/{number}"), &body)?;
    let mut inner = shared.inner();
    own(&inner, number, &signed)?;
    if inner.orders[number].status != "ready" {
        return Err(refused("orderNotReady", "nothing is proven yet"));
    }
    let request = CertificateSigningRequestDer::from(decoded(&signed.payload["csr"])?);
    let mut request = CertificateSigningRequestParams::from_der(&request)
        .map_err(|error| refused("badCSR", error.to_string()))?;
    let names: Vec<String> = request
        .params
        .subject_alt_names
        .iter()
        .map(|name| match name {
            rcgen::SanType::DnsName(name) => name.as_str().to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    if names != [inner.orders[number].name.clone()] {
        return Err(refused("badCSR", format!("it is for {names:?}")));
    }
    let begin = OffsetDateTime::now_utc() - inner.wishes.backdate;
    request.params.not_before = begin;
    request.params.not_after = begin + inner.wishes.lifetime;
    request.params.use_authority_key_identifier_extension = true;
    let issued = request
        .signed_by(&inner.issuer)
        .map_err(|error| refused("badCSR", error.to_string()))?;
    let chain = format!("{}{}", issued.pem(), inner.issuer_pem);
    inner.orders[number].chain = Some(chain);
    inner.orders[number].status = "valid";
    Ok(axum::Json(document(&inner, number)).into_response())
}

async fn certificate(
    State(shared): State<Shared>,
    Path(number): Path<usize>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let path = format!("/certificates/{number}");
    let signed = signed(&shared, &headers, &path, &body)?;
    let inner = shared.inner();
    own(&inner, number, &signed)?;
    let chain = inner.orders[number]
        .chain
        .clone()
        .ok_or_else(|| refused("malformed", "there is none"))?;
    Ok((
        [("content-type", "application/pem-certificate-chain")],
        chain,
    )
        .into_response())
}

async fn renewal(State(shared): State<Shared>, Path(_id): Path<String>) -> Answer {
    let inner = shared.inner();
    let (start, end) = inner
        .wishes
        .advice
        .ok_or_else(|| refused("malformed", "there is none"))?;
    let text = |time: OffsetDateTime| time.format(&Rfc3339).unwrap();
    let document = json!({"suggestedWindow": {"start": text(start), "end": text(end)}});
    Ok(([("retry-after", "3600")], axum::Json(document)).into_response())
}

/// Names and orders, for messages.
pub fn summary(authority: &Authority) -> BTreeMap<String, Vec<&'static str>> {
    let inner = authority.shared.inner();
    let mut summary: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for order in &inner.orders {
        summary
            .entry(order.name.clone())
            .or_default()
            .push(order.status);
    }
    summary
}
