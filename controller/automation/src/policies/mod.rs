//! Policies: whether an execution may start now, and whether it is run again.
