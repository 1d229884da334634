//! Templates of rules, rendered for one trigger instance.
//!
//! Most instances need none: their patterns are plain and no rule matches. So the payload is made
//! ready for templates when the first of them is rendered, and once for all rules.

use std::cell::OnceCell;
use std::sync::Arc;

use serde_json::Value;

use super::criteria::TRIGGER;
use super::{CompiledRule, Instance, MapError, Renderer, map};
use crate::expressions::{Context, Datastore, Engine};
use crate::parameters::Map;

/// What the templates of rules may read of one trigger instance.
pub struct Templates<'a> {
    engine: &'a Engine,
    payload: &'a Value,
    datastore: Arc<dyn Datastore>,
    /// Whose keys `st2kv.user` reads.
    user: &'a str,
    context: OnceCell<Context>,
}

impl<'a> Templates<'a> {
    pub fn new(
        engine: &'a Engine,
        payload: &'a Value,
        datastore: Arc<dyn Datastore>,
        user: &'a str,
    ) -> Self {
        Templates {
            engine,
            payload,
            datastore,
            user,
            context: OnceCell::new(),
        }
    }

    fn context(&self) -> &Context {
        self.context.get_or_init(|| {
            Context::new()
                .with(TRIGGER, self.payload)
                .with_datastore(Arc::clone(&self.datastore), self.user)
        })
    }

    /// Parameters of a rule's action. A text stays a text, which the action's schema casts, as in
    /// StackStorm; inside lists and mappings a lone expression keeps its type.
    ///
    /// # Errors
    /// The first parameter that could not be rendered.
    pub fn parameters(&self, rule: &CompiledRule, id: &str) -> Result<Map, MapError> {
        let render = |template: &Value, name: &str, payload: &Value| match template {
            Value::String(text) => self
                .engine
                .render_text(text, self.context())
                .map(Value::String)
                .map_err(|error| error.to_string()),
            other => self.render(other, name, payload),
        };
        let instance = Instance {
            id,
            payload: self.payload,
        };
        map(rule, instance, &render)
    }
}

/// Patterns: a lone expression keeps its type.
impl Renderer for Templates<'_> {
    fn render(&self, template: &Value, name: &str, payload: &Value) -> Result<Value, String> {
        let inner;
        let context = if name == TRIGGER {
            self.context()
        } else {
            inner = self.context().clone().with(name, payload);
            &inner
        };
        self.engine
            .render_value(template, context)
            .map_err(|error| error.to_string())
    }
}
