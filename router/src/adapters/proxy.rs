//! One request: resolve, choose, forward, and say so if that fails.
//!
//! When may a request be sent again? *Connecting* failed: always, nothing was sent. The connection
//! had been idle and died under the request without taking a byte of it: always.
//! It died after that, before the first byte of an answer: only if the request is idempotent and has no
//! body, because the instance may have acted on it (contract §3 row 10). However that goes, no more than
//! `max_attempts` sendings may have reached an instance: a request that kills whoever takes it must not
//! go through all of them.

use super::access_log::AccessLog;
use super::answers::{health, redirect, refuse};
use super::backends::{Backends, Connection, Lease, Turn};
use super::blame::of_exchange;
use super::bodies::{ClientBody, Gate, RequestBody, RequestProgress, ResponseBody};
use super::choice::{Target, add_affinity, hashed, pick, target, wish};
use super::client::ClientConnection;
use super::clock::{Clock, millis_of, unix_nanos};
use super::condemned::Condemned;
use super::counters::Counters;
use super::crowd::Crowd;
use super::error_page::{ErrorPage, dress};
use super::exchange::Exchange;
use super::failures::Failures;
use super::instance::{InstanceBody, OnLine};
use super::latencies::Latencies;
use super::line::Line;
use super::packing::Packing;
use super::route_services::{self, Way};
use super::sleepers::{self, Sleepers};
use super::tunnel;
use crate::domain::balance::Choice;
use crate::domain::compression::Taker;
use crate::domain::forwarding::{self, Client, Own};
use crate::domain::header_room;
use crate::domain::header_rules::{self, Known};
use crate::domain::http2::to_http2;
use crate::domain::policy::Policy;
use crate::domain::refusal::{EndpointFault, Refusal};
use crate::domain::request_head;
use crate::domain::request_id::RequestId;
use crate::domain::route_service::Seals;
use crate::domain::table::{Endpoint, Millis, Pool, Table};
use crate::domain::trace_context::Ids;
use crate::domain::uri::{fold_host, fold_path, without_port};
use arc_swap::ArcSwap;
use daemon::Supervisor;
use futures_util::FutureExt;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::client::conn::http2;
use hyper::ext::ReasonPhrase;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Everything a request needs. One for each thread: what is not of the whole router is [`Backends`], since connections
/// belong to the runtime that made them.
pub struct Worker {
    pub table: Arc<ArcSwap<Table>>,
    pub policy: Arc<ArcSwap<Policy>>,
    pub backends: Arc<Backends>,
    pub counters: Arc<Counters>,
    pub log: AccessLog,
    pub clock: Clock,
    pub tasks: Supervisor,
    pub crowd: Arc<Crowd>,
    /// Endpoints that are found not to be who they should be.
    pub condemned: Arc<Condemned>,
    pub failures: Arc<Failures>,
    /// Where clients reach the entrance for TLS, if there is one.
    pub tls_port: Option<u16>,
    /// What requests are sealed with on their way to route services; without it there are none.
    pub seals: Option<Arc<Seals>>,
    pub error_page: Arc<ErrorPage>,
    pub latencies: Arc<Latencies>,
    /// Where this router is, for those who may know.
    pub shown_address: String,
    pub sleepers: Arc<Sleepers>,
}

impl Worker {
    /// Notes that an endpoint could not be reached: others are tried first for a while.
    pub fn set_aside(&self, endpoint: &Endpoint, policy: &Policy, why: &str) {
        let now = self.clock.now();
        endpoint.set_aside(now + policy.set_aside_for());
        self.failures.note(endpoint.number, why, now);
    }
}

/// Answers one request. Never fails: what fails is told to the client.
pub async fn handle(
    worker: Arc<Worker>,
    client: Arc<ClientConnection>,
    mut request: Request<ClientBody>,
) -> Response<ResponseBody> {
    let number = client.request_begins();
    let exchange = Exchange::begin(worker.clone(), client.clone());
    let template = worker.error_page.of(request.headers());
    let mut response = guarded(answer(&worker, &client, number, &mut request, exchange)).await;
    if let Some(template) = template {
        dress(&mut response, &template);
    }
    response
}

