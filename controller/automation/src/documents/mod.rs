//! What the documents of the API have in common: times, derived ids, which attributes a list shows,
//! validation in StackStorm's dialect of JSON Schema, and taking secrets out of text.

mod ids;
mod projection;
pub mod schema;
mod scrub;
pub mod secrets;
mod times;

pub use ids::derived_id;
pub use projection::{Projection, ProjectionError};
pub use scrub::{MASK, Scrubber, scrub};
pub use times::timestamp;
