use super::*;
use crate::domain::probe::Check;
use proptest::prelude::*;

fn terms(kind: CheckKind) -> Terms {
    Terms {
        check: Check {
            kind,
            invocation_timeout: Duration::from_secs(1),
            interval: Duration::from_secs(30),
        },
        start_timeout: Duration::from_secs(60),
        pace: PACE,
        crash_retention: Duration::from_secs(3600),
        memory_mb: 256,
        index: 3,
    }
}

fn at(seconds: f64) -> Now {
    Now {
        uptime: Duration::from_secs_f64(seconds),
        unix: 1000.0 + seconds,
    }
}

const PACE: Pace = Pace {
    drain: Duration::from_secs(1),
    grace: Duration::from_secs(10),
};

fn stop() -> Event {
    Event::StopRequested(StopCause::Requested)
}

fn exit(exit: Exit) -> Event {
    Event::Exited {
        exit,
        out_of_memory: false,
    }
}

/// The names of effects, which is what most tests are about.
fn names(effects: &[Effect]) -> Vec<&'static str> {
    effects
        .iter()
        .map(|effect| match effect {
            Effect::CancelPreparation => "cancel",
            Effect::GiveOrders => "order",
            Effect::CheckHealth => "check",
            Effect::Register => "register",
            Effect::Unregister => "unregister",
            Effect::Terminate => "term",
            Effect::Kill => "kill",
            Effect::Remember => "remember",
            Effect::Beat => "beat",
            Effect::Report(_) => "report",
            Effect::Say(_) => "say",
            Effect::Destroy => "destroy",
            Effect::Forget => "forget",
        })
        .collect()
}

fn handle(instance: &mut Instance, event: Event, now: Now) -> Vec<&'static str> {
    names(
        &instance
            .handle(event, now)
            .unwrap_or_else(|ignored| panic!("ignored: {}", ignored.0)),
    )
}

fn running() -> Instance {
    let (mut instance, _) = Instance::born(terms(CheckKind::Port), at(0.0));
    handle(&mut instance, Event::SandboxReady, at(0.1));
    handle(&mut instance, Event::Ordered, at(0.1));
    handle(&mut instance, Event::TimePassed, at(0.2));
    handle(&mut instance, Event::Checked(Ok(())), at(0.2));
    instance
}

fn ending(instance: &Instance) -> &Ending {
    instance.ending().expect("it crashed")
}

#[test]
fn a_good_life() {
    let (mut instance, effects) = Instance::born(terms(CheckKind::Port), at(0.0));
    assert_eq!(names(&effects), ["beat", "say"]);
    assert_eq!(instance.beat_state(), Some(InstanceState::Starting));
    assert_eq!(
        handle(&mut instance, Event::SandboxReady, at(0.1)),
        ["remember", "say", "order"]
    );
    assert_eq!(
        handle(&mut instance, Event::Ordered, at(0.1)),
        Vec::<&str>::new()
    );
    let first = instance.next_wake().expect("a check is planned");
    assert_eq!(first, Duration::from_millis(120));
    assert!(
        instance.handle(Event::TimePassed, at(0.11)).is_err(),
        "too early"
    );
    assert_eq!(
        handle(&mut instance, Event::TimePassed, at(0.12)),
        ["check"]
    );
    assert_eq!(
        handle(
            &mut instance,
            Event::Checked(Err("refused".into())),
            at(0.12)
        ),
        Vec::<&str>::new()
    );
    assert_eq!(
        handle(&mut instance, Event::TimePassed, at(0.15)),
        ["check"]
    );
    assert_eq!(
        handle(&mut instance, Event::Checked(Ok(())), at(0.15)),
        ["register", "beat", "remember", "say"]
    );
    assert_eq!(instance.beat_state(), Some(InstanceState::Running));
    assert_eq!(instance.since(), 1000.15);
    assert_eq!(
        handle(&mut instance, stop(), at(5.0)),
        ["unregister", "remember", "say"]
    );
    assert_eq!(instance.beat_state(), None);
    assert_eq!(handle(&mut instance, Event::TimePassed, at(6.0)), ["term"]);
    assert_eq!(
        handle(&mut instance, exit(Exit::Signal(15)), at(6.5)),
        ["report", "say", "destroy", "forget"]
    );
    assert_eq!(instance.name(), "STOPPED");
}

