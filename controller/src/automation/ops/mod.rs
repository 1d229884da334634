//! What can be done in automation: one file per noun, knowing neither HTTP nor the bus.

pub mod callers;
mod fault;
pub mod fire;
pub mod keys;
pub mod resources;
pub mod tokens;

pub use callers::Permission;
pub use fault::Fault;
