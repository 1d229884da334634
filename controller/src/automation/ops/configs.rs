//! Configurations of packs: checked against the pack's schema, secrets encrypted, templates on the
//! datastore resolved for each run (contract §9.2).
//!
//! A row holds what is secret as `{"__sealed": ciphertext}`, wherever it stands; the key is reserved, so
//! that no value of an operator looks like that.

use super::callers::Permission;
use super::fault::Fault;
use super::sensor_types::restart_of_pack;
use crate::automation::Automation;
use crate::automation::api::extract::Caller;
use crate::automation::ids::new_id;
use crate::ops::now;
use crate::store::Json;
use crate::store::automation::pack_configs::PackConfig;
use crate::store::automation::packs::{self, Pack, Standing};
use crate::store::query::Filter;
use crate::store::sql::Connection;
use automation::datastore::{self, SymmetricKey};
use automation::documents::{MASK, secrets};
use automation::expressions::Context;
use automation::spec::Report;
use automation::spec::config;
use automation::spec::yaml::Document;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Marks a value that is kept encrypted.
const SEALED: &str = "__sealed";

fn schema_of(pack: &Pack) -> Option<&Map<String, Value>> {
    pack.config_schema.as_object()
}

/// Encrypts what the schema calls secret.
fn seal(key: &SymmetricKey, values: &mut Map<String, Value>, schema: &Map<String, Value>) {
    secrets::each_secret_of(values, schema, &mut |_, secret| {
        if !secret.is_null() {
            let sealed = datastore::encrypt(key, &rand::random(), &secret.to_string());
            *secret = json!({ SEALED: sealed });
        }
    });
}

