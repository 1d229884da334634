//! What a controller holds in memory: rebuilt from the bus, lost without harm.

use super::components::Answered;
use super::tasks::Seen;
use crate::domain::picture::Picture;
use crate::domain::traffic::Traffic;
use crate::store::decisions::Decision;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What became of a build so far, for the status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BuildProgress {
    pub app: String,
    pub phase: String,
    /// When it was asked for, in Unix microseconds.
    pub since: i64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub picture: Picture,
    /// What the routers told.
    pub traffic: Traffic,
    /// The leader's: processes that are to wake up.
    pub wished: BTreeSet<String>,
    /// The leader's: builds it works on.
    pub builds: BTreeMap<String, BuildProgress>,
    pub tasks: Seen,
    /// The leader's: what it decided about instances and has not written down yet.
    pub decisions: VecDeque<Decision>,
    /// Who answered that he is there.
    pub components: Option<Answered>,
    /// Names must be told again to every process: an agent or the bus was away.
    pub resend_uris: bool,
}

impl State {
    /// A new term begins, or one has ended: nothing that was sent before counts.
    pub fn forget_term(&mut self) {
        self.picture.forget_term();
        self.builds.clear();
        self.decisions.clear();
        self.tasks.forget_term();
        self.resend_uris = true;
    }
}
