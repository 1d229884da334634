//! The part of the schema that is the router's.

use super::key::Key;
use super::keys::{KIB, MIB, key, ms, secs};
use super::value::{Element, Kind};

const PORTS: Kind = Kind::List {
    of: Element::Ports,
    separator: ',',
    max: 1024,
};

pub(super) const ROUTER: &[Key] = &[
    key(
        "router/access_log/enabled",
        Kind::Bool,
        "true",
        "Write one line per request.",
    ),
    key(
        "router/access_log/format",
        Kind::Choice(&["gorouter", "json"]),
        "gorouter",
        "Form of the lines: as Cloud Foundry's router writes them, or an object each.",
    ),
    key(
        "router/access_log/query",
        Kind::Choice(&["keep", "drop", "hash"]),
        "keep",
        "What is written of the queries of targets and referers.",
    ),
    key(
        "router/access_log/forwarded_for",
        Kind::Bool,
        "true",
        "Write X-Forwarded-For.",
    ),
    key(
        "router/access_log/source_address",
        Kind::Bool,
        "true",
        "Write the address of the client's connection.",
    ),
    key(
        "router/access_log/headers",
        Kind::List {
            of: Element::HeaderName,
            separator: ',',
            max: 1024,
        },
        "",
        "Headers of requests that are written too.",
    ),
    key(
        "router/headers/forwarded_proto",
        Kind::Choice(&["keep", "https", "sanitize"]),
        "keep",
        "X-Forwarded-Proto for apps: what the client says, https always, or how the client came.",
    ),
    key(
        "router/headers/forwarded_client_cert",
        Kind::Choice(&["always_forward", "forward", "sanitize_set"]),
        "always_forward",
        "X-Forwarded-Client-Cert for apps: what the client says; that, if it showed a certificate; or the certificate it showed and nothing else.",
    ),
    key(
        "router/headers/add_to_responses",
        Kind::List {
            of: Element::Header,
            separator: '|',
            max: 8192,
        },
        "",
        "Headers (Name: value) added to answers of apps that have none of that name, separated by |.",
    ),
    key(
        "router/headers/remove_from_responses",
        Kind::List {
            of: Element::HeaderName,
            separator: ',',
            max: 1024,
        },
        "",
        "Headers removed from answers of apps.",
    ),
    key(
        "router/tracing/b3",
        Kind::Bool,
        "false",
        "Complete the headers of traces that Zipkin has (B3).",
    ),
    key(
        "router/tracing/w3c",
        Kind::Bool,
        "false",
        "Make the router a part of traces that W3C has (traceparent, tracestate).",
    ),
    key(
        "router/tracing/w3c_tenant",
        Kind::Text { max: 240 },
        "",
        "What stands before @gorouter in tracestate, where several clusters are in one trace.",
    ),
    key(
        "router/tracing/key",
        Kind::Text { max: 256 },
        "",
        "A request with this in X-Vcap-Trace is told which instance answered; empty: none is.",
    ),
    key(
        "router/sticky/cookies",
        Kind::List {
            of: Element::Text,
            separator: ',',
            max: 1024,
        },
        "JSESSIONID",
        "Cookies of apps that begin a session, which then stays with its instance.",
    ),
    key(
        "router/sticky/negotiate",
        Kind::Bool,
        "false",
        "Keep a login by Authorization: Negotiate with one instance for a minute.",
    ),
    key(
        "router/health/user_agent",
        Kind::Text { max: 256 },
        "HTTP-Monitor/1.1",
        "A request with this User-Agent whose host is no route is answered 200, or 503 while the router ends; empty: none is.",
    ),
    key(
        "router/errors/html_file",
        Kind::Text { max: 1024 },
        "",
        "File of the router's machine with a page for answers of its own to clients that read HTML; {{ .Status }}, {{ .StatusText }} and {{ .Message }} are filled in. Empty: plain text.",
    ),
    key(
        "router/isolation/mode",
        Kind::Choice(&["all", "segments", "shared-and-segments"]),
        "all",
        "Which registrations are taken: all, those of its isolation segments, or also those of none.",
    ),
    key(
        "router/isolation/segments",
        Kind::List {
            of: Element::Text,
            separator: ',',
            max: 1024,
        },
        "",
        "The isolation segments of the router.",
    ),
    key(
        "router/limits/max_header_bytes",
        Kind::Size {
            min: KIB,
            max: 16 * MIB,
        },
        "1MiB",
        "Largest request line and headers together; more is answered 431.",
    ),
    key(
        "router/limits/max_connections_per_endpoint",
        Kind::Integer {
            min: 0,
            max: 1_000_000,
        },
        "0",
        "Most requests at once to one instance, 0 for no limit; more are answered 503.",
    ),
    key(
        "router/limits/max_client_connections",
        Kind::Integer {
            min: 0,
            max: 10_000_000,
        },
        "0",
        "Most connections of clients at once, 0 for as many as the limit of open files allows; more wait until one ends, and idle ones are closed meanwhile.",
    ),
    key(
        "router/limits/max_attempts",
        Kind::Integer { min: 1, max: 20 },
        "3",
        "Most instances tried for one request.",
    ),
    key(
        "router/timeouts/connect",
        Kind::Duration {
            min: ms(50),
            max: secs(120),
        },
        "5s",
        "Time to connect to an instance.",
    ),
    key(
        "router/timeouts/response",
        Kind::Duration {
            min: ms(100),
            max: secs(86_400),
        },
        "15m",
        "Time an instance may take until its response headers; of clients over HTTP/1, up to 0.4 s more.",
    ),
    key(
        "router/timeouts/request_header",
        Kind::Duration {
            min: ms(100),
            max: secs(3600),
        },
        "30s",
        "Time a client may take to send its headers.",
    ),
    key(
        "router/timeouts/idle",
        Kind::Duration {
            min: secs(1),
            max: secs(86_400),
        },
        "15m",
        "Time a client's connection may stay without a request.",
    ),
    key(
        "router/timeouts/request_body",
        Kind::Duration {
            min: ms(100),
            max: secs(86_400),
        },
        "1m",
        "Time a client may let pass between two pieces of a request's body while the instance waits for it; then it is answered 408.",
    ),
    key(
        "router/timeouts/send",
        Kind::Duration {
            min: ms(100),
            max: secs(86_400),
        },
        "1m",
        "Time a client may take nothing of an answer that is ready; then its connection is closed. Not for tunnels.",
    ),
    key(
        "router/tls/redirect",
        Kind::Bool,
        "false",
        "Answer requests to apps without TLS by a redirect (308) to the entrance for TLS, if there is one; ACME's challenges pass.",
    ),
    key(
        "router/tls/client_certificates",
        Kind::Choice(&["none", "request", "require"]),
        "none",
        "Whether clients over TLS are asked for a certificate, or must have one, of an authority in the folder client-authorities.",
    ),
    key(
        "router/acme/terms_agreed",
        Kind::Bool,
        "false",
        "Order certificates (ACME) and renew them. Who says true agrees to the terms of service of the authority.",
    ),
    key(
        "router/acme/directory",
        Kind::Text { max: 1024 },
        "https://acme-v02.api.letsencrypt.org/directory",
        "The authority that certificates are ordered from: its ACME directory.",
    ),
    key(
        "router/acme/trust_file",
        Kind::Text { max: 1024 },
        "",
        "File of the controller's machine (PEM) with the authority that the directory's own certificate comes from, besides those that the machine trusts.",
    ),
    key(
        "router/acme/email",
        Kind::Text { max: 254 },
        "",
        "Whom the authority writes to about certificates that end; empty: nobody.",
    ),
    key(
        "router/acme/domains",
        Kind::List {
            of: Element::HostName,
            separator: ',',
            max: 65_536,
        },
        "",
        "Names that get a certificate each. Wildcards cannot be proven by HTTP and are refused.",
    ),
    key(
        "router/acme/custom_domains",
        Kind::Bool,
        "false",
        "Also order a certificate for each host of a route of an app whose domain is not the cluster's own.",
    ),
    key(
        "router/acme/retry",
        Kind::Duration {
            min: secs(1),
            max: secs(86_400),
        },
        "15m",
        "Time until a certificate is tried again after its first failure; it doubles with each more, up to a day.",
    ),
    key(
        "router/http2/enabled",
        Kind::Bool,
        "true",
        "Speak HTTP/2: with clients over TLS (ALPN), and with instances whose registrations ask for it.",
    ),
    key(
        "router/http2/plain",
        Kind::Bool,
        "false",
        "Also take HTTP/2 without TLS, from clients that begin with it (h2c with prior knowledge).",
    ),
    key(
        "router/http2/max_streams",
        Kind::Integer { min: 1, max: 1000 },
        "100",
        "Most requests at once on one HTTP/2 connection of a client.",
    ),
    key(
        "router/http2/max_header_bytes",
        Kind::Size { min: KIB, max: MIB },
        "64KiB",
        "Largest headers of one HTTP/2 request, each counted with 32 bytes more; more is answered 431.",
    ),
    key(
        "router/proxy_protocol/enabled",
        Kind::Bool,
        "false",
        "Believe the PROXY protocol (version 1 or 2) about a client's address, where a connection begins with it. Only for routers that nobody but load balancers can reach.",
    ),
    key(
        "router/tcp/ports",
        PORTS,
        "10000-10999",
        "The ports that TCP routes get, the router group default-tcp. Routers open no others: a route whose port is taken out is served no more. Empty: there are no TCP routes.",
    ),
    key(
        "router/tcp/max_connections_per_route",
        Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        "5000",
        "Most connections at once to one TCP route; more wait until one ends. All of them together get at most half of the router's clients.",
    ),
    key(
        "router/tcp/idle_timeout",
        Kind::Duration {
            min: ms(500),
            max: secs(7 * 86_400),
        },
        "1h",
        "Time a connection of a TCP route may be without a byte in either direction; then it is closed.",
    ),
    key(
        "router/udp/ports",
        PORTS,
        "10000-10999",
        "The ports that UDP routes get, the router group default-udp, as those of TCP routes.",
    ),
    key(
        "router/udp/max_sessions_per_route",
        Kind::Integer {
            min: 1,
            max: 100_000,
        },
        "1000",
        "Most clients at once of one UDP route; datagrams of more are dropped.",
    ),
    key(
        "router/udp/idle_timeout",
        Kind::Duration {
            min: ms(100),
            max: secs(86_400),
        },
        "1m",
        "Time a client of a UDP route may be without a datagram in either direction until it is forgotten; its next one may reach another instance.",
    ),
    key(
        "router/route_services/enabled",
        Kind::Bool,
        "true",
        "Send requests of routes that have a route service there first; while off they are answered 502.",
    ),
    key(
        "router/route_services/timeout",
        Kind::Duration {
            min: ms(100),
            max: secs(3600),
        },
        "60s",
        "Time a route service may take until its response headers.",
    ),
    key(
        "router/route_services/valid_for",
        Kind::Duration {
            min: secs(1),
            max: secs(3600),
        },
        "60s",
        "Time a request may take from a route service back to its route; then it is answered 504.",
    ),
    key(
        "router/route_services/internal_lookup",
        Kind::Bool,
        "true",
        "Ask a route service whose host is a route of the cluster at its instances, not at the address its name has elsewhere.",
    ),
    key(
        "router/route_services/loopback",
        Kind::Bool,
        "false",
        "Also send requests to route services at addresses of the router's own machine (127.0.0.0/8, ::1).",
    ),
    key(
        "router/prune/sweep",
        Kind::Duration {
            min: ms(100),
            max: secs(3600),
        },
        "30s",
        "How often stale registrations are looked for.",
    ),
    key(
        "router/prune/stale_after",
        Kind::Duration {
            min: secs(1),
            max: secs(86_400),
        },
        "2m",
        "A registration not repeated for this long is stale.",
    ),
    key(
        "router/balancing/algorithm",
        Kind::Choice(&["random-of-two", "least-connection", "round-robin"]),
        "random-of-two",
        "How an instance is chosen where its route does not say.",
    ),
    key(
        "router/balancing/zone",
        Kind::Text { max: 256 },
        "",
        "The availability zone a router is in; set it for each router.",
    ),
    key(
        "router/balancing/zone_preference",
        Kind::Choice(&["none", "locally-optimistic"]),
        "none",
        "Whether instances in the router's own zone are tried first.",
    ),
    key(
        "router/metrics/apps",
        Kind::Integer {
            min: 0,
            max: 10_000,
        },
        "0",
        "How many apps have a histogram of their latency in /metrics, the first that are asked; the others share one. 0: none has.",
    ),
    key(
        "router/sleepers/hold",
        Kind::Duration {
            min: secs(1),
            max: secs(3600),
        },
        "60s",
        "How long a request to an app that sleeps is held for an instance; then it is answered 503.",
    ),
    key(
        "router/sleepers/max_held",
        Kind::Integer {
            min: 0,
            max: 100_000,
        },
        "1000",
        "How many requests to one app that sleeps a router holds; more are answered 503.",
    ),
    key(
        "router/traffic/period",
        Kind::Duration {
            min: ms(500),
            max: secs(60),
        },
        "5s",
        "How often a router tells what it answered.",
    ),
];
