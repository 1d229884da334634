//! Chat aliases (contract §10): written, matched, and run.

use super::callers::Permission;
use super::executions::Wanted;
use super::fault::Fault;
use super::policies::{pack_of, refuse};
use super::resources::{self, Written, present};
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::ids::new_id;
use crate::ops::now;
use crate::store::Json;
use crate::store::automation::action_aliases::ActionAlias;
use crate::store::query::Filter;
use automation::aliases::{self, AliasError, CompiledAlias};
use automation::expressions::Context;
use automation::spec::yaml::Document;
use automation::spec::{self, Alias, Report};
use serde_json::{Map, Value, json};

/// Where an answer goes if a command does not say.
const ROUTE: &str = "chatops";

impl From<AliasError> for Fault {
    fn from(error: AliasError) -> Fault {
        Fault::Invalid(error.to_string())
    }
}

/// A command somebody gave in chat.
#[derive(Debug, Clone, Default)]
pub struct Command {
    pub text: String,
    /// Who gave it, as the chat knows him.
    pub user: String,
    pub source_channel: Option<String>,
    pub source_context: Option<Value>,
    pub notification_channel: Option<String>,
    pub notification_route: Option<String>,
}

/// How a command is to be read: by one pattern of one alias.
#[derive(Debug, Clone)]
pub struct Reading {
    pub row: ActionAlias,
    pub format: String,
    pub display: Option<String>,
    pub match_multiple: bool,
}

fn read(written: &Value) -> Result<Alias, Fault> {
    let document = Document::of(written.clone());
    let mut report = Report::new("", &document);
    let alias = spec::alias::read(&document, &pack_of(written), "", &mut report);
    refuse(report)?;
    Ok(alias)
}

/// What a row says, as the engine reads it.
fn alias_of(row: &ActionAlias) -> Result<Alias, Fault> {
    serde_json::from_value(present(row)).map_err(Fault::internal("reading an alias"))
}

fn kept(alias: &Alias) -> Result<Json<Value>, Fault> {
    serde_json::to_value(alias)
        .map(Json)
        .map_err(Fault::internal("writing an alias"))
}

impl Written for ActionAlias {
    async fn create(
        automation: &Automation,
        caller: &Caller,
        written: &Value,
    ) -> Result<ActionAlias, Fault> {
        caller.allow(Permission::Modify, "action_alias_create")?;
        let alias = read(written)?;
        let mut tx = automation.ops.store.write("create an alias").await?;
        if let Some(other) = ActionAlias::find(&mut tx, &alias.reference).await? {
            return Err(Fault::duplicate("action alias", &alias.reference, other.id));
        }
        let now = now();
        let row = ActionAlias {
            document: kept(&alias)?,
            reference: alias.reference,
            id: new_id(),
            pack: alias.pack,
            name: alias.name,
            enabled: alias.enabled,
            created_at: now,
            updated_at: now,
            row_version: 1,
        };
        row.insert(&mut tx).await?;
        tx.commit().await?;
        automation.tell("st2.actionalias__create", present(&row));
        Ok(row)
    }

    async fn update(
        automation: &Automation,
        caller: &Caller,
        ref_or_id: &str,
        written: &Value,
    ) -> Result<ActionAlias, Fault> {
        caller.allow(Permission::Modify, "action_alias_modify")?;
        let mut tx = automation.ops.store.write("update an alias").await?;
        let mut row: ActionAlias = resources::get(&mut tx, ref_or_id).await?;
        let mut alias = read(written)?;
        if alias.reference != row.reference {
            return Err(Fault::Invalid(format!(
                "The alias \"{}\" cannot be renamed: create another one.",
                row.reference
            )));
        }
        alias.metadata_file = row.document["metadata_file"]
            .as_str()
            .unwrap_or_default()
            .to_string();
        row.enabled = alias.enabled;
        row.document = kept(&alias)?;
        row.update(&mut tx, now()).await?;
        tx.commit().await?;
        automation.tell("st2.actionalias__update", present(&row));
        Ok(row)
    }