/// A bug in the handling of one request must not end others. (No `async fn`: it would hold what it guards twice.)
fn guarded(
    answering: impl Future<Output = Response<ResponseBody>>,
) -> impl Future<Output = Response<ResponseBody>> {
    let answering = AssertUnwindSafe(answering).catch_unwind();
    answering.map(|answer| {
        answer.unwrap_or_else(|_| {
            tracing::error!("the handler of a request panicked");
            refuse(Refusal::Unknown, None, None)
        })
    })
}

async fn answer(
    worker: &Arc<Worker>,
    client: &Arc<ClientConnection>,
    number: u64,
    request: &mut Request<ClientBody>,
    mut exchange: Box<Exchange>,
) -> Response<ResponseBody> {
    let policy = worker.policy.load_full();
    exchange.measured(policy.measured_apps);
    let arrived = unix_nanos();
    let random = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let id = RequestId::of(random);

    if let Some(refusal) = client.refusal_of(number) {
        worker.counters.bad_request();
        if policy.log.enabled {
            exchange.describe_unreadable(&policy.log, id.as_str(), arrived);
        }
        return refuse(refusal, Some(exchange), Some(&id.value()));
    }
    let upgrade = client.is_upgrade(number);

    // The front checked that there is exactly one Host, that it is text and that it agrees with the target.
    let host_value = request.headers().get(header::HOST).cloned();
    let host_text = host_value.as_ref().and_then(|host| host.to_str().ok());
    let host_text = host_text.unwrap_or_default();
    if policy.log.enabled {
        exchange.describe(&policy.log, request, host_text, id.as_str(), arrived);
    }
    let host = without_port(host_text);
    let pool = {
        let table = worker.table.load();
        table
            .lookup(&fold_host(host_text), &fold_path(request.uri().path()))
            .cloned()
    };
    let Some(mut pool) = pool else {
        if asks_for_health(&policy, request.headers()) {
            return health(worker.tasks.shutdown().is_draining(), exchange);
        }
        worker.counters.bad_request();
        return refuse(
            Refusal::UnknownRoute {
                host: host.to_string(),
            },
            Some(exchange),
            Some(&id.value()),
        );
    };
    // Not the cluster's own names: an operator's command must not be locked out by a certificate.
    if let Some(port) = worker.tls_port.filter(|_| policy.tls_redirect)
        && !client.secure
        && leads_to_apps(&pool)
        && let Some(location) = forwarding::secure_location(host_text, request.uri(), port)
    {
        return redirect(location, exchange, &id.value());
    }
    if pool.sleeper().is_some() {
        // (In a box: other requests need no room for it.)
        let path = request.uri().path();
        let waking = Box::pin(sleepers::awake(worker, &policy, &pool, host_text, path));
        match waking.await {
            Ok(awake) => pool = awake,
            Err(refusal) => return refuse(refusal, Some(exchange), Some(&id.value())),
        }
    }
    let pin = match forwarding::pin(request.headers()) {
        Ok(pin) => pin,
        Err(forwarding::UnreadablePin) => {
            return refuse(
                Refusal::MalformedInstanceHeader,
                Some(exchange),
                Some(&id.value()),
            );
        }
    };
    let mut way = None;
    if let Some(service) = &pool.service {
        let asked = route_services::Asked {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            host: host_text,
            secure: client.secure,
            upgrade,
        };
        match route_services::way(worker, &policy, &pool, service, &asked) {
            Ok(found) => way = Some(found),
            Err(refusal) => return refuse(refusal, Some(exchange), Some(&id.value())),
        }
    }
    let came_back = matches!(way, Some(Way::Past));
    // (What comes back from its service was counted when it came first.)
    let rules = pool.rules.as_ref().filter(|_| !came_back);
    if let Some(rules) = rules {
        let length = http_body::Body::size_hint(request.body()).lower();
        let admitted = match rules.rules.body {
            Some(most) if length > most => Err(Refusal::BodyLimit),
            Some(_) | None => rules.admit(worker.clock.now()).map_err(Refusal::from),
        };
        match admitted {
            Ok(present) => exchange.present(present),
            Err(refusal) => return refuse(refusal, Some(exchange), Some(&id.value())),
        }
    }
    let detour = match way {
        Some(Way::ToService(detour)) => Some(detour),
        Some(Way::Past) | None => None,
    };
    let wish = wish(&policy.sticky, request.headers());
    let target = match &detour {
        Some(_) => Ok(Target::Any),
        None => target(&pool, pin.as_ref(), wish.instance),
    };
    let wish = wish.kept();
    let target = match target {
        Ok(target) => target,
        Err((instance, guid)) => {
            let refusal = Refusal::UnknownInstance {
                instance,
                guid,
                host: host.to_string(),
            };
            return refuse(refusal, Some(exchange), Some(&id.value()));
        }
    };

    let version = request.version();
    let client_side = upgrade.then(|| client.side(request));
    let expects = request
        .headers()
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let taker = rules
        .filter(|rules| rules.rules.gzip)
        .and_then(|_| Taker::of(request.method(), version, request.headers()));
    let method = std::mem::take(request.method_mut());
    let mut uri = std::mem::take(request.uri_mut());
    let mut headers = std::mem::take(request.headers_mut());
    let body = std::mem::replace(request.body_mut(), ClientBody::None);
    if came_back {
        route_services::strip(&mut headers);
    }
    let may_know = policy.headers.may_know(&headers);
    if policy.headers.touch_requests {
        let known = Known {
            certificate: client.certificate.as_deref(),
            came_back,
        };
        policy.headers.on_request(&mut headers, known, || Ids {
            trace: random.as_u128(),
            span: rand::random::<u64>().max(1),
        });
    }
    let pinned = detour.is_some().then(|| forwarding::pins(&headers));
    let own = forwarding::prepare_request(
        &mut headers,
        Client {
            address: &client.address,
            secure: client.secure,
        },
        id,
        millis_of(arrived),
        upgrade,
    );
    // Who looks at any header of the request has to see these too.
    let looks = detour.is_some() || pool.hash().is_some() || !policy.log.headers.is_empty();
    if looks {
        own.put_into(&mut headers);
    }
    let own = (!looks).then_some(own);
    let mut timeout = policy.response_timeout;
    let to = match detour {
        Some(detour) => {
            timeout = policy.route_services.timeout;
            // Who comes back is to reach the instance that was asked for.
            headers.extend(pinned.into_iter().flatten());
            let to = detour.pool.clone();
            detour.lead(&mut uri, &mut headers);
            Some(to)
        }
        None => None,
    };
    let hash = to.is_none().then(|| hashed(&pool, &headers)).flatten();
    exchange.forwarded(&policy.log, &headers, own.as_ref());
    let has_body = !http_body::Body::is_end_stream(&body);
    let progress = has_body.then(|| {
        let most = rules.and_then(|rules| rules.rules.body).unwrap_or(u64::MAX);
        Arc::new(RequestProgress::up_to(most))
    });
    if let Some(progress) = &progress {
        exchange.body(progress.clone());
    }
    let mut outgoing = Outgoing {
        replayable: !has_body && !upgrade && is_idempotent(&method, &headers),
        method,
        uri: origin_form(uri),
        headers,
        own,
        body: match &progress {
            Some(progress) => RequestBody::of(body, progress.clone(), client.clone(), worker.clock),
            None => RequestBody::empty(),
        },
        expects: expects && has_body,
        timeout,
        hash,
    };
    let to_pool = to.as_ref().unwrap_or(&pool);
    let time = rules.and_then(|rules| rules.rules.time);
    let forwarding = |exchange| {
        forward(
            worker,
            &policy,
            to_pool,
            target,
            &mut outgoing,
            exchange,
            host,
        )
    };
    let forwarded = match time {
        None => forwarding(&mut exchange).await,
        // (In a box, so that requests without the rule have no room for its timer.)
        Some(time) => Box::pin(tokio::time::timeout(time, forwarding(&mut exchange)))
            .await
            .unwrap_or(Err(Refusal::TimeLimit)),
    };
    // (An answer on HTTP/2 has a map whatever it says.)
    let may_pass = !client.is_stream()
        && taker.is_none()
        && wish.is_none()
        && !may_know
        && !policy.headers.touch_responses();
    let forwarded = forwarded.and_then(|(mut response, endpoint)| {
        let passes = passes(&mut response, may_pass)?;
        Ok((response, endpoint, passes))
    });
    let (response, endpoint, passes) = match forwarded {
        Ok(answer) => answer,
        Err(refusal) => {
            let refusal = if exchange.body_is_too_long() {
                Refusal::BodyLimit
            } else if client.body_is_broken() {
                Refusal::BrokenBody
            } else if client.body_timed_out() {
                Refusal::BodyTimeout
            } else {
                refusal
            };
            if matches!(
                refusal,
                Refusal::EndpointFailure { .. } | Refusal::EndpointTimeout | Refusal::TimeLimit
            ) {
                worker.counters.bad_gateway();
            }
            return refuse(refusal, Some(exchange), Some(&id.value()));
        }
    };
    exchange.answered(response.status().as_u16());

    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client_side) = client_side else {
            // Nobody asked for it: its bytes would be taken for answers.
            worker.counters.bad_gateway();
            return refuse(
                Failure::broken("unexpected 101 from the instance").into(),
                Some(exchange),
                Some(&id.value()),
            );
        };
        worker.counters.upgrade();
        let (mut head, body) = response.into_parts();
        forwarding::prepare_response(&mut head.headers, &id.value(), true);
        if let Some((socket, said)) = body.switched() {
            let joined = tunnel::join(client_side, socket, said, exchange);
            worker.tasks.spawn_once("tunnel", joined);
        }
        return Response::from_parts(head, ResponseBody::None);
    }

    let (mut head, body) = response.into_parts();
    head.version = version.min(Version::HTTP_11);
    let complete = http_body::Body::is_end_stream(&body);
    if passes {
        let body = ResponseBody::Instance {
            inner: body,
            exchange,
            complete,
            failed: None,
            packing: None,
            passes: Some(id),
        };
        return Response::from_parts(head, body);
    }
    forwarding::prepare_response(&mut head.headers, &id.value(), false);
    if to.is_none() {
        add_affinity(
            &policy.sticky,
            &mut head.headers,
            wish.as_ref(),
            &endpoint,
            &pool,
        );
    }
    policy.headers.on_response(&mut head.headers);
    if may_know {
        let address = endpoint.identity.at().to_string();
        header_rules::tell(&mut head.headers, &worker.shown_address, &address);
    }
    let packing = taker
        .filter(|taker| !complete && taker.prepare(head.status, &mut head.headers))
        .map(|_| Packing::begin());
    Response::from_parts(
        head,
        ResponseBody::Instance {
            inner: body,
            exchange,
            complete,
            failed: None,
            packing,
            passes: None,
        },
    )
}