/// Whether a value has the reserved key anywhere.
fn looks_sealed(value: &Value) -> bool {
    match value {
        Value::Object(entries) => {
            entries.contains_key(SEALED) || entries.values().any(looks_sealed)
        }
        Value::Array(items) => items.iter().any(looks_sealed),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

impl Automation {
    fn unseal_config(&self, value: &mut Value) -> Result<(), Fault> {
        match value {
            Value::Object(entries) => {
                if let Some(Value::String(sealed)) = entries.get(SEALED) {
                    let plain = datastore::decrypt(&self.key, sealed)
                        .map_err(Fault::internal("decrypting a pack's configuration"))?;
                    *value = serde_json::from_str(&plain)
                        .map_err(Fault::internal("reading a pack's configuration"))?;
                    return Ok(());
                }
                for inner in entries.values_mut() {
                    self.unseal_config(inner)?;
                }
            }
            Value::Array(items) => {
                for inner in items {
                    self.unseal_config(inner)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(())
    }

    /// The configuration that code of a pack sees: defaults filled in, templates resolved for `user`.
    pub async fn config_of(
        &self,
        connection: &mut Connection,
        pack: &str,
        user: &str,
    ) -> Result<Arc<Value>, Fault> {
        let standing = packs::standing(connection, pack).await?;
        self.config_as_of(connection, pack, standing.as_ref(), user)
            .await
    }

    /// As [`Automation::config_of`], of a pack that was just seen to stand so. One without templates is the same for
    /// every user, and kept as long as the pack stands so.
    pub async fn config_as_of(
        &self,
        connection: &mut Connection,
        pack: &str,
        standing: Option<&Standing>,
        user: &str,
    ) -> Result<Arc<Value>, Fault> {
        if let Some(standing) = standing
            && let Some(known) = self.acceptance.configs.get(pack, standing)
        {
            return Ok(known);
        }
        let Some(row) = Pack::find(connection, pack).await? else {
            return Ok(Arc::new(json!({})));
        };
        let mut values = PackConfig::find(connection, pack)
            .await?
            .map(|config| config.document.0)
            .unwrap_or_else(|| json!({}));
        self.unseal_config(&mut values)?;
        let values = values.as_object().cloned().unwrap_or_default();
        let mut effective = config::effective(schema_of(&row), &values);
        if effective.templates.is_empty() {
            let config = Arc::new(Value::Object(effective.values));
            if let Some(standing) = standing {
                let configs = &self.acceptance.configs;
                configs.put(pack, standing.clone(), config.clone());
            }
            return Ok(config);
        }
        for template in effective.templates.clone() {
            let text = Value::String(template.text.clone());
            let failed = |error: &dyn std::fmt::Display| {
                Fault::Invalid(format!(
                    "Failed to render the configuration of pack \"{pack}\", value \"{}\": {error}",
                    template.text
                ))
            };
            let references = self
                .expressions
                .references_of_value(&text)
                .map_err(|error| failed(&error))?;
            let keys = self.load_keys(connection, &references, user).await?;
            let context = Context::new().with_datastore(keys, user);
            let mut value = self
                .expressions
                .render_value(&text, &context)
                .map_err(|error| failed(&error))?;
            if template.secret
                && let Some(plain) = value
                    .as_str()
                    .and_then(|sealed| datastore::decrypt(&self.key, sealed).ok())
            {
                value = Value::String(plain);
            }
            effective.set(&template.path, value);
        }
        Ok(Arc::new(Value::Object(effective.values)))
    }

    /// The values as the operator gave them, secrets masked unless they may be shown.
    pub async fn config(
        &self,
        caller: &Caller,
        pack: &str,
        show_secrets: bool,
    ) -> Result<(PackConfig, Value), Fault> {
        caller.allow(Permission::View, "config_view")?;
        let mut connection = self.ops.store.read().await?;
        let row = PackConfig::find(&mut connection, pack)
            .await?
            .ok_or_else(|| {
                Fault::NotFound(format!(
                    "Unable to identify resource with pack_ref \"{pack}\"."
                ))
            })?;
        let schema = Pack::find(&mut connection, pack).await?;
        let values = self.shown_config(schema.as_ref(), &row, show_secrets)?;
        Ok((row, values))
    }

    /// A page of configurations with their values.
    pub async fn list_configs(
        &self,
        caller: &Caller,
        filter: Filter,
        (limit, offset): (i64, i64),
        show_secrets: bool,
    ) -> Result<(Vec<(PackConfig, Value)>, u64), Fault> {
        caller.allow(Permission::View, "config_list")?;
        let mut connection = self.ops.store.read().await?;
        let (rows, total) = PackConfig::page(&mut connection, filter, limit, offset).await?;
        let mut shown = Vec::with_capacity(rows.len());
        for row in rows {
            let pack = Pack::find(&mut connection, &row.pack).await?;
            let values = self.shown_config(pack.as_ref(), &row, show_secrets)?;
            shown.push((row, values));
        }
        Ok((shown, total))
    }

    /// The pack whose configuration has a schema.
    pub async fn config_schema(&self, caller: &Caller, pack: &str) -> Result<Pack, Fault> {
        caller.allow(Permission::View, "config_view")?;
        Pack::find(&mut *self.ops.store.read().await?, pack)
            .await?
            .filter(|row| schema_of(row).is_some())
            .ok_or_else(|| {
                Fault::NotFound(format!(
                    "Unable to identify resource with pack_ref \"{pack}\"."
                ))
            })
    }

    pub fn shown_config(
        &self,
        pack: Option<&Pack>,
        row: &PackConfig,
        show_secrets: bool,
    ) -> Result<Value, Fault> {
        let mut values = row.document.0.clone();
        self.unseal_config(&mut values)?;
        let values = values.as_object().cloned().unwrap_or_default();
        Ok(Value::Object(match pack.and_then(schema_of) {
            Some(schema) if !show_secrets => secrets::masked(&values, schema),
            Some(_) | None => values,
        }))
    }

    /// Encrypts what a new schema of the pack calls secret and the old one did not.
    pub(super) async fn seal_config_again(
        &self,
        connection: &mut Connection,
        pack: &Pack,
    ) -> Result<(), Fault> {
        let Some(schema) = schema_of(pack) else {
            return Ok(());
        };
        let Some(mut row) = PackConfig::find(connection, &pack.reference).await? else {
            return Ok(());
        };
        let mut values = row.document.0.clone();
        self.unseal_config(&mut values)?;
        let mut values = values.as_object().cloned().unwrap_or_default();
        seal(&self.key, &mut values, schema);
        row.document = Json(Value::Object(values));
        row.update(connection, now()).await?;
        Ok(())
    }

    /// Takes over the values of a pack's configuration. What comes back masked stays as it was.
    pub async fn set_config(
        &self,
        caller: &Caller,
        pack: &str,
        values: Map<String, Value>,
    ) -> Result<(PackConfig, Value), Fault> {
        caller.allow(Permission::Modify, "config_modify")?;
        let mut tx = self.ops.store.write("configure a pack").await?;
        let installed = Pack::find(&mut tx, pack).await?.ok_or_else(|| {
            Fault::NotFound(format!(
                "Pack \"{pack}\" is not installed: install it, then configure it."
            ))
        })?;
        let before = PackConfig::find(&mut tx, pack).await?;
        let mut kept = before
            .as_ref()
            .map(|row| row.document.0.clone())
            .unwrap_or_else(|| json!({}));
        self.unseal_config(&mut kept)?;
        let mut values = accepted(pack, schema_of(&installed), values, &kept)?;
        if let Some(schema) = schema_of(&installed) {
            seal(&self.key, &mut values, schema);
        }
        let now = now();
        let row = match before {
            Some(mut row) => {
                row.document = Json(Value::Object(values));
                row.update(&mut tx, now).await?;
                row
            }
            None => {
                let row = PackConfig {
                    pack: pack.to_string(),
                    id: new_id(),
                    document: Json(Value::Object(values)),
                    created_at: now,
                    updated_at: now,
                    row_version: 1,
                };
                row.insert(&mut tx).await?;
                row
            }
        };
        // They got the configuration when they started.
        restart_of_pack(&mut tx, pack, now).await?;
        tx.commit().await?;
        self.nudge();
        let shown = self.shown_config(Some(&installed), &row, false)?;
        Ok((row, shown))
    }
}

/// The values with what was masked as it was before, if they can be taken over.
fn accepted(
    pack: &str,
    schema: Option<&Map<String, Value>>,
    values: Map<String, Value>,
    kept: &Value,
) -> Result<Map<String, Value>, Fault> {
    let empty = Map::new();
    let kept = kept.as_object().unwrap_or(&empty);
    let values = match schema {
        None => values,
        Some(schema) => config::unmask(schema, &values, kept).map_err(|places| {
            Fault::Invalid(format!(
                "{}: \"{MASK}\" stands for the value that was there before, and there was none: give it anew.",
                places.join(", ")
            ))
        })?,
    };
    if values.values().any(looks_sealed) || values.contains_key(SEALED) {
        return Err(Fault::Invalid(format!(
            "The key \"{SEALED}\" is reserved: name it otherwise."
        )));
    }
    check(pack, schema, &values)?;
    Ok(values)
}

fn check(
    pack: &str,
    schema: Option<&Map<String, Value>>,
    values: &Map<String, Value>,
) -> Result<(), Fault> {
    let document = Document::of(Value::Object(values.clone()));
    let file = format!("{pack}.yaml");
    let mut report = Report::new(&file, &document);
    config::read_values(&document, schema, &mut report);
    let problems = report.into_problems();
    if problems.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err(Fault::Invalid(texts.join("; ")))
}
