//! The cluster configuration: one tree of typed keys, the same for every daemon.
//!
//! [`keys::KEYS`] is the schema: path, kind, default, unit, bounds, meaning. A value is checked
//! against it before it is stored ([`Key::parse`]), so that a daemon can never read an invalid one;
//! a daemon that reads a value it cannot understand (written by a newer version) keeps the
//! default. Daemons see the tree as typed [`Settings`]; `docs/config.md` is rendered from the schema.
//!
//! Values are JSON in the store at `/stackyard/config/<path>`: booleans, integers, texts;
//! durations are texts like `"10s"`, sizes texts like `"64MiB"`. A machine and a component instance
//! may have values of their own ([`place`]).

mod key;
pub mod keys;
pub mod place;
mod router_keys;
mod settings;
pub mod value;

pub use key::Key;
pub use keys::KEYS;
pub use place::{Owner, Place};
pub use settings::Settings;
pub use value::{InvalidValue, Kind, NotEditable, Value, is_host_name};

/// Where the tree lives in the cluster store.
pub const PREFIX: &str = "/stackyard/config/";

/// Where the changes are kept that were made to it: one key for each, written with the change.
pub const HISTORY: &str = "/stackyard/config-history/";
