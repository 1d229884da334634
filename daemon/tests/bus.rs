//! The bus connection against a real nats-server.

#![allow(clippy::unwrap_used, reason = "a test")]

mod servers;

use std::time::Duration;

use daemon::{Bus, BusError, ComponentId, Role};
use proto::bus::catalogue;
use proto::bus::component::Component;
use proto::bus::{Empty, Payload, router::RouterStart};
use servers::{Nats, eventually, has};

const SOON: Duration = Duration::from_secs(10);

async fn connected(nats: &Nats, id: &str) -> Bus {
    let bus = Bus::connect(&nats.config(id), &ComponentId::new(id).unwrap())
        .await
        .unwrap();
    tokio::time::timeout(SOON, bus.status().wait_for(|status| status.connected))
        .await
        .expect("connected in time")
        .unwrap();
    bus
}

fn start_of(id: &str) -> RouterStart {
    let text = serde_json::json!({"id": id, "hosts": ["127.0.0.1"], "minimumRegisterIntervalInSeconds": 20, "pruneThresholdInSeconds": 120});
    RouterStart::decode(text.to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn a_question_is_answered_and_a_publish_arrives() {
    if !has(
        "a_question_is_answered_and_a_publish_arrives",
        "nats-server",
    ) {
        return;
    }
    let nats = Nats::start(&[(Role::Router, "router-1"), (Role::Dea, "dea-1")]);
    let (router, dea) = (
        connected(&nats, "router-1").await,
        connected(&nats, "dea-1").await,
    );

    let nobody = dea
        .request::<Empty, RouterStart>(&catalogue::router_greet(), &Empty, Duration::from_secs(2))
        .await;
    assert!(
        matches!(nobody, Err(BusError::NoResponders(_))),
        "{nobody:?}"
    );
    let none: Vec<RouterStart> = dea
        .request_many(&catalogue::router_greet(), &Empty, Duration::from_secs(2))
        .await
        .unwrap();
    assert!(none.is_empty());

    let mut questions = router
        .subscribe(&catalogue::router_greet().filter())
        .await
        .unwrap();
    router.flush().await.unwrap();
    let answering = async {
        for _ in 0..2 {
            let question = questions.next().await.unwrap();
            assert!(question.wants_reply());
            assert_eq!(question.sender, "dea-1");
            question.respond(&start_of("one")).await.unwrap();
        }
    };
    let asking = async {
        let answer: RouterStart = dea
            .request(&catalogue::router_greet(), &Empty, SOON)
            .await
            .unwrap();
        assert_eq!(answer, start_of("one"));
        let answers: Vec<RouterStart> = dea
            .request_many(
                &catalogue::router_greet(),
                &Empty,
                Duration::from_millis(300),
            )
            .await
            .unwrap();
        assert_eq!(answers, [start_of("one")]);
    };
    tokio::join!(answering, asking);

    let mut starts = dea
        .subscribe(&catalogue::router_start().filter())
        .await
        .unwrap();
    dea.flush().await.unwrap();
    router
        .publish(&catalogue::router_start(), &start_of("two"))
        .await
        .unwrap();
    let received = tokio::time::timeout(SOON, starts.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(received.message, start_of("two"));
    assert_eq!(received.sender, "router-1");
    assert!(!received.wants_reply());
}

#[tokio::test]
async fn a_forbidden_subject_is_counted() {
    if !has("a_forbidden_subject_is_counted", "nats-server") {
        return;
    }
    let nats = Nats::start(&[(Role::Dea, "dea-1")]);
    let dea = connected(&nats, "dea-1").await;
    dea.publish(&catalogue::router_start(), &start_of("evil"))
        .await
        .unwrap();
    let _subscription = dea
        .subscribe(&catalogue::router_register().filter())
        .await
        .unwrap();
    dea.flush().await.unwrap();
    eventually(SOON, async || match dea.counts().permission_violations {
        2 => Ok(()),
        other => Err(format!("{other} violations")),
    })
    .await;
}

#[tokio::test]
async fn what_makes_no_sense_is_ignored_and_counted() {
    if !has("what_makes_no_sense_is_ignored_and_counted", "nats-server") {
        return;
    }
    let nats = Nats::start(&[(Role::Dea, "dea-1")]);
    let dea = connected(&nats, "dea-1").await;
    let mut starts = dea
        .subscribe(&catalogue::router_start().filter())
        .await
        .unwrap();
    dea.flush().await.unwrap();
    let stranger = async_nats::ConnectOptions::with_user_and_password(
        "tool".to_string(),
        "secret".to_string(),
    )
    .connect(format!("127.0.0.1:{}", nats.port))
    .await
    .unwrap();
    for bytes in [&b"{"[..], b"\xff\xfe", b"[]", b"{\"id\": 7}"] {
        stranger
            .publish("router.start", bytes.to_vec().into())
            .await
            .unwrap();
    }
    stranger
        .publish("router.start", start_of("fine").encode().into())
        .await
        .unwrap();
    stranger.flush().await.unwrap();
    let received = tokio::time::timeout(SOON, starts.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(received.message, start_of("fine"));
    assert_eq!(dea.counts().malformed, 4);
}

#[tokio::test]
async fn what_makes_sense_and_is_not_followed_is_counted() {
    if !has(
        "what_makes_sense_and_is_not_followed_is_counted",
        "nats-server",
    ) {
        return;
    }
    let nats = Nats::start(&[(Role::Dea, "dea-1"), (Role::Router, "router-1")]);
    let (dea, router) = (
        connected(&nats, "dea-1").await,
        connected(&nats, "router-1").await,
    );
    let mut questions = router
        .subscribe(&catalogue::router_greet().filter())
        .await
        .unwrap();
    router.flush().await.unwrap();
    let answering = async {
        let (Empty, from) = questions.next().await.unwrap().open();
        assert_eq!(
            (from.subject.as_str(), from.sender.as_str()),
            ("router.greet", "dea-1")
        );
        from.ignore("not now", "it is answered all the same");
        from.pass_over("not now");
        router.ignored(&catalogue::router_greet(), "dea-1", "not now", "later");
        from.respond(&start_of("one")).await.unwrap();
    };
    let greet = catalogue::router_greet();
    let asking = dea.request::<Empty, RouterStart>(&greet, &Empty, SOON);
    let ((), answer) = tokio::join!(answering, asking);
    assert_eq!(answer.unwrap(), start_of("one"));
    assert_eq!(router.counts().ignored, 3);
    assert_eq!(router.counts().malformed, 0);
}

#[tokio::test]
async fn what_a_slow_reader_misses_is_counted() {
    if !has("what_a_slow_reader_misses_is_counted", "nats-server") {
        return;
    }
    let nats = Nats::start(&[(Role::Dea, "dea-1"), (Role::Router, "router-1")]);
    let (dea, router) = (
        connected(&nats, "dea-1").await,
        connected(&nats, "router-1").await,
    );
    let mut unread = dea
        .subscribe(&catalogue::router_start().filter())
        .await
        .unwrap();
    dea.flush().await.unwrap();
    // A subscription keeps 16 Ki messages.
    const SENT: u64 = 20_000;
    for number in 0..SENT {
        router
            .publish(&catalogue::router_start(), &start_of(&number.to_string()))
            .await
            .unwrap();
    }
    router.flush().await.unwrap();
    dea.flush().await.unwrap();
    let missed = eventually(SOON, async || match dea.counts().slow_consumer {
        0 => Err("nothing was missed".to_string()),
        missed => Ok(missed),
    })
    .await;
    assert!(missed <= SENT);
    let first = tokio::time::timeout(SOON, unread.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.message, start_of("0"), "what was kept is not lost");
}

#[tokio::test]
async fn a_server_that_restarts_is_found_again_and_meanwhile_publishing_fails() {
    if !has(
        "a_server_that_restarts_is_found_again_and_meanwhile_publishing_fails",
        "nats-server",
    ) {
        return;
    }
    let mut nats = Nats::start(&[(Role::Router, "router-1"), (Role::Dea, "dea-1")]);
    let (router, dea) = (
        connected(&nats, "router-1").await,
        connected(&nats, "dea-1").await,
    );
    let mut starts = dea
        .subscribe(&catalogue::router_start().filter())
        .await
        .unwrap();
    dea.flush().await.unwrap();

    nats.down();
    let mut status = router.status();
    tokio::time::timeout(SOON, status.wait_for(|status| !status.connected))
        .await
        .expect("seen in time")
        .unwrap();
    let refused = router
        .publish(&catalogue::router_start(), &start_of("lost"))
        .await;
    assert!(
        matches!(refused, Err(BusError::Disconnected(_))),
        "{refused:?}"
    );

    nats.up();
    for bus in [&router, &dea] {
        let mut status = bus.status();
        tokio::time::timeout(
            SOON,
            status.wait_for(|status| status.connected && status.reconnects == 1),
        )
        .await
        .expect("back in time")
        .unwrap();
    }
    dea.flush().await.unwrap();
    router
        .publish(&catalogue::router_start(), &start_of("back"))
        .await
        .unwrap();
    let received = tokio::time::timeout(SOON, starts.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        received.message,
        start_of("back"),
        "what was refused is not sent later"
    );
}

#[tokio::test]
async fn a_bus_that_is_not_there_yet_is_waited_for() {
    if !has("a_bus_that_is_not_there_yet_is_waited_for", "nats-server") {
        return;
    }
    let mut nats = Nats::start(&[(Role::Dea, "dea-1")]);
    nats.down();
    let dea = Bus::connect(&nats.config("dea-1"), &ComponentId::new("dea-1").unwrap())
        .await
        .unwrap();
    let mut discover = dea
        .subscribe(&catalogue::component_discover().filter())
        .await
        .unwrap();
    assert!(!dea.status().borrow().connected);
    nats.up();
    tokio::time::timeout(SOON, dea.status().wait_for(|status| status.connected))
        .await
        .expect("connected in time")
        .unwrap();
    dea.flush().await.unwrap();
    let tool = async_nats::ConnectOptions::with_user_and_password(
        "tool".to_string(),
        "secret".to_string(),
    )
    .connect(format!("127.0.0.1:{}", nats.port))
    .await
    .unwrap();
    tool.publish("vcap.component.discover", "hello".into())
        .await
        .unwrap();
    tool.flush().await.unwrap();
    tokio::time::timeout(SOON, discover.next())
        .await
        .unwrap()
        .unwrap();
    let _ = Component::NAME;
}
