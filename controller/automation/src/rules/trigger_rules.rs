//! The rules of one trigger, indexed.

use super::index::Index;
use super::{CompiledRule, Dispatch, Instance, Renderer, dispatch_at};

/// The rules of one trigger and the index over their criteria. Built when rules change, then only
/// read.
#[derive(Debug)]
pub struct TriggerRules<R> {
    rules: Vec<R>,
    index: Index,
}

impl<R> Default for TriggerRules<R> {
    fn default() -> Self {
        TriggerRules {
            rules: Vec::new(),
            index: Index::default(),
        }
    }
}

impl<R: AsRef<CompiledRule>> TriggerRules<R> {
    pub fn new(rules: Vec<R>) -> Self {
        TriggerRules {
            index: Index::new(rules.iter().map(AsRef::as_ref)),
            rules,
        }
    }

    pub fn rules(&self) -> &[R] {
        &self.rules
    }

    /// Exactly what [`super::dispatch`] gives for these rules, without evaluating those that the
    /// payload shows no sign of.
    pub fn dispatch(
        &self,
        instance: Instance<'_>,
        now_millis: i64,
        renderer: &dyn Renderer,
    ) -> Dispatch {
        let positions = self.index.candidates(instance.payload);
        dispatch_at(&self.rules, positions, instance, now_millis, renderer)
    }
}
