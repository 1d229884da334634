//! Jobs. What is answered 202 is done before the answer, in one transaction; its job only tells how
//! it ended. Clients poll it all the same.

use super::{Ops, Refusal, new_guid, now};
use crate::store::Json;
use crate::store::jobs::{COMPLETE, FAILED, Job};

impl Ops {
    /// Records how an operation ended. `error`: code, title, detail.
    pub async fn record_job(
        &self,
        operation: &str,
        error: Option<(i64, &str, &str)>,
    ) -> Result<Job, Refusal> {
        let now = now();
        let job = Job {
            guid: new_guid(),
            operation: operation.to_string(),
            state: if error.is_some() { FAILED } else { COMPLETE }.to_string(),
            error_code: error.map(|error| error.0),
            error_title: error.map(|error| error.1.to_string()),
            error_detail: error.map(|error| error.2.to_string()),
            warnings: Json::default(),
            created_at: now,
            updated_at: now,
        };
        let mut tx = self.store.write("record a job").await?;
        job.insert(&mut tx).await?;
        tx.commit().await?;
        Ok(job)
    }

    /// Whoever knows the guid started it.
    pub async fn job(&self, guid: &str) -> Result<Job, Refusal> {
        Job::find(&mut *self.store.read().await?, guid)
            .await?
            .ok_or(Refusal::NotFound("Job"))
    }
}
