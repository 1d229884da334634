//! Runner types: what they are stands in the engine; whether one is switched off stands in a row.

use super::callers::Permission;
use super::fault::Fault;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::ops::now;
use crate::store::automation::runner_types::RunnerType;
use crate::store::sql::Connection;
use automation::runners::{self, Runner};
use serde_json::{Value, json};

/// The runner as the API shows it.
async fn document(connection: &mut Connection, runner: Runner) -> Result<Value, Fault> {
    let mut document = runners::document(runner);
    if let Some(row) = RunnerType::find(connection, runner.name()).await? {
        document["enabled"] = json!(row.enabled);
    }
    Ok(document)
}

fn named(name_or_id: &str) -> Result<Runner, Fault> {
    Runner::from_name(name_or_id)
        .or_else(|| {
            Runner::ALL
                .into_iter()
                .find(|runner| runners::document(*runner)["id"] == name_or_id)
        })
        .ok_or_else(|| {
            Fault::NotFound(format!(
                "Resource with a name or id \"{name_or_id}\" not found"
            ))
        })
}

impl Automation {
    /// All of them, by name.
    pub async fn list_runner_types(&self, caller: &Caller) -> Result<Vec<Value>, Fault> {
        caller.allow(Permission::View, "runner_type_list")?;
        let mut connection = self.ops.store.read().await?;
        let mut runners = Runner::ALL;
        runners.sort_by_key(|runner| runner.name());
        let mut documents = Vec::new();
        for runner in runners {
            documents.push(document(&mut connection, runner).await?);
        }
        Ok(documents)
    }

    pub async fn runner_type(&self, caller: &Caller, name_or_id: &str) -> Result<Value, Fault> {
        caller.allow(Permission::View, "runner_type_view")?;
        document(&mut *self.ops.store.read().await?, named(name_or_id)?).await
    }

    /// Switches a runner on or off, from the next execution on.
    pub async fn enable_runner_type(
        &self,
        caller: &Caller,
        name_or_id: &str,
        enabled: bool,
    ) -> Result<Value, Fault> {
        caller.allow(Permission::Modify, "runner_type_modify")?;
        let runner = named(name_or_id)?;
        if enabled && let Some(refusal) = runner.refusal() {
            return Err(Fault::Invalid(refusal.to_string()));
        }
        let mut tx = self.ops.store.write("switch a runner").await?;
        let Some(mut row) = RunnerType::find(&mut tx, runner.name()).await? else {
            return Err(Fault::Unavailable(
                "The runner types are not registered yet; try again in a moment.".into(),
            ));
        };
        if row.enabled != enabled {
            row.enabled = enabled;
            row.update(&mut tx, now()).await?;
            tx.commit().await?;
        }
        document(&mut *self.ops.store.read().await?, runner).await
    }
}
