//! Who may read the log of an app.

use super::apps::app_for;
use super::{Ops, Refusal};
use crate::domain::access::{Action, Actor};

impl Ops {
    /// Logs may hold what environments hold.
    pub async fn check_log_access(&self, actor: &Actor, app: &str) -> Result<(), Refusal> {
        app_for(
            &mut *self.store.read().await?,
            actor,
            Action::ReadSecrets,
            app,
        )
        .await?;
        Ok(())
    }
}
