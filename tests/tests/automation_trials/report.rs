//! The part of docs/trials.md that is about automation: the counts of a long run.

use crate::Trial;

pub fn write(trials: &[Trial], seed: u64, rounds: u32) -> anyhow::Result<()> {
    let text = format!(
        "Five callers call a webhook, each once in 400 ms at most; a rule runs a shell action for each call, which tells an app its id. \
         Meanwhile parts of the cluster are killed at random moments. A run is good only if every acknowledged call has exactly one trigger \
         instance, one enforcement and one execution with an end, if what succeeded had its effect once, and if nothing had it twice.\n\n\
         `abandoned`: given to an agent, and what became of it could not be known; it is never run a second time by itself (a retry policy \
         may). Unanswered calls are those whose connection broke: they may be recorded, once, or not.\n\n\
         Seed {seed}, {rounds} rounds of three kills each (of one standstill, where it says suspended). Profile: dev."
    );
    let rows: Vec<(&str, String)> = trials
        .iter()
        .map(|trial| (trial.name, trial.line.clone()))
        .collect();
    tests::trials::write("Automation", &text, &rows)
}
