//! Renders templates: compiled once, run under limits.
//!
//! Each compiled template owns a small environment (its filters are shared), so that it can be used
//! by many threads without a lock and dropped from the cache one by one. A lone `{{ … }}` is
//! compiled with a formatter that keeps the value instead of printing it; everything else prints.
//! What runs is the compiled program with the guards of [`super::guard`] put in, which takes a
//! microsecond or two.

use std::fmt;
use std::io;
use std::sync::Arc;

use minijinja::machinery::{eval, get_compiled_template, make_string_output};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, Output, State, UndefinedBehavior};
use serde_json::Value as Json;

use super::cache::{Cache, LONGEST_KEY};
use super::context::Context;
use super::filters::{self, Patterns};
use super::guard::{self, guarded};
use super::methods;
use super::references::References;
use super::values::{Meter, to_json, write_text};
use super::wording::{ExpressionError, translate};
use super::{holds_template, is_template};

/// The name a template has within its environment.
const NAME: &str = "expression";
/// Compiled templates that are kept.
const CACHED_TEMPLATES: usize = 4096;
/// Compiled regular expressions that are kept.
const CACHED_PATTERNS: usize = 512;

/// What one rendering may use. A hostile template ends with an error within all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of work: an instruction is one, and so are 64 bytes of data it produces.
    pub work: u64,
    /// Bytes of text it may write.
    pub text: usize,
    /// Bytes of source it may have.
    pub template: usize,
    /// Nesting of calls and blocks.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            work: 2_000_000,
            text: 16 * 1024 * 1024,
            template: 1024 * 1024,
            depth: 60,
        }
    }
}

/// Renders templates. Built once; clones share its caches.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    printing: Environment<'static>,
    keeping: Environment<'static>,
    templates: Cache<String, Compiled>,
}

struct Compiled {
    environment: Environment<'static>,
    lone: bool,
}

/// What a lone expression evaluated to, until the engine takes it from the rendering's state.
#[derive(Default)]
struct Kept(minijinja::Value);

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Engine")
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}

impl Default for Engine {
    fn default() -> Engine {
        Engine::new(Limits::default())
    }
}

impl Engine {
    /// An engine whose renderings keep within the limits.
    #[must_use]
    pub fn new(limits: Limits) -> Engine {
        let mut printing = environment(&limits);
        printing.set_formatter(print);
        let mut keeping = printing.clone();
        keeping.set_formatter(keep);
        Engine {
            shared: Arc::new(Shared {
                limits,
                printing,
                keeping,
                templates: Cache::new(CACHED_TEMPLATES),
            }),
        }
    }

    /// The value of a template: that of its expression when it is exactly one `{{ … }}`, text
    /// otherwise.
    ///
    /// # Errors
    /// The template does not compile, an expression failed, or a limit was reached.
    pub fn render(&self, template: &str, context: &Context) -> Result<Json, ExpressionError> {
        if !is_template(template) {
            return Ok(Json::String(template.to_owned()));
        }
        let compiled = self.compiled(template)?;
        if !compiled.lone {
            return self.print(&compiled, context).map(Json::String);
        }
        let limit = self.shared.limits.text;
        let (value, text) = self.evaluate(&compiled, context, |value, state| {
            let mut meter = Meter::new(state);
            Ok((to_json(value, &mut meter)?, meter.text()))
        })?;
        if text > limit {
            return Err(ExpressionError::TooLarge { limit });
        }
        Ok(value)
    }

    /// The text of a template.
    ///
    /// # Errors
    /// The template does not compile, an expression failed, or a limit was reached.
    pub fn render_text(
        &self,
        template: &str,
        context: &Context,
    ) -> Result<String, ExpressionError> {
        if !is_template(template) {
            return Ok(template.to_owned());
        }
        let compiled = self.compiled(template)?;
        if !compiled.lone {
            return self.print(&compiled, context);
        }
        let mut text = Limited::new(self.shared.limits.text);
        let written = self.evaluate(&compiled, context, |value, state| {
            if value.is_undefined() {
                return Ok(());
            }
            write_text(&mut text, value, &mut Meter::new(state))
        });
        self.finish(text, written)
    }

    /// A value with every template in it rendered: strings as [`Engine::render`] does, keys of
    /// objects as text.
    ///
    /// # Errors
    /// The first template that failed.
    pub fn render_value(&self, value: &Json, context: &Context) -> Result<Json, ExpressionError> {
        Ok(match value {
            Json::String(template) => self.render(template, context)?,
            value if !holds_template(value) => value.clone(),
            Json::Array(items) => items
                .iter()
                .map(|item| self.render_value(item, context))
                .collect::<Result<_, _>>()?,
            Json::Object(entries) => entries
                .iter()
                .map(|(key, value)| {
                    Ok((
                        self.render_text(key, context)?,
                        self.render_value(value, context)?,
                    ))
                })
                .collect::<Result<_, _>>()?,
            Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
        })
    }

    /// The names and datastore keys that a template may read.
    ///
    /// # Errors
    /// The template does not compile.
    pub fn references(&self, template: &str) -> Result<References, ExpressionError> {
        if !is_template(template) {
            return Ok(References::default());
        }
        let compiled = self.compiled(template)?;
        let paths = compiled
            .environment
            .get_template(NAME)
            .map_err(|error| self.explain(&error, &Context::new()))?
            .undeclared_variables(true);
        let is_global = |name: &str| {
            compiled
                .environment
                .globals()
                .any(|(global, _)| global == name)
        };
        Ok(References::of_paths(paths, is_global))
    }

