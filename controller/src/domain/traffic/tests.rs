use super::*;
use proptest::prelude::*;
use proto::bus::stream::RouteTraffic;

fn policy() -> Policy {
    Policy::read(&Settings::default())
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn app() -> Subject {
    Subject::App("shop".into())
}

fn route(route: &str, app: &str, requests: u64, errors: u64) -> RouteTraffic {
    RouteTraffic {
        route: route.into(),
        app: app.into(),
        requests,
        errors,
        open: 0,
    }
}

fn report(router: &str, run: &str, number: u64, routes: Vec<RouteTraffic>) -> RouterTraffic {
    RouterTraffic {
        router: router.into(),
        run: run.into(),
        number,
        routes,
        last: false,
    }
}

/// One router and what a leader would have told.
#[derive(Default)]
struct Cluster {
    traffic: Traffic,
    told: BTreeMap<Subject, Told>,
    number: u64,
    turned: Duration,
}

impl Cluster {
    fn hear(&mut self, now: Duration, routes: Vec<RouteTraffic>) {
        self.number += 1;
        let report = report("router-1", "a", self.number, routes);
        assert!(self.traffic.hear(&report, now, &policy()));
    }

    fn look(&mut self, now: Duration) -> Vec<News> {
        let policy = policy();
        self.traffic.expire(now, &policy);
        let whole = self.traffic.is_whole(Duration::ZERO, now, &policy);
        let turn = now.saturating_sub(self.turned) >= policy.window;
        if turn {
            self.turned = now;
        }
        let news = self.traffic.plan(&self.told, now, &policy, whole, turn);
        for one in &news {
            let told = self.told.entry(one.subject()).or_default();
            *told = one.after(*told);
        }
        news
    }

    /// Five seconds of traffic, told by the router and looked at.
    fn period(&mut self, number: u64, requests: u64, errors: u64) -> Vec<News> {
        let routes = match requests {
            0 => vec![],
            _ => vec![route("shop.example", "shop", requests, errors)],
        };
        self.hear(at(number * 5), routes);
        self.look(at(number * 5))
    }
}

fn rises(news: &[News]) -> usize {
    news.iter()
        .filter(|news| matches!(news, News::ErrorsRose { .. }))
        .count()
}

#[test]
fn errors_are_told_once_and_again_only_after_they_ended() {
    let mut cluster = Cluster::default();
    // (requests, errors) in five seconds, and how often that is told in a minute of it.
    let minutes = [
        ((100, 0), 0),
        ((100, 50), 1),
        ((100, 50), 0),
        // Less than the threshold and more than half of it: not ended.
        ((100, 8), 0),
        ((100, 50), 0),
        ((100, 0), 0),
        ((100, 20), 1),
        // Without requests there are no errors either.
        ((0, 0), 0),
        ((0, 0), 0),
        ((100, 100), 1),
    ];
    let mut number = 0;
    for (minute, ((requests, errors), expected)) in minutes.into_iter().enumerate() {
        let mut told = 0;
        for _ in 0..13 {
            number += 1;
            told += rises(&cluster.period(number, requests, errors));
        }
        assert_eq!(told, expected, "minute {minute}");
    }
}

#[test]
fn what_is_told_says_how_many_and_where() {
    let mut cluster = Cluster::default();
    cluster.hear(
        at(1),
        vec![
            route("shop.example", "shop", 30, 2),
            route("shop.example/pay", "shop", 10, 5),
            route("legacy.example", "", 40, 40),
            route("other.example", "other", 19, 19),
        ],
    );
    let news = cluster.look(at(1));
    assert_eq!(
        news,
        [
            News::ErrorsRose {
                subject: app(),
                route: "shop.example/pay".into(),
                count: Count {
                    requests: 40,
                    errors: 7
                },
            },
            News::ErrorsRose {
                subject: Subject::Route("legacy.example".into()),
                route: "legacy.example".into(),
                count: Count {
                    requests: 40,
                    errors: 40
                },
            },
        ],
        "other has fewer requests than count"
    );
}

#[test]
fn the_request_rate_is_told_when_it_is_another_one() {
    let mut cluster = Cluster::default();
    let mut told = Vec::new();
    let mut number = 0;
    // A minute each, in requests a second.
    for rate in [100, 100, 110, 300, 300, 0, 0] {
        for _ in 0..12 {
            number += 1;
            told.extend(cluster.period(number, rate * 5, 0));
        }
    }
    let rates: Vec<(u64, u64)> = told
        .iter()
        .filter_map(|news| match news {
            News::RateChanged {
                millirequests,
                previous,
                ..
            } => Some((previous / 1000, millirequests / 1000)),
            News::ErrorsRose { .. } | News::ErrorsEnded { .. } => None,
        })
        .collect();
    // A report that came exactly a window ago still counts.
    assert_eq!(rates.len(), told.len(), "{told:?}");
    assert_eq!(rates.first(), Some(&(0, 100)));
    assert_eq!(rates.last().map(|last| last.1), Some(0));
    assert!(
        (3..=4).contains(&rates.len()) && rates.iter().any(|rate| rate.1 >= 290),
        "{rates:?}"
    );
}

#[test]
fn a_router_that_is_silent_makes_nothing_less() {
    let mut cluster = Cluster::default();
    for number in 1..=13 {
        cluster.period(number, 500, 250);
    }
    let before = cluster.told[&app()];
    assert!(before.erring && before.millirequests > 0);
    // Cut off for three minutes, then back: a window later what it says is believed.
    for second in 66..245 {
        assert_eq!(cluster.look(at(second)), [], "second {second}");
    }
    let mut ended = None;
    for number in 49..70 {
        let news = cluster.period(number, 500, 0);
        assert_eq!(rises(&news), 0);
        if news.contains(&News::ErrorsEnded { subject: app() }) {
            ended = Some(number);
        }
    }
    assert!(ended.is_some_and(|number| number >= 49 + 12), "{ended:?}");
}

#[test]
fn a_router_that_says_goodbye_is_not_waited_for() {
    let policy = policy();
    for goodbye in [false, true] {
        let mut traffic = Traffic::default();
        for number in 1..=29 {
            traffic.hear(
                &report("router-1", "a", number, vec![]),
                at(number * 5),
                &policy,
            );
            if number == 20 {
                let other = report("router-2", "b", 1, vec![]);
                traffic.hear(&other, at(100), &policy);
            }
            if number == 21 && goodbye {
                let mut last = report("router-2", "b", 2, vec![]);
                last.last = true;
                traffic.hear(&last, at(105), &policy);
            }
        }
        assert_eq!(traffic.is_whole(at(0), at(145), &policy), goodbye);
    }
}

#[test]
fn a_router_that_began_anew_replaces_its_run() {
    let mut traffic = Traffic::default();
    let policy = policy();
    traffic.hear(&report("router-1", "a", 7, vec![]), at(1), &policy);
    let begun = report(
        "router-1",
        "b",
        1,
        vec![route("shop.example", "shop", 5, 0)],
    );
    assert!(traffic.hear(&begun, at(5), &policy));
    let late = report(
        "router-1",
        "a",
        6,
        vec![route("shop.example", "shop", 5, 0)],
    );
    assert!(!traffic.hear(&late, at(6), &policy));
    assert_eq!(traffic.count(&app(), at(6), &policy).0.requests, 5);
    for number in 2..15 {
        traffic.hear(
            &report("router-1", "b", number, vec![]),
            at(number * 5),
            &policy,
        );
    }
    assert!(
        traffic.is_whole(at(0), at(70), &policy),
        "the killed run is not waited for"
    );
}

#[test]
fn while_the_bus_was_away_nothing_ended() {
    let mut cluster = Cluster::default();
    for number in 1..=13 {
        cluster.period(number, 100, 90);
    }
    assert!(cluster.told[&app()].erring);
    cluster.traffic.begin_anew(at(300));
    assert_eq!(cluster.look(at(301)), []);
    assert_eq!(cluster.period(61, 100, 90), []);
}

#[test]
fn a_subject_reads_back() {
    for subject in [app(), Subject::Route("a.example/b:c".into())] {
        assert_eq!(Subject::parse(&subject.to_string()), Some(subject));
    }
    assert_eq!(Subject::parse("pack:x"), None);
}

/// Reports of three routers, in the order they were sent: seconds between them, router, requests, errors.
fn reports() -> impl Strategy<Value = Vec<(u64, usize, u64, u64)>> {
    prop::collection::vec((0..8_u64, 0..3_usize, 0..60_u64, 0..60_u64), 1..120)
}

proptest! {
    #[test]
    fn errors_never_rise_twice_without_an_end(sent in reports()) {
        let mut cluster = Cluster::default();
        let mut now = Duration::ZERO;
        let mut erring = false;
        for (seconds, _, requests, errors) in sent {
            now += Duration::from_secs(seconds);
            cluster.hear(now, vec![route("shop.example", "shop", requests, errors)]);
            for news in cluster.look(now) {
                match news {
                    News::ErrorsRose { .. } => {
                        prop_assert!(!erring);
                        erring = true;
                    }
                    News::ErrorsEnded { .. } => {
                        prop_assert!(erring);
                        erring = false;
                    }
                    News::RateChanged { previous, millirequests, .. } => prop_assert_ne!(previous, millirequests),
                }
            }
            // A second look at the same moment sees no news.
            prop_assert_eq!(cluster.look(now), []);
        }
    }

    #[test]
    fn several_routers_count_as_one_and_repeats_as_none(
        sent in reports(),
        repeated in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let policy = policy();
        let (mut one, mut several) = (Traffic::default(), Traffic::default());
        let mut now = Duration::ZERO;
        let mut numbers = [0; 3];
        let mut past = Vec::new();
        let mut repeated = repeated.into_iter();
        for (place, (seconds, router, requests, errors)) in sent.into_iter().enumerate() {
            now += Duration::from_secs(seconds);
            let routes = vec![route("shop.example", "shop", requests, errors)];
            one.hear(&report("only", "a", place as u64 + 1, routes.clone()), now, &policy);
            numbers[router] += 1;
            let told = report(&format!("router-{router}"), "a", numbers[router], routes);
            prop_assert!(several.hear(&told, now, &policy));
            past.push(told);
            if let Some(again) = repeated.next() {
                prop_assert!(!several.hear(again.get(&past), now, &policy));
            }
            prop_assert_eq!(one.count(&app(), now, &policy), several.count(&app(), now, &policy));
        }
    }

    #[test]
    fn a_count_is_that_of_the_window(sent in reports(), expire in any::<bool>()) {
        let policy = policy();
        let part = policy.window / PARTS;
        let mut traffic = Traffic::default();
        let mut now = Duration::ZERO;
        let mut all: Vec<(Duration, Count)> = Vec::new();
        for (place, (seconds, _, requests, errors)) in sent.into_iter().enumerate() {
            now += Duration::from_millis(seconds * 317);
            let routes = vec![route("shop.example", "shop", requests, errors)];
            traffic.hear(&report("only", "a", place as u64 + 1, routes), now, &policy);
            all.push((now, Count { requests, errors: errors.min(requests) }));
            if expire {
                traffic.expire(now, &policy);
            }
            let within = |window: Duration| {
                let mut sum = Count::default();
                for (at, count) in &all {
                    if now - *at <= window {
                        sum.add(*count);
                    }
                }
                sum
            };
            let (count, _) = traffic.count(&app(), now, &policy);
            let (least, most) = (within(policy.window - part), within(policy.window));
            prop_assert!(least.requests <= count.requests && count.requests <= most.requests);
            prop_assert!(least.errors <= count.errors && count.errors <= most.errors);
        }
    }
}