/// Whether the answer's lines are to pass as they are. If not, its headers are put where they can be looked at.
fn passes(response: &mut Response<InstanceBody>, may_pass: bool) -> Result<bool, Refusal> {
    let Some(lines) = response.body_mut().lines() else {
        return Ok(false);
    };
    if may_pass && lines.may_pass() {
        return Ok(true);
    }
    let headers = lines.to_map().map_err(Failure::broken)?;
    lines.forget();
    *response.headers_mut() = headers;
    Ok(false)
}

/// For a load balancer; asked where no route is, so that routes pay nothing for it.
fn asks_for_health(policy: &Policy, headers: &HeaderMap) -> bool {
    policy.health_agent.as_deref().is_some_and(|agent| {
        headers
            .get(header::USER_AGENT)
            .is_some_and(|value| value.as_bytes() == agent.as_bytes())
    })
}

/// A request that was made ready and not sent yet.
struct Outgoing<'a> {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    /// What the router says besides, if it is not among them.
    own: Option<Own<'a>>,
    body: RequestBody,
    /// May be sent again although an instance may have seen it.
    replayable: bool,
    expects: bool,
    /// For the head of an answer.
    timeout: Duration,
    /// What chooses the instance, if the route is balanced so.
    hash: Option<u64>,
}

impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        header_room::give_back(std::mem::take(&mut self.headers));
    }
}

