//! Parameters of actions: schema, defaults, casts, secrets, rendering.
//!
//! A runner declares parameters, an action adds its own and may change a few attributes of the
//! runner's. What a caller gives goes through these steps, and each is a pure function of its own:
//!
//! ```text
//!   given ─► Schema::live ─► Schema::validate ─► (stored, queued) ─► Schema::resolve ─► runner, action
//!            render, cast    everything at once                      defaults, secrets
//!   shown to people: Schema::mask      scrubbed from output: Schema::secrets
//!   handed to a script: Schema::arguments
//! ```
//!
//! What a newcomer gets wrong:
//! - A schema is draft 4 with one habit of draft 3: `required: true` stands inside each property.
//! - A parameter given as text is rendered to text and cast afterwards; within a list or an object
//!   only a string that is exactly `{{name}}`, without spaces, keeps its type. Environment
//!   variables written as `"{{ port }}"` count on that.
//! - Values that were rendered once are never rendered again: a result may contain `{{`.

mod arguments;
mod casts;
pub(crate) mod definition;
pub(crate) mod draft4;
mod literal;
mod rendering;
mod schema;
mod secrets;
pub(crate) mod validation;

pub use arguments::Arguments;
pub use casts::CastError;
pub use rendering::{RenderError, Resolved, Surroundings, datastore_user};
pub use schema::{Schema, SchemaProblem};
pub use validation::{Problem, Problems};

/// Parameters or their definitions, by name.
pub type Map = serde_json::Map<String, serde_json::Value>;
