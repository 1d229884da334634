//! StackStorm's filters, and those of Jinja2 that the engine lacks.
//!
//! Names, arguments and results follow StackStorm's
//! (`st2common/expressions/functions`, contract section 2.6).

mod data;
mod datastore;
mod matching;
mod path;
mod stock;
mod time;
mod version;

pub use data::NONE_MARKER;

use std::sync::Arc;

use minijinja::value::{Kwargs, Rest, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};

use super::cache::Cache;
use super::values::{Meter, refuse, to_text};
use crate::python_regex::{Flags, PythonRegex};

/// Compiled patterns of the regular-expression filters.
pub(crate) type Patterns = Cache<(String, Flags), PythonRegex>;

/// Adds every filter to an environment.
pub(crate) fn register(environment: &mut Environment<'static>, patterns: &Arc<Patterns>) {
    data::register(environment);
    datastore::register(environment);
    matching::register(environment, patterns);
    path::register(environment);
    stock::register(environment);
    time::register(environment);
    version::register(environment);
}

/// Arguments of a filter by position or by name, as Python passes them.
struct Arguments {
    filter: &'static str,
    positional: Vec<Value>,
    named: Kwargs,
}

impl Arguments {
    /// `most` positional arguments may be given.
    fn new(
        filter: &'static str,
        most: usize,
        given: Rest<ValueOrKwargs>,
    ) -> Result<Arguments, Error> {
        let mut positional = given.into_values();
        let named = match positional.pop_if(|last| last.is_kwargs()) {
            Some(named) => Kwargs::try_from(named)?,
            None => Kwargs::from_iter(std::iter::empty::<(&str, Value)>()),
        };
        if positional.len() > most {
            return Err(refuse(format!(
                "{filter}() takes at most {most} arguments, {} were given",
                positional.len()
            )));
        }
        Ok(Arguments {
            filter,
            positional,
            named,
        })
    }

    fn optional(&self, position: usize, name: &str) -> Result<Option<Value>, Error> {
        let given = match self.positional.get(position) {
            Some(value) => Some(value.clone()),
            None => self.named.get::<Option<Value>>(name)?,
        };
        Ok(given.filter(|value| !value.is_none() && !value.is_undefined()))
    }

    fn required(&self, position: usize, name: &str) -> Result<Value, Error> {
        self.optional(position, name)?
            .ok_or_else(|| refuse(format!("{}() misses its argument '{name}'", self.filter)))
    }

    fn flag(&self, position: usize, name: &str) -> Result<bool, Error> {
        Ok(self
            .optional(position, name)?
            .is_some_and(|value| value.is_true()))
    }

    /// Refuses names the filter does not know; called after all others were read.
    fn finish(&self) -> Result<(), Error> {
        self.named.assert_all_used()
    }
}

/// `str(value)`, for a filter that works on text.
fn text_of(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    to_text(value, &mut Meter::new(state))
}