#[test]
fn a_worker_runs_as_soon_as_it_is_ordered_and_is_never_checked() {
    let (mut instance, _) = Instance::born(terms(CheckKind::Process), at(0.0));
    handle(&mut instance, Event::SandboxReady, at(0.1));
    assert_eq!(
        handle(&mut instance, Event::Ordered, at(0.1))[..2],
        ["register", "beat"]
    );
    assert_eq!(instance.next_wake(), None);
}

#[test]
fn a_crash_takes_the_route_away_before_anything_else() {
    let mut instance = running();
    let effects = handle(&mut instance, exit(Exit::Status(3)), at(9.0));
    assert_eq!(effects, ["unregister", "report", "beat", "say", "remember"]);
    assert_eq!(
        ending(&instance).description,
        "app instance exited with status 3"
    );
    assert_eq!(ending(&instance).phase.as_deref(), Some("running"));
    assert_eq!(instance.beat_state(), Some(InstanceState::Crashed));
    assert!(instance.handle(Event::TimePassed, at(3000.0)).is_err());
    assert_eq!(
        handle(&mut instance, Event::TimePassed, at(3609.0)),
        ["destroy", "forget"]
    );
}

#[test]
fn without_retention_a_crash_leaves_nothing() {
    let mut instance = running();
    instance.terms.crash_retention = Duration::ZERO;
    let effects = handle(&mut instance, exit(Exit::Status(3)), at(9.0));
    assert_eq!(
        effects,
        ["unregister", "report", "beat", "say", "destroy", "forget"]
    );
}

