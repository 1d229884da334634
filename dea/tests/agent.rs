//! The whole agent: real bus, real containers, a blob store; the test plays controller and router.

#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use dea::domain::record::{InstanceRecord, Record, SavedState};
use proto::bus::dea::{
    AgentStatus, Discover, Drain, DrainAgent, DrainReply, FindInstances, FoundInstance, Hello,
    Limits, UpdateInstances,
};
use proto::bus::health::{ExitReason, InstanceState};
use proto::bus::{Empty, catalogue};
use proto::ids::{DeaId, InstanceId, ProcessGuid};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use world::{Seen, World};

/// A web server with doors to misbehave.
const SERVER: &str = r#"
import http.server, os, signal, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith('/exit/'):
            os._exit(int(self.path[6:]))
        if self.path == '/eat':
            data = []
            while True:
                data.append(bytearray(8 << 20))
        body = (os.environ['GREETING'] + ' ' + os.environ['CF_INSTANCE_INDEX']).encode()
        self.send_response(200)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        print('served', self.path, flush=True)
server = http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"#;
const COMMAND: &str = "exec python3 server.py";

async fn answer(world: &World, path: &str) -> Result<String, String> {
    let Some(Seen::Registered(registration)) = world
        .all_seen()
        .into_iter()
        .rev()
        .find(|seen| matches!(seen, Seen::Registered(_)))
    else {
        return Err("no registration".into());
    };
    let url = format!(
        "http://{}:{}{path}",
        registration.host,
        registration.port.unwrap()
    );
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let reply = client
        .get(url)
        .send()
        .await
        .map_err(|error| error.to_string())?;
    reply.text().await.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_started_served_stopped_and_told() {
    let Some(world) = World::start("a whole life").await else {
        return;
    };
    let sha1 = world.droplet(&[
        ("app/server.py", SERVER),
        ("profile.d/a.sh", "export GREETING=\"$GREETING there\"\n"),
    ]);
    let begun = Instant::now();
    let start = world.start_message("i1", &sha1, COMMAND);
    world.order(&start).await;
    world.order(&start).await;
    world.state("i1", InstanceState::Starting).await;
    world.state("i1", InstanceState::Running).await;
    eprintln!("start command to running: {:?}", begun.elapsed());
    world
        .eventually("its registration", |seen| {
            matches!(seen, Seen::Registered(_))
        })
        .await;
    assert_eq!(answer(&world, "/x").await.unwrap(), "hello there 0");
    world.eventually("its line", |seen| matches!(seen, Seen::Line(kind, text) if kind == "APP/PROC/WEB" && text == "served /x")).await;
    world.eventually("the agent's line", |seen| matches!(seen, Seen::Line(kind, text) if kind == "CELL" && text.contains("healthy"))).await;
    world
        .eventually(
            "less memory",
            |seen| matches!(seen, Seen::Advertised(ad) if ad.available_memory == 2048 - 96),
        )
        .await;
    for folder in ["accepted", "droplets", "inputs", "sandboxes", "spool"] {
        let metadata = std::fs::metadata(world.agent_folder().join(folder)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        assert_eq!(mode & 0o777, 0o700, "{folder} is nobody else's");
    }
    let starts = world.all_seen().iter().filter(|seen| matches!(seen, Seen::Line(kind, text) if kind == "CELL" && text.contains("Creating"))).count();
    assert_eq!(starts, 1, "the same command twice starts one");
    world.forget_seen();
    world.order_stop("i1").await;
    let exited = world.exited("i1").await;
    assert_eq!(
        (exited.reason, exited.exit_status),
        (ExitReason::Stopped, 0)
    );
    assert!(
        world.position(|seen| matches!(seen, Seen::Unregistered(_)))
            < world.position(|seen| matches!(seen, Seen::Exited(_)))
    );
    world
        .eventually(
            "all memory",
            |seen| matches!(seen, Seen::Advertised(ad) if ad.available_memory == 2048),
        )
        .await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_crash_tells_its_reason_and_the_route_goes_first() {
    let Some(world) = World::start("crashes").await else {
        return;
    };
    let sha1 = world.droplet(&[("app/server.py", SERVER)]);
    for (instance, path, words) in [
        ("i1", "/exit/3", "status 3"),
        ("i2", "/eat", "out of memory"),
    ] {
        world
            .order(&world.start_message(instance, &sha1, COMMAND))
            .await;
        world.state(instance, InstanceState::Running).await;
        world.eventually("its registration", |seen| {
            matches!(seen, Seen::Registered(registration) if registration.tags["process_instance_id"] == instance)
        })
        .await;
        let begun = Instant::now();
        let _ = answer(&world, path).await;
        let exited = world.exited(instance).await;
        eprintln!("{path} to its exit told: {:?}", begun.elapsed());
        assert_eq!(exited.reason, ExitReason::Crashed);
        assert!(
            exited.exit_description.contains(words),
            "{}",
            exited.exit_description
        );
        world.state(instance, InstanceState::Crashed).await;
        let unregistered = world.position(|seen| {
            matches!(seen, Seen::Unregistered(it) if it.tags["process_instance_id"] == instance)
        });
        assert!(
            unregistered
                < world.position(|seen| {
                    matches!(seen, Seen::Exited(it) if it.instance.as_str() == instance)
                })
        );
    }
    let mut never = world.start_message("i3", &sha1, "sleep 1000");
    never.health_check_timeout = Some(1);
    world.order(&never).await;
    let text = world.exited("i3").await.exit_description;
    assert!(
        text.starts_with("failed to accept connections within health check timeout (1 s)"),
        "{text}"
    );
    world
        .order(&world.start_message("i4", &sha1, "no-such-command"))
        .await;
    assert!(world.exited("i4").await.exit_description.contains("127"));
    let mut large = world.start_message("i5", &sha1, COMMAND);
    large.limits.mem = 4096;
    world.order(&large).await;
    assert_eq!(
        world.exited("i5").await.exit_description,
        "Not enough memory resource available."
    );
    let mut absent = world.start_message("i6", &"0".repeat(40), COMMAND);
    absent.executable_uri = format!("{}/nothing", world.blob_url);
    world.order(&absent).await;
    assert_eq!(
        world.exited("i6").await.exit_description,
        "failed to start: the droplet is not in the blob store"
    );
    let mut old = world.start_message("i7", &sha1, COMMAND);
    old.yard_epoch = Some(4);
    world.forget_seen();
    world.order(&old).await;
    world
        .order(&world.start_message("i8", &sha1, "sleep 0.1; exit 0"))
        .await;
    assert!(
        world
            .exited("i8")
            .await
            .exit_description
            .contains("status 0")
    );
    assert!(!world.all_seen().iter().any(|seen| matches!(seen, Seen::Beat(beat) if beat.droplets.iter().any(|beat| beat.instance.as_str() == "i7"))));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_back_adopts_what_runs_and_repeats_what_nobody_acknowledged() {
    let Some(mut world) = World::start("adoption").await else {
        return;
    };
    let sha1 = world.droplet(&[("app/server.py", SERVER)]);
    world
        .order(&world.start_message("i1", &sha1, COMMAND))
        .await;
    world.state("i1", InstanceState::Running).await;
    world.acknowledge.store(false, Ordering::SeqCst);
    world
        .order(&world.start_message("i2", &sha1, "exit 9"))
        .await;
    world.exited("i2").await;
    world
        .eventually("a registration", |seen| matches!(seen, Seen::Registered(_)))
        .await;
    world.agent_breaks().await;
    assert_eq!(
        answer(&world, "/").await.unwrap(),
        "hello 0",
        "it goes on without its agent"
    );
    world.forget_seen();
    world.acknowledge.store(true, Ordering::SeqCst);
    // As an agent leaves it that dies between accepting an instance and ordering it.
    let accepted = Record::Instance(Box::new(InstanceRecord {
        instance: InstanceId::new("i9").unwrap(),
        private_id: "secret".into(),
        start: world.start_message("i9", &sha1, COMMAND),
        uris: vec![],
        terms: BTreeMap::new(),
        state: SavedState::Starting,
        since: 0.0,
        accepted_at: 0.0,
    }));
    std::fs::write(
        world.agent_folder().join("accepted/i9.json"),
        accepted.to_text(),
    )
    .unwrap();
    world.start_agent().await;
    assert_eq!(world.exited("i9").await.reason, ExitReason::DeaShutdown);
    world.state("i1", InstanceState::Running).await;
    world.state("i2", InstanceState::Crashed).await;
    assert_eq!(world.exited("i2").await.exit_status, 9);
    world
        .eventually("its registration again", |seen| {
            matches!(seen, Seen::Registered(_))
        })
        .await;
    assert_eq!(answer(&world, "/again").await.unwrap(), "hello 0");
    world
        .eventually(
            "its line",
            |seen| matches!(seen, Seen::Line(_, text) if text == "served /again"),
        )
        .await;
    world.stop_agent().await;
    assert_eq!(world.exited("i1").await.reason, ExitReason::DeaShutdown);
    world.finish().await;
}

/// Asks the agent to be emptied or to take work; what it says of it.
async fn drain(world: &World, drain: bool) -> Option<Drain> {
    let topic = catalogue::dea_drain(&DeaId::new("dea-1").unwrap());
    let reply: DrainReply = world
        .bus
        .request(&topic, &DrainAgent { drain }, Duration::from_secs(20))
        .await
        .unwrap();
    reply.drain
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_emptied_serves_on_and_takes_nothing_until_it_is_taken_back() {
    let Some(world) = World::start("drain").await else {
        return;
    };
    let sha1 = world.droplet(&[("app/server.py", SERVER)]);
    world
        .order(&world.start_message("i1", &sha1, COMMAND))
        .await;
    world.state("i1", InstanceState::Running).await;
    world
        .eventually("a registration", |seen| matches!(seen, Seen::Registered(_)))
        .await;
    let told = drain(&world, true).await.unwrap();
    assert_eq!((told.left, told.until - told.since), (1, 600.0));
    world.state("i1", InstanceState::Evacuating).await;
    world
        .eventually("its goodbye", |seen| {
            matches!(seen, Seen::Leaving(goodbye)
                if goodbye.yard_drain == Some(told) && goodbye.yard_zone.as_deref() == Some("z1"))
        })
        .await;
    world
        .eventually(
            "automation hears of it",
            |seen| matches!(seen, Seen::Report(report) if report.draining),
        )
        .await;
    assert_eq!(answer(&world, "/").await.unwrap(), "hello 0");
    assert!(
        !world
            .all_seen()
            .iter()
            .any(|seen| matches!(seen, Seen::Unregistered(_))),
        "it keeps its route"
    );

    world
        .order(&world.start_message("i2", &sha1, COMMAND))
        .await;
    let refused = world.exited("i2").await;
    assert_eq!(refused.reason, ExitReason::DeaEvacuation);
    assert!(
        refused.exit_description.contains("being emptied"),
        "{refused:?}"
    );

    world.forget_seen();
    assert_eq!(drain(&world, true).await, Some(told), "the same drain");
    assert_eq!(drain(&world, false).await, None);
    world.state("i1", InstanceState::Running).await;
    world
        .eventually("it advertises again", |seen| {
            matches!(seen, Seen::Advertised(_))
        })
        .await;
    world
        .order(&world.start_message("i3", &sha1, COMMAND))
        .await;
    world.state("i3", InstanceState::Running).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_change_questions_are_answered_and_a_flood_is_cut() {
    let Some(world) = World::start("questions").await else {
        return;
    };
    let sha1 = world.droplet(&[("app/server.py", SERVER)]);
    world
        .order(&world.start_message("i1", &sha1, COMMAND))
        .await;
    world.state("i1", InstanceState::Running).await;
    let droplet = ProcessGuid::new("process-1").unwrap();
    let update = UpdateInstances {
        droplet: droplet.clone(),
        uris: vec!["new.yard.internal".into()],
        version: None,
        yard_epoch: None,
        yard_routes: BTreeMap::new(),
    };
    world
        .bus
        .publish(&catalogue::dea_update(), &update)
        .await
        .unwrap();
    world
        .eventually(
            "the old name withdrawn",
            |seen| matches!(seen, Seen::Unregistered(it) if it.uris == ["shop.yard.internal"]),
        )
        .await;
    world
        .eventually(
            "the new name",
            |seen| matches!(seen, Seen::Registered(it) if it.uris == ["new.yard.internal"]),
        )
        .await;

    let find = FindInstances {
        droplet: droplet.clone(),
        version: None,
        instances: None,
        indices: None,
        states: Some(vec!["RUNNING".into()]),
        include_stats: true,
        path: None,
    };
    let found: Vec<FoundInstance> = world.ask_all(&catalogue::dea_find_droplet(), &find).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].stats.as_ref().unwrap().uris, ["new.yard.internal"]);
    let elsewhere = FindInstances {
        droplet: ProcessGuid::new("other").unwrap(),
        ..find
    };
    assert!(
        world
            .ask_all::<_, FoundInstance>(&catalogue::dea_find_droplet(), &elsewhere)
            .await
            .is_empty()
    );
    let status: Vec<AgentStatus> = world.ask_all(&catalogue::dea_status(), &Empty).await;
    assert_eq!(
        (
            status[0].max_memory,
            status[0].reserved_memory,
            status[0].num_clients
        ),
        (2048, 96, 1)
    );
    let wanted = |mem| Discover {
        droplet: None,
        limits: Limits {
            mem,
            disk: 64,
            fds: 1,
        },
        stack: Some("host".into()),
        sha: None,
    };
    assert_eq!(
        world
            .ask_all::<_, Hello>(&catalogue::dea_discover(), &wanted(64))
            .await
            .len(),
        1
    );
    assert!(
        world
            .ask_all::<_, Hello>(&catalogue::dea_discover(), &wanted(64_000))
            .await
            .is_empty()
    );

    world
        .bus
        .publish(&catalogue::healthmanager_start(), &Empty)
        .await
        .unwrap();
    world.eventually("a full beat", |seen| matches!(seen, Seen::Beat(beat) if beat.yard_complete == Some(true) && beat.droplets.len() == 1)).await;
    let measured = |seen: &Seen| matches!(seen, Seen::Beat(beat) if beat.droplets.iter().any(|beat| beat.yard_stats.as_ref().is_some_and(|stats| stats.usage.mem > 1 << 20)));
    let begun = Instant::now();
    while !world.all_seen().iter().any(measured) {
        assert!(
            begun.elapsed() < world::SOON,
            "usage is never told: {:#?}",
            world.all_seen()
        );
        world
            .bus
            .publish(&catalogue::healthmanager_start(), &Empty)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let mut flood = world.start_message("i2", &sha1, "yes flood | head -n 30000; sleep 1000");
    flood.uris.clear();
    world.order(&flood).await;
    world
        .eventually(
            "lines lost",
            |seen| matches!(seen, Seen::Lost(lines) if *lines > 1000),
        )
        .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let seen = world.all_seen();
    let passed = seen
        .iter()
        .filter(|seen| matches!(seen, Seen::Line(_, text) if text == "flood"))
        .count() as u64;
    let lost: u64 = seen
        .iter()
        .map(|seen| {
            if let Seen::Lost(lines) = seen {
                *lines
            } else {
                0
            }
        })
        .sum();
    assert_eq!(
        passed + lost,
        30_000,
        "every line is passed on or counted: {passed} + {lost}"
    );
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_bus_everything_goes_on_and_is_told_later() {
    let Some(mut world) = World::start("bus away").await else {
        return;
    };
    let sha1 = world.droplet(&[("app/server.py", SERVER)]);
    for index in 0..2 {
        let mut start = world.start_message(&format!("i{index}"), &sha1, COMMAND);
        start.index = index;
        start.uris = vec![format!("shop{index}.yard.internal")];
        world.order(&start).await;
    }
    let mut ports = [0; 2];
    for (index, port) in ports.iter_mut().enumerate() {
        let name = format!("shop{index}.yard.internal");
        let seen = world
            .eventually(
                "a registration",
                |seen| matches!(seen, Seen::Registered(it) if it.uris == [name.as_str()]),
            )
            .await;
        let Seen::Registered(registration) = seen else {
            panic!()
        };
        *port = registration.port.unwrap();
    }
    world.bus_down();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |index: usize, path: &str| format!("http://{}:{}{path}", world.gateway, ports[index]);
    assert_eq!(
        client
            .get(url(0, "/"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "hello 0"
    );
    assert!(client.get(url(1, "/exit/5")).send().await.is_err());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        client
            .get(url(0, "/"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "hello 0"
    );
    world.forget_seen();
    world.bus_up().await;
    assert_eq!(world.exited("i1").await.exit_status, 5);
    world.state("i0", InstanceState::Running).await;
    world
        .eventually(
            "its registration again",
            |seen| matches!(seen, Seen::Registered(it) if it.uris == ["shop0.yard.internal"]),
        )
        .await;
    assert!(
        !world
            .all_seen()
            .iter()
            .any(|seen| matches!(seen, Seen::Registered(it) if it.uris == ["shop1.yard.internal"]))
    );
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_start_and_stop_at_once() {
    let Some(world) = World::start("many at once").await else {
        return;
    };
    let sha1 = world.droplet(&[("app/x", "")]);
    let names: Vec<String> = (0..12).map(|index| format!("i{index}")).collect();
    let begun = Instant::now();
    for (index, name) in (0..).zip(&names) {
        let mut start = world.start_message(name, &sha1, "exec sleep 1000");
        start.index = index;
        start.uris.clear();
        world.order(&start).await;
    }
    for name in &names {
        world.state(name, InstanceState::Running).await;
    }
    eprintln!("12 workers started in {:?}", begun.elapsed());
    for name in &names {
        world.order_stop(name).await;
    }
    for name in &names {
        let exited = world.exited(name).await;
        assert_eq!(
            (exited.reason, exited.yard_signal.as_deref()),
            (ExitReason::Stopped, Some("SIGTERM"))
        );
    }
    world.eventually("all memory", |seen| matches!(seen, Seen::Advertised(ad) if ad.available_memory == 2048 && ad.app_id_to_count.is_empty())).await;
    world.finish().await;
}
