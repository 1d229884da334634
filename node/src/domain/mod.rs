//! What the node decides, without doing any of it: no I/O, no clock, no randomness.

pub mod cast;
pub mod doorkeeper;
pub mod hall;
pub mod hosts;
pub mod machines;
pub mod neighbours;
pub mod network;
pub mod ports;
pub mod recast;
pub mod restart;
pub mod rolling;
pub mod servers;