/// Why an instance gave no answer.
struct Failure {
    why: String,
    fault: EndpointFault,
}

impl Failure {
    fn broken(why: impl ToString) -> Failure {
        Failure {
            why: why.to_string(),
            fault: EndpointFault::Broken,
        }
    }
}

impl From<Failure> for Refusal {
    fn from(Failure { why, fault }: Failure) -> Refusal {
        Refusal::EndpointFailure { why, fault }
    }
}

/// How one attempt ended.
enum Attempt {
    Answered(Response<InstanceBody>),
    /// Nothing was sent, or it may be sent again.
    Again(Failure),
    /// The connection had been idle and was dead: the same instance deserves a fresh one.
    Stale {
        failure: Failure,
        /// The instance may have seen the request all the same.
        seen: bool,
    },
    Failed(Refusal),
}

async fn forward(
    worker: &Arc<Worker>,
    policy: &Policy,
    pool: &Arc<Pool>,
    target: Target,
    outgoing: &mut Outgoing<'_>,
    exchange: &mut Exchange,
    host: &str,
) -> Result<(Response<InstanceBody>, Arc<Endpoint>), Refusal> {
    let mut tried: Vec<u64> = Vec::new();
    let mut last_failure: Option<Failure> = None;
    let mut attempts = 0;
    while attempts < policy.max_attempts {
        attempts += 1;
        let member = match (&target, tried.is_empty()) {
            (Target::Only(member), true) => member,
            (Target::Only(_), false) => break,
            (Target::Rather(member), true)
                if !member.endpoint.is_set_aside(worker.clock.now())
                    && !policy.is_full(&member.endpoint) =>
            {
                member
            }
            (Target::Any | Target::Rather(_), _) => {
                match pick(worker, policy, pool, &tried, outgoing.hash) {
                    Ok(member) => member,
                    Err(Choice::Full) => {
                        if let Some(member) = pool.members.first() {
                            exchange.counts_for(member);
                        }
                        worker.counters.exhausted();
                        return Err(Refusal::ConnectionLimit);
                    }
                    Err(Choice::Empty) => {
                        return Err(Refusal::NoEndpoints {
                            host: host.to_string(),
                        });
                    }
                    Err(Choice::Exhausted | Choice::Take { .. }) => break,
                }
            }
        };
        if last_failure.is_some() {
            worker.counters.retry();
        }
        let endpoint = member.endpoint.clone();
        exchange.with(member);
        let mut fresh = false;
        let failure = loop {
            match attempt(worker, policy, &endpoint, outgoing, fresh, exchange).await {
                Attempt::Answered(response) => return Ok((response, endpoint)),
                Attempt::Failed(refusal) => return Err(refusal),
                Attempt::Stale { failure, seen } => {
                    fresh = true;
                    attempts += usize::from(seen);
                    if attempts > policy.max_attempts {
                        break failure;
                    }
                }
                Attempt::Again(failure) => break failure,
            }
        };
        worker.set_aside(&endpoint, policy, &failure.why);
        exchange.failed_attempt();
        tried.push(endpoint.number);
        last_failure = Some(failure);
    }
    Err(match last_failure {
        Some(failure) => failure.into(),
        None => Refusal::NoEndpoints {
            host: host.to_string(),
        },
    })
}

