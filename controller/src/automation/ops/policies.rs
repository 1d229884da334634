//! Policies of actions, as operators write them; those of packs come with their packs.

use super::callers::Permission;
use super::fault::Fault;
use super::resources::{self, Written};
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::ids::new_id;
use crate::ops::now;
use crate::store::Json;
use crate::store::automation::policies::Policy;
use automation::policies::{self, Kind};
use automation::spec::yaml::Document;
use automation::spec::{self, PolicyTypes, Report};
use serde_json::{Value, json};

/// The pack of what names none.
pub const DEFAULT_PACK: &str = "default";

/// Parameters of the policy types there are.
pub fn types() -> PolicyTypes {
    policies::types()
        .into_iter()
        .map(|kind| {
            let parameters = kind.parameters().as_object().cloned();
            (kind.reference(), parameters.unwrap_or_default())
        })
        .collect()
}

/// The pack that a written document belongs to.
pub fn pack_of(written: &Value) -> String {
    written["pack"].as_str().unwrap_or(DEFAULT_PACK).to_string()
}

/// All that is wrong with a written document, in one sentence.
pub fn refuse(report: Report<'_>) -> Result<(), Fault> {
    if !report.has_errors() {
        return Ok(());
    }
    let texts: Vec<String> = report
        .into_problems()
        .iter()
        .filter(|problem| problem.severity == spec::Severity::Error)
        .map(|problem| match problem.path.as_str() {
            "" => problem.message.clone(),
            path => format!("{path}: {}", problem.message),
        })
        .collect();
    Err(Fault::Invalid(texts.join("; ")))
}

fn read(written: &Value) -> Result<spec::Policy, Fault> {
    let document = Document::of(written.clone());
    let mut report = Report::new("", &document);
    let pack = pack_of(written);
    let policy = spec::policy::read(&document, &pack, "", &types(), &mut report);
    refuse(report)?;
    Kind::parse(&policy.policy_type, &policy.parameters)
        .map_err(|error| Fault::Invalid(error.to_string()))?;
    Ok(policy)
}

fn kept(policy: &spec::Policy) -> Json<Value> {
    Json(json!({
        "description": policy.description,
        "parameters": policy.parameters,
        "metadata_file": policy.metadata_file,
    }))
}

impl Written for Policy {
    async fn create(
        automation: &Automation,
        caller: &Caller,
        written: &Value,
    ) -> Result<Policy, Fault> {
        caller.allow(Permission::Modify, "policy_create")?;
        let policy = read(written)?;
        let mut tx = automation.ops.store.write("create a policy").await?;
        if let Some(other) = Policy::find(&mut tx, &policy.reference).await? {
            return Err(Fault::duplicate("policy", &policy.reference, other.id));
        }
        let now = now();
        let row = Policy {
            document: kept(&policy),
            reference: policy.reference,
            id: new_id(),
            pack: policy.pack,
            name: policy.name,
            resource_ref: policy.resource_ref,
            policy_type: policy.policy_type,
            enabled: policy.enabled,
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        row.insert(&mut tx).await?;
        tx.commit().await?;
        automation.nudge();
        Ok(row)
    }

    async fn update(
        automation: &Automation,
        caller: &Caller,
        ref_or_id: &str,
        written: &Value,
    ) -> Result<Policy, Fault> {
        caller.allow(Permission::Modify, "policy_modify")?;
        let mut tx = automation.ops.store.write("update a policy").await?;
        let mut row: Policy = resources::get(&mut tx, ref_or_id).await?;
        let mut policy = read(written)?;
        if policy.reference != row.reference {
            return Err(Fault::Invalid(format!(
                "The policy \"{}\" cannot be renamed: create another one.",
                row.reference
            )));
        }
        policy.metadata_file = row.document["metadata_file"]
            .as_str()
            .unwrap_or_default()
            .to_string();
        row.document = kept(&policy);
        row.resource_ref = policy.resource_ref;
        row.policy_type = policy.policy_type;
        row.enabled = policy.enabled;
        row.update(&mut tx, now()).await?;
        tx.commit().await?;
        automation.nudge();
        Ok(row)
    }

    async fn delete(
        automation: &Automation,
        caller: &Caller,
        ref_or_id: &str,
    ) -> Result<(), Fault> {
        caller.allow(Permission::Modify, "policy_delete")?;
        let mut tx = automation.ops.store.write("delete a policy").await?;
        let row: Policy = resources::get(&mut tx, ref_or_id).await?;
        Policy::delete(&mut tx, &row.reference).await?;
        tx.commit().await?;
        automation.nudge();
        Ok(())
    }
}
