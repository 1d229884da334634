//! The table told with reasons: for each route every endpoint, what the router does with it and why, and who left
//! lately.
//!
//! Cloud Foundry's form of the table (`/routes`) says who is there; it does not say why somebody gets no requests.

use super::departures::{Departed, Departures};
use super::policy::Policy;
use super::table::{Member, Millis, Pool, Table};
use super::uri::{RouteName, fold_host};
use proto::api::{DepartedEndpoint, EndpointFailure, RoutedEndpoint, RoutedName, ToldTable};
use proto::ports::Port;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What went wrong with an endpoint, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    pub why: String,
    pub at: Millis,
}

/// Which routes are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Those of this host and of those under it; none: all.
    pub host: Option<String>,
    pub most: usize,
}

impl Wanted {
    /// Reads what somebody asks for; a number that is none means the most.
    pub fn read(asked: &BTreeMap<String, String>) -> Wanted {
        Wanted {
            host: asked
                .get("host")
                .map(|host| fold_host(host).into_owned())
                .filter(|host| !host.is_empty()),
            most: asked
                .get("most")
                .and_then(|most| most.parse().ok())
                .unwrap_or(usize::MAX),
        }
    }

    fn takes(&self, name: &RouteName) -> bool {
        self.host.as_deref().is_none_or(|host| {
            name.bare_host()
                .strip_suffix(host)
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
    }
}

/// What is looked at.
pub struct Look<'a> {
    pub table: &'a Table,
    pub departures: &'a Departures,
    /// Why a port is not open here; `None`: it is.
    pub closed: &'a dyn Fn(Port) -> Option<String>,
    /// The last failure of the endpoint of a number.
    pub failure: &'a dyn Fn(u64) -> Option<LastFailure>,
    pub policy: &'a Policy,
    pub now: Millis,
}

/// The routes that are wanted, by name.
pub fn tell(wanted: &Wanted, look: &Look<'_>) -> ToldTable {
    let mut told: BTreeMap<&RouteName, (Option<&Arc<Pool>>, Vec<&Departed>)> = BTreeMap::new();
    for pool in look.table.iter().filter(|pool| wanted.takes(&pool.name)) {
        told.insert(&pool.name, (Some(pool), Vec::new()));
    }
    let departed = look.departures.of(|name| wanted.takes(name), look.now);
    for one in &departed {
        told.entry(&one.name).or_default().1.push(one);
    }
    let left_off = told.len().saturating_sub(wanted.most) as u64;
    let routes = told
        .into_iter()
        .take(wanted.most)
        .map(|(name, (pool, departed))| route(name, pool, &departed, look))
        .collect();
    ToldTable { routes, left_off }
}

fn route(
    name: &RouteName,
    pool: Option<&Arc<Pool>>,
    departed: &[&Departed],
    look: &Look<'_>,
) -> RoutedName {
    let endpoints: Vec<RoutedEndpoint> = pool
        .into_iter()
        .flat_map(|pool| &pool.members)
        .map(|member| endpoint(member, name, look))
        .collect();
    let takes = |one: &RoutedEndpoint| !matches!(one.state.as_str(), "full" | "leaving");
    let problem = pool.and_then(|pool| problem(pool, look));
    let state = match pool {
        None => "unknown",
        Some(_) if problem.is_some() => "closed",
        Some(_) if endpoints.iter().any(takes) => "serving",
        Some(pool) if pool.sleeper().is_some() => "asleep",
        Some(_) => "empty",
    };
    RoutedName {
        route: name.to_string(),
        state: state.to_string(),
        problem,
        route_service_url: pool
            .and_then(|pool| pool.service.as_ref())
            .map(|service| service.url.text.to_string()),
        endpoints,
        departed: departed.iter().map(|one| left(one, look.now)).collect(),
    }
}

/// Why nobody can come in, where the route has a port to itself.
fn problem(pool: &Pool, look: &Look<'_>) -> Option<String> {
    let port = pool.name.port()?;
    let first = look.table.at_port(port)?;
    match first.name == pool.name {
        true => (look.closed)(port),
        false => Some(format!("{} has the port", first.name)),
    }
}

fn endpoint(member: &Member, name: &RouteName, look: &Look<'_>) -> RoutedEndpoint {
    let (endpoint, now) = (&member.endpoint, look.now);
    let identity = &endpoint.identity;
    let text = |value: Option<&str>| value.map(str::to_string);
    let failure = (look.failure)(endpoint.number);
    // Who proves himself over TLS does not grow stale.
    let ttl = identity.tls().is_none().then(|| {
        let stale_after = member.stale_after(look.policy.stale_after);
        stale_after.saturating_sub(now.saturating_sub(member.seen()))
    });
    let failed = || failure.as_ref().map(|failure| failure.why.clone());
    let (state, because) = if endpoint.is_gone() {
        ("leaving", failed())
    } else if look.policy.is_full(endpoint) {
        let limit = look.policy.max_per_endpoint;
        (
            "full",
            Some(format!("it may have {limit} requests at a time")),
        )
    } else if endpoint.is_set_aside(now) {
        ("set_aside", failed())
    } else if ttl == Some(0) {
        ("stale", Some("it was not registered again".to_string()))
    } else if member.is_overdue(now, look.policy.overdue_after()) {
        let silent = seconds(now.saturating_sub(member.seen()));
        let because = format!("it was not registered for {silent:.0} s: others come first");
        ("overdue", Some(because))
    } else {
        ("serving", None)
    };
    RoutedEndpoint {
        address: identity.at().to_string(),
        app: text(identity.app()),
        instance: text(identity.instance_id()),
        index: text(identity.instance_index()),
        protocol: identity.protocol(name).to_string(),
        tls: identity.tls().is_some(),
        state: state.to_string(),
        because,
        set_aside_seconds: (state == "set_aside").then(|| seconds(endpoint.set_aside_for(now))),
        in_flight: endpoint.in_flight() as u64,
        ttl_seconds: ttl.map(seconds),
        last_failure: failure.map(|failure| EndpointFailure {
            seconds_ago: seconds(now.saturating_sub(failure.at)),
            why: failure.why,
        }),
    }
}

fn left(departed: &Departed, now: Millis) -> DepartedEndpoint {
    let text = |value: &Option<Box<str>>| value.as_deref().map(str::to_string);
    DepartedEndpoint {
        address: departed.address.clone(),
        app: text(&departed.app),
        instance: text(&departed.instance_id),
        seconds_ago: seconds(now.saturating_sub(departed.at)),
        because: departed.why.text().to_string(),
    }
}

fn seconds(millis: Millis) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::announcement::Announcement;
    use crate::domain::table::Registry;
    use proto::bus::router::Registration;
    use proto::config::Settings;

