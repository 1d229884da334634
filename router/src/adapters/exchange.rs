//! One request from its arrival to its last byte. Whatever way it ends (answered, refused,
//! abandoned by the client, cut short), the drop of this value counts it and writes its log line:
//! there is one place to forget it in, and that is the compiler's.

use super::bodies::RequestProgress;
use super::client::ClientConnection;
use super::proxy::Worker;
use crate::domain::access_line::Access;
use crate::domain::forwarding::Own;
use crate::domain::log_rules::LogRules;
use crate::domain::route_rules::Present;
use crate::domain::table::{InFlight, Member};
use crate::domain::tally::Open;
use http::header::HeaderMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub struct Exchange {
    worker: Arc<Worker>,
    client: Arc<ClientConnection>,
    started: Instant,
    status: u16,
    sent: u64,
    waited: Duration,
    progress: Option<Arc<RequestProgress>>,
    in_flight: Option<InFlight>,
    present: Option<Present>,
    open: Option<Open>,
    log: Option<Access>,
    broke_off: bool,
    /// How many apps have a histogram of their own; 0: it is not measured.
    measured_apps: usize,
}

impl Exchange {
    /// (In a box: it goes from hand to hand, and is large.)
    pub fn begin(worker: Arc<Worker>, client: Arc<ClientConnection>) -> Box<Exchange> {
        worker.counters.request();
        Box::new(Exchange {
            worker,
            client,
            started: Instant::now(),
            status: 0,
            sent: 0,
            waited: Duration::ZERO,
            progress: None,
            in_flight: None,
            present: None,
            open: None,
            log: None,
            broke_off: false,
            measured_apps: 0,
        })
    }

    /// Notes what the log line needs of the request as the client sent it.
    pub fn describe<B>(
        &mut self,
        rules: &LogRules,
        request: &http::Request<B>,
        host: &str,
        request_id: &str,
        arrived: u128,
    ) {
        let peer = self.client.peer;
        let access = Access::of(rules, request, host, request_id, peer, arrived);
        self.log = Some(access);
    }

    /// Notes a request of which nothing can be said but who sent it.
    pub fn describe_unreadable(&mut self, rules: &LogRules, request_id: &str, arrived: u128) {
        let access = Access::unreadable(rules, request_id, self.client.peer, arrived);
        self.log = Some(access);
    }

    /// Notes the headers as they are sent, with those of the router's own that are not among them.
    pub fn forwarded(&mut self, rules: &LogRules, headers: &HeaderMap, own: Option<&Own<'_>>) {
        if let Some(log) = &mut self.log {
            log.forwarded(rules, headers, own);
        }
    }

    /// Its time counts for its app, of so many.
    pub fn measured(&mut self, apps: usize) {
        self.measured_apps = apps;
    }

    pub fn body(&mut self, progress: Arc<RequestProgress>) {
        self.progress = Some(progress);
    }

    /// The client sent more than its route lets in.
    pub fn body_is_too_long(&self) -> bool {
        let progress = self.progress.as_ref();
        progress.is_some_and(|progress| progress.is_over())
    }

    /// The route counts it until it ends.
    pub fn present(&mut self, present: Option<Present>) {
        self.present = present;
    }

    pub fn failed_attempt(&mut self) {
        self.in_flight = None;
        if let Some(log) = &mut self.log {
            log.failed_attempts += 1;
        }
    }

    /// The request is with this instance now.
    pub fn with(&mut self, member: &Member) {
        self.in_flight = Some(member.endpoint.enter());
        self.counts_for(member);
    }

    /// However it ends, it counts as a request to this instance's app.
    pub fn counts_for(&mut self, member: &Member) {
        self.open = Some(Open::of(member.tally.clone()));
    }

    /// The instance answered after this time.
    pub fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    pub fn answered(&mut self, status: u16) {
        self.status = status;
    }

    pub fn refused(&mut self, status: u16, code: &str) {
        self.status = status;
        if let Some(log) = &mut self.log {
            log.router_error = Some(code.to_string());
        }
    }

    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Its client's connection is looked at every now and then, and this request with it
    /// ([`super::http1`]). Requests on HTTP/2 are tasks of their own.
    pub fn is_looked_after(&self) -> bool {
        !self.client.is_stream()
    }

    /// The client can take more of the answer. (Whether one of HTTP/1 can is its connection's to know.)
    pub fn more_is_wanted(&self) {
        if self.client.is_stream() {
            self.client.reader_moves();
        }
    }

    /// A piece of the answer was handed out.
    pub fn piece_is_given(&self) {
        if self.client.is_stream() {
            self.client.awaits_reader(self.worker.clock.now());
        }
    }

    /// The answer is not complete.
    pub fn broke_off(&mut self) {
        self.broke_off = true;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        self.worker.counters.response(self.status, took);
        if let Some(open) = self.open.take() {
            open.ends(self.status);
        }
        if self.measured_apps != 0
            && let Some(in_flight) = &self.in_flight
            && let Some(app) = in_flight.endpoint().identity.app()
        {
            self.worker.latencies.record(app, took, self.measured_apps);
        }
        self.client.request_ends(self.worker.clock.now());
        let Some(log) = &mut self.log else {
            return;
        };
        // A client that left before there was an answer, as gorouter notes it.
        log.status = if self.status == 0 { 499 } else { self.status };
        log.request_bytes = self
            .progress
            .as_ref()
            .map_or(0, |progress| progress.bytes.load(Ordering::Relaxed));
        log.response_bytes = self.sent;
        log.response_time = took;
        log.router_time = took.saturating_sub(self.waited);
        if self.broke_off && log.router_error.is_none() {
            log.router_error = Some("incomplete_response".to_string());
        }
        let served_by = self.in_flight.as_ref();
        log.served_by = served_by.map(|in_flight| in_flight.endpoint().clone());
        self.worker.log.write(log);
    }
}
