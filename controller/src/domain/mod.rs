//! Decisions: values in, values out. No I/O, no clock, no randomness, no tokio here.

pub mod access;
pub mod admin_commands;
pub mod archive;
pub mod buildpacks;
pub mod certificates;
pub mod config;
pub mod deployment;
pub mod dispatch;
pub mod manifest;
pub mod manifest_diff;
pub mod mishaps;
pub mod names;
pub mod observed;
pub mod pagination;
pub mod picture;
pub mod placement;
pub mod quotas;
pub mod route_terms;
pub mod services;
pub mod sleep;
pub mod ssh;
pub mod sweep;
pub mod tasks;
pub mod times;
pub mod traffic;
pub mod why;
