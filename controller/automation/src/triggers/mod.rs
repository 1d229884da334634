//! The trigger types that are built in: those of StackStorm's `core` pack, and what the platform
//! itself has to tell (pack `yard`).
//!
//! What the platform tells is written down once, as the structs of [`yard`]: the schema of each
//! payload stands beside its struct, a test holds the two together, and `docs/events.md` is generated
//! from the schemas.

mod core;
mod document;
mod trigger_type;
mod webhook;
pub mod yard;

pub use self::core::timer_parameters;
pub use document::document;
pub use trigger_type::{TriggerType, trigger_uid};
pub use webhook::webhook_payload;

/// All trigger types that exist without a pack having brought them.
pub fn builtin() -> Vec<TriggerType> {
    let mut types = core::types();
    types.extend(yard::types());
    types
}
