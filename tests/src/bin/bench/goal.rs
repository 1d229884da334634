//! A goal, what was measured for it, and whether it is met: decided here from the figures alone.
//!
//! Yardstick and subject are measured in turns. Every round gives a ratio of its own, so that what
//! else the machine does falls on both; the ratio of a goal is the median of them. Rounds that
//! disagree are told: a goal that is met in the median only is met by luck.

use crate::statistics::{median, range};

/// What a goal asks of the value of each round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reach {
    /// Ours is at most this many yardsticks.
    AtMost(f64),
    /// Ours is at least this many yardsticks.
    AtLeast(f64),
    /// Ours is below this many milliseconds, whatever the yardstick.
    BelowMilliseconds(f64),
    /// The same in megabytes.
    BelowMegabytes(f64),
    /// Ours is at most so many, whatever the yardstick.
    AtMostCount(f64),
}

impl Reach {
    fn is_met(self, value: f64) -> bool {
        match self {
            Reach::AtMost(most) | Reach::AtMostCount(most) => value <= most,
            Reach::AtLeast(least) => value >= least,
            Reach::BelowMilliseconds(most) | Reach::BelowMegabytes(most) => value < most,
        }
    }

    fn text(self) -> String {
        match self {
            Reach::AtMost(most) => format!("at most {most} Y"),
            Reach::AtLeast(least) => format!("at least {least} Y"),
            Reach::BelowMilliseconds(most) => format!("under {most} ms"),
            Reach::BelowMegabytes(most) => format!("under {most} MB"),
            Reach::AtMostCount(most) => format!("at most {most}"),
        }
    }
}

/// What was measured for a goal.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The yardstick, as text with its unit; empty if the goal has none.
    pub yardstick: String,
    /// Ours, as text with its unit.
    pub ours: String,
    /// What the goal is about, of every round: ratios, milliseconds or megabytes.
    pub rounds: Vec<f64>,
}

#[derive(Debug, Clone)]
pub struct Goal {
    pub what: String,
    pub reach: Reach,
    /// Err: why it was not measured.
    pub measured: Result<Measured, String>,
}

impl Goal {
    pub const HEAD: &'static str =
        "| what | Y | ours | ratio (rounds) | reach | |\n|---|---|---|---|---|---|\n";

    pub fn row(&self) -> String {
        let reach = self.reach.text();
        match &self.measured {
            Err(why) => format!("| {} | | | | {reach} | SKIPPED: {why} |", self.what),
            Ok(measured) => format!(
                "| {} | {} | {} | {} | {reach} | {} |",
                self.what,
                if measured.yardstick.is_empty() {
                    "–"
                } else {
                    &measured.yardstick
                },
                measured.ours,
                self.ratio(&measured.rounds),
                self.verdict(&measured.rounds),
            ),
        }
    }

    fn ratio(&self, rounds: &[f64]) -> String {
        match self.reach {
            Reach::BelowMilliseconds(_) | Reach::BelowMegabytes(_) | Reach::AtMostCount(_) => {
                "–".to_string()
            }
            Reach::AtMost(_) | Reach::AtLeast(_) => {
                let (low, high) = range(rounds);
                format!("**{:.2}** ({low:.2} – {high:.2})", median(rounds))
            }
        }
    }

    fn verdict(&self, rounds: &[f64]) -> String {
        let met = rounds
            .iter()
            .filter(|value| self.reach.is_met(**value))
            .count();
        let all = rounds.len();
        match (self.reach.is_met(median(rounds)), met) {
            (true, met) if met == all => "met".to_string(),
            (true, met) => format!("met, in {met} of {all} rounds"),
            (false, 0) => "**not met**".to_string(),
            (false, met) => format!("**not met**, but in {met} of {all} rounds"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(reach: Reach, rounds: &[f64]) -> String {
        Goal {
            what: "it".into(),
            reach,
            measured: Ok(Measured {
                yardstick: "1 ms".into(),
                ours: "2 ms".into(),
                rounds: rounds.to_vec(),
            }),
        }
        .row()
    }

    #[test]
    fn the_median_round_decides_and_others_are_told() {
        let reach = Reach::AtMost(2.0);
        assert!(goal(reach, &[1.8, 1.9, 2.0]).ends_with("| at most 2 Y | met |"));
        assert!(goal(reach, &[1.8, 1.9, 2.1]).ends_with("| met, in 2 of 3 rounds |"));
        assert!(goal(reach, &[1.8, 2.1, 2.2]).ends_with("| **not met**, but in 1 of 3 rounds |"));
        assert!(goal(reach, &[2.1, 2.1, 2.2]).ends_with("| **not met** |"));
        assert!(
            goal(Reach::AtLeast(0.7), &[0.5])
                .contains("| **0.50** (0.50 – 0.50) | at least 0.7 Y | **not met** |")
        );
        assert!(
            goal(Reach::BelowMilliseconds(50.0), &[50.0])
                .contains("| – | under 50 ms | **not met** |")
        );
    }

    #[test]
    fn nothing_measured_meets_nothing() {
        assert!(goal(Reach::AtMost(2.0), &[]).ends_with("| **not met** |"));
        let skipped = Goal {
            what: "it".into(),
            reach: Reach::AtLeast(2.0),
            measured: Err("initdb is not installed".into()),
        };
        assert_eq!(
            skipped.row(),
            "| it | | | | at least 2 Y | SKIPPED: initdb is not installed |"
        );
    }
}
