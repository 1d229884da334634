//! The cluster on this machine: starting it, stopping it, looking at it.

pub mod down;
pub mod home;
mod join;
mod link;
pub mod logs;
pub mod machines;
pub mod node;
pub mod socket;
pub mod status;
mod unit;
pub mod up;