    fn announced(uri: &str, port: u16) -> Announcement {
        instance(uri, port, &format!("i-{port}"))
    }

    fn instance(uri: &str, port: u16, id: &str) -> Announcement {
        let message = Registration {
            uris: vec![uri.into()],
            host: "10.0.0.1".into(),
            port: Some(port),
            app: Some("app-1".into()),
            private_instance_id: Some(id.into()),
            ..Registration::default()
        };
        Announcement::read(&message, false).unwrap()
    }

    fn told(registry: &Registry, host: Option<&str>, most: usize, now: Millis) -> ToldTable {
        let mut policy = Policy::read(&Settings::default());
        policy.max_per_endpoint = 1;
        let look = Look {
            table: registry.table(),
            closed: &|port| (port.number > 20_000).then(|| "it is in use".to_string()),
            departures: &registry.departures(),
            failure: &|_| {
                let why = "refused".to_string();
                Some(LastFailure { why, at: 1000 })
            },
            policy: &policy,
            now,
        };
        let wanted = Wanted {
            host: host.map(str::to_string),
            most,
        };
        tell(&wanted, &look)
    }

    #[test]
    fn each_endpoint_has_a_state_with_its_reason() {
        let mut registry = Registry::default();
        for port in 1..=4 {
            registry.register(&announced("shop.example.com", port), 0);
        }
        let table = registry.snapshot();
        let pool = table.lookup("shop.example.com", "").unwrap();
        let endpoint = |place: usize| &pool.members[place].endpoint;
        endpoint(1).set_aside(8000);
        let _busy = endpoint(2).enter();
        endpoint(3).leave();
        let route = told(&registry, None, 9, 5000).routes.remove(0);
        assert_eq!(
            (route.route.as_str(), route.state.as_str()),
            ("shop.example.com", "serving")
        );
        let of = |one: &RoutedEndpoint| {
            let because = one.because.clone().unwrap_or_default();
            (one.state.clone(), because, one.set_aside_seconds)
        };
        let states: Vec<_> = route.endpoints.iter().map(of).collect();
        let state =
            |state: &str, because: &str, seconds| (state.to_string(), because.to_string(), seconds);
        assert_eq!(
            states,
            [
                state("serving", "", None),
                state("set_aside", "refused", Some(3.0)),
                state("full", "it may have 1 requests at a time", None),
                state("leaving", "refused", None),
            ]
        );
        assert_eq!(route.endpoints[0].ttl_seconds, Some(115.0));
        let failure = route.endpoints[0].last_failure.as_ref().unwrap();
        assert_eq!(failure.seconds_ago, 4.0);
        let late = told(&registry, None, 9, 200_000).routes.remove(0);
        assert_eq!(late.endpoints[0].state, "stale");
    }

