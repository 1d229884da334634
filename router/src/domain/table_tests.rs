use super::super::announcement::{Announcement, Rejected};
use super::super::identity::At;
use super::*;
use proptest::prelude::*;
use proto::bus::router::Registration;
use std::collections::BTreeMap;

fn message(uris: &[&str], port: u16) -> Registration {
    Registration {
        uris: uris.iter().map(|uri| uri.to_string()).collect(),
        host: "10.0.0.1".into(),
        port: Some(port),
        app: Some("app-1".into()),
        ..Registration::default()
    }
}

fn read(message: &Registration) -> Announcement {
    Announcement::read(message, false).expect("a valid registration")
}

fn ports(table: &Table, host: &str, path: &str) -> Option<Vec<u16>> {
    let pool = table.lookup(host, path)?;
    Some(
        pool.members
            .iter()
            .map(|member| member.endpoint.identity.port)
            .collect(),
    )
}

#[test]
fn a_registration_is_found_by_host_and_path() {
    let mut registry = Registry::default();
    registry.register(
        &read(&message(&["a.example.com", "b.example.com/api"], 1)),
        0,
    );
    registry.register(&read(&message(&["b.example.com/api/v2"], 2)), 0);
    registry.register(&read(&message(&["b.example.com"], 3)), 0);
    let table = registry.snapshot();
    let cases: &[(&str, &str, Option<u16>)] = &[
        ("a.example.com", "", Some(1)),
        ("a.example.com", "/x/y", Some(1)),
        ("b.example.com", "/api", Some(1)),
        ("b.example.com", "/api/v1", Some(1)),
        ("b.example.com", "/api/v2/z", Some(2)),
        ("b.example.com", "/apiary", Some(3)),
        ("b.example.com", "", Some(3)),
        ("c.example.com", "", None),
        ("example.com", "", None),
    ];
    for (host, path, port) in cases {
        assert_eq!(
            ports(&table, host, path),
            port.map(|port| vec![port]),
            "{host}{path}"
        );
    }
    assert_eq!(table.count(), 4);
}

#[test]
fn wildcards_are_tried_from_the_most_specific() {
    let mut registry = Registry::default();
    registry.register(&read(&message(&["*.example.com"], 1)), 0);
    registry.register(&read(&message(&["*.b.example.com/api"], 2)), 0);
    registry.register(&read(&message(&["x.example.com/only"], 3)), 0);
    let table = registry.snapshot();
    let cases: &[(&str, &str, Option<u16>)] = &[
        ("a.example.com", "", Some(1)),
        ("a.b.example.com", "/api/x", Some(2)),
        ("a.b.example.com", "/other", Some(1)),
        ("x.example.com", "/only", Some(3)),
        ("x.example.com", "/else", Some(1)),
        ("example.com", "", None),
        ("other.com", "", None),
    ];
    for (host, path, port) in cases {
        assert_eq!(
            ports(&table, host, path),
            port.map(|port| vec![port]),
            "{host}{path}"
        );
    }
    registry.unregister(&read(&message(&["*.example.com"], 1)), 1);
    registry.unregister(&read(&message(&["*.b.example.com/api"], 2)), 1);
    assert_eq!(registry.table().wildcards, 0);
}

#[test]
fn repeating_a_registration_changes_nothing_visible() {
    let mut registry = Registry::default();
    let announcement = read(&message(&["a.example.com", "b.example.com"], 1));
    assert!(registry.register(&announcement, 0).visible());
    let again = registry.register(&announcement, 5);
    assert_eq!(
        again,
        Changed {
            refreshed: 2,
            ..Changed::default()
        }
    );
    assert!(!again.visible());
}

#[test]
fn one_endpoint_is_shared_by_its_names() {
    let mut registry = Registry::default();
    registry.register(&read(&message(&["a.example.com"], 1)), 0);
    registry.register(&read(&message(&["a.example.com", "b.example.com"], 1)), 0);
    let table = registry.snapshot();
    let a = &table.lookup("a.example.com", "").expect("known").members[0].endpoint;
    let b = &table.lookup("b.example.com", "").expect("known").members[0].endpoint;
    assert!(Arc::ptr_eq(a, b));
}

