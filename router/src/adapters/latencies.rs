//! How long the requests of each app take, where that is wanted: a histogram for each of so many apps, and one
//! for all others, so that a cluster of many apps does not grow its metrics without bound.

use metrics::Histogram;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// What stands for the apps that came too late for a histogram of their own.
const OTHERS: &str = "others";

#[derive(Default)]
pub struct Latencies {
    of: RwLock<HashMap<Box<str>, Histogram>>,
}

impl Latencies {
    /// `most`: how many apps have a histogram of their own.
    pub fn record(&self, app: &str, took: Duration, most: usize) {
        if !self.record_known(app, took) && !self.has_room(app, took, most) {
            self.record_new(OTHERS, took);
        }
    }

    fn record_known(&self, app: &str, took: Duration) -> bool {
        let of = self.of.read().unwrap_or_else(PoisonError::into_inner);
        match of.get(app) {
            Some(histogram) => {
                histogram.record(took.as_secs_f64());
                true
            }
            None => false,
        }
    }

    fn has_room(&self, app: &str, took: Duration, most: usize) -> bool {
        let room = {
            let of = self.of.read().unwrap_or_else(PoisonError::into_inner);
            of.keys().filter(|app| &***app != OTHERS).count() < most
        };
        if room {
            self.record_new(app, took);
        }
        room
    }

    fn record_new(&self, app: &str, took: Duration) {
        let mut of = self.of.write().unwrap_or_else(PoisonError::into_inner);
        of.entry(app.into())
            .or_insert_with(
                || metrics::histogram!("app_latency_seconds", "app_id" => app.to_string()),
            )
            .record(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn so_many_apps_have_a_histogram_of_their_own() {
        let latencies = Latencies::default();
        for app in ["a", "b", "a", "c", "d", "b"] {
            latencies.record(app, Duration::from_millis(1), 2);
        }
        let names = |latencies: &Latencies| -> BTreeSet<String> {
            let of = latencies.of.read().unwrap();
            of.keys().map(|app| app.to_string()).collect()
        };
        let expected = ["a", "b", OTHERS].map(String::from);
        assert_eq!(names(&latencies), BTreeSet::from(expected));
        latencies.record("c", Duration::from_millis(1), 3);
        assert!(names(&latencies).contains("c"), "there is room now");
    }
}
