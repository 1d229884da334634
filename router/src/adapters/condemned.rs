//! Endpoints that failed to prove who they are, on their way out of the table.
//!
//! Requests find out, the one writer of the table removes. From the moment of the finding nobody chooses
//! the endpoint any more, whichever snapshot he looks at.

use crate::domain::table::Endpoint;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct Condemned {
    numbers: Mutex<Vec<u64>>,
    told: Notify,
}

impl Condemned {
    fn numbers(&self) -> MutexGuard<'_, Vec<u64>> {
        self.numbers
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Nobody is sent there from now on.
    pub fn add(&self, endpoint: &Endpoint) {
        if endpoint.leave() {
            self.numbers().push(endpoint.number);
            self.told.notify_one();
        }
    }

    /// Waits for some. Nothing is lost if it is not waited for to the end.
    pub async fn next(&self) -> Vec<u64> {
        loop {
            let numbers = std::mem::take(&mut *self.numbers());
            if !numbers.is_empty() {
                return numbers;
            }
            self.told.notified().await;
        }
    }
}