#[test]
fn another_instance_at_the_same_address_replaces_and_outlives_the_old_ones_farewell() {
    let mut registry = Registry::default();
    let old = Registration {
        private_instance_id: Some("old".into()),
        ..message(&["a.example.com"], 1)
    };
    let new = Registration {
        private_instance_id: Some("new".into()),
        ..message(&["a.example.com"], 1)
    };
    registry.register(&read(&old), 0);
    let first = registry
        .snapshot()
        .lookup("a.example.com", "")
        .expect("known")
        .members[0]
        .endpoint
        .number;
    assert_eq!(registry.register(&read(&new), 1).replaced, 1);
    let second = registry
        .snapshot()
        .lookup("a.example.com", "")
        .expect("known")
        .members[0]
        .endpoint
        .number;
    assert_ne!(
        first, second,
        "another instance must not inherit connections"
    );
    assert_eq!(registry.unregister(&read(&old), 2).outdated, 1);
    assert!(registry.table().lookup("a.example.com", "").is_some());
    assert_eq!(registry.unregister(&read(&new), 3).removed, 1);
    assert!(registry.table().lookup("a.example.com", "").is_none());
}

#[test]
fn a_late_registration_does_not_undo_an_unregistration() {
    let mut registry = Registry::default();
    let at = |ns| Registration {
        endpoint_updated_at_ns: Some(ns),
        ..message(&["a.example.com"], 1)
    };
    registry.register(&read(&at(10)), 0);
    registry.unregister(&read(&at(20)), 1);
    assert_eq!(registry.register(&read(&at(10)), 2).outdated, 1);
    assert!(registry.table().lookup("a.example.com", "").is_none());
    assert_eq!(registry.register(&read(&at(30)), 3).added, 1);
    assert_eq!(registry.unregister(&read(&at(20)), 4).outdated, 1);
    assert!(registry.table().lookup("a.example.com", "").is_some());
}

#[test]
fn a_registration_overtaken_by_the_farewell_of_its_instance_does_not_last() {
    let mut registry = Registry::default();
    let of = |id: &str| Registration {
        private_instance_id: Some(id.into()),
        ..message(&["a.example.com"], 1)
    };
    registry.register(&read(&of("one")), 0);
    registry.unregister(&read(&of("one")), 1000);
    assert_eq!(registry.register(&read(&of("one")), 1001).outdated, 1);
    assert_eq!(
        registry.register(&read(&of("two")), 1002).added,
        1,
        "another instance at once"
    );
    registry.unregister(&read(&of("two")), 1003);
    assert_eq!(
        registry.register(&read(&of("two")), 1300).added,
        1,
        "the same one later"
    );
}

#[test]
fn a_name_whose_instance_will_be_replaced_stays_known() {
    let mut registry = Registry::default();
    registry.register(&read(&message(&["a.example.com"], 1)), 0);
    let crashed = Registration {
        yard_returns: Some(true),
        ..message(&["a.example.com"], 1)
    };
    registry.unregister(&read(&crashed), 10);
    assert_eq!(ports(registry.table(), "a.example.com", ""), Some(vec![]));
    registry.register(&read(&message(&["a.example.com"], 2)), 20);
    assert_eq!(ports(registry.table(), "a.example.com", ""), Some(vec![2]));
    registry.unregister(&read(&crashed), 30);
    registry.unregister(
        &read(&Registration {
            yard_returns: Some(true),
            ..message(&["a.example.com"], 2)
        }),
        40,
    );
    registry.prune(120_041, 120_000);
    assert_eq!(ports(registry.table(), "a.example.com", ""), None);
}

