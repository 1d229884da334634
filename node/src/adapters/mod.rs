//! What the node does to the machine.

pub mod certificates;
pub mod cleanup;
pub mod control;
pub mod database;
pub mod files;
pub mod gate;
pub mod hosts_file;
pub mod layout;
pub mod link;
pub mod log_file;
pub mod machine;
pub mod machines;
pub mod neighbours;
pub mod process;
pub mod sockets;
pub mod store;
pub mod wire;
