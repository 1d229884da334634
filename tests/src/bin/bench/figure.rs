//! A figure that stands alone: it holds for the machine it was measured on.

use crate::statistics::{median, range};

pub struct Figure {
    pub what: &'static str,
    pub values: Vec<f64>,
    pub unit: &'static str,
    pub aim: &'static str,
}

impl Figure {
    pub const HEAD: &'static str =
        "| what | median | range | rounds | aim |\n|---|---|---|---|---|\n";

    pub fn row(&self) -> String {
        let (low, high) = range(&self.values);
        format!(
            "| {} | {:.2} {} | {low:.2} – {high:.2} | {} | {} |",
            self.what,
            median(&self.values),
            self.unit,
            self.values.len(),
            self.aim
        )
    }
}