#[test]
fn stale_endpoints_go_and_their_name_stays_known_for_a_while() {
    let mut registry = Registry::default();
    registry.register(&read(&message(&["a.example.com"], 1)), 0);
    registry.register(&read(&message(&["a.example.com"], 2)), 100);
    let own = Registration {
        stale_threshold_in_seconds: Some(1),
        ..message(&["b.example.com"], 3)
    };
    registry.register(&read(&own), 0);

    assert!(!registry.prune(1000, 120_000).visible());
    assert_eq!(registry.prune(1001, 120_000).removed, 1);
    assert_eq!(
        ports(registry.table(), "b.example.com", ""),
        Some(vec![]),
        "known, without endpoints"
    );

    assert_eq!(registry.prune(120_001, 120_000).removed, 1);
    assert_eq!(ports(registry.table(), "a.example.com", ""), Some(vec![2]));
    assert_eq!(registry.prune(120_101, 120_000).removed, 1);
    assert_eq!(ports(registry.table(), "a.example.com", ""), Some(vec![]));
    let forgotten = registry.prune(240_102, 120_000);
    assert!(forgotten.visible(), "lookups answer 404 from now on");
    assert_eq!((forgotten.forgotten, forgotten.removed), (2, 0));
    assert_eq!(ports(registry.table(), "a.example.com", ""), None);
    assert_eq!(registry.table().count(), 0);
}

#[test]
fn an_unregistered_name_is_forgotten_at_once() {
    let mut registry = Registry::default();
    registry.register(&read(&message(&["a.example.com", "b.example.com"], 1)), 0);
    registry.unregister(&read(&message(&["a.example.com"], 1)), 1);
    assert!(registry.table().lookup("a.example.com", "").is_none());
    assert_eq!(ports(registry.table(), "b.example.com", ""), Some(vec![1]));
}

#[test]
fn the_time_the_bus_was_away_does_not_count() {
    let mut registry = Registry::default();
    registry.register(&read(&message(&["a.example.com"], 1)), 0);
    registry.refresh_all(500_000);
    assert_eq!(registry.prune(500_001, 120_000), Changed::default());
}

#[test]
fn the_time_the_router_was_stopped_does_not_count() {
    let mut registry = Registry::default();
    registry.register(&read(&message(&["a.example.com"], 1)), 0);
    assert_eq!(registry.sweep(30_000, 30_000, 120_000), Changed::default());
    // Suspended for ten minutes: the sweep is the first to run, before anything unread is read.
    assert_eq!(registry.sweep(630_000, 30_000, 120_000), Changed::default());
    assert_eq!(ports(registry.table(), "a.example.com", ""), Some(vec![1]));
    // From here on time counts again.
    for now in (660_000..=750_000).step_by(30_000) {
        assert_eq!(registry.sweep(now, 30_000, 120_000), Changed::default());
    }
    assert_eq!(registry.sweep(780_000, 30_000, 120_000).removed, 1);
}

#[test]
fn losing_one_name_keeps_the_other() {
    let mut registry = Registry::default();
    registry.register(&read(&message(&["a.example.com", "b.example.com"], 1)), 0);
    registry.register(&read(&message(&["b.example.com"], 1)), 100_000);
    registry.prune(120_001, 120_000);
    assert_eq!(ports(registry.table(), "a.example.com", ""), Some(vec![]));
    assert_eq!(ports(registry.table(), "b.example.com", ""), Some(vec![1]));
}

#[test]
fn what_cannot_be_served_is_rejected() {
    let cases = [
        (
            Registration {
                port: None,
                tls_port: Some(1),
                ..message(&["a"], 1)
            },
            Rejected::NoPort,
        ),
        (
            Registration {
                port: Some(0),
                ..message(&["a"], 1)
            },
            Rejected::NoPort,
        ),
        (
            Registration {
                host: String::new(),
                ..message(&["a"], 1)
            },
            Rejected::NoHost,
        ),
        (
            Registration {
                route_service_url: Some("http://x".into()),
                ..message(&["a"], 1)
            },
            Rejected::RouteService,
        ),
    ];
    for (message, why) in cases {
        assert_eq!(Announcement::read(&message, false), Err(why));
    }
    let service = Registration {
        route_service_url: Some("https://x".into()),
        ..message(&["a", "*.*"], 1)
    };
    let announcement = read(&service);
    assert!(announcement.identity.route_service().is_some());
    assert_eq!((announcement.names.len(), announcement.invalid), (1, 1));
}

