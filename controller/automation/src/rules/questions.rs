//! What many rules ask of a payload, asked once.
//!
//! ```text
//!   rules ─► questions: a path and a comparison, each once however many rules have it
//!   payload ─► answers: a path is walked once, a question is answered when it is first asked
//! ```
//!
//! Rules of one trigger resemble each other: they look at the same places, often for the same thing. What a
//! criterion gives follows from the payload (and the time of day, which is one for all) as long as its pattern
//! is no template and no criteria are inside it, so the rules that have it share its answer. Rules with other
//! criteria are evaluated by themselves ([`CompiledRule::matches`]).
//!
//! What a newcomer gets wrong: a criterion that fails does not only not match, its rule says so on record, by
//! its own name. So the fault is shared, and its wording is each rule's own.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::Value;

use super::criteria::{Check, Entry, Evaluation, NULL};
use super::operator::{Comparison, Operator};
use super::path::Path;
use super::{CompiledRule, Instance, is_empty};
use crate::spec::RuleKind;

/// The number of a question among those of a trigger's rules.
pub(super) type Question = usize;

/// The questions of the rules of one trigger.
#[derive(Debug, Default)]
pub(super) struct Questions {
    paths: Vec<Path>,
    asked: Vec<Asked>,
    /// Of each rule. Together they are small, where the rules are not: most of a thousand rules are decided
    /// without a look at them.
    plans: Vec<Plan>,
    /// The questions of all plans, one after the other.
    planned: Vec<Question>,
}

/// How a rule is evaluated.
#[derive(Debug)]
struct Plan {
    kind: RuleKind,
    /// It matches if the answer to all of these is yes. None: it is evaluated by itself.
    asks: Option<Range<usize>>,
}

/// Where a question is written: in an entry of the criteria of the first rule that has it.
#[derive(Debug)]
struct Asked {
    rule: usize,
    entry: usize,
    /// Its place among the paths.
    path: usize,
}

/// Of each rule, for each entry of its criteria: none where it asks nothing that others could ask.
pub(super) type OfRules = Vec<Vec<Option<Question>>>;

impl Questions {
    pub(super) fn new<'r>(rules: impl Iterator<Item = &'r CompiledRule>) -> (Self, OfRules) {
        let mut questions = Questions::default();
        let mut of_rules = OfRules::new();
        let mut paths: HashMap<&Path, usize> = HashMap::new();
        let mut known: HashMap<(&Path, Operator, &Value), Question> = HashMap::new();
        for (rule, compiled) in rules.enumerate() {
            let entries = compiled.criteria.entries().iter().enumerate();
            let of_rule = entries.map(|(entry, criterion)| {
                let (path, comparison) = shareable(criterion)?;
                let next = questions.asked.len();
                let key = (path, comparison.operator(), comparison.pattern());
                let question = *known.entry(key).or_insert(next);
                if question == next {
                    let next = questions.paths.len();
                    let place = *paths.entry(path).or_insert(next);
                    if place == next {
                        questions.paths.push(path.clone());
                    }
                    questions.asked.push(Asked {
                        rule,
                        entry,
                        path: place,
                    });
                }
                Some(question)
            });
            let of_rule: Vec<Option<Question>> = of_rule.collect();
            let all = of_rule.iter().copied().collect::<Option<Vec<Question>>>();
            let asks = all.filter(|_| compiled.enabled).map(|all| {
                let from = questions.planned.len();
                questions.planned.extend(all);
                from..questions.planned.len()
            });
            questions.plans.push(Plan {
                kind: compiled.kind,
                asks,
            });
            of_rules.push(of_rule);
        }
        (questions, of_rules)
    }

    pub(super) fn kind(&self, position: usize) -> RuleKind {
        self.plans[position].kind
    }
}

/// What an entry asks, if its answer follows from the payload alone.
fn shareable(entry: &Entry) -> Option<(&Path, &Comparison)> {
    let Entry::One(criterion) = entry else {
        return None;
    };
    let (Ok(Some(path)), Check::Fixed(comparison)) = (&criterion.path, &criterion.check) else {
        return None;
    };
    // Criteria inside a search tell their faults by themselves.
    (comparison.operator() != Operator::Search).then_some((path, comparison))
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    No,
    Yes,
    /// It could not be answered: the place of the fault.
    Fault(u32),
}

/// The answers that one payload gives.
pub(super) struct Answers<'a, R> {
    questions: &'a Questions,
    rules: &'a [R],
    instance: Instance<'a>,
    evaluation: Evaluation<'a>,
    /// No rule that has criteria matches.
    is_empty: bool,
    /// At each path, once it was walked.
    values: Vec<Option<&'a Value>>,
    known: Vec<Option<Answer>>,
    faults: Vec<String>,
}

impl<'a, R: AsRef<CompiledRule>> Answers<'a, R> {
    /// `evaluation` names no rule: faults are worded by who asks.
    pub(super) fn new(
        questions: &'a Questions,
        rules: &'a [R],
        instance: Instance<'a>,
        evaluation: Evaluation<'a>,
    ) -> Self {
        Answers {
            questions,
            rules,
            instance,
            evaluation,
            is_empty: is_empty(instance.payload),
            values: vec![None; questions.paths.len()],
            known: vec![None; questions.asked.len()],
            faults: Vec::new(),
        }
    }

