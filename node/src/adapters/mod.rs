//! What the node does to the machine.

pub mod certificates;
pub mod cleanup;
pub mod control;
pub mod files;
pub mod hosts_file;
pub mod layout;
pub mod log_file;
pub mod machine;
pub mod process;
pub mod sockets;
pub mod store;
