//! Bus and HTTP around the domain.

pub mod bulk;
pub mod manager;
pub mod questions;
pub mod state;
