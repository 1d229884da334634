//! What ours is measured against: the same things done by nothing but the pieces themselves, on
//! this machine, between the rounds of ours.

pub mod bare_server;
pub mod go_proxy;
pub mod gorouter;
pub mod haproxy;
pub mod nats;
pub mod nginx;
pub mod postgres;
pub mod spawn;
