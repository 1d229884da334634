//! Which daemon is restarted next for values of the configuration that need a restart.
//!
//! A daemon carries what it was started with in its environment, so that nothing has to be
//! remembered: a node that was killed sees what its predecessor started. One daemon at a time, and
//! none while another is not ready: a value that a daemon cannot start with stops the round at the
//! first one.

use std::collections::BTreeMap;

use proto::config::{Key, Settings};

use super::cast::Part;

/// The variable that holds [`Values`], as JSON.
pub const STARTED_WITH: &str = "STACKYARD_STARTED_WITH";
/// How many threads a daemon runs on.
const THREADS: &str = "cluster/daemon/threads";
/// The variable by which the runtime of a daemon is told so.
const THREADS_VARIABLE: &str = "TOKIO_WORKER_THREADS";

/// Beside the paths: which bootstrap file it was started with. No path has a single word.
pub const BOOTSTRAP: &str = "bootstrap";

/// Values that a daemon reads when it starts only, by path.
pub type Values = BTreeMap<String, String>;

/// Those of a daemon of this role, of the configuration as it has it.
pub fn values(settings: &Settings, role: &str) -> Values {
    settings
        .effective()
        .filter(|(key, _)| key.needs_restart && key.readers().contains(&role))
        .map(|(key, value)| (key.path.to_string(), value.to_string()))
        .collect()
}

/// What a daemon gets into its environment for these values.
pub fn environment(values: &Values) -> Vec<(String, String)> {
    let text = serde_json::to_string(values).expect("a map of texts always serializes");
    let mut variables = vec![(STARTED_WITH.to_string(), text)];
    if let Some(threads) = values.get(THREADS).filter(|threads| *threads != "0") {
        variables.push((THREADS_VARIABLE.to_string(), threads.clone()));
    }
    variables
}

/// A daemon as it is and as it should be.
#[derive(Debug, Clone)]
pub struct Seen {
    pub part: Part,
    /// It runs and says that it can work.
    pub ready: bool,
    /// None: it was started by a node that knew no such values, and has the defaults.
    pub started_with: Option<Values>,
    pub wanted: Values,
}

impl Seen {
    /// The paths whose values it does not have yet.
    fn stale(&self) -> Vec<String> {
        let has = |path: &str| {
            let own = self
                .started_with
                .as_ref()
                .and_then(|values| values.get(path));
            own.cloned()
                .or_else(|| Key::find(path).map(|key| key.default_value().to_string()))
        };
        // What a node of before did not say of a daemon that it started is taken to be right.
        let differs = |(path, value): &(&String, &String)| {
            has(path.as_str()).is_some_and(|has| has != **value)
        };
        let stale = self.wanted.iter().filter(differs);
        stale.map(|(path, _)| path.clone()).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Every daemon has its values.
    Done,
    /// Something is to be restarted, once this part is ready.
    WaitFor(Part),
    Restart {
        part: Part,
        because: Vec<String>,
    },
}

pub fn next(seen: &[Seen]) -> Step {
    let Some((part, because)) = seen.iter().find_map(|daemon| {
        let stale = daemon.stale();
        (!stale.is_empty()).then(|| (daemon.part.clone(), stale))
    }) else {
        return Step::Done;
    };
    match seen.iter().find(|daemon| !daemon.ready) {
        // What does not run anyway comes up with its new values.
        Some(unready) => Step::WaitFor(unready.part.clone()),
        None => Step::Restart { part, because },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cast;
    use crate::domain::cast::tests::with_deas;
    use proto::config::Owner;

    fn threads(number: &str) -> Values {
        Values::from([(THREADS.to_string(), number.to_string())])
    }

    fn daemons(wanted: &str) -> Vec<Seen> {
        cast::parts(&with_deas(2))
            .into_iter()
            .filter(|part| part.component().is_some())
            .map(|part| Seen {
                part,
                ready: true,
                started_with: None,
                wanted: threads(wanted),
            })
            .collect()
    }

    #[test]
    fn one_daemon_after_the_other_gets_its_values() {
        let mut seen = daemons("2");
        let mut restarted = Vec::new();
        loop {
            match next(&seen) {
                Step::Done => break,
                Step::WaitFor(part) => {
                    // It comes up; nobody else was touched meanwhile.
                    assert_eq!(restarted.last(), Some(&part));
                    let daemon = seen.iter_mut().find(|daemon| daemon.part == part);
                    daemon.expect("it is there").ready = true;
                }
                Step::Restart { part, because } => {
                    assert_eq!(because, [THREADS]);
                    let daemon = seen.iter_mut().find(|daemon| daemon.part == part);
                    let daemon = daemon.expect("it is there");
                    daemon.ready = false;
                    daemon.started_with = Some(daemon.wanted.clone());
                    restarted.push(part);
                }
            }
        }
        assert_eq!(restarted.len(), seen.len());
    }

    #[test]
    fn nothing_is_restarted_for_what_it_has() {
        assert_eq!(next(&daemons("0")), Step::Done, "the default");
        let mut seen = daemons("2");
        for daemon in &mut seen {
            daemon.started_with = Some(threads("2"));
        }
        seen[0].ready = false;
        assert_eq!(
            next(&seen),
            Step::Done,
            "what is not ready has other reasons"
        );
    }

    #[test]
    fn nobody_is_restarted_while_another_is_not_ready() {
        let mut seen = daemons("2");
        seen[3].ready = false;
        assert_eq!(next(&seen), Step::WaitFor(seen[3].part.clone()));
    }

    #[test]
    fn a_daemon_is_told_its_threads() {
        let owners: Vec<Owner> = Owner::parse("dea-2").into_iter().collect();
        let (settings, ignored) = Settings::of_owners(
            [
                ("cluster/daemon/threads", "3"),
                ("@dea-2/cluster/daemon/threads", "1"),
            ],
            &owners,
        );
        assert!(ignored.is_empty(), "{ignored:?}");
        let of_agent = values(&settings, "dea");
        assert_eq!(of_agent, threads("1"));
        assert_eq!(
            environment(&of_agent),
            [
                (STARTED_WITH.to_string(), format!("{{\"{THREADS}\":\"1\"}}")),
                (THREADS_VARIABLE.to_string(), "1".to_string()),
            ]
        );
        assert_eq!(environment(&threads("0")).len(), 1);
        assert!(
            values(&settings, "node").is_empty(),
            "the node restarts nobody for itself"
        );
    }
}
