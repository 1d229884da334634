//! What the words of SSH mean here: pure.

pub mod signal;
pub mod target;
