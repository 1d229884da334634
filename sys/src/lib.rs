//! The one crate that may write `unsafe`: thin, safe doors to system calls that no library of the
//! dependency list offers. Each function is a system call or two with a Rust signature; decisions
//! are made elsewhere.
//!
//! What a newcomer gets wrong: a function here is *safe* only because it checks what its system
//! call cannot. [`process::fork`] refuses in a threaded process, [`process::inherited`] hands a
//! descriptor out once. Keep that when adding to it.

pub mod launch;
pub mod loop_device;
pub mod mount;
pub mod netlink;
pub mod packet_filter;
pub mod path;
pub mod pidfd;
pub mod process;
pub mod terminal;