    pub(super) fn payload(&self) -> &'a Value {
        self.instance.payload
    }

    pub(super) fn ask(&mut self, question: Question) -> Answer {
        if let Some(answer) = self.known[question] {
            return answer;
        }
        let answer = self.find(question);
        self.known[question] = Some(answer);
        answer
    }

    fn find(&mut self, question: Question) -> Answer {
        let asked = &self.questions.asked[question];
        let rule = self.rules[asked.rule].as_ref();
        let Some((path, comparison)) = shareable(&rule.criteria.entries()[asked.entry]) else {
            return Answer::No;
        };
        let payload = self.instance.payload;
        let value =
            *self.values[asked.path].get_or_insert_with(|| path.first(payload).unwrap_or(&NULL));
        // Nothing that is shared has criteria inside it, which alone would tell failures.
        match comparison.holds(value, &self.evaluation, &mut Vec::new()) {
            Ok(true) => Answer::Yes,
            Ok(false) => Answer::No,
            Err(fault) => {
                self.faults.push(fault);
                Answer::Fault(self.faults.len() as u32 - 1)
            }
        }
    }

    /// Whether a rule matches, as [`CompiledRule::matches`] tells it. `failures` gets its failures with its place.
    pub(super) fn matches(&mut self, position: usize, failures: &mut Vec<(usize, String)>) -> bool {
        let questions = self.questions;
        let Some(asks) = &questions.plans[position].asks else {
            return self.matches_alone(position, failures);
        };
        if self.is_empty && !asks.is_empty() {
            return false;
        }
        for question in &questions.planned[asks.clone()] {
            match self.ask(*question) {
                Answer::Yes => {}
                Answer::No => return false,
                Answer::Fault(fault) => {
                    let rule = self.rules[position].as_ref();
                    let text = rule.fault_text(self.instance.id, &self.faults[fault as usize]);
                    failures.push((position, text));
                    return false;
                }
            }
        }
        true
    }

    fn matches_alone(&self, position: usize, failures: &mut Vec<(usize, String)>) -> bool {
        let rule = self.rules[position].as_ref();
        let Evaluation {
            now_millis,
            renderer,
            ..
        } = self.evaluation;
        let mut texts = Vec::new();
        let matched = rule.matches(self.instance, now_millis, renderer, &mut texts);
        failures.extend(texts.into_iter().map(|text| (position, text)));
        matched
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Answer, Answers, Questions};
    use crate::rules::criteria::Evaluation;
    use crate::rules::{CompiledRule, Instance};
    use crate::spec::Rule;

    fn rule(reference: &str, criteria: &Value) -> CompiledRule {
        CompiledRule::new(&Rule {
            reference: reference.to_owned(),
            enabled: true,
            criteria: criteria.as_object().expect("criteria").clone(),
            ..Rule::default()
        })
    }

    #[test]
    fn what_rules_ask_alike_is_one_question_and_each_words_its_fault_itself() {
        let of_load = json!({"type": "gt", "pattern": 5});
        let rules = [
            rule("p.one", &json!({"trigger.load": of_load})),
            rule(
                "p.two",
                &json!({"trigger.load#1": of_load, "trigger.name": {"type": "neq", "pattern": "ada"}}),
            ),
            // Other operators, patterns and paths are other questions.
            rule(
                "p.three",
                &json!({"trigger.load": {"type": "lt", "pattern": 5}}),
            ),
            rule(
                "p.four",
                &json!({"trigger.load": {"type": "gt", "pattern": 6}}),
            ),
            rule("p.five", &json!({"trigger.name": of_load})),
            // Nobody else can ask these.
            rule(
                "p.six",
                &json!({"trigger.load": {"type": "gt", "pattern": "{{ trigger.least }}"}}),
            ),
            rule("p.seven", &json!({"any": [{"trigger.load": of_load}]})),
        ];
        let (questions, of_rules) = Questions::new(rules.iter());
        assert_eq!(
            of_rules,
            [
                vec![Some(0)],
                vec![Some(0), Some(1)],
                vec![Some(2)],
                vec![Some(3)],
                vec![Some(4)],
                vec![None],
                vec![None],
            ]
        );
        let payload = json!({"load": "much", "name": "ada"});
        let instance = Instance {
            id: "7",
            payload: &payload,
        };
        let no_templates = |_: &Value, _: &str, _: &Value| Err("there are none here".to_owned());
        let evaluation = Evaluation {
            rule: "",
            now_millis: 0,
            renderer: &no_templates,
        };
        let mut answers = Answers::new(&questions, &rules, instance, evaluation);
        assert_eq!(answers.ask(1), Answer::No);
        for (position, rule) in rules[..2].iter().enumerate() {
            let (mut shared, mut alone) = (Vec::new(), Vec::new());
            assert!(!answers.matches(position, &mut shared));
            assert!(!rule.matches(instance, 0, &no_templates, &mut alone));
            assert_eq!(alone.len(), 1);
            assert_eq!(shared, [(position, alone.remove(0))]);
        }
    }
}