    /// The names and datastore keys that the templates within a value may read.
    ///
    /// # Errors
    /// A template does not compile.
    pub fn references_of_value(&self, value: &Json) -> Result<References, ExpressionError> {
        let mut references = References::default();
        match value {
            Json::String(template) => references = self.references(template)?,
            Json::Array(items) => {
                for item in items {
                    references.extend(self.references_of_value(item)?);
                }
            }
            Json::Object(entries) => {
                for (key, value) in entries {
                    references.extend(self.references(key)?);
                    references.extend(self.references_of_value(value)?);
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
        Ok(references)
    }

    fn compiled(&self, template: &str) -> Result<Arc<Compiled>, ExpressionError> {
        if let Some(compiled) = self.shared.templates.get(template) {
            return Ok(compiled);
        }
        let limit = self.shared.limits.template;
        if template.len() > limit {
            return Err(ExpressionError::TemplateTooLong { limit });
        }
        let lone = is_lone(template);
        let mut environment = if lone {
            self.shared.keeping.clone()
        } else {
            self.shared.printing.clone()
        };
        environment
            .add_template_owned(NAME, template.to_owned())
            .map_err(|error| self.explain(&error, &Context::new()))?;
        let compiled = Arc::new(Compiled { environment, lone });
        if template.len() <= LONGEST_KEY {
            self.shared
                .templates
                .insert(template.to_owned(), Arc::clone(&compiled));
        }
        Ok(compiled)
    }

    fn print(&self, compiled: &Compiled, context: &Context) -> Result<String, ExpressionError> {
        let limit = self.shared.limits.text;
        let mut text = String::new();
        self.run(compiled, context, &mut text, |_| Ok(()))?;
        if text.len() > limit {
            return Err(ExpressionError::TooLarge { limit });
        }
        Ok(text)
    }

    /// Runs a lone expression and hands its value on, with the state that still pays for work.
    fn evaluate<Taken>(
        &self,
        compiled: &Compiled,
        context: &Context,
        take: impl FnOnce(&minijinja::Value, &State<'_, '_>) -> Result<Taken, Error>,
    ) -> Result<Taken, ExpressionError> {
        self.run(compiled, context, &mut String::new(), |state| {
            let value = state
                .get_extension::<Kept>()
                .map_or(minijinja::Value::UNDEFINED, |kept| kept.0.clone());
            take(&value, state)
        })
    }

    fn run<Taken>(
        &self,
        compiled: &Compiled,
        context: &Context,
        text: &mut String,
        take: impl FnOnce(&State<'_, '_>) -> Result<Taken, Error>,
    ) -> Result<Taken, ExpressionError> {
        let explain = |error| self.explain(&error, context);
        let template = compiled.environment.get_template(NAME).map_err(explain)?;
        let program = get_compiled_template(&template);
        let guarded = guarded(&program.instructions).map_err(ExpressionError::Syntax)?;
        let (_, state) = eval(
            &compiled.environment,
            guarded.as_ref().unwrap_or(&program.instructions),
            context.root(),
            &program.blocks,
            &mut make_string_output(text),
            AutoEscape::None,
        )
        .map_err(explain)?;
        take(&state).map_err(explain)
    }

    fn finish(
        &self,
        text: Limited,
        written: Result<(), ExpressionError>,
    ) -> Result<String, ExpressionError> {
        if text.full {
            return Err(ExpressionError::TooLarge { limit: text.limit });
        }
        written?;
        String::from_utf8(text.bytes)
            .map_err(|_| ExpressionError::Failed("The text of the expression is not UTF-8.".into()))
    }

    fn explain(&self, error: &Error, context: &Context) -> ExpressionError {
        translate(error, context, &self.shared.limits)
    }
}

fn environment(limits: &Limits) -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the delimiters are those of Jinja");
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(methods::call);
    environment.set_fuel(Some(limits.work));
    environment.set_recursion_limit(limits.depth);
    // Errors name the value that is undefined only in this mode; its cost is paid on errors alone.
    environment.set_debug(true);
    // It prints everything the template could read.
    environment.remove_global("debug");
    let patterns: Arc<Patterns> = Arc::new(Cache::new(CACHED_PATTERNS));
    filters::register(&mut environment, &patterns);
    guard::register(&mut environment);
    environment
}

fn print(out: &mut Output, state: &mut State, value: &minijinja::Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Ok(());
    }
    write_text(out, value, &mut Meter::new(state))
}

fn keep(_: &mut Output, state: &mut State, value: &minijinja::Value) -> Result<(), Error> {
    state.get_or_insert_extension_with(Kept::default).0 = value.clone();
    Ok(())
}

/// Whether a template is one `{{ … }}` from its first character to its last.
fn is_lone(template: &str) -> bool {
    let Some(inner) = template
        .strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"))
    else {
        return false;
    };
    let mut quote = None;
    let mut open: usize = 0;
    let mut bytes = inner.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(_), b'\\') => {
                bytes.next();
            }
            (Some(quoted), byte) if quoted == byte => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'{') => open += 1,
            (None, b'}') if open == 0 && bytes.peek() == Some(&b'}') => return false,
            (None, b'}') => open = open.saturating_sub(1),
            (None, _) => {}
        }
    }
    quote.is_none()
}

/// Text that takes only so many bytes.
struct Limited {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl Limited {
    fn new(limit: usize) -> Limited {
        Limited {
            bytes: vec![],
            limit,
            full: false,
        }
    }
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            self.full = true;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for Limited {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        io::Write::write_all(self, text.as_bytes()).map_err(|_| fmt::Error)
    }
}
