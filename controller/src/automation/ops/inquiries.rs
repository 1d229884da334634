//! Inquiries: executions that wait for a person's answer.

use super::callers::Permission;
use super::executions::missing;
use super::fault::Fault;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::store::automation::executions::{self, Execution, Listed};
use crate::store::query::Filter;
use automation::execution::{Event, Status};
use automation::runners::{InquiryError, Question, Runner};
use serde_json::{Value, json};

fn not_open(id: &str, status: Status) -> Fault {
    Fault::Invalid(match status {
        Status::Timeout => format!("Inquiry \"{id}\" timed out and cannot be responded to."),
        Status::Succeeded => format!("Inquiry \"{id}\" has already been responded to."),
        other => format!("Inquiry \"{id}\" cannot be responded to: it is {other}."),
    })
}

impl From<InquiryError> for Fault {
    fn from(error: InquiryError) -> Fault {
        match error {
            InquiryError::NotAsked { .. } => Fault::Forbidden(error.to_string()),
            InquiryError::Question(_) | InquiryError::Response { .. } => {
                Fault::Invalid(error.to_string())
            }
        }
    }
}

impl Automation {
    fn question(&self, row: &Execution) -> Result<Question, Fault> {
        Ok(Question::read(&self.unseal(&row.parameters)?)?)
    }

    /// An inquiry as the API shows it.
    pub fn present_inquiry(&self, row: &Execution) -> Result<Value, Fault> {
        let mut document = self.question(row)?.result();
        document["id"] = json!(row.id);
        document["parent"] = json!(row.parent);
        Ok(document)
    }

    /// Those that wait, the oldest first.
    pub async fn list_inquiries(
        &self,
        caller: &Caller,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<Listed>, u64), Fault> {
        caller.allow(Permission::View, "inquiry_list")?;
        let filter = Filter::new()
            .equals("status", Status::Pending.as_str())
            .equals("runner_type", Runner::Inquirer.name())
            .order_by("started_at", "id", false);
        let mut connection = self.ops.store.read().await?;
        Ok(executions::list(&mut connection, filter, limit, offset).await?)
    }

    pub async fn inquiry(&self, caller: &Caller, id: &str) -> Result<Execution, Fault> {
        caller.allow(Permission::View, "inquiry_view")?;
        let row = Execution::find(&mut *self.ops.store.read().await?, id)
            .await?
            .ok_or_else(|| missing(id))?;
        if row.runner_type != Runner::Inquirer.name() {
            return Err(Fault::Invalid(format!("\"{id}\" is not an inquiry.")));
        }
        Ok(row)
    }

    /// Answers an inquiry. Of two who answer at once one is told that he was late.
    pub async fn respond(&self, caller: &Caller, id: &str, response: &Value) -> Result<(), Fault> {
        caller.allow(Permission::Execute, "inquiry_respond")?;
        let row = self.inquiry(caller, id).await?;
        let status = row.life.status;
        if status != Status::Pending {
            return Err(not_open(id, status));
        }
        let question = self.question(&row)?;
        question.may_answer(id, &caller.actor.name, &caller.all_roles())?;
        let conclusion = question.answered(id, response)?;
        let answered = Event::Answered {
            result: conclusion.result,
        };
        match self.move_execution(id, answered).await? {
            Ok(_) => Ok(()),
            Err((_, status)) => Err(not_open(id, status)),
        }
    }
}
