//! The life of a one-off task, and what is to be done about one that is not over.
//!
//! ```text
//!   Waiting ──chosen──► Given ──taken──► Running ──────exited, gone──► Over
//!      │ ▲                │ │                │                          ▲
//!      │ └────not taken───┘ └──cancel──┐     └──cancel──► Canceling ────┤
//!      │                               └────────────────────▲           │
//!      └───────────────────────cancel, overdue──────────────────────────┘
//! ```
//!
//! The agent is written down before it is told (`Given`): from then on it may have begun, whatever the answer,
//! so the task goes to no other agent unless this one says that it did not take it. What cannot be known ends
//! as failed; nothing runs twice.
//!
//! What a newcomer gets wrong: an exit that is told late, twice, or while the task is being cancelled is no
//! error. [`Stage::step`] answers every pair.

use proto::ids::DeaId;

pub const CANCELLED: &str = "task was cancelled";

/// How far a task has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No agent was told.
    Waiting,
    /// An agent may have it.
    Given,
    Running,
    /// An agent is to end it.
    Canceling,
    Over,
}

/// How the command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    pub succeeded: bool,
    /// In words: "exited with status 3".
    pub description: String,
    /// Unknown if it did not get that far.
    pub status: Option<i32>,
    pub signal: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An agent was chosen for it.
    Chosen(DeaId),
    /// The agent says that it has it.
    Taken,
    /// The agent says that it did not take it: why.
    NotTaken(String),
    CancelAsked,
    Exited(Exit),
    /// The agent does not have it any more, and nobody saw how it ended: why.
    Gone(String),
    /// Nothing had room for it in time: why not.
    Overdue(String),
}

/// What comes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: why not.
    Stays(&'static str),
    Becomes(Stage),
    /// It waits again: for what.
    WaitsAgain(String),
    Ends(End),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// None: it succeeded.
    pub failure: Option<String>,
    pub status: Option<i32>,
    pub signal: Option<String>,
}

impl End {
    fn failed(why: impl Into<String>) -> Verdict {
        Verdict::Ends(End {
            failure: Some(why.into()),
            status: None,
            signal: None,
        })
    }

    fn of(exit: Exit, failure: impl FnOnce(String) -> String) -> Verdict {
        Verdict::Ends(End {
            failure: (!exit.succeeded).then(|| failure(exit.description)),
            status: exit.status,
            signal: exit.signal,
        })
    }
}

impl Stage {
    pub fn step(self, event: Event) -> Verdict {
        use Verdict::{Becomes, Stays, WaitsAgain};
        match (self, event) {
            (Stage::Waiting, Event::Chosen(_)) => Becomes(Stage::Given),
            (Stage::Waiting, Event::CancelAsked) => End::failed(CANCELLED),
            (Stage::Waiting, Event::Overdue(why)) => End::failed(why),
            (
                Stage::Waiting,
                Event::Taken | Event::NotTaken(_) | Event::Exited(_) | Event::Gone(_),
            ) => Stays("an answer of an agent that does not have it any more"),

            (Stage::Given, Event::Taken) => Becomes(Stage::Running),
            (Stage::Given, Event::NotTaken(why)) => WaitsAgain(why),
            (Stage::Given | Stage::Running, Event::CancelAsked) => Becomes(Stage::Canceling),
            // Even before its acceptance was heard.
            (Stage::Given | Stage::Running, Event::Exited(exit)) => End::of(exit, |why| why),
            (Stage::Given | Stage::Running, Event::Gone(why)) => End::failed(why),
            (Stage::Running, Event::Taken) => Stays("it is known to run"),
            (Stage::Running, Event::NotTaken(_)) => Stays("it was taken before"),

            // Done before the order to stop arrived: that is how it ended.
            (Stage::Canceling, Event::Exited(exit)) => End::of(exit, |_| CANCELLED.to_string()),
            (Stage::Canceling, Event::NotTaken(_) | Event::Gone(_)) => End::failed(CANCELLED),
            (Stage::Canceling, Event::Taken) => Stays("it is told to stop next"),
            (Stage::Canceling, Event::CancelAsked) => Stays("it is being cancelled"),

            (Stage::Given | Stage::Running | Stage::Canceling, Event::Chosen(_)) => {
                Stays("an agent may have it")
            }
            (Stage::Given | Stage::Running | Stage::Canceling, Event::Overdue(_)) => {
                Stays("it found its room")
            }
            (
                Stage::Over,
                Event::Chosen(_)
                | Event::Taken
                | Event::NotTaken(_)
                | Event::CancelAsked
                | Event::Exited(_)
                | Event::Gone(_)
                | Event::Overdue(_),
            ) => Stays("it is over"),
        }
    }
}

