//! The rules of one trigger, indexed.

use super::criteria::Evaluation;
use super::index::Index;
use super::questions::{Answers, Questions};
use super::{CompiledRule, Dispatch, Instance, Renderer, dispatch_at};

/// The rules of one trigger and the index over their criteria. Built when rules change, then only
/// read.
#[derive(Debug)]
pub struct TriggerRules<R> {
    rules: Vec<R>,
    questions: Questions,
    index: Index,
}

impl<R> Default for TriggerRules<R> {
    fn default() -> Self {
        TriggerRules {
            rules: Vec::new(),
            questions: Questions::default(),
            index: Index::default(),
        }
    }
}

impl<R: AsRef<CompiledRule>> TriggerRules<R> {
    pub fn new(rules: Vec<R>) -> Self {
        let (questions, of_rules) = Questions::new(rules.iter().map(AsRef::as_ref));
        TriggerRules {
            index: Index::new(rules.iter().map(AsRef::as_ref), &of_rules),
            questions,
            rules,
        }
    }

    pub fn rules(&self) -> &[R] {
        &self.rules
    }

    /// Exactly what [`super::dispatch`] gives for these rules, without evaluating those that the
    /// payload shows no sign of, and asking only once what several rules ask.
    pub fn dispatch(
        &self,
        instance: Instance<'_>,
        now_millis: i64,
        renderer: &dyn Renderer,
    ) -> Dispatch {
        let mut answers = self.answers(instance, now_millis, renderer);
        let positions = self.index.candidates(&mut answers);
        let kind = |position| self.questions.kind(position);
        dispatch_at(positions, kind, |position, failures| {
            answers.matches(position, failures)
        })
    }

    fn answers<'a>(
        &'a self,
        instance: Instance<'a>,
        now_millis: i64,
        renderer: &'a dyn Renderer,
    ) -> Answers<'a, R> {
        let evaluation = Evaluation {
            rule: "",
            now_millis,
            renderer,
        };
        Answers::new(&self.questions, &self.rules, instance, evaluation)
    }

    /// Places of the rules that are worth evaluating.
    #[cfg(test)]
    pub(super) fn candidates(
        &self,
        instance: Instance<'_>,
        now_millis: i64,
        renderer: &dyn Renderer,
    ) -> Vec<usize> {
        let mut answers = self.answers(instance, now_millis, renderer);
        self.index.candidates(&mut answers).collect()
    }
}
