//! Where a request of a route with a route service goes: to the service first, and to the app if it has been
//! there. What the two say is judged in [`crate::domain::route_service`].

use super::clock::unix_millis;
use super::proxy::Worker;
use crate::domain::forwarding::X_FORWARDED_PROTO;
use crate::domain::policy::Policy;
use crate::domain::refusal::Refusal;
use crate::domain::route_service::{
    NotPast, Seals, Signature, X_CF_FORWARDED_URL, X_CF_PROXY_METADATA, X_CF_PROXY_SIGNATURE,
};
use crate::domain::table::{Pool, Service};
use crate::domain::uri::{fold_host, fold_path};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Uri};
use std::sync::Arc;

/// Where a request goes next.
pub enum Way {
    /// It has been at the service.
    Past,
    ToService(Box<Detour>),
}

/// What a request to a route service is sent with.
pub struct Detour {
    /// The service, or the route of the cluster that it is.
    pub pool: Arc<Pool>,
    uri: Uri,
    headers: [(header::HeaderName, HeaderValue); 4],
}

impl Detour {
    /// Leads the request there. (Its method and body stay.)
    pub fn lead(self, uri: &mut Uri, headers: &mut HeaderMap) {
        *uri = self.uri;
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
    }
}

/// A request that asks for a route with a route service.
pub struct Asked<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    pub host: &'a str,
    pub secure: bool,
    pub upgrade: bool,
}

/// Decides where it goes.
pub fn way(
    worker: &Worker,
    policy: &Policy,
    pool: &Arc<Pool>,
    service: &Arc<Service>,
    asked: &Asked<'_>,
) -> Result<Way, Refusal> {
    let seals = worker
        .seals
        .as_ref()
        .filter(|_| policy.route_services.enabled)
        .ok_or(Refusal::RouteServiceUnsupported)?;
    match past(worker, policy, seals, pool, service, asked.headers) {
        Ok(()) => Ok(Way::Past),
        Err(NotPast::Invalid) => Err(Refusal::RouteServiceSignature),
        Err(NotPast::Expired) => Err(Refusal::RouteServiceExpired),
        Err(NotPast::Unsigned) if asked.upgrade => Err(Refusal::RouteServiceUpgrade),
        Err(NotPast::Unsigned) => detour(worker, policy, seals, service, asked)
            .map(Box::new)
            .map(Way::ToService),
    }
}

/// Whether the request comes back from the service.
fn past(
    worker: &Worker,
    policy: &Policy,
    seals: &Seals,
    pool: &Arc<Pool>,
    service: &Service,
    headers: &HeaderMap,
) -> Result<(), NotPast> {
    let signature = headers.get(X_CF_PROXY_SIGNATURE).ok_or(NotPast::Unsigned)?;
    let metadata = headers.get(X_CF_PROXY_METADATA).ok_or(NotPast::Invalid)?;
    let signature = seals
        .open(signature.as_bytes(), metadata.as_bytes())
        .ok_or(NotPast::Invalid)?;
    let (host, path) = signature.host_and_path().ok_or(NotPast::Invalid)?;
    let same_route = worker
        .table
        .load()
        .lookup(&fold_host(&host), &fold_path(&path))
        .is_some_and(|meant| meant.name == pool.name);
    let valid_for = policy.route_services.valid_for.as_millis() as u64;
    signature.admits(&service.url.text, same_route, unix_millis(), valid_for)
}

fn detour(
    worker: &Worker,
    policy: &Policy,
    seals: &Seals,
    service: &Arc<Service>,
    asked: &Asked<'_>,
) -> Result<Detour, Refusal> {
    // What is in front of the router may have taken TLS off.
    let said = asked.headers.get(X_FORWARDED_PROTO);
    let secure = asked.secure || said.is_some_and(|scheme| scheme == "https");
    let scheme = if secure { "https" } else { "http" };
    let target = asked.uri.path_and_query().map_or("/", |it| it.as_str());
    // `OPTIONS *` is of the server, not of a path.
    let target = if *asked.method == Method::OPTIONS && target == "*" {
        ""
    } else {
        target
    };
    let signature = Signature {
        forwarded_url: format!("{scheme}://{}{target}", asked.host),
        route_service_url: service.url.text.to_string(),
        requested_at: unix_millis(),
    };
    let sealed = seals
        .seal(&signature, rand::random())
        .ok_or(Refusal::Unknown)?;
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Refusal::Unknown);
    let internal = policy.route_services.internal_lookup.then(|| {
        let table = worker.table.load();
        let host = fold_host(&service.url.host);
        table
            .lookup(&host, &fold_path(service.url.target.path()))
            .cloned()
    });
    let internal = internal.flatten();
    if internal.as_ref().is_some_and(|pool| pool.service.is_some()) {
        // It would be let past its own.
        return Err(Refusal::RouteServiceUnsupported);
    }
    Ok(Detour {
        pool: internal.unwrap_or_else(|| service.pool.clone()),
        uri: Uri::from(service.url.target.clone()),
        headers: [
            (header::HOST, value(&service.url.authority)?),
            (X_CF_FORWARDED_URL, value(&signature.forwarded_url)?),
            (X_CF_PROXY_SIGNATURE, value(&sealed.0)?),
            (X_CF_PROXY_METADATA, value(&sealed.1)?),
        ],
    })
}

/// What only router and route service have to do with.
pub fn strip(headers: &mut HeaderMap) {
    for name in [
        X_CF_FORWARDED_URL,
        X_CF_PROXY_SIGNATURE,
        X_CF_PROXY_METADATA,
    ] {
        headers.remove(name);
    }
}