async fn attempt(
    worker: &Arc<Worker>,
    policy: &Policy,
    endpoint: &Arc<Endpoint>,
    outgoing: &mut Outgoing<'_>,
    fresh: bool,
    exchange: &mut Exchange,
) -> Attempt {
    // (A tunnel through HTTP/2 is not known to instances.)
    let http2 = endpoint.identity.http2
        && policy.http2.enabled
        && !outgoing.headers.contains_key(header::UPGRADE);
    let idle = match fresh {
        true => None,
        false => worker.backends.idle(endpoint, http2),
    };
    let lease = match idle {
        Some(lease) => lease,
        // (In a box: most requests need no room for it.)
        None => match Box::pin(worker.backends.connect(endpoint, http2, policy)).await {
            Ok(lease) => lease,
            Err(error) => {
                let failure = Failure {
                    why: error_text(&error),
                    fault: error.fault(),
                };
                cannot_be_had(worker, endpoint, &failure);
                return Attempt::Again(failure);
            }
        },
    };
    let mut body = std::mem::replace(&mut outgoing.body, RequestBody::empty());
    let mut gate = None;
    if outgoing.expects {
        let held = Arc::new(Gate::default());
        body = body.behind(held.clone());
        gate = Some(held);
    }
    let begun = Instant::now();
    let Lease { connection, reused } = lease;
    let asked = match connection {
        Connection::Http1(line) => {
            let asking = ask(line, endpoint, &worker.backends, outgoing, body, gate);
            // (Not handed on: each layer would hold it twice.)
            let asking = std::pin::pin!(asking);
            in_time(asking, outgoing.timeout, worker.clock, exchange).await
        }
        // (In a box: most requests need no room for it.)
        Connection::Http2(sender, turn) => {
            let asking = Box::pin(ask_http2((sender, turn), endpoint, outgoing, body, gate));
            in_time(asking, outgoing.timeout, worker.clock, exchange).await
        }
    };
    exchange.waited(begun.elapsed());
    let Some(asked) = asked else {
        return Attempt::Failed(Refusal::EndpointTimeout);
    };
    let Lost {
        failure,
        body,
        silent,
    } = match asked {
        Ok(response) => return Attempt::Answered(response),
        Err(lost) => *lost,
    };
    let seen = body.is_none();
    match body {
        Some(body) => outgoing.body = body,
        None if silent && outgoing.replayable => {}
        None => return Attempt::Failed(failure.into()),
    }
    match reused {
        true => Attempt::Stale { failure, seen },
        false => Attempt::Again(failure),
    }
}

