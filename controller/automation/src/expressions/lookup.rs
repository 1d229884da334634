//! The datastore as an expression sees it: `st2kv.system.a.b`, `st2kv.user.c`.
//!
//! Names in the datastore may hold dots, so `st2kv.system.a.b` cannot know at `a` whether it is
//! done. Every step gives a lookup with a longer name, and only the last one is read, when it is
//! printed or handed to a filter. A key that is absent reads as empty text, as in StackStorm.
//!
//! One difference on purpose: upstream a lookup is always true in a condition, so
//! `{% if st2kv.system.flag %}` never takes the other branch. Here a lookup is true when there is
//! text under its key.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, State, Value};

use crate::datastore::Key;

/// What expressions may read from the datastore.
///
/// It is called in the middle of a rendering and must answer at once: whoever renders loads the
/// keys first ([`crate::expressions::Engine::references`] names them).
pub trait Datastore: fmt::Debug + Send + Sync {
    /// The stored text under a key (ciphertext when the key is a secret).
    fn get(&self, key: &Key) -> Option<String>;

    /// The plain text of a stored secret, or why it cannot be had.
    ///
    /// # Errors
    /// The text for the user: no encryption key is configured, or the text is not a ciphertext.
    fn decrypt(&self, ciphertext: &str) -> Result<String, String>;
}

/// A datastore without keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyDatastore;

impl Datastore for EmptyDatastore {
    fn get(&self, _key: &Key) -> Option<String> {
        None
    }

    fn decrypt(&self, _ciphertext: &str) -> Result<String, String> {
        Err("No datastore is at hand to decrypt with.".into())
    }
}

#[derive(Clone, Debug)]
enum Owner {
    System,
    User(Arc<str>),
}

/// A name in the datastore that is complete only when it is read.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    datastore: Arc<dyn Datastore>,
    owner: Owner,
    key: String,
}

impl Lookup {
    pub(crate) fn system(datastore: Arc<dyn Datastore>) -> Lookup {
        Lookup {
            datastore,
            owner: Owner::System,
            key: String::new(),
        }
    }

    pub(crate) fn user(datastore: Arc<dyn Datastore>, user: &str) -> Lookup {
        Lookup {
            datastore,
            owner: Owner::User(user.into()),
            key: String::new(),
        }
    }

    /// The stored text; empty when there is none, or can be none under such a name.
    pub(crate) fn read(&self) -> String {
        let key = match &self.owner {
            Owner::System => Key::system(&self.key),
            Owner::User(name) => Key::user(name, &self.key),
        };
        key.ok()
            .and_then(|key| self.datastore.get(&key))
            .unwrap_or_default()
    }

    /// The name as it is written in expressions.
    pub(crate) fn name(&self) -> String {
        let scope = match self.owner {
            Owner::System => "system",
            Owner::User(_) => "user",
        };
        format!("st2kv.{scope}.{}", self.key)
    }

    fn step(&self, name: &str) -> Lookup {
        let key = if self.key.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.key)
        };
        Lookup {
            datastore: Arc::clone(&self.datastore),
            owner: self.owner.clone(),
            key,
        }
    }
}

impl Object for Lookup {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = match key.as_str() {
            Some(name) => name.to_owned(),
            None => key.to_string(),
        };
        Some(Value::from_object(self.step(&name)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.read().is_empty()
    }

    /// Methods are those of the text under the key: `st2kv.system.hosts.split(',')`.
    fn call_method(
        self: &Arc<Self>,
        state: &mut State<'_, '_>,
        method: &str,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        Value::from(self.read()).call_method(state, method, arguments)
    }

    fn render(self: &Arc<Self>, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.read())
    }
}

/// The datastore itself, held in a context under a name no expression can spell.
#[derive(Debug)]
pub(crate) struct Decryption(pub(crate) Arc<dyn Datastore>);

impl Object for Decryption {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}