    async fn delete(
        automation: &Automation,
        caller: &Caller,
        ref_or_id: &str,
    ) -> Result<(), Fault> {
        caller.allow(Permission::Modify, "action_alias_delete")?;
        let mut tx = automation.ops.store.write("delete an alias").await?;
        let row: ActionAlias = resources::get(&mut tx, ref_or_id).await?;
        ActionAlias::delete(&mut tx, &row.reference).await?;
        tx.commit().await?;
        automation.tell("st2.actionalias__delete", present(&row));
        Ok(())
    }
}

impl Automation {
    async fn enabled_aliases(&self) -> Result<Vec<(ActionAlias, Alias)>, Fault> {
        let filter =
            Filter::new()
                .equals_number("enabled", 1)
                .order_by("reference", "reference", false);
        let mut connection = self.ops.store.read().await?;
        let rows = ActionAlias::fetch(&mut connection, filter, "list aliases").await?;
        rows.into_iter()
            .map(|row| alias_of(&row).map(|alias| (row, alias)))
            .collect()
    }

    /// The one pattern that a command fits.
    pub async fn match_alias(&self, caller: &Caller, command: &str) -> Result<Reading, Fault> {
        caller.allow(Permission::View, "action_alias_match")?;
        let known = self.enabled_aliases().await?;
        let compiled: Vec<CompiledAlias<'_>> = known
            .iter()
            .map(|(_, alias)| CompiledAlias::new(alias))
            .collect();
        let found = aliases::find(&compiled, command)?;
        let row = known
            .iter()
            .find(|(row, _)| row.reference == found.alias.reference)
            .map(|(row, _)| row.clone())
            .ok_or_else(|| Fault::NotFound("The alias is gone.".into()))?;
        Ok(Reading {
            row,
            format: found.representation.to_string(),
            display: found.display.map(str::to_string),
            match_multiple: found.match_multiple,
        })
    }

    /// The alias of this name (or reference) that has this format.
    pub async fn alias_with_format(&self, name: &str, format: &str) -> Result<Reading, Fault> {
        let mut connection = self.ops.store.read().await?;
        let filter = Filter::new()
            .any_of_two("name", &[name.into()], "reference", &[name.into()])
            .order_by("reference", "reference", false);
        let rows = ActionAlias::fetch(&mut connection, filter, "find an alias").await?;
        let has_format = |row: &ActionAlias| {
            alias_of(row).is_ok_and(|alias| {
                let mut patterns = alias.formats.iter().flat_map(|one| one.patterns());
                patterns.any(|pattern| pattern == format)
            })
        };
        // Packs may have aliases of the same name.
        let row = rows
            .iter()
            .find(|row| has_format(row))
            .or(rows.first())
            .cloned()
            .ok_or_else(|| {
                Fault::NotFound(format!("Action alias with name \"{name}\" not found."))
            })?;
        Ok(Reading {
            row,
            format: format.to_string(),
            display: None,
            match_multiple: false,
        })
    }

    /// Help for people: pages of lines, by pack.
    pub async fn alias_help(
        &self,
        caller: &Caller,
        query: &aliases::HelpQuery<'_>,
    ) -> Result<Value, Fault> {
        caller.allow(Permission::View, "action_alias_help")?;
        let known = self.enabled_aliases().await?;
        let help = aliases::help(known.iter().map(|(_, alias)| alias), query)
            .map_err(|error| Fault::Invalid(format!("Query parameter \"filter\": {error}")))?;
        let mut packs: Map<String, Value> = Map::new();
        for line in &help.lines {
            let lines = packs.entry(line.pack).or_insert_with(|| json!([]));
            if let Some(lines) = lines.as_array_mut() {
                lines.push(json!({"display": line.display, "description": line.description}));
            }
        }
        Ok(json!({"available": help.available, "helpstrings": packs}))
    }

