//! The controller: the public API, the record of what is wanted, and the one who places.

pub mod api;
pub mod blobs;
pub mod domain;
pub mod ops;
pub mod runtime;
pub mod store;
