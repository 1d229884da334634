//! Which of many rules a payload may concern, without looking at each.
//!
//! ```text
//!   rules ─► choices of signs ─► the most telling choice of each ─► probes, one for each path
//!   payload ─► every probe walks its path once and looks the value up:
//!              equal text or number: hash     beginning or end: hash of so many bytes
//!              part, literal of a regular expression: one walk of an automaton over the text
//!              above or below: search in a sorted list
//!              anything else: one evaluation for all rules that ask the same ([`super::questions`])
//!          ─► marks: the rules that are worth evaluating
//! ```
//!
//! The index may mark too many rules, never too few: what it marks is evaluated as if there were no
//! index, and what it does not mark neither matches nor fails ([`super::signs`]). Rules without
//! signs (patterns that are templates, searches) are always marked.
//!
//! What a newcomer gets wrong: a rule whose criterion cannot be applied to a value of that type has
//! failed, which is on record. So every probe also keeps which of its rules need a text, a number
//! or a container, and marks them where the value is something else.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use aho_corasick::AhoCorasick;
use serde_json::Value;

use super::CompiledRule;
use super::path::Path;
use super::python::Exact;
use super::questions::{Answer, Answers, OfRules, Question};
use super::signs::{Choice, Letters, Sign, Test, choices};
use crate::python_regex::LONGEST_INDEXED_TEXT;

/// Bytes of a beginning or an end that are looked up: there is one look-up for each length.
const LONGEST_AFFIX: usize = 16;
/// Bytes of a part that are searched for.
const LONGEST_PART: usize = 64;

/// The place of a rule among those of its trigger.
type Position = usize;

#[derive(Debug, Default)]
pub(super) struct Index {
    /// Rules that no payload can be told from.
    always: Marks,
    probes: Vec<Probe>,
}

impl Index {
    pub(super) fn new<'r>(
        rules: impl ExactSizeIterator<Item = &'r CompiledRule>,
        questions: &OfRules,
    ) -> Self {
        let count = rules.len();
        // A rule that is switched off is worth nothing; a rule without criteria has no choices.
        let choices = |(position, rule): (Position, &CompiledRule)| {
            let choices = || choices(&rule.criteria, &questions[position]);
            rule.enabled.then(choices)
        };
        let of_rules: Vec<Option<Vec<Choice>>> = rules.enumerate().map(choices).collect();
        let mut sharing: HashMap<&Sign, usize> = HashMap::new();
        for sign in of_rules.iter().flatten().flatten().flatten() {
            *sharing.entry(sign).or_default() += 1;
        }
        let mut always = Marks::new(count);
        let mut drafts: BTreeMap<usize, Draft<'_>> = BTreeMap::new();
        let mut places: HashMap<&Path, usize> = HashMap::new();
        for (position, choices) in of_rules.iter().enumerate() {
            let Some(choices) = choices else {
                continue;
            };
            let cost = |choice: &&Choice| -> usize {
                let marks = |sign: &Sign| expected(sign, sharing[sign], count);
                match choice.as_slice() {
                    [one] => marks(one),
                    // One rule is marked once, however many of its signs show.
                    several => several.iter().map(marks).sum::<usize>().min(count - 1),
                }
            };
            let Some(best) = choices.iter().min_by_key(cost) else {
                always.mark(position);
                continue;
            };
            for sign in best {
                let next = places.len();
                let place = *places.entry(&sign.path).or_insert(next);
                let draft = drafts
                    .entry(place)
                    .or_insert_with(|| Draft::new(&sign.path));
                draft.signs.push((&sign.test, position));
            }
        }
        let probes = drafts
            .into_values()
            .map(|draft| Probe::new(draft, &mut always))
            .collect();
        Index { always, probes }
    }

    /// The rules that are worth evaluating, in their order.
    pub(super) fn candidates<R: AsRef<CompiledRule>>(
        &self,
        answers: &mut Answers<'_, R>,
    ) -> impl Iterator<Item = Position> + use<R> {
        let mut marks = self.always.clone();
        for probe in &self.probes {
            probe.mark(answers.payload(), &mut marks);
            for (question, positions) in &probe.questions {
                if answers.ask(*question) != Answer::No {
                    marks.mark_all(positions);
                }
            }
        }
        marks.into_positions()
    }
}

