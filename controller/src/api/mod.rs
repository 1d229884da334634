//! HTTP.
pub mod internal_bulk;
