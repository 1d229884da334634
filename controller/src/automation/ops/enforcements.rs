//! What rules made of trigger instances: for looking at. The engine writes them.

use super::callers::Permission;
use super::fault::Fault;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::store::automation::executions::Execution;
use crate::store::automation::rule_enforcements::RuleEnforcement;
use crate::store::automation::trigger_instances::TriggerInstance;
use crate::store::query::Filter;

impl Automation {
    pub async fn list_enforcements(
        &self,
        caller: &Caller,
        filter: Filter,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<RuleEnforcement>, u64), Fault> {
        caller.allow(Permission::View, "rule_enforcement_list")?;
        let mut connection = self.ops.store.read().await?;
        Ok(RuleEnforcement::page(&mut connection, filter, limit, offset).await?)
    }

    pub async fn enforcement(&self, caller: &Caller, id: &str) -> Result<RuleEnforcement, Fault> {
        caller.allow(Permission::View, "rule_enforcement_view")?;
        RuleEnforcement::find(&mut *self.ops.store.read().await?, id)
            .await?
            .ok_or_else(|| {
                Fault::NotFound(format!("Unable to identify resource with id \"{id}\"."))
            })
    }

    /// What led to an enforcement and what followed, as far as they are still kept.
    pub async fn around_enforcement(
        &self,
        row: &RuleEnforcement,
    ) -> Result<(Option<TriggerInstance>, Option<Execution>), Fault> {
        let mut connection = self.ops.store.read().await?;
        let instance = TriggerInstance::find(&mut connection, &row.trigger_instance).await?;
        let execution = match &row.execution_id {
            Some(id) => Execution::find(&mut connection, id).await?,
            None => None,
        };
        Ok((instance, execution))
    }
}