    /// Runs what a command asks for: one execution, or one for each match. The answers for the chat.
    pub async fn run_alias(
        &self,
        caller: &Caller,
        reading: &Reading,
        command: &Command,
        show_secrets: bool,
    ) -> Result<Vec<Value>, Fault> {
        let alias = alias_of(&reading.row)?;
        let found = aliases::extract(
            &alias,
            &reading.format,
            &command.text,
            reading.match_multiple,
        )?;
        let context = context_of(caller, &alias, command);
        let immutable = self
            .rendered_immutable(&alias, &context, &caller.actor.name)
            .await?;
        let mut answers = Vec::with_capacity(found.len());
        for mut parameters in found {
            aliases::add_immutable(&immutable, &mut parameters)?;
            let wanted = Wanted {
                action: alias.action_ref.clone(),
                parameters,
                context: context.clone(),
                notify: Some(notify_of(command)),
                ..Wanted::default()
            };
            let row = self.execute(caller, wanted).await?;
            let execution = self.present_execution(&row, None, show_secrets)?;
            let (message, extra) = self.acknowledgement(&alias, &execution);
            answers.push(json!({
                "execution": execution,
                "actionalias": present(&reading.row),
                "message": message,
                "extra": extra,
            }));
        }
        Ok(answers)
    }

    async fn rendered_immutable(
        &self,
        alias: &Alias,
        context: &Map<String, Value>,
        user: &str,
    ) -> Result<Map<String, Value>, Fault> {
        let templates = Value::Object(alias.immutable_parameters.clone());
        let failed = |error: &dyn std::fmt::Display| {
            Fault::Invalid(format!(
                "The immutable parameters of the alias \"{}\" cannot be rendered: {error}",
                alias.reference
            ))
        };
        let references = self
            .expressions
            .references_of_value(&templates)
            .map_err(|error| failed(&error))?;
        let mut connection = self.ops.store.read().await?;
        let keys = self.load_keys(&mut connection, &references, user).await?;
        let names = Context::new()
            .with("action_context", &Value::Object(context.clone()))
            .with_datastore(keys, user);
        let rendered = self
            .expressions
            .render_value(&templates, &names)
            .map_err(|error| failed(&error))?;
        Ok(rendered.as_object().cloned().unwrap_or_default())
    }

    /// What the chat says at once. The execution is accepted: a template that fails is said as it is.
    fn acknowledgement(&self, alias: &Alias, execution: &Value) -> (Value, Value) {
        let Some(ack) = &alias.ack else {
            return (Value::Null, json!({}));
        };
        let names = Context::new()
            .with("execution", execution)
            .with("actionalias", &json!(alias));
        let rendered = |value: Value| {
            self.expressions
                .render_value(&value, &names)
                .unwrap_or_else(|error| {
                    tracing::warn!(alias = alias.reference, %error, "an acknowledgement could not be rendered");
                    value
                })
        };
        let message = ack.format.clone().map(Value::String).map(rendered);
        (
            message.unwrap_or_default(),
            rendered(Value::Object(ack.extra.clone())),
        )
    }
}

/// The context of an execution that came from chat. `api_user`: whose datastore it sees.
fn context_of(caller: &Caller, alias: &Alias, command: &Command) -> Map<String, Value> {
    let chat_user = match command.user.as_str() {
        "" => &caller.actor.name,
        user => user,
    };
    let mut context = Map::from_iter([
        (
            "action_alias_ref".to_string(),
            json!({"ref": alias.reference, "pack": alias.pack, "name": alias.name}),
        ),
        ("api_user".to_string(), json!(chat_user)),
        ("source_channel".to_string(), json!(command.source_channel)),
    ]);
    if let Some(source) = &command.source_context {
        context.insert("source_context".into(), source.clone());
    }
    context
}

/// Who is told of the end.
fn notify_of(command: &Command) -> Value {
    let mut data = json!({
        "user": command.user,
        "source_channel": command.source_channel,
    });
    if let Some(source) = &command.source_context {
        data["source_context"] = source.clone();
    }
    if let Some(channel) = &command.notification_channel {
        data["notification_channel"] = json!(channel);
    }
    let route = command.notification_route.as_deref().unwrap_or(ROUTE);
    json!({"on-complete": {"routes": [route], "data": data}})
}