#[test]
fn an_app_that_never_listens_is_killed_and_told_why() {
    let (mut instance, _) = Instance::born(terms(CheckKind::Port), at(0.0));
    handle(&mut instance, Event::SandboxReady, at(1.0));
    handle(&mut instance, Event::Ordered, at(1.0));
    handle(&mut instance, Event::TimePassed, at(2.0));
    handle(
        &mut instance,
        Event::Checked(Err("port 8080: connection refused".into())),
        at(2.0),
    );
    assert_eq!(handle(&mut instance, Event::TimePassed, at(61.0)), ["kill"]);
    assert_eq!(instance.beat_state(), Some(InstanceState::Starting));
    let effects = handle(&mut instance, exit(Exit::Signal(9)), at(61.1));
    assert_eq!(effects, ["report", "beat", "say", "remember"]);
    let text = &ending(&instance).description;
    assert!(
        text.starts_with("failed to accept connections within health check timeout (60 s)"),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
    assert_eq!(ending(&instance).phase.as_deref(), Some("starting"));
}

#[test]
fn one_missed_check_is_forgiven_three_are_not() {
    let mut instance = running();
    let mut now = 0.2;
    for round in 0..3 {
        for _ in 0..2 {
            now = instance
                .next_wake()
                .expect("checked")
                .as_secs_f64()
                .max(now);
            assert_eq!(
                handle(&mut instance, Event::TimePassed, at(now)),
                ["check"],
                "{round}"
            );
            assert_eq!(
                handle(
                    &mut instance,
                    Event::Checked(Err("timed out".into())),
                    at(now)
                ),
                Vec::<&str>::new()
            );
        }
        now = instance.next_wake().expect("checked").as_secs_f64();
        handle(&mut instance, Event::TimePassed, at(now));
        assert_eq!(
            handle(&mut instance, Event::Checked(Ok(())), at(now)),
            Vec::<&str>::new()
        );
    }
    for _ in 0..2 {
        now = instance.next_wake().expect("checked").as_secs_f64();
        handle(&mut instance, Event::TimePassed, at(now));
        handle(
            &mut instance,
            Event::Checked(Err("timed out".into())),
            at(now),
        );
    }
    now = instance.next_wake().expect("checked").as_secs_f64();
    handle(&mut instance, Event::TimePassed, at(now));
    assert_eq!(
        handle(
            &mut instance,
            Event::Checked(Err("timed out".into())),
            at(now)
        ),
        ["unregister", "kill"]
    );
    handle(&mut instance, exit(Exit::Signal(9)), at(now));
    assert!(
        ending(&instance)
            .description
            .starts_with("failed health check")
    );
}

#[test]
fn out_of_memory_is_told_as_such() {
    let mut instance = running();
    instance
        .handle(
            Event::Exited {
                exit: Exit::Signal(9),
                out_of_memory: true,
            },
            at(9.0),
        )
        .expect("handled");
    assert!(ending(&instance).out_of_memory);
    assert!(ending(&instance).description.contains("256 MB"));
}

#[test]
fn who_ignores_term_is_killed_and_who_ignores_kill_is_given_up() {
    let mut instance = running();
    handle(&mut instance, stop(), at(5.0));
    handle(&mut instance, Event::TimePassed, at(6.0));
    assert_eq!(
        handle(&mut instance, Event::TimePassed, at(16.0)),
        ["say", "kill"]
    );
    assert_eq!(
        handle(&mut instance, Event::TimePassed, at(26.0)),
        ["report", "say", "destroy", "forget"]
    );
}

#[test]
fn a_stop_before_there_is_a_sandbox_waits_for_the_preparation_to_end() {
    for end in [
        Event::SandboxReady,
        Event::PreparationFailed("cancelled".into()),
    ] {
        let (mut instance, _) = Instance::born(terms(CheckKind::Port), at(0.0));
        assert_eq!(handle(&mut instance, stop(), at(0.1)), ["cancel"]);
        assert!(instance.handle(stop(), at(0.2)).is_err());
        let effects = instance.handle(end, at(0.3)).expect("handled");
        assert_eq!(names(&effects), ["report", "say", "destroy", "forget"]);
        let Some(Effect::Report(ending)) = effects.first() else {
            panic!("it is reported")
        };
        assert_eq!(ending.reason, ExitReason::Stopped);
    }
}

#[test]
fn an_agents_shutdown_or_evacuation_is_told_as_such() {
    for (cause, reason) in [
        (StopCause::AgentShutdown, ExitReason::DeaShutdown),
        (StopCause::AgentEvacuation, ExitReason::DeaEvacuation),
    ] {
        let mut instance = running();
        handle(&mut instance, Event::StopRequested(cause), at(5.0));
        let effects = instance
            .handle(exit(Exit::Status(0)), at(6.0))
            .expect("handled");
        let Some(Effect::Report(ending)) = effects.first() else {
            panic!("it is reported")
        };
        assert_eq!(ending.reason, reason);
    }
}

#[test]
fn a_failed_preparation_is_a_crash_with_its_reason() {
    let (mut instance, _) = Instance::born(terms(CheckKind::Port), at(0.0));
    handle(
        &mut instance,
        Event::PreparationFailed("the droplet is not there".into()),
        at(1.0),
    );
    assert_eq!(
        ending(&instance).description,
        "failed to start: the droplet is not there"
    );
}

#[test]
fn orders_that_failed_half_way_leave_nothing_running() {
    let (mut instance, _) = Instance::born(terms(CheckKind::Port), at(0.0));
    handle(&mut instance, Event::SandboxReady, at(0.1));
    let failed = Event::PreparationFailed("the orders were not taken in time".into());
    assert_eq!(
        handle(&mut instance, failed, at(5.1)),
        ["kill", "report", "beat", "say", "remember"]
    );
}

fn wakes_at(instance: &Instance, seconds: f64) {
    assert_eq!(instance.next_wake(), Some(Duration::from_secs_f64(seconds)));
}

#[test]
fn changed_terms_plan_every_wait_anew() {
    let crashed = || {
        let mut instance = running();
        handle(&mut instance, exit(Exit::Status(3)), at(9.0));
        instance
    };
    let mut instance = crashed();
    instance.terms.crash_retention = Duration::from_secs(7200);
    wakes_at(&instance, 7209.0);
    assert!(
        instance.handle(Event::TimePassed, at(3609.0)).is_err(),
        "it is kept longer now"
    );
    instance.terms.crash_retention = Duration::from_secs(10);
    wakes_at(&instance, 19.0);
    assert_eq!(
        handle(&mut instance, Event::TimePassed, at(3609.0)),
        ["destroy", "forget"]
    );
    let mut adopted = Instance::adopted_crashed(
        terms(CheckKind::Port),
        ending(&crashed()).clone(),
        at(109.0),
    );
    adopted.terms.crash_retention = Duration::from_secs(50);
    wakes_at(&adopted, 109.0);
    adopted.terms.crash_retention = Duration::from_secs(150);
    wakes_at(&adopted, 159.0);

    let (mut starting, _) = Instance::born(terms(CheckKind::Port), at(0.0));
    handle(&mut starting, Event::SandboxReady, at(1.0));
    handle(&mut starting, Event::Ordered, at(1.0));
    starting.terms.start_timeout = Duration::from_secs(5);
    assert_eq!(handle(&mut starting, Event::TimePassed, at(6.0)), ["kill"]);
    handle(&mut starting, exit(Exit::Signal(9)), at(6.0));
    assert!(ending(&starting).description.contains("(5 s)"));

    let mut stopping = running();
    handle(&mut stopping, stop(), at(5.0));
    stopping.terms.pace.drain = Duration::from_secs(3);
    wakes_at(&stopping, 8.0);
    handle(&mut stopping, Event::TimePassed, at(8.0));
    stopping.terms.pace.grace = Duration::from_secs(1);
    assert_eq!(
        handle(&mut stopping, Event::TimePassed, at(9.0)),
        ["say", "kill"]
    );
}

#[test]
fn at_the_agents_end_the_longest_grace_is_bounded() {
    for (cause, killed_at) in [
        (StopCause::Requested, 606.0),
        (StopCause::AgentShutdown, 6.0 + SHUTDOWN_GRACE.as_secs_f64()),
    ] {
        let mut instance = running();
        instance.terms.pace.grace = Duration::from_secs(600);
        handle(&mut instance, Event::StopRequested(cause), at(5.0));
        handle(&mut instance, Event::TimePassed, at(6.0));
        wakes_at(&instance, killed_at);
    }
}

#[test]
fn an_adopted_instance_goes_on() {
    let (mut instance, effects) = Instance::adopted_running(terms(CheckKind::Port), 7.0, at(0.0));
    assert_eq!(names(&effects), ["register"]);
    assert_eq!(instance.since(), 7.0, "nothing changed for it");
    assert_eq!(handle(&mut instance, Event::TimePassed, at(0.0)), ["check"]);
    let (instance, _) = Instance::adopted_starting(terms(CheckKind::Port), 7.0, at(3.0));
    assert_eq!(instance.next_wake(), Some(Duration::from_secs(3)));
    let (worker, effects) = Instance::adopted_starting(terms(CheckKind::Process), 7.0, at(3.0));
    assert_eq!(
        (worker.name(), names(&effects).len() > 1),
        ("RUNNING", true)
    );
    let crash =
        CrashCause::NotStarted("x".into()).ending(Exit::Unknown, "starting", 1000.0 - 3000.0);
    let instance = Instance::adopted_crashed(terms(CheckKind::Port), crash, at(0.0));
    assert_eq!(
        instance.next_wake(),
        Some(Duration::from_secs(600)),
        "it was kept for 3000 s before"
    );
}

#[test]
fn whoever_stops_a_dying_one_gets_it_stopped() {
    let mut instance = running();
    instance.state = State::Stopping {
        purpose: Purpose::Crash {
            cause: CrashCause::NotStarted(String::new()),
            phase: "starting",
        },
        step: Step::Killed {
            since: Duration::from_secs(20),
        },
    };
    assert!(handle(&mut instance, stop(), at(5.0)).is_empty());
    assert_eq!(
        handle(&mut instance, exit(Exit::Signal(9)), at(5.0)),
        ["report", "say", "destroy", "forget"]
    );
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::SandboxReady),
        Just(Event::PreparationFailed("no".into())),
        Just(Event::Ordered),
        Just(Event::Checked(Ok(()))),
        Just(Event::Checked(Err("no".into()))),
        Just(Event::Exited {
            exit: Exit::Status(1),
            out_of_memory: false
        }),
        Just(Event::Exited {
            exit: Exit::Signal(9),
            out_of_memory: true
        }),
        Just(stop()),
        Just(Event::Evicted),
        Just(Event::TimePassed),
        Just(Event::TimePassed),
    ]
}