#[test]
fn a_snapshot_does_not_change() {
    let mut registry = Registry::default();
    registry.register(&read(&message(&["a.example.com"], 1)), 0);
    let before = registry.snapshot();
    registry.register(&read(&message(&["a.example.com"], 2)), 0);
    registry.unregister(&read(&message(&["a.example.com"], 1)), 0);
    assert_eq!(ports(&before, "a.example.com", ""), Some(vec![1]));
    assert_eq!(
        ports(&registry.snapshot(), "a.example.com", ""),
        Some(vec![2])
    );
}

#[derive(Debug, Clone)]
enum Step {
    Register(u8, u16),
    Unregister(u8, u16),
    Prune,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..6, 1u16..4).prop_map(|(name, port)| Step::Register(name, port)),
        (0u8..6, 1u16..4).prop_map(|(name, port)| Step::Unregister(name, port)),
        Just(Step::Prune),
    ]
}

proptest! {
    /// The table agrees with a plain map of (name, port) → last seen.
    #[test]
    fn it_behaves_like_a_plain_map(steps in proptest::collection::vec(step(), 0..60)) {
        const NAMES: [&str; 6] = ["a.x", "a.x/p", "a.x/p/q", "*.x", "b.x", "*.a.x"];
        let mut registry = Registry::default();
        let mut model: BTreeMap<(u8, u16), Millis> = BTreeMap::new();
        for (time, step) in steps.iter().enumerate() {
            let now = time as Millis * 10;
            match step {
                Step::Register(name, port) => {
                    registry.register(&read(&message(&[NAMES[*name as usize]], *port)), now);
                    model.insert((*name, *port), now);
                }
                Step::Unregister(name, port) => {
                    registry.unregister(&read(&message(&[NAMES[*name as usize]], *port)), now);
                    model.remove(&(*name, *port));
                }
                Step::Prune => {
                    registry.prune(now, 50);
                    model.retain(|_, seen| now - *seen <= 50);
                }
            }
            let mut actual: Vec<(String, u16)> = registry
                .table()
                .iter()
                .flat_map(|pool| pool.members.iter().map(|member| (pool.name.to_string(), member.endpoint.identity.port)))
                .collect();
            let mut expected: Vec<(String, u16)> =
                model.keys().map(|(name, port)| (NAMES[*name as usize].to_string(), *port)).collect();
            actual.sort();
            expected.sort();
            prop_assert_eq!(actual, expected);
        }
    }
}

#[derive(Debug, Clone)]
enum Deed {
    Register(u8, u8, u8),
    Unregister(u8, u8, u8),
    Remove(u8),
    Elsewhere,
    Prune,
}

fn deed() -> impl Strategy<Value = Deed> {
    let who = || (1u8..32, 0u8..4, 0u8..3);
    prop_oneof![
        4 => who().prop_map(|(names, port, id)| Deed::Register(names, port, id)),
        2 => who().prop_map(|(names, port, id)| Deed::Unregister(names, port, id)),
        1 => (0u8..9).prop_map(Deed::Remove),
        1 => Just(Deed::Elsewhere),
        1 => Just(Deed::Prune),
    ]
}