/// Why there is no answer.
struct Lost {
    failure: Failure,
    /// Of a request of which nothing was sent.
    body: Option<RequestBody>,
    /// The instance has not said a byte.
    silent: bool,
}

/// Asks on a connection of HTTP/1 that belongs to this endpoint.
async fn ask(
    mut line: Box<Line>,
    endpoint: &Endpoint,
    home: &Arc<Backends>,
    outgoing: &Outgoing<'_>,
    body: RequestBody,
    gate: Option<Arc<Gate>>,
) -> Result<Response<InstanceBody>, Box<Lost>> {
    let heard_before = line.heard();
    let (method, uri, headers) = (&outgoing.method, &outgoing.uri, &outgoing.headers);
    let further = |out: &mut Vec<u8>| {
        if let Some(own) = &outgoing.own {
            own.write(out);
        }
        for (name, value) in forwarding::names(endpoint) {
            request_head::line(out, &name, value.as_bytes());
        }
    };
    line.ask(method, uri, headers, further, body);
    let interim = || {
        if let Some(gate) = &gate {
            gate.open();
        }
    };
    match std::future::poll_fn(|cx| line.poll_head(cx, interim)).await {
        Ok(head) => {
            let answer = OnLine::new(line, endpoint.number, home.clone());
            let mut response = Response::new(InstanceBody::Http1(answer));
            *response.status_mut() = head.status;
            let reason = head
                .reason
                .and_then(|text| ReasonPhrase::try_from(text).ok());
            if let Some(reason) = reason {
                response.extensions_mut().insert(reason);
            }
            Ok(response)
        }
        Err(error) => Err(Box::new(Lost {
            failure: Failure {
                why: error_text(&error),
                fault: of_exchange(&error),
            },
            body: line.take_back(),
            silent: line.heard() == heard_before,
        })),
    }
}