proptest! {
    /// Whatever happens in whatever order: an instance is reported at most once, forgotten at most
    /// once and last, its routes never outlive its running state, and it is never revived.
    #[test]
    fn no_life_is_illegal(steps in proptest::collection::vec((events(), 0u64..20_000), 0..60), worker in any::<bool>()) {
        let kind = if worker { CheckKind::Process } else { CheckKind::Port };
        let (mut instance, _) = Instance::born(terms(kind), at(0.0));
        let (mut registered, mut reports, mut over, mut crashed) = (false, 0, false, false);
        let mut now = 0.0;
        for (event, millis) in steps {
            now += Duration::from_millis(millis).as_secs_f64();
            let Ok(effects) = instance.handle(event, at(now)) else { continue };
            prop_assert!(!over, "nothing happens after the end");
            for (place, effect) in effects.iter().enumerate() {
                match effect {
                    Effect::Register => registered = true,
                    Effect::Unregister => registered = false,
                    Effect::Report(_) => {
                        prop_assert!(!registered, "a route outlived its instance");
                        reports += 1;
                    }
                    Effect::Terminate | Effect::Kill => prop_assert!(!registered, "signalled while routed"),
                    Effect::Forget => {
                        prop_assert_eq!(place, effects.len() - 1);
                        over = true;
                    }
                    Effect::CancelPreparation | Effect::GiveOrders | Effect::CheckHealth | Effect::Remember
                    | Effect::Beat | Effect::Say(_) | Effect::Destroy => {}
                }
            }
            prop_assert!(reports <= 1, "reported twice");
            if registered {
                prop_assert_eq!(instance.name(), "RUNNING");
            }
            if instance.name() == "CRASHED" {
                crashed = true;
                prop_assert_eq!(reports, 1);
            } else if crashed {
                prop_assert_eq!(instance.name(), "STOPPED", "a crash is final");
            }
        }
    }

    /// Whoever only ever wakes it when it asked for it sees every stop end.
    #[test]
    fn every_stop_ends_by_the_clock_alone(steps in proptest::collection::vec(events(), 0..12)) {
        let (mut instance, _) = Instance::born(terms(CheckKind::Port), at(0.0));
        for event in steps {
            let _ = instance.handle(event, at(1.0));
        }
        let _ = instance.handle(stop(), at(2.0));
        let _ = instance.handle(Event::PreparationFailed("cancelled".into()), at(2.0));
        let mut rounds = 0;
        while let Some(wake) = instance.next_wake() {
            let _ = instance.handle(Event::TimePassed, at(wake.as_secs_f64().max(2.0)));
            rounds += 1;
            prop_assert!(rounds < 10, "it does not end: {:?}", instance.state());
        }
        prop_assert_eq!(instance.name(), "STOPPED");
    }
}