/// About how many of `count` rules are marked where a payload shows a sign that `sharing` of them
/// have, so that the most telling signs are chosen. Only speed depends on it.
fn expected(sign: &Sign, sharing: usize, count: usize) -> usize {
    let by_length = |length: usize| match length {
        0 | 1 => sharing + count / 2,
        2 => sharing + count / 8,
        _ => sharing,
    };
    match &sign.test {
        Test::Is(..) | Test::Number(_) => sharing,
        Test::Starts(_, text) | Test::Ends(_, text) | Test::Contains(text) => by_length(text.len()),
        Test::Holds(_, part) => by_length(part.len()),
        Test::Absent => count / 4,
        Test::Above(_) | Test::Below(_) => count / 2,
        Test::Present => count * 3 / 4,
        // It is evaluated once for all that share it; of the answers to it nothing is known.
        Test::Passes(_) => count.div_ceil(2) + count.div_ceil(2 * sharing),
    }
}

/// A set of rules, a bit for each.
#[derive(Debug, Clone, Default)]
struct Marks {
    words: Vec<u64>,
}

impl Marks {
    fn new(count: usize) -> Self {
        Marks {
            words: vec![0; count.div_ceil(64)],
        }
    }

    /// Whether it was not marked before.
    fn mark(&mut self, position: Position) -> bool {
        let (word, bit) = (&mut self.words[position / 64], 1 << (position % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    fn mark_all(&mut self, positions: &[Position]) {
        for position in positions {
            self.mark(*position);
        }
    }

    fn into_positions(self) -> impl Iterator<Item = Position> {
        self.words
            .into_iter()
            .enumerate()
            .flat_map(|(place, mut word)| {
                std::iter::from_fn(move || {
                    let bit = word.trailing_zeros();
                    word &= word.wrapping_sub(1);
                    (bit < 64).then_some(place * 64 + bit as usize)
                })
            })
    }
}

/// The signs at one path.
struct Draft<'a> {
    path: &'a Path,
    signs: Vec<(&'a Test, Position)>,
}

impl<'a> Draft<'a> {
    fn new(path: &'a Path) -> Self {
        Draft {
            path,
            signs: Vec::new(),
        }
    }
}

/// Looks up the value at one path.
#[derive(Debug)]
struct Probe {
    path: Path,
    numbers: HashMap<Exact, Vec<Position>>,
    /// In the order of their numbers.
    above: Vec<(Exact, Position)>,
    below: Vec<(Exact, Position)>,
    as_they_are: Texts,
    lower: Texts,
    /// Items of a list, keys of a mapping.
    members: HashMap<String, Vec<Position>>,
    present: Vec<Position>,
    absent: Vec<Position>,
    questions: BTreeMap<Question, Vec<Position>>,
    needs_text: Vec<Position>,
    /// Of text not too long for the literals of a regular expression to tell anything.
    needs_short_text: Vec<Position>,
    needs_number: Vec<Position>,
    needs_container: Vec<Position>,
}

impl Probe {
    fn new(draft: Draft<'_>, always: &mut Marks) -> Self {
        let mut probe = Probe {
            path: draft.path.clone(),
            numbers: HashMap::new(),
            above: Vec::new(),
            below: Vec::new(),
            as_they_are: Texts::default(),
            lower: Texts::default(),
            members: HashMap::new(),
            present: Vec::new(),
            absent: Vec::new(),
            questions: BTreeMap::new(),
            needs_text: Vec::new(),
            needs_short_text: Vec::new(),
            needs_number: Vec::new(),
            needs_container: Vec::new(),
        };
        for (test, position) in draft.signs {
            probe.add(test, position);
        }
        for bounds in [&mut probe.above, &mut probe.below] {
            bounds.sort_by(|(left, _), (right, _)| left.order(*right));
        }
        for texts in [&mut probe.as_they_are, &mut probe.lower] {
            always.mark_all(&texts.parts.finish());
        }
        probe
    }

    fn add(&mut self, test: &Test, position: Position) {
        let texts = match test {
            Test::Is(letters, _)
            | Test::Starts(letters, _)
            | Test::Ends(letters, _)
            | Test::Holds(letters, _) => match letters {
                Letters::AsTheyAre => &mut self.as_they_are,
                Letters::Lower => &mut self.lower,
            },
            Test::Number(_)
            | Test::Above(_)
            | Test::Below(_)
            | Test::Contains(_)
            | Test::Present
            | Test::Absent
            | Test::Passes(_) => &mut self.as_they_are,
        };
        match test {
            Test::Is(letters, text) => {
                push(&mut texts.whole, text.clone(), position);
                // Text in lower case can only be had of a text.
                if *letters == Letters::Lower {
                    self.needs_text.push(position);
                }
            }
            Test::Starts(_, text) => {
                let length = text.len().min(LONGEST_AFFIX);
                texts.starts.add(&text.as_bytes()[..length], position);
                self.needs_text.push(position);
            }
            Test::Ends(_, text) => {
                let from = text.len().saturating_sub(LONGEST_AFFIX);
                texts.ends.add(&text.as_bytes()[from..], position);
                self.needs_text.push(position);
            }
            Test::Holds(letters, part) => {
                texts.parts.add(part, position);
                self.needs_text.push(position);
                if *letters == Letters::AsTheyAre {
                    self.needs_short_text.push(position);
                }
            }
            Test::Contains(part) => {
                texts.parts.add(part.as_bytes(), position);
                push(&mut self.members, part.clone(), position);
                self.needs_container.push(position);
            }
            Test::Number(number) => push(&mut self.numbers, *number, position),
            Test::Above(number) => {
                self.above.push((*number, position));
                self.needs_number.push(position);
            }
            Test::Below(number) => {
                self.below.push((*number, position));
                self.needs_number.push(position);
            }
            Test::Present => self.present.push(position),
            Test::Absent => self.absent.push(position),
            Test::Passes(question) => self.questions.entry(*question).or_default().push(position),
        }
    }

    fn mark(&self, payload: &Value, marks: &mut Marks) {
        let value = self.path.first(payload).unwrap_or(&Value::Null);
        marks.mark_all(match value {
            Value::Null => &self.absent,
            Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => &self.present,
        });
        match value {
            Value::String(text) => self.mark_text(text, marks),
            other => {
                marks.mark_all(&self.needs_text);
                self.mark_other(other, marks);
            }
        }
        match Exact::of(value) {
            Some(number) => self.mark_number(number, marks),
            None => marks.mark_all(&self.needs_number),
        }
    }

    fn mark_text(&self, text: &str, marks: &mut Marks) {
        self.as_they_are.mark(text, marks);
        if !self.lower.is_empty() {
            self.lower.mark(&text.to_lowercase(), marks);
        }
        if text.len() > LONGEST_INDEXED_TEXT {
            marks.mark_all(&self.needs_short_text);
        }
    }

    fn mark_other(&self, value: &Value, marks: &mut Marks) {
        let mut mark_member = |name: &str| {
            if let Some(positions) = self.members.get(name) {
                marks.mark_all(positions);
            }
        };
        match value {
            Value::Array(_) | Value::Object(_) if self.members.is_empty() => {}
            Value::Array(items) => items.iter().filter_map(Value::as_str).for_each(mark_member),
            Value::Object(entries) => entries.keys().for_each(|name| mark_member(name)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                marks.mark_all(&self.needs_container);
            }
        }
    }

    fn mark_number(&self, number: Exact, marks: &mut Marks) {
        if let Some(positions) = self.numbers.get(&number) {
            marks.mark_all(positions);
        }
        let below_number = |(bound, _): &(Exact, Position)| bound.order(number).is_lt();
        let up_to_number = |(bound, _): &(Exact, Position)| bound.order(number).is_le();
        let exceeded = self.above.partition_point(below_number);
        for (_, position) in &self.above[..exceeded] {
            marks.mark(*position);
        }
        let reached = self.below.partition_point(up_to_number);
        for (_, position) in &self.below[reached..] {
            marks.mark(*position);
        }
    }
}

fn push<K: Hash + Eq>(map: &mut HashMap<K, Vec<Position>>, key: K, position: Position) {
    map.entry(key).or_default().push(position);
}

/// What a text is, begins with, ends with or holds.
#[derive(Debug, Default)]
struct Texts {
    whole: HashMap<String, Vec<Position>>,
    starts: Affixes,
    ends: Affixes,
    parts: Parts,
}

impl Texts {
    fn is_empty(&self) -> bool {
        self.whole.is_empty()
            && self.starts.of_length.is_empty()
            && self.ends.of_length.is_empty()
            && self.parts.searcher.is_none()
    }

    fn mark(&self, text: &str, marks: &mut Marks) {
        if let Some(positions) = self.whole.get(text) {
            marks.mark_all(positions);
        }
        let bytes = text.as_bytes();
        self.starts.mark(marks, |length| bytes.get(..length));
        self.ends.mark(marks, |length| {
            bytes.get(bytes.len().checked_sub(length)?..)
        });
        self.parts.mark(bytes, marks);
    }
}

/// Beginnings or ends of texts, by their length.
#[derive(Debug, Default)]
struct Affixes {
    of_length: BTreeMap<usize, HashMap<Vec<u8>, Vec<Position>>>,
}

impl Affixes {
    fn add(&mut self, affix: &[u8], position: Position) {
        let same_length = self.of_length.entry(affix.len()).or_default();
        push(same_length, affix.to_vec(), position);
    }

    fn mark<'t>(&self, marks: &mut Marks, cut: impl Fn(usize) -> Option<&'t [u8]>) {
        for (length, affixes) in &self.of_length {
            let Some(positions) = cut(*length).and_then(|affix| affixes.get(affix)) else {
                continue;
            };
            marks.mark_all(positions);
        }
    }
}

/// Parts of texts, all of them found in one walk.
#[derive(Debug, Default)]
struct Parts {
    /// Emptied by [`Parts::finish`].
    wanted: BTreeMap<Vec<u8>, Vec<Position>>,
    searcher: Option<AhoCorasick>,
    /// Rules of each part, by the searcher's number of it.
    positions: Vec<Vec<Position>>,
}

impl Parts {
    fn add(&mut self, part: &[u8], position: Position) {
        let part = part[..part.len().min(LONGEST_PART)].to_vec();
        self.wanted.entry(part).or_default().push(position);
    }

    /// Builds the searcher. Gives the rules it cannot serve: all of them, if they have too much
    /// text for one searcher.
    fn finish(&mut self) -> Vec<Position> {
        if self.wanted.is_empty() {
            return Vec::new();
        }
        let (parts, positions): (Vec<Vec<u8>>, Vec<Vec<Position>>) =
            std::mem::take(&mut self.wanted).into_iter().unzip();
        match AhoCorasick::new(parts) {
            Ok(searcher) => {
                self.searcher = Some(searcher);
                self.positions = positions;
                Vec::new()
            }
            Err(_) => positions.concat(),
        }
    }

    fn mark(&self, text: &[u8], marks: &mut Marks) {
        let Some(searcher) = &self.searcher else {
            return;
        };
        let mut seen = Marks::new(self.positions.len());
        for found in searcher.find_overlapping_iter(text) {
            let part = found.pattern().as_usize();
            if seen.mark(part) {
                marks.mark_all(&self.positions[part]);
            }
        }
    }
}
