//! What a daemon concludes from what it measures. Pure: the moments and the measures come in as arguments.

pub mod room;
pub mod steadiness;
