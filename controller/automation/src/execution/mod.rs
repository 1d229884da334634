//! The life of an execution: states, transitions, and what a result makes of them.
