//! What the collector decides, without I/O: what is kept and in which order ([`store`]), which part
//! of it a reader gets ([`query`]), and how it is written ([`document`]).

pub mod document;
pub mod query;
pub mod store;
