//! Chance from a seed: the same seed, the same answers.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub struct Random(StdRng);

impl Random {
    pub fn of(seed: u64) -> Random {
        Random(StdRng::seed_from_u64(seed))
    }

    pub fn number(&mut self) -> u64 {
        self.0.random()
    }

    /// From `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..=most.max(least))
    }

    /// An index of something that has `count` entries; 0 if it has none.
    pub fn index(&mut self, count: usize) -> usize {
        self.0.random_range(0..count.max(1))
    }

    /// True in `per_mille` of 1000 cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        per_mille > 0 && self.0.random_range(0..1000) < per_mille
    }

    /// 32 hex digits.
    pub fn id(&mut self) -> String {
        format!("{:016x}{:016x}", self.number(), self.number())
    }
}
