//! Commands about apps that are there.

pub mod environment;
pub mod find;
pub mod lifecycle;
pub mod list;
mod room;
pub mod scale;
pub mod staging;
pub mod summary;
pub mod versions;
pub mod watch;