/// Asks on a connection of HTTP/2, which others use too: what was heard on it tells nothing. But a request that fails
/// on one is one whose answer had not begun.
async fn ask_http2(
    (mut sender, turn): (http2::SendRequest<RequestBody>, Turn),
    endpoint: &Endpoint,
    outgoing: &Outgoing<'_>,
    body: RequestBody,
    gate: Option<Arc<Gate>>,
) -> Result<Response<InstanceBody>, Box<Lost>> {
    let mut request = Request::new(body);
    *request.method_mut() = outgoing.method.clone();
    *request.headers_mut() = outgoing.headers.clone();
    if let Some(own) = &outgoing.own {
        own.put_into(request.headers_mut());
    }
    for (name, value) in forwarding::names(endpoint) {
        if let Ok(value) = HeaderValue::from_str(value) {
            request.headers_mut().insert(name, value);
        }
    }
    let secure = endpoint.identity.tls().is_some();
    let lost = |failure, body, silent| {
        Box::new(Lost {
            failure,
            body,
            silent,
        })
    };
    *request.uri_mut() = to_http2(outgoing.uri.clone(), request.headers_mut(), secure)
        .map_err(|error| lost(Failure::broken(error), None, false))?;
    if let Some(gate) = gate {
        hyper::ext::on_informational(&mut request, move |_| gate.open());
    }
    match sender.try_send_request(request).await {
        Ok(response) => Ok(response.map(|body| InstanceBody::Http2 { body, _turn: turn })),
        Err(mut error) => {
            let failure = Failure {
                why: error_text(error.error()),
                fault: of_exchange(error.error()),
            };
            let body = error.take_message().map(Request::into_body);
            Err(lost(failure, body, true))
        }
    }
}

/// The answer, unless it takes too long.
async fn in_time<T>(
    asking: impl Future<Output = T> + Unpin,
    timeout: Duration,
    clock: Clock,
    exchange: &Exchange,
) -> Option<T> {
    match exchange.is_looked_after() {
        true => {
            let by = clock.now().saturating_add(timeout.as_millis() as Millis);
            until(by, clock, asking).await
        }
        // (In a box: most requests need no room for its timer.)
        false => Box::pin(tokio::time::timeout(timeout, asking)).await.ok(),
    }
}

/// What comes by then; else whoever looks at the client's time wakes this, a moment later. A timer for each request
/// would cost more than all else that is done for its time.
fn until<T>(
    by: Millis,
    clock: Clock,
    mut coming: impl Future<Output = T> + Unpin,
) -> impl Future<Output = Option<T>> {
    std::future::poll_fn(move |cx| match coming.poll_unpin(cx) {
        Poll::Ready(come) => Poll::Ready(Some(come)),
        Poll::Pending if clock.now() >= by => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
}

/// No connection. Who must prove who he is and cannot goes from the table: registrations of such
/// an endpoint do not grow stale, so nothing else would end it (contract §3 rows 3 and 17).
fn cannot_be_had(worker: &Worker, endpoint: &Endpoint, failure: &Failure) {
    let (address, why) = (endpoint.identity.at(), &failure.why);
    // (A route service is no instance that a registration could bring back.)
    if endpoint.identity.tls().is_none() || endpoint.identity.outside {
        tracing::debug!(endpoint = %address, why, "an endpoint cannot be reached");
        return;
    }
    if let Some(metric) = failure.fault.metric() {
        metrics::counter!(metric).increment(1);
    }
    tracing::warn!(endpoint = %address, why, "an endpoint over TLS is removed");
    worker.condemned.add(endpoint);
}

/// The error with its causes, fit for a header.
fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text.retain(|c| !c.is_control());
    text
}

fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    ) || headers.contains_key("idempotency-key")
        || headers.contains_key("x-idempotency-key")
}

/// Origin form: instances are not proxies.
fn origin_form(uri: Uri) -> Uri {
    if uri.scheme().is_none() {
        return uri;
    }
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(
        uri.path_and_query()
            .cloned()
            .unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")),
    );
    Uri::from_parts(parts).unwrap_or(uri)
}

fn leads_to_apps(pool: &Pool) -> bool {
    let mut members = pool.members.iter();
    members.any(|member| member.endpoint.identity.app().is_some()) || pool.sleeper().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_request_with_an_answer() {
        let answer = guarded(async { panic!("a bug") }).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(answer.headers()["x-cf-routererror"], "unknown_failure");
        assert_eq!(answer.headers()["connection"], "close");
    }
}
