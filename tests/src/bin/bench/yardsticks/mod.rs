//! What ours is measured against: the same things done by nothing but the pieces themselves, on
//! this machine, between the rounds of ours.

pub mod nats;
pub mod postgres;
pub mod spawn;
