//! What a pack's files say, checked, with the place of every fault.

pub mod yaml;