proptest! {
    /// Whoever comes to an address finds all names of those who were there.
    #[test]
    fn the_names_of_each_address_are_known(deeds in proptest::collection::vec(deed(), 0..60)) {
        let of = |names: u8, port: u8, id: u8| {
            let uris: Vec<String> = (0..5).filter(|bit| names >> bit & 1 == 1).map(|bit| format!("n{bit}.x")).collect();
            let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
            read(&Registration {
                private_instance_id: (id > 0).then(|| format!("i-{id}")),
                isolation_segment: (port == 3).then(|| "gold".to_string()),
                ..message(&uris, 1 + u16::from(port))
            })
        };
        let mut registry = Registry::default();
        for (time, deed) in deeds.into_iter().enumerate() {
            let now = time as Millis * 1000;
            match deed {
                Deed::Register(names, port, id) => registry.register(&of(names, port, id), now),
                Deed::Unregister(names, port, id) => registry.unregister(&of(names, port, id), now),
                Deed::Remove(number) => registry.remove(&[number.into()], now),
                Deed::Elsewhere => registry.keep_taken(|segment| segment.is_none(), now),
                Deed::Prune => registry.prune(now, 5000),
            };
            for port in 1..=4 {
                let at = At { host: "10.0.0.1", port };
                let mut expected: Vec<RouteName> = registry.table().iter()
                    .filter(|pool| pool.members.iter().any(|member| {
                        let identity = &member.endpoint.identity;
                        identity.at() == at && identity.tenant().is_some()
                    }))
                    .map(|pool| pool.name.clone())
                    .collect();
                expected.sort();
                prop_assert_eq!(registry.names_at(at), expected);
            }
        }
    }
}

fn over_tls(uri: &str, port: u16, san: &str) -> Registration {
    Registration {
        port: None,
        tls_port: Some(port),
        server_cert_domain_san: Some(san.into()),
        ..message(&[uri], port)
    }
}

#[test]
fn an_endpoint_over_tls_goes_when_it_fails_and_not_by_time() {
    let mut registry = Registry::default();
    let secure = Announcement::read(&over_tls("a", 1, "guid"), true).expect("TLS is there");
    registry.register(&secure, 0);
    registry.register(&read(&message(&["a"], 2)), 0);
    assert_eq!(registry.prune(1_000_000, 120_000).removed, 1);
    let left = |registry: &Registry| -> Vec<Arc<Endpoint>> {
        let table = registry.table();
        let pool = table.lookup("a", "").expect("the name is known");
        let members = pool.members.iter();
        members.map(|member| member.endpoint.clone()).collect()
    };
    let endpoint = left(&registry)[0].clone();
    assert_eq!(endpoint.identity.port, 1);
    assert!(endpoint.leave() && !endpoint.leave());
    // Nothing takes that back for this endpoint; a registration makes another.
    endpoint.set_aside(0);
    assert!(endpoint.is_gone());
    assert_eq!(registry.register(&secure, 1).replaced, 1);
    assert!(!left(&registry)[0].is_gone());
    assert_eq!(registry.remove(&[endpoint.number], 1), Changed::default());
    let number = left(&registry)[0].number;
    assert_eq!(registry.remove(&[number], 1).removed, 1);
    assert!(left(&registry).is_empty());
}

#[test]
fn tls_is_preferred_where_it_can_be_had() {
    let both = Registration {
        port: Some(80),
        ..over_tls("a", 443, "guid")
    };
    let address = |tls| Announcement::read(&both, tls).map(|read| read.identity.port);
    assert_eq!((address(true), address(false)), (Ok(443), Ok(80)));
    let only = |tls| Announcement::read(&over_tls("a", 443, "guid"), tls).map(|_| ());
    assert_eq!((only(true), only(false)), (Ok(()), Err(Rejected::NoPort)));
    let unnamed = Announcement::read(&over_tls("a", 443, ""), true).expect("its host");
    let tls = unnamed.identity.tls().expect("TLS");
    assert_eq!(tls.name.to_str(), "10.0.0.1");
    assert_eq!(tls.registered, None);
    let wrong = Announcement::read(&over_tls("a", 443, "no name"), true);
    assert_eq!(wrong, Err(Rejected::Identity));
}

fn instance(name: &str, id: &str, seconds: i64) -> Announcement {
    read(&Registration {
        private_instance_id: Some(id.into()),
        app: Some(format!("app of {name}")),
        endpoint_updated_at_ns: Some(seconds * 1_000_000_000),
        ..message(&[name], 20_000)
    })
}

