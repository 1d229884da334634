use super::*;
use crate::runners::{Runner, Work};
use proptest::prelude::*;
use serde_json::{Value, json};

fn settings() -> Settings {
    Settings {
        prompt_again: 10,
        longest_wait: 100,
        start: 20,
        most_placements: 3,
        first_pause: 2,
        longest_pause: 4,
        longest_run: 60,
        report: 5,
        longest_workflow: 300,
        longest_question: 50,
        cancel: 30,
    }
}

fn accepted(runner: Runner) -> Accepted {
    Accepted {
        runner,
        has_parent: false,
        delay: None,
        run_limit: None,
        answer_limit: None,
    }
}

/// An execution in a story: each event one millisecond after the one before.
struct Story {
    execution: Execution,
    now: i64,
}

impl Story {
    fn of(accepted: Accepted) -> Story {
        Story {
            execution: Execution::accept(accepted, 0).0,
            now: 0,
        }
    }

    fn local() -> Story {
        Story::of(accepted(Runner::LocalShellCmd))
    }

    fn workflow() -> Story {
        let mut story = Story::of(accepted(Runner::Orquesta));
        story.moves(Event::Scheduled);
        story.moves(Event::Started(None));
        story
    }

    fn tell(&mut self, event: Event) -> Result<Answer, Illegal> {
        self.now += 1;
        self.execution.step(event, self.now, &settings())
    }

    #[track_caller]
    fn moves(&mut self, event: Event) -> Moved {
        let name = event.name();
        match self.tell(event) {
            Ok(Answer::Moved(moved)) => moved,
            other => panic!("{name} in {}: {other:?}", self.execution.status),
        }
    }