/// What is known of the agent that a task was given to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Nothing that would make a difference.
    There,
    /// It was not heard of for too long.
    Lost,
    /// It lives, and has told for long enough that it does not have the task.
    Without,
}

/// What to do about a task that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Place,
    /// Tell its agent to run it; again, if it was told before.
    Order,
    /// Tell its agent to end it; again, until it has.
    Stop,
    /// Write down what is known now.
    Record(Event),
}

/// `holder`: the task's agent and what is known of it. `waits_for`: why it is not placed, and whether it has
/// waited long enough.
pub fn plan(
    stage: Stage,
    holder: Option<(&DeaId, Holder)>,
    waits_for: Option<&str>,
    overdue: bool,
) -> Option<Action> {
    let lost = |dea: &DeaId| Action::Record(Event::Gone(format!("the agent {dea} was lost")));
    match (stage, holder) {
        (Stage::Waiting, _) if overdue => {
            let why = waits_for.unwrap_or("no agent was there");
            let why = format!("no agent had room for it in time: {why}");
            Some(Action::Record(Event::Overdue(why)))
        }
        (Stage::Waiting, _) => Some(Action::Place),
        (Stage::Given | Stage::Running | Stage::Canceling, Some((dea, Holder::Lost))) => {
            Some(lost(dea))
        }
        (Stage::Given, Some((_, Holder::There | Holder::Without))) => Some(Action::Order),
        (Stage::Running | Stage::Canceling, Some((dea, Holder::Without))) => Some(Action::Record(
            Event::Gone(format!("the agent {dea} does not have it any more")),
        )),
        (Stage::Running, Some((_, Holder::There))) => None,
        (Stage::Canceling, Some((_, Holder::There))) => Some(Action::Stop),
        (Stage::Given | Stage::Running | Stage::Canceling, None) => Some(Action::Record(
            Event::Gone("it is not known which agent has it".to_string()),
        )),
        (Stage::Over, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STAGES: [Stage; 5] = [
        Stage::Waiting,
        Stage::Given,
        Stage::Running,
        Stage::Canceling,
        Stage::Over,
    ];

    fn dea() -> DeaId {
        DeaId::new("dea-1").expect("an id")
    }

    fn exit(status: i32) -> Event {
        Event::Exited(Exit {
            succeeded: status == 0,
            description: format!("exited with status {status}"),
            status: Some(status),
            signal: None,
        })
    }

    fn events() -> Vec<Event> {
        vec![
            Event::Chosen(dea()),
            Event::Taken,
            Event::NotTaken("full".into()),
            Event::CancelAsked,
            exit(0),
            exit(3),
            Event::Gone("lost".into()),
            Event::Overdue("no room".into()),
        ]
    }

    fn ends(failure: Option<&str>, status: Option<i32>) -> Verdict {
        Verdict::Ends(End {
            failure: failure.map(str::to_string),
            status,
            signal: None,
        })
    }

    #[test]
    fn a_task_that_runs_ends_as_its_command_did() {
        assert_eq!(
            Stage::Waiting.step(Event::Chosen(dea())),
            Verdict::Becomes(Stage::Given)
        );
        assert_eq!(
            Stage::Given.step(Event::Taken),
            Verdict::Becomes(Stage::Running)
        );
        assert_eq!(Stage::Running.step(exit(0)), ends(None, Some(0)));
        assert_eq!(
            Stage::Given.step(exit(3)),
            ends(Some("exited with status 3"), Some(3)),
            "the answer to the order may come after the end"
        );
    }

    #[test]
    fn a_cancelled_task_fails_unless_it_was_done_before() {
        assert_eq!(
            Stage::Waiting.step(Event::CancelAsked),
            ends(Some(CANCELLED), None)
        );
        assert_eq!(
            Stage::Given.step(Event::CancelAsked),
            Verdict::Becomes(Stage::Canceling)
        );
        assert_eq!(
            Stage::Canceling.step(exit(137)),
            ends(Some(CANCELLED), Some(137))
        );
        assert_eq!(Stage::Canceling.step(exit(0)), ends(None, Some(0)));
        assert_eq!(
            Stage::Canceling.step(Event::NotTaken("stopped before".into())),
            ends(Some(CANCELLED), None)
        );
    }

    #[test]
    fn only_an_agent_that_did_not_take_it_gives_it_back() {
        for stage in STAGES {
            for event in events() {
                let gives_back = matches!(stage.step(event.clone()), Verdict::WaitsAgain(_));
                let is_refusal = matches!(event, Event::NotTaken(_));
                assert_eq!(
                    gives_back,
                    stage == Stage::Given && is_refusal,
                    "{stage:?} {event:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_done_follows_from_what_is_known() {
        let agent = dea();
        let plan = |stage, holder: Holder| plan(stage, Some((&agent, holder)), None, true);
        assert_eq!(plan(Stage::Given, Holder::There), Some(Action::Order));
        assert_eq!(
            plan(Stage::Given, Holder::Without),
            Some(Action::Order),
            "it was not told that the agent has it"
        );
        assert_eq!(plan(Stage::Running, Holder::There), None);
        assert_eq!(plan(Stage::Canceling, Holder::There), Some(Action::Stop));
        assert_eq!(plan(Stage::Over, Holder::Lost), None);
        for stage in [Stage::Given, Stage::Running, Stage::Canceling] {
            let Some(Action::Record(Event::Gone(why))) = plan(stage, Holder::Lost) else {
                panic!("{stage:?} of a lost agent is not over");
            };
            assert!(why.contains("dea-1"));
        }
        for stage in [Stage::Running, Stage::Canceling] {
            assert!(matches!(
                plan(stage, Holder::Without),
                Some(Action::Record(Event::Gone(_)))
            ));
        }
    }

    #[test]
    fn a_task_waits_for_room_until_its_time_is_over() {
        assert_eq!(
            plan(Stage::Waiting, None, Some("needs 9 MB memory"), false),
            Some(Action::Place)
        );
        let Some(Action::Record(Event::Overdue(why))) =
            plan(Stage::Waiting, None, Some("needs 9 MB memory"), true)
        else {
            panic!("its time is over");
        };
        assert!(why.contains("needs 9 MB memory"), "{why}");
    }

    proptest! {
        /// Whatever comes in whatever order: it ends at most once, and it is in nobody's hands but one's.
        #[test]
        fn a_task_ends_once_and_is_given_only_while_nobody_has_it(
            which in prop::collection::vec(0..8_usize, 0..40)
        ) {
            let (mut stage, mut ended, mut held) = (Stage::Waiting, 0, false);
            for number in which {
                let event = events().swap_remove(number);
                let chosen = matches!(event, Event::Chosen(_));
                match stage.step(event) {
                    Verdict::Stays(because) => prop_assert!(!because.is_empty()),
                    Verdict::Becomes(next) => {
                        prop_assert!(next != Stage::Over && next != stage);
                        if chosen {
                            prop_assert!(!held);
                            held = true;
                        }
                        stage = next;
                    }
                    Verdict::WaitsAgain(_) => {
                        held = false;
                        stage = Stage::Waiting;
                    }
                    Verdict::Ends(_) => {
                        ended += 1;
                        stage = Stage::Over;
                    }
                }
                prop_assert!(ended <= 1);
            }
        }
    }
}
