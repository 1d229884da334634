//! Decisions: values in, values out. No I/O, no clock, no randomness, no tokio here.

pub mod access;
pub mod archive;
pub mod deployment;
pub mod dispatch;
pub mod manifest;
pub mod manifest_diff;
pub mod names;
pub mod observed;
pub mod pagination;
pub mod placement;
pub mod ssh;
pub mod times;
pub mod traffic;
