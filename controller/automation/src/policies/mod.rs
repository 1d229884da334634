//! Policies: whether an execution may start now, and whether it is run again.
//!
//! A policy belongs to one action. Concurrency policies are asked before a start, with a snapshot of
//! all that waits and all that runs of that action, so that the answer is right by construction
//! ([`admit`]); the retry policy is asked after an end ([`retry`]).

mod admission;
mod again;
mod catalogue;
mod policy;

pub use admission::{Admission, Ask, Limits, Standing, Waiting, admit};
pub use again::{Ended, Retry, retry};
pub use catalogue::{PolicyType, types};
pub use policy::{AtThreshold, Kind, Policy, PolicyError, RetryOn};
