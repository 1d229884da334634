//! The names an expression may use.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::DynObject;

use super::lookup::{Datastore, Decryption, Lookup};
use super::values::from_json;

/// Under this name [`Decryption`] waits for `decrypt_kv`. A space cannot be part of a Jinja name.
pub(crate) const DECRYPTION: &str = "the datastore";

/// Named values for expressions, and the datastore behind `st2kv`.
///
/// Values are converted once, when they are added: a context that serves a thousand rules pays for
/// the trigger's payload once. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Context {
    names: Arc<BTreeMap<String, Value>>,
}

impl Context {
    /// A context without any name.
    #[must_use]
    pub fn new() -> Context {
        Context::default()
    }

    /// Adds a value under a name, in place of what was there.
    pub fn insert(&mut self, name: &str, value: &serde_json::Value) {
        self.insert_value(name, from_json(value));
    }

    /// The same context with one more name.
    #[must_use]
    pub fn with(mut self, name: &str, value: &serde_json::Value) -> Context {
        self.insert(name, value);
        self
    }

    /// The same context with `st2kv.system` and, for this user, `st2kv.user`, and with what
    /// `decrypt_kv` needs.
    #[must_use]
    pub fn with_datastore(mut self, datastore: Arc<dyn Datastore>, user: &str) -> Context {
        let scopes = [
            ("system", Lookup::system(Arc::clone(&datastore))),
            ("user", Lookup::user(Arc::clone(&datastore), user)),
        ]
        .map(|(name, lookup)| (name.to_owned(), Value::from_object(lookup)));
        self.insert_value("st2kv", Value::from_pairs(scopes));
        self.insert_value(DECRYPTION, Value::from_object(Decryption(datastore)));
        self
    }

    /// Whether a name is known.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.names.get(name)
    }

    fn insert_value(&mut self, name: &str, value: Value) {
        Arc::make_mut(&mut self.names).insert(name.to_owned(), value);
    }

    pub(crate) fn root(&self) -> Value {
        Value::from_dyn_object(DynObject::new(Arc::clone(&self.names)))
    }
}
