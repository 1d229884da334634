//! The cluster configuration: one tree of typed keys, the same for every daemon.
//!
//! [`keys::KEYS`] is the schema: path, kind, default, unit, bounds, meaning. A value is checked
//! against it before it is stored ([`Key::parse`]), so that a daemon can never read an invalid one;
//! a daemon that reads a value it cannot understand (written by a newer version) keeps the
//! default. Daemons see the tree as typed [`Settings`]; `docs/config.md` is rendered from the schema.
//!
//! Values are JSON in the store at `/stackyard/config/<path>`: booleans, integers, texts;
//! durations are texts like `"10s"`, sizes texts like `"64MiB"`.

pub mod keys;
mod settings;
pub mod value;

pub use keys::{KEYS, Key};
pub use settings::Settings;
pub use value::{InvalidValue, Kind, Value};

/// Where the tree lives in the cluster store.
pub const PREFIX: &str = "/stackyard/config/";