    #[track_caller]
    fn is_ignored(&mut self, event: Event, reason: &str) {
        let before = self.execution.clone();
        match self.tell(event) {
            Ok(Answer::Ignored { because }) => assert!(because.contains(reason), "{because}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(self.execution, before);
    }

    #[track_caller]
    fn is_illegal(&mut self, event: Event, text: &str) {
        let before = self.execution.clone();
        let error = self.tell(event).expect_err("illegal").to_string();
        assert!(error.contains(text), "{error}");
        assert_eq!(self.execution, before);
    }

    /// Goes on to the next deadline and lets it pass.
    #[track_caller]
    fn deadline_passes(&mut self) -> Moved {
        let deadline = self.execution.deadline(&settings()).expect("a deadline");
        self.now = deadline.at - 1;
        self.moves(Event::TimedOut)
    }

    fn started_on(agent: &str) -> Story {
        let mut story = Story::local();
        story.moves(Event::Scheduled);
        story.moves(Event::PlacedOn(agent.to_owned()));
        story.moves(Event::Started(Some(at(agent, 1))));
        story
    }

    fn statuses(&self) -> String {
        self.execution
            .log
            .iter()
            .map(|entry| entry.status.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn at(agent: &str, attempt: u32) -> Placement {
    Placement {
        agent: agent.to_owned(),
        attempt,
    }
}

fn finished(at: Option<Placement>, status: Status) -> Event {
    Event::Finished {
        at,
        status,
        result: json!({"stdout": "hi"}),
    }
}

fn by(user: &str) -> String {
    user.to_owned()
}

#[test]
fn a_command_goes_from_acceptance_to_success() {
    let (_, effects) = Execution::accept(accepted(Runner::LocalShellCmd), 0);
    assert_eq!(effects, [Effect::Admit]);
    let mut story = Story::local();
    assert_eq!(story.moves(Event::Scheduled).effects, [Effect::Place]);
    assert_eq!(
        story.moves(Event::PlacedOn("a".to_owned())).effects,
        [Effect::Dispatch(at("a", 1))]
    );
    assert_eq!(story.moves(Event::Started(Some(at("a", 1)))).effects, []);
    let moved = story.moves(finished(Some(at("a", 1)), Status::Succeeded));
    assert_eq!(moved.effects, [Effect::Conclude]);
    assert_eq!(moved.result, Some(json!({"stdout": "hi"})));
    assert_eq!(story.statuses(), "requested scheduled running succeeded");
    assert_eq!(story.execution.elapsed_seconds(), Some(0.004));
    assert_eq!(
        story.execution.log[0].document(),
        json!({"timestamp": "1970-01-01T00:00:00.000000Z", "status": "requested"})
    );
    story.moves(Event::Concluded);
    assert_eq!(story.execution.deadline(&settings()), None);
}

#[test]
fn a_delayed_execution_asks_for_admission_when_its_time_has_come() {
    let (execution, effects) = Execution::accept(
        Accepted {
            delay: Some(40),
            ..accepted(Runner::Noop)
        },
        0,
    );
    assert_eq!((execution.status, effects.len()), (Status::Delayed, 0));
    let mut story = Story { execution, now: 0 };
    story.is_illegal(Event::Scheduled, "held until its delay is over");
    story.is_illegal(Event::Released, "held until its delay is over");
    story.is_ignored(Event::Held(Hold::Policy("p".to_owned())), "its own delay");
    story.is_ignored(Event::TimedOut, "no deadline");
    assert_eq!(story.deadline_passes().effects, [Effect::Admit]);
    assert_eq!(story.now, 40);
    assert_eq!(story.moves(Event::Scheduled).effects, [Effect::RunHere]);
    assert_eq!(story.statuses(), "requested delayed scheduled");
}

#[test]
fn a_policy_holds_and_a_release_asks_again() {
    let mut story = Story::local();
    let hold = || Event::Held(Hold::Policy("p.most".to_owned()));
    story.moves(hold());
    story.is_ignored(hold(), "held already");
    assert_eq!(story.moves(Event::Released).effects, [Effect::Admit]);
    story.moves(hold());
    story.moves(Event::Scheduled);
    story.is_illegal(
        hold(),
        "\"held\" does not fit an execution that is scheduled",
    );
}

#[test]
fn an_agent_lost_before_the_start_costs_nothing() {
    let mut story = Story::local();
    story.moves(Event::Scheduled);
    story.moves(Event::PlacedOn("a".to_owned()));
    story.is_ignored(Event::AgentLost("b".to_owned()), "not on that agent");
    let moved = story.moves(Event::AgentLost("a".to_owned()));
    assert_eq!(moved.effects, [Effect::Stop(at("a", 1)), Effect::Admit]);
    assert_eq!(story.execution.status, Status::Requested);
    // The lost agent comes back and wants to begin: it may not.
    story.is_illegal(Event::Started(Some(at("a", 1))), "somebody else");
    story.moves(Event::Scheduled);
    story.moves(Event::PlacedOn("b".to_owned()));
    story.is_illegal(Event::Started(Some(at("a", 1))), "placement 1 is no longer");
    story.moves(Event::Started(Some(at("b", 2))));
    story.is_ignored(
        finished(Some(at("a", 1)), Status::Failed),
        "earlier placement",
    );
    assert_eq!(
        story.moves(Event::FoundAt(at("a", 1))).effects,
        [Effect::Stop(at("a", 1))]
    );
}

#[test]
fn an_agent_lost_after_the_start_leaves_it_abandoned() {
    for event in [
        Event::AgentLost("a".to_owned()),
        Event::AgentForgot(at("a", 1)),
    ] {
        let mut story = Story::started_on("a");
        let moved = story.moves(event);
        assert_eq!(story.execution.status, Status::Abandoned);
        assert_eq!(moved.effects, [Effect::Stop(at("a", 1)), Effect::Conclude]);
        let result = moved.result.expect("a result");
        assert!(
            result["error"]
                .as_str()
                .is_some_and(|error| error.contains("not known"))
        );
        assert_eq!(result["failed"], true);
    }
}

#[test]
fn an_agent_that_forgot_its_orders_gets_them_again() {
    let mut story = Story::local();
    story.moves(Event::Scheduled);
    story.moves(Event::PlacedOn("a".to_owned()));
    assert_eq!(
        story.moves(Event::AgentForgot(at("a", 1))).effects,
        [Effect::Dispatch(at("a", 1))]
    );
}

#[test]
fn work_that_never_starts_is_placed_anew_and_at_last_given_up() {
    let mut story = Story::local();
    for attempt in 1..=3 {
        story.moves(Event::Scheduled);
        story.moves(Event::PlacedOn(format!("a{attempt}")));
        let moved = story.deadline_passes();
        if attempt == 1 {
            assert_eq!(story.execution.status, Status::Requested);
        } else if attempt == 2 {
            assert_eq!(story.execution.status, Status::Delayed);
            assert_eq!(story.deadline_passes().effects, [Effect::Admit]);
        } else {
            assert_eq!(story.execution.status, Status::Failed);
            let error = moved.result.expect("a result")["error"].to_string();
            assert!(error.contains("3 times and never started"), "{error}");
        }
    }
}

#[test]
fn what_is_refused_again_waits_longer_each_time() {
    let settings = Settings {
        most_placements: 6,
        ..settings()
    };
    let (mut execution, _) = Execution::accept(accepted(Runner::LocalShellCmd), 0);
    let mut pauses = Vec::new();
    let mut now = 0;
    for attempt in 1..6 {
        for event in [
            Event::Scheduled,
            Event::PlacedOn("a".to_owned()),
            Event::Started(Some(at("a", attempt))),
        ] {
            assert!(matches!(
                execution.step(event, now, &settings),
                Ok(Answer::Moved(_))
            ));
        }
        let refused = execution.step(Event::NotTaken(at("a", attempt)), now, &settings);
        let Ok(Answer::Moved(moved)) = refused else {
            panic!("{refused:?}");
        };
        let pause = match execution.hold {
            Some(Hold::Until(until)) => until - now,
            Some(Hold::Policy(_)) | None => 0,
        };
        assert_eq!(moved.effects.contains(&Effect::Admit), pause == 0);
        pauses.push(pause);
        now += pause;
    }
    assert_eq!(pauses, [0, 2, 4, 4, 4]);
    assert_eq!(execution.started_at, None);
}

#[test]
fn a_repeated_start_is_answered_like_the_first() {
    let mut story = Story::started_on("a");
    story.is_ignored(Event::Started(Some(at("a", 1))), "started before");
    story.is_illegal(Event::Started(None), "must name the placement");
    story.moves(finished(Some(at("a", 1)), Status::Failed));
    story.is_illegal(Event::Started(Some(at("a", 1))), "completed state");
}

#[test]
fn work_must_have_begun_to_end_and_must_end_in_an_end() {
    let mut story = Story::local();
    story.moves(Event::Scheduled);
    story.moves(Event::PlacedOn("a".to_owned()));
    story.is_illegal(
        finished(Some(at("a", 1)), Status::Succeeded),
        "\"finished\" does not fit an execution that is scheduled",
    );
    story.is_illegal(
        finished(Some(at("a", 1)), Status::Paused),
        "cannot end in the state \"paused\"",
    );
    let moved = story.moves(Event::StartFailed {
        at: Some(at("a", 1)),
        result: json!({"error": "the pack is not there"}),
    });
    assert_eq!(story.execution.status, Status::Failed);
    assert_eq!(
        moved.result,
        Some(json!({"error": "the pack is not there"}))
    );
}

#[test]
fn canceling_what_waits_ends_it_at_once() {
    for has_parent in [false, true] {
        let mut story = Story::of(Accepted {
            has_parent,
            ..accepted(Runner::LocalShellCmd)
        });
        story.moves(Event::Scheduled);
        story.moves(Event::PlacedOn("a".to_owned()));
        let moved = story.moves(Event::CancelAsked { by: by("ada") });
        assert_eq!(moved.context.get("cancelled_by"), Some(&by("ada")));
        assert_eq!(
            moved.result,
            Some(json!({"message": "Action canceled by user.", "user": "ada"}))
        );
        let expected = if has_parent {
            assert_eq!(
                moved.effects,
                [
                    Effect::Stop(at("a", 1)),
                    Effect::TellParent,
                    Effect::Conclude
                ]
            );
            "requested scheduled canceling canceled"
        } else {
            "requested scheduled canceled"
        };
        assert_eq!(story.statuses(), expected);
        story.is_illegal(Event::Started(Some(at("a", 1))), "completed state");
    }
}

#[test]
fn canceling_what_runs_stops_the_work_first() {
    let mut story = Story::started_on("a");
    let moved = story.moves(Event::CancelAsked { by: by("ada") });
    assert_eq!(moved.effects, [Effect::Stop(at("a", 1))]);
    assert_eq!(story.execution.status, Status::Canceling);
    story.is_ignored(Event::CancelAsked { by: by("bob") }, "being canceled");
    let moved = story.moves(Event::Canceled(Some(at("a", 1))));
    assert_eq!(
        (moved.result, moved.effects),
        (None, vec![Effect::Conclude])
    );
    story.is_ignored(Event::CancelAsked { by: by("bob") }, "canceled before");

    // Work that ended by itself meanwhile is canceled all the same: that is what was asked for.
    let mut story = Story::started_on("a");
    story.moves(Event::CancelAsked { by: by("ada") });
    story.moves(finished(Some(at("a", 1)), Status::Succeeded));
    assert_eq!(story.execution.status, Status::Canceled);
}

#[test]
fn a_cancel_that_nobody_confirms_is_repeated_and_then_taken_as_done() {
    let mut story = Story::started_on("a");
    story.moves(Event::CancelAsked { by: by("ada") });
    assert_eq!(story.deadline_passes().effects, [Effect::Stop(at("a", 1))]);
    assert_eq!(story.execution.status, Status::Canceling);
    while story.execution.status == Status::Canceling {
        story.deadline_passes();
    }
    assert_eq!(story.execution.status, Status::Canceled);
    assert!(story.now <= 40, "{}", story.now);
}

#[test]
fn what_has_ended_cannot_be_canceled() {
    let mut story = Story::started_on("a");
    story.moves(finished(Some(at("a", 1)), Status::Succeeded));
    story.is_illegal(
        Event::CancelAsked { by: by("ada") },
        "Action cannot be canceled. State = succeeded.",
    );
}

#[test]
fn work_that_runs_too_long_times_out_even_if_its_agent_says_nothing() {
    let mut story = Story::of(Accepted {
        run_limit: Some(25),
        ..accepted(Runner::PythonScript)
    });
    story.moves(Event::Scheduled);
    story.moves(Event::PlacedOn("a".to_owned()));
    story.moves(Event::Started(Some(at("a", 1))));
    let moved = story.deadline_passes();
    assert_eq!(
        (story.execution.status, story.now),
        (Status::Timeout, 3 + 25 + 5)
    );
    assert_eq!(moved.effects, [Effect::Stop(at("a", 1)), Effect::Conclude]);
    assert_eq!(moved.result.expect("a result")["exit_code"], -9);
}

#[test]
fn a_workflow_rests_and_goes_on() {
    let mut story = Story::workflow();
    let moved = story.moves(Event::PauseAsked { by: by("ada") });
    assert_eq!(
        moved.effects,
        [Effect::Children(ToChildren::Pause), Effect::Conduct]
    );
    assert_eq!(moved.context.get("paused_by"), Some(&by("ada")));
    story.is_illegal(
        Event::ResumeAsked { by: by("ada") },
        "it is in \"pausing\" state and not in \"paused\" state",
    );
    story.moves(Event::Paused);
    story.is_ignored(Event::PauseAsked { by: by("ada") }, "pauses already");
    let moved = story.moves(Event::ResumeAsked { by: by("bob") });
    assert_eq!(moved.context.get("resumed_by"), Some(&by("bob")));
    story.moves(Event::Resumed);
    story.moves(finished(None, Status::Succeeded));
    assert_eq!(
        story.statuses(),
        "requested scheduled running pausing paused resuming running succeeded"
    );
    story.is_illegal(
        Event::PauseAsked { by: by("ada") },
        "already in completed state",
    );
}

#[test]
fn only_workflows_rest() {
    Story::started_on("a").is_illegal(
        Event::PauseAsked { by: by("ada") },
        "not supported by the \"local-shell-cmd\" runner",
    );
}

#[test]
fn a_workflow_that_waits_only_for_a_person_rests() {
    let mut story = Story::workflow();
    story.moves(Event::Paused);
    assert_eq!(
        story.statuses(),
        "requested scheduled running pausing paused"
    );
}

#[test]
fn canceling_a_workflow_cancels_its_children() {
    let mut story = Story::workflow();
    let moved = story.moves(Event::CancelAsked { by: by("ada") });
    assert_eq!(
        moved.effects,
        [Effect::Children(ToChildren::Cancel), Effect::Conduct]
    );
    story.moves(Event::Canceled(None));
    assert_eq!(story.execution.status, Status::Canceled);
}

#[test]
fn a_workflow_that_fails_early_lets_its_children_finish() {
    let mut story = Story::workflow();
    let moved = story.moves(finished(None, Status::Failed));
    assert_eq!(moved.effects, [Effect::Conclude]);
}

#[test]
fn a_workflow_nobody_drives_is_looked_at_again_and_ends_some_day() {
    let mut story = Story::workflow();
    assert_eq!(story.deadline_passes().effects, [Effect::Conduct]);
    let mut last = Moved::default();
    while !story.execution.status.is_completed() {
        last = story.deadline_passes();
    }
    assert_eq!(story.execution.status, Status::Timeout);
    assert!(last.effects.contains(&Effect::Children(ToChildren::Cancel)));
    assert_eq!(last.result.expect("a result")["output"], Value::Null);
}

#[test]
fn an_inquiry_waits_for_its_answer() {
    let ask = || {
        let mut story = Story::of(Accepted {
            has_parent: true,
            answer_limit: Some(30),
            ..accepted(Runner::Inquirer)
        });
        story.moves(Event::Scheduled);
        story.moves(Event::Started(None));
        let moved = story.moves(Event::Asked {
            result: json!({"route": "ops"}),
        });
        assert_eq!(moved.effects, [Effect::TellParent]);
        story
    };
    let mut story = ask();
    let answer = || Event::Answered {
        result: json!({"response": {"continue": true}}),
    };
    story.moves(answer());
    assert_eq!(story.execution.status, Status::Succeeded);
    story.is_illegal(answer(), "cannot be answered: its state is \"succeeded\"");

    let mut story = ask();
    let moved = story.deadline_passes();
    assert_eq!(
        (story.execution.status, moved.result),
        (Status::Timeout, None)
    );
    story.is_illegal(answer(), "its state is \"timeout\"");

    let mut story = ask();
    story.moves(Event::CancelAsked { by: by("ada") });
    assert_eq!(story.execution.status, Status::Canceled);
}

#[test]
fn a_controller_that_starts_anew_learns_what_is_to_be_done() {
    let restarted = |story: &mut Story| story.moves(Event::ControllerRestarted).effects;
    let mut story = Story::local();
    assert_eq!(restarted(&mut story), [Effect::Admit]);
    story.moves(Event::Scheduled);
    assert_eq!(restarted(&mut story), [Effect::Place]);
    story.moves(Event::PlacedOn("a".to_owned()));
    assert_eq!(restarted(&mut story), [Effect::Dispatch(at("a", 1))]);
    story.moves(Event::Started(Some(at("a", 1))));
    assert_eq!(restarted(&mut story), []);
    story.moves(Event::CancelAsked { by: by("ada") });
    assert_eq!(restarted(&mut story), [Effect::Stop(at("a", 1))]);
    story.moves(Event::Canceled(Some(at("a", 1))));
    assert_eq!(restarted(&mut story), [Effect::Conclude]);
    assert_eq!(story.deadline_passes().effects, [Effect::Conclude]);
    story.moves(Event::Concluded);
    story.is_ignored(Event::Concluded, "concluded before");
    assert_eq!(restarted(&mut story), []);
}

#[test]
fn a_record_reads_back() {
    let story = Story::started_on("a");
    let written = serde_json::to_string(&story.execution).expect("JSON");
    let read: Execution = serde_json::from_str(&written).expect("the record");
    assert_eq!(read, story.execution);
}

fn placements() -> impl Strategy<Value = Option<Placement>> {
    prop_oneof![
        1 => Just(None),
        4 => (prop::sample::select(vec!["a", "b"]), 1..4u32)
            .prop_map(|(agent, attempt)| Some(at(agent, attempt))),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    let result = || json!({"a": 1});
    prop_oneof![
        1 => Just(Event::Held(Hold::Policy("p".to_owned()))),
        1 => Just(Event::Released),
        3 => Just(Event::Scheduled),
        3 => prop::sample::select(vec!["a", "b"]).prop_map(|agent| Event::PlacedOn(agent.to_owned())),
        3 => placements().prop_map(Event::Started),
        1 => placements().prop_map(move |at| Event::StartFailed { at, result: result() }),
        1 => Just(Event::Asked { result: result() }),
        1 => Just(Event::Answered { result: result() }),
        1 => (placements(), prop::sample::select(Status::ALL.to_vec()))
            .prop_map(move |(at, status)| Event::Finished { at, status, result: result() }),
        1 => Just(Event::CancelAsked { by: by("ada") }),
        1 => placements().prop_map(Event::Canceled),
        2 => Just(Event::PauseAsked { by: by("ada") }),
        1 => Just(Event::Paused),
        2 => Just(Event::ResumeAsked { by: by("ada") }),
        1 => Just(Event::Resumed),
        1 => prop::sample::select(vec!["a", "b"]).prop_map(|agent| Event::AgentLost(agent.to_owned())),
        1 => (prop::sample::select(vec!["a", "b"]), 1..4u32)
            .prop_map(|(agent, attempt)| Event::AgentForgot(at(agent, attempt))),
        1 => (prop::sample::select(vec!["a", "b"]), 1..4u32)
            .prop_map(|(agent, attempt)| Event::FoundAt(at(agent, attempt))),
        1 => Just(Event::Concluded),
        1 => Just(Event::TimedOut),
        1 => Just(Event::ControllerRestarted),
    ]
}

fn acceptances() -> impl Strategy<Value = Accepted> {
    (
        prop::sample::select(Runner::ALL.to_vec()),
        any::<bool>(),
        prop::option::of(0..30i64),
        prop::option::of(1..50i64),
    )
        .prop_map(|(runner, has_parent, delay, limit)| Accepted {
            runner,
            has_parent,
            delay,
            run_limit: limit,
            answer_limit: limit,
        })
}

fn histories() -> impl Strategy<Value = (Accepted, Vec<(Event, i64)>)> {
    (
        acceptances(),
        prop::collection::vec((events(), 0..15i64), 0..40),
    )
}

/// The states that may follow a state.
fn successors(status: Status) -> &'static [Status] {
    use Status::*;
    match status {
        Requested => &[Delayed, Scheduled, Failed, Canceling, Canceled],
        Delayed => &[Scheduled, Failed, Canceling, Canceled],
        Scheduled => &[Requested, Running, Failed, Canceling, Canceled],
        Running => &[
            Pending, Pausing, Canceling, Succeeded, Failed, Timeout, Abandoned, Canceled,
        ],
        Pending => &[Succeeded, Timeout, Canceling, Canceled],
        Pausing => &[
            Paused, Canceling, Succeeded, Failed, Timeout, Abandoned, Canceled,
        ],
        Paused => &[
            Resuming, Canceling, Succeeded, Failed, Timeout, Abandoned, Canceled,
        ],
        Resuming => &[
            Running, Canceling, Succeeded, Failed, Timeout, Abandoned, Canceled,
        ],
        Canceling => &[Canceled],
        Succeeded | Failed | Timeout | Abandoned | Canceled => &[],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens in whatever order: only permitted transitions, nothing leaves a final state,
    /// nothing is begun twice, what is refused changes nothing, and what is repeated moves nothing.
    #[test]
    fn no_history_breaks_the_rules((accepted, history) in histories()) {
        let (mut execution, _) = Execution::accept(accepted, 0);
        let mut now = 0;
        let mut starts = 0;
        for (event, passed) in history {
            now += passed;
            let before = execution.clone();
            let is_start = matches!(event, Event::Started(_));
            let repeatable = !matches!(event, Event::TimedOut);
            let answer = execution.step(event.clone(), now, &settings());
            match answer {
                Ok(Answer::Moved(_)) => starts += u32::from(is_start),
                Ok(Answer::Ignored { .. }) | Err(_) => prop_assert_eq!(&execution, &before),
            }
            prop_assert!(starts <= 1, "begun twice");
            prop_assert!(execution.attempt >= before.attempt);
            if before.status.is_completed() {
                prop_assert_eq!(execution.status, before.status);
                prop_assert_eq!(&execution.log, &before.log);
            }
            if repeatable {
                let status = execution.status;
                let _ = execution.step(event, now, &settings());
                prop_assert_eq!(execution.status, status, "moved by a repetition");
            }
        }
        for pair in execution.log.windows(2) {
            prop_assert!(
                successors(pair[0].status).contains(&pair[1].status),
                "{} after {}", pair[1].status, pair[0].status
            );
            prop_assert!(pair[0].at <= pair[1].at);
        }
        prop_assert_eq!(execution.status, execution.log.last().expect("an entry").status);
        prop_assert_eq!(execution.ended_at.is_some(), execution.status.is_completed());
    }

    /// Wherever an execution is, deadlines alone bring it to an end, in bounded time.
    #[test]
    fn nothing_is_stuck_for_ever((accepted, history) in histories()) {
        let (mut execution, _) = Execution::accept(accepted, 0);
        let mut now = 0;
        for (event, passed) in history {
            now += passed;
            let _ = execution.step(event, now, &settings());
        }
        let patience = now + 1000;
        while !execution.status.is_completed() {
            let deadline = execution.deadline(&settings());
            prop_assert!(deadline.is_some(), "{} has no deadline", execution.status);
            let at = deadline.map_or(now, |deadline| deadline.at);
            now = now.max(at);
            prop_assert!(now <= patience, "still {}", execution.status);
            let answer = execution.step(Event::TimedOut, now, &settings());
            prop_assert!(matches!(answer, Ok(Answer::Moved(_))), "{:?}", answer);
        }
        prop_assert_eq!(execution.deadline(&settings()).is_none(), execution.concluded);
    }
}

#[test]
fn work_without_an_agent_is_never_placed() {
    for runner in Runner::ALL {
        let mut story = Story::of(accepted(runner));
        story.moves(Event::Scheduled);
        let answer = story.tell(Event::PlacedOn("a".to_owned()));
        assert_eq!(answer.is_ok(), runner.work() == Work::Agent, "{runner:?}");
    }
}