#[test]
fn an_instance_takes_the_place_of_another_apps_at_its_address() {
    let mut registry = Registry::default();
    registry.register(&instance("a.example.com", "one", 100), 0);
    let changed = registry.register(&instance("b.example.com", "two", 101), 1_000);
    assert_eq!((changed.added, changed.removed), (1, 1));
    let table = registry.snapshot();
    assert_eq!(ports(&table, "a.example.com", ""), Some(vec![]));
    assert_eq!(ports(&table, "b.example.com", ""), Some(vec![20_000]));
    // What the former one said before comes late.
    let late = registry.register(&instance("a.example.com", "one", 100), 1_100);
    assert_eq!((late.outdated, late.visible()), (1, false));
    // It gets a further name: the same instance under two names.
    let renamed = read(&Registration {
        private_instance_id: Some("two".into()),
        app: Some("app of b.example.com".into()),
        endpoint_updated_at_ns: Some(102_000_000_000),
        ..message(&["b.example.com", "c.example.com"], 20_000)
    });
    registry.register(&renamed, 2_000);
    registry.register(&instance("a.example.com", "three", 103), 3_000);
    let table = registry.snapshot();
    assert_eq!(ports(&table, "a.example.com", ""), Some(vec![20_000]));
    assert_eq!(ports(&table, "b.example.com", ""), Some(vec![]));
    assert_eq!(ports(&table, "c.example.com", ""), Some(vec![]));
}

#[test]
fn whoever_is_no_instance_of_an_app_may_share_an_address() {
    let mut registry = Registry::default();
    for (name, id) in [("a.example.com", "one"), ("b.example.com", "two")] {
        let registration = Registration {
            private_instance_id: Some(id.into()),
            app: None,
            ..message(&[name], 80)
        };
        registry.register(&read(&registration), 0);
    }
    let table = registry.snapshot();
    assert_eq!(ports(&table, "a.example.com", ""), Some(vec![80]));
    assert_eq!(ports(&table, "b.example.com", ""), Some(vec![80]));
}

#[test]
fn a_clock_that_was_set_back_loses_no_route() {
    let mut registry = Registry::default();
    let (before, after) = (10_000, 10_000 - 3_600);
    registry.register(&instance("a.example.com", "one", before), 0);
    // It came late by a moment …
    let late = registry.register(&instance("a.example.com", "one", before - 1), 500);
    assert_eq!(late.outdated, 1);
    // … and this is another clock.
    let again = registry.register(&instance("a.example.com", "one", after), 20_000);
    assert_eq!(again.refreshed, 1);
    registry.sweep(130_000, 30_000, 120_000);
    let table = registry.snapshot();
    assert_eq!(ports(&table, "a.example.com", ""), Some(vec![20_000]));
    let gone = registry.unregister(&instance("a.example.com", "one", after + 20), 140_000);
    assert_eq!((gone.removed, gone.outdated), (1, 0));
    // It is back after its clock was set back once more.
    let back = registry.register(&instance("a.example.com", "one", after - 3_600), 141_000);
    assert_eq!(back.added, 1);
}

#[test]
fn who_is_of_another_segment_leaves_when_the_router_serves_it_no_more() {
    let mut registry = Registry::default();
    let of = |segment: Option<&str>, uri: &str, port: u16| {
        let message = Registration {
            isolation_segment: segment.map(str::to_string),
            ..message(&[uri], port)
        };
        read(&message)
    };
    registry.register(&of(None, "shared.example.com", 1), 0);
    registry.register(&of(Some("gold"), "gold.example.com", 2), 0);
    registry.register(&of(Some("gold"), "both.example.com", 3), 0);
    registry.register(&of(None, "both.example.com", 4), 0);
    let changed = registry.keep_taken(|segment| segment.is_none(), 5);
    assert_eq!(changed.removed, 2);
    let table = registry.snapshot();
    let members = |host| table.lookup(host, "").map(|pool| pool.members.len());
    assert_eq!(members("shared.example.com"), Some(1));
    assert_eq!(members("both.example.com"), Some(1));
    assert_eq!(members("gold.example.com"), None, "answered 404");
    assert!(
        !registry
            .keep_taken(|segment| segment.is_none(), 6)
            .visible()
    );
}