    #[test]
    fn who_left_is_told_with_the_reason_also_where_nobody_is_left() {
        let mut registry = Registry::default();
        let mut gone = announced("gone.example.com", 1);
        registry.register(&gone, 0);
        registry.unregister(&gone, 100_000);
        let crashed = announced("crashed.example.com", 2);
        registry.register(&crashed, 0);
        gone = crashed;
        gone.returns = true;
        registry.unregister(&gone, 100_000);
        registry.register(&announced("stale.example.com", 3), 0);
        registry.prune(130_000, 120_000);
        // Another instance comes at an address that is known.
        registry.register(&announced("a.example.com", 4), 130_000);
        registry.register(&instance("a.example.com", 4, "i-new"), 130_000);
        let routes = told(&registry, None, 9, 131_000).routes;
        let short: Vec<_> = routes
            .iter()
            .map(|route| {
                let why = &route.departed[0].because;
                (route.route.as_str(), route.state.as_str(), why.as_str())
            })
            .collect();
        assert_eq!(
            short,
            [
                (
                    "a.example.com",
                    "serving",
                    "another instance has its address"
                ),
                (
                    "crashed.example.com",
                    "empty",
                    "it ended and is to be replaced"
                ),
                ("gone.example.com", "unknown", "it was unregistered"),
                (
                    "stale.example.com",
                    "empty",
                    "it was not registered again in time"
                ),
            ]
        );
        assert_eq!(routes[2].departed[0].seconds_ago, 31.0);
    }

    #[test]
    fn a_port_that_is_not_open_is_told_with_the_reason() {
        let mut registry = Registry::default();
        for (port, uri) in [
            (1, "tcp://a.example.com:10001"),
            (2, "tcp://b.example.com:10001"),
            (3, "udp://a.example.com:10001"),
            (4, "tcp://a.example.com:20001"),
        ] {
            registry.register(&announced(uri, port), 0);
        }
        let routes = told(&registry, Some("example.com"), 9, 0).routes;
        let short: Vec<_> = routes
            .iter()
            .map(|route| {
                let problem = route.problem.as_deref().unwrap_or_default();
                let protocol = route.endpoints[0].protocol.as_str();
                (
                    route.route.as_str(),
                    route.state.as_str(),
                    protocol,
                    problem,
                )
            })
            .collect();
        assert_eq!(
            short,
            [
                ("tcp://a.example.com:10001", "serving", "tcp", ""),
                ("tcp://a.example.com:20001", "closed", "tcp", "it is in use"),
                (
                    "tcp://b.example.com:10001",
                    "closed",
                    "tcp",
                    "tcp://a.example.com:10001 has the port"
                ),
                ("udp://a.example.com:10001", "serving", "udp", ""),
            ]
        );
    }

    #[test]
    fn routes_are_asked_for_by_host_and_number() {
        let mut registry = Registry::default();
        for (port, uri) in ["a.example.com", "b.a.example.com/x", "ba.example.com"]
            .into_iter()
            .enumerate()
        {
            registry.register(&announced(uri, port as u16 + 1), 0);
        }
        let names = |host: Option<&str>, most| {
            let told = told(&registry, host, most, 0);
            let names: Vec<String> = told.routes.into_iter().map(|one| one.route).collect();
            (names.join(" "), told.left_off)
        };
        let both = "a.example.com b.a.example.com/x".to_string();
        assert_eq!(names(Some("a.example.com"), 9), (both.clone(), 0));
        assert_eq!(names(Some("other.com"), 9), (String::new(), 0));
        assert_eq!(names(None, 2), (both, 1));
        let asked = [("host", "A.example.com:80"), ("most", "7")];
        let asked = asked.map(|(name, value)| (name.to_string(), value.to_string()));
        let read = Wanted {
            host: Some("a.example.com".to_string()),
            most: 7,
        };
        assert_eq!(Wanted::read(&asked.into()), read);
    }
}
