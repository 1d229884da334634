//! Contenders under the same load, in turns: what else the machine does falls on all of them.

use super::load::Load;
use super::process::Process;
use crate::statistics::median;

/// Seconds.
const WARM_UP: u32 = 1;

/// Somebody who answers, and where.
#[derive(Clone, Copy)]
pub struct Contender<'a> {
    pub process: &'a Process,
    pub port: u16,
}

impl Contender<'_> {
    /// The same at another of its ports.
    pub fn at(self, port: u16) -> Self {
        Contender { port, ..self }
    }
}

/// What one contender did in each round.
#[derive(Debug, Default)]
pub struct Rounds {
    pub per_second: Vec<f64>,
    /// Microseconds of processor time.
    pub cpu: Vec<f64>,
    /// In milliseconds.
    pub p99: Vec<f64>,
}

impl Rounds {
    /// One round.
    pub async fn add(
        &mut self,
        contender: Contender<'_>,
        load: &Load,
        seconds: u32,
    ) -> anyhow::Result<()> {
        let before = contender.process.ran()?;
        let seen = load.run(contender.port, seconds).await?;
        let ran = contender.process.ran()?.microseconds_since(&before);
        self.per_second.push(seen.per_second);
        self.cpu.push(ran / seen.requests);
        self.p99.extend(seen.p99);
        Ok(())
    }

    /// Its medians, for people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{:.0}/s, {:.1} µs",
            median(&self.per_second),
            median(&self.cpu)
        );
        if !self.p99.is_empty() {
            text.push_str(&format!(", p99 {:.2} ms", median(&self.p99)));
        }
        text
    }
}

/// Each contender under its load, so many rounds of so many seconds, every other round in the opposite order.
pub async fn compare(
    contenders: &[(Contender<'_>, &Load)],
    rounds: usize,
    seconds: u32,
) -> anyhow::Result<Vec<Rounds>> {
    for (contender, load) in contenders {
        load.run(contender.port, WARM_UP).await?;
    }
    let mut all: Vec<Rounds> = contenders.iter().map(|_| Rounds::default()).collect();
    for round in 0..rounds {
        let mut turns: Vec<_> = all.iter_mut().zip(contenders).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (rounds, (contender, load)) in turns {
            rounds.add(*contender, load, seconds).await?;
        }
    }
    Ok(all)
}

/// Of each round, the first by the second.
pub fn ratios(ours: &[f64], yardstick: &[f64]) -> Vec<f64> {
    ours.iter()
        .zip(yardstick)
        .map(|(ours, yardstick)| ours / yardstick)
        .collect()
}
