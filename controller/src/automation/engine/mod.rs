//! The working half of automation: one loop at the leader that turns rows into work.
