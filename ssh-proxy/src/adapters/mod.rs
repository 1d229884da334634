//! The sides of the proxy: the SSH server, the controller, the agents.

pub mod calls;
pub mod channel;
pub mod controller;
pub mod host_key;
pub mod instance;
pub mod server;

#[cfg(test)]
mod tests;