#[test]
fn a_port_is_the_first_ones_and_no_requests() {
    use proto::ports::{Port, Transport};
    let mut registry = Registry::default();
    let first = read(&message(
        &["tcp://tcp.example.com:10101", "web.example.com"],
        1,
    ));
    let second = read(&message(&["tcp://other.example.com:10101"], 2));
    let udp = read(&message(&["udp://tcp.example.com:10101"], 3));
    for announcement in [&first, &second, &udp] {
        assert!(registry.register(announcement, 0).visible());
    }
    let port = |transport| Port {
        transport,
        number: 10101,
    };
    let at = |registry: &Registry, transport| -> Vec<u16> {
        let pool = registry.table().at_port(port(transport));
        let members = pool.into_iter().flat_map(|pool| &pool.members);
        members
            .map(|member| member.endpoint.identity.port)
            .collect()
    };
    assert_eq!(at(&registry, Transport::Tcp), [1]);
    assert_eq!(at(&registry, Transport::Udp), [3]);
    for host in ["tcp.example.com", "tcp.example.com:10101"] {
        assert_eq!(ports(registry.table(), host, ""), None, "{host}");
    }
    assert_eq!(
        ports(registry.table(), "web.example.com", ""),
        Some(vec![1])
    );
    // What is done with names is done with ports: it is pruned, and the second one has it then.
    registry.register(&second, 100_000);
    registry.prune(130_000, 120_000);
    assert!(at(&registry, Transport::Tcp).is_empty(), "it may come back");
    registry.prune(260_000, 120_000);
    assert_eq!(registry.table().ports().len(), 1);
    registry.register(&second, 260_000);
    assert_eq!(at(&registry, Transport::Tcp), [2]);
    registry.unregister(&second, 261_000);
    assert!(!registry.table().ports().contains_key(&port(Transport::Tcp)));
}

#[test]
fn a_port_is_reached_as_it_is_where_names_are_reached_over_tls() {
    let mixed = Registration {
        tls_port: Some(443),
        ..message(&["a.example.com", "tcp://a.example.com:10101"], 1)
    };
    let read = Announcement::read(&mixed, true).expect("a registration");
    assert_eq!((read.names.len(), read.invalid), (1, 1));
    let alone = Registration {
        tls_port: Some(443),
        ..message(&["tcp://a.example.com:10101"], 1)
    };
    let read = Announcement::read(&alone, true).expect("a registration");
    assert_eq!((read.names.len(), read.identity.port), (1, 1));
    assert_eq!(read.identity.tls(), None);
}

#[test]
fn a_process_sleeps_under_its_names_until_it_has_instances_or_nobody_tells_of_it() {
    let mut registry = Registry::default();
    let sleeping = read(&Registration {
        yard_wakes: Some("process-1".into()),
        ..message(&["a.example.com"], 9)
    });
    let sleeper = |registry: &Registry| {
        let table = registry.snapshot();
        let pool = table.lookup("a.example.com", "/")?;
        pool.sleeper().map(|sleeper| sleeper.process.to_string())
    };
    let instance = read(&message(&["a.example.com"], 8000));
    registry.register(&instance, 0);
    // Told before its instances go.
    assert!(registry.register(&sleeping, 0).visible());
    assert_eq!(sleeper(&registry), None);
    assert!(!registry.register(&sleeping, 1000).visible());
    registry.unregister(&instance, 1000);
    assert_eq!(sleeper(&registry).as_deref(), Some("process-1"));
    // A crash or a second farewell does not end it.
    registry.unregister(&instance, 1000);
    assert_eq!(sleeper(&registry).as_deref(), Some("process-1"));
    registry.prune(100_000, 120_000);
    assert_eq!(sleeper(&registry).as_deref(), Some("process-1"));
    registry.prune(130_000, 120_000);
    assert_eq!(
        registry.table().lookup("a.example.com", "/").map(|_| ()),
        None
    );
}
