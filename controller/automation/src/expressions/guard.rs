//! Makes operators and filters pay for the size of what they walk.
//!
//! The engine charges for data when it is made, but a list that holds another one a thousand times
//! is cheap to make and expensive to print, and `{% set b = [a] * 1000 %}` can be repeated. Printing
//! and our own filters measure what they walk as they go. What the engine brings itself (`~`, `==`,
//! `in`, `join`, `tojson`, …) only learns the size afterwards, when the memory is gone. So each such
//! instruction of a compiled template gets a few others in front of it:
//!
//! ```text
//!   … a b ► BuildTuple(2) ► guard filter: walks, pays, gives back ► UnpackList(2) ► (turn round) ► ~
//! ```
//!
//! The values themselves pass through unchanged, so that results and errors stay the engine's own.
//! Operands that cannot be large (constants) are not guarded. The one operator that gives another
//! result than the engine's is `%` after a text, which formats.

use std::collections::BTreeSet;

use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::Tuple;
use minijinja::{Environment, Error, State, Value};

use super::values::{Meter, check_nesting, measure, owned};

/// Everything is walked: text is made of it.
const ALL: &str = "guard:all";
/// Walked only when no operand is a plain value: a comparison with one ends at once.
const PAIR: &str = "guard:pair";
/// Only the last one is walked: a key that is hashed.
const LAST: &str = "guard:last";
/// Every second one is walked, from the first: keys of a map, which are hashed. All are nested.
const KEYS: &str = "guard:keys";
/// Walked when a value to compare with is given that is no plain one.
const EXTRA: &str = "guard:extra";
/// Walked when a filter is named that each item goes through; attributes alone are not worth it.
const NAMED: &str = "guard:named";

/// What is put into a list or a map is looked at for how deep it is.
const NESTED: &str = "guard:nested";
/// The first is replaced by a copy that owns all it holds: it is stored in a namespace, which is the
/// one place a loop can add to again and again.
const STORED: &str = "guard:stored";

/// Python's `%`, which formats when a text stands before it; the engine's does not.
const REMAINDER: &str = "operator:%";

/// Operations of one template whose result is computed when it is read, and keeps what it is made
/// of: each makes a chain longer that is one day dropped by recursion.
const MOST_LAZY: usize = 50;

/// Filters that look at no more than the items of what they get.
const SHALLOW_FILTERS: [&str; 12] = [
    "abs", "attr", "bool", "count", "d", "default", "first", "last", "length", "list", "reverse",
    "round",
];

/// Tests that only look at the kind of a value.
const SHALLOW_TESTS: [&str; 18] = [
    "boolean",
    "defined",
    "escaped",
    "even",
    "false",
    "float",
    "int",
    "integer",
    "iterable",
    "mapping",
    "none",
    "number",
    "odd",
    "safe",
    "sequence",
    "string",
    "true",
    "undefined",
];

/// Adds the filters that walk and pay; no template can spell their names.
pub(crate) fn register(environment: &mut Environment<'static>) {
    environment.add_filter(ALL, |state: &State, values: &Value| {
        pay(state, values, |_, _| true)
    });
    environment.add_filter(PAIR, |state: &State, values: &Value| {
        let mut walk = true;
        for value in values.try_iter()? {
            walk &= value.as_object().is_some();
        }
        pay(state, values, |_, _| walk)
    });
    environment.add_filter(LAST, |state: &State, values: &Value| {
        let last = values.len().unwrap_or(1) - 1;
        pay(state, values, |index, _| index == last)
    });
    environment.add_filter(KEYS, |state: &State, values: &Value| {
        let mut meter = Meter::new(state);
        for value in values.try_iter()? {
            if value.as_object().is_some() {
                check_nesting(&value, &mut meter)?;
            }
        }
        pay(state, values, |index, _| index % 2 == 0)
    });
    environment.add_filter(EXTRA, |state: &State, values: &Value| {
        let mut given = values.try_iter()?.skip(1);
        let walk = given.any(|value| value.as_object().is_some() && !value.is_kwargs());
        pay(state, values, |_, _| walk)
    });
    environment.add_filter(REMAINDER, remainder);
    environment.add_filter(NESTED, |state: &State, values: &Value| {
        let mut meter = Meter::new(state);
        for value in values.try_iter()? {
            if value.as_object().is_some() {
                check_nesting(&value, &mut meter)?;
            }
        }
        Ok::<Value, Error>(values.clone())
    });
    environment.add_filter(STORED, |state: &State, values: &Value| {
        let mut meter = Meter::new(state);
        let mut stored = vec![];
        for (index, value) in values.try_iter()?.enumerate() {
            stored.push(if index == 0 {
                owned(&value, &mut meter)?
            } else {
                value
            });
        }
        Ok::<Value, Error>(Value::from(Tuple::from(stored)))
    });
    environment.add_filter(NAMED, |state: &State, values: &Value| {
        let walk = values.try_iter()?.skip(1).any(|value| !value.is_kwargs());
        pay(state, values, |_, _| walk)
    });
}

/// `'%s' % value`, or what is left of a division.
fn remainder(state: &mut State, left: &Value, right: &Value) -> Result<Value, Error> {
    if left.as_str().is_some() {
        measure(right, &mut Meter::new(state))?;
        let mut arguments = vec![left.clone()];
        if right.is_tuple() {
            arguments.extend(right.try_iter()?);
        } else {
            arguments.push(right.clone());
        }
        return state.apply_filter("format", &arguments);
    }
    let operands = Value::from_pairs([("left", left.clone()), ("right", right.clone())]);
    state
        .env()
        .compile_expression("left % right")?
        .eval(operands)
}

fn pay(
    state: &State<'_, '_>,
    values: &Value,
    walks: impl Fn(usize, &Value) -> bool,
) -> Result<Value, Error> {
    let mut meter = Meter::new(state);
    for (index, value) in values.try_iter()?.enumerate() {
        if value.as_object().is_some() && walks(index, &value) {
            measure(&value, &mut meter)?;
        }
    }
    Ok(values.clone())
}

/// The instructions with guards in place; none when there is nothing to guard.
///
/// # Errors
/// Arguments of a filter or a test are unpacked: how many there are is not known beforehand.
pub(crate) fn guarded<'source>(
    instructions: &Instructions<'source>,
) -> Result<Option<Instructions<'source>>, String> {
    let all: Vec<&Instruction<'source>> =
        (0..).map_while(|index| instructions.get(index)).collect();
    let targets: BTreeSet<u32> = all
        .iter()
        .filter_map(|instruction| target(instruction))
        .collect();
    if all
        .iter()
        .filter(|instruction| is_lazy(instruction))
        .count()
        > MOST_LAZY
    {
        return Err(format!(
            "The template has more than {MOST_LAZY} slices, repetitions and reversals."
        ));
    }
    let mut guards = Vec::with_capacity(all.len());
    let mut moved = Vec::with_capacity(all.len() + 1);
    let mut length: u32 = 0;
    let mut before: Option<&Instruction<'_>> = None;
    for (position, &instruction) in (0_u32..).zip(&all) {
        let plain_operand = !targets.contains(&position)
            && matches!(before, Some(Instruction::LoadConst(value)) if value.as_object().is_none());
        let guard = guard_of(instruction, plain_operand)?;
        moved.push(length);
        length += 1 + guard.map_or(0, |_| GUARD_LENGTH);
        guards.push(guard);
        before = Some(instruction);
    }
    moved.push(length);
    let formats = all
        .iter()
        .any(|instruction| matches!(instruction, Instruction::Rem));
    if guards.iter().all(Option::is_none) && !formats {
        return Ok(None);
    }
    let mut out = Instructions::new(instructions.name(), instructions.source());
    for (position, (instruction, guard)) in (0_u32..).zip(all.into_iter().zip(guards)) {
        let mut add = |instruction| match instructions.get_span(position) {
            Some(span) => out.add_with_span(instruction, span),
            None => out.add(instruction),
        };
        if let Some((filter, operands)) = guard {
            // Unpacking turns the order round; doing it twice restores it.
            for instruction in [
                Instruction::BuildTuple(Some(operands)),
                Instruction::ApplyFilter(filter, Some(1), NOT_CACHED),
                Instruction::UnpackList(operands),
                Instruction::BuildTuple(Some(operands)),
                Instruction::UnpackList(operands),
            ] {
                add(instruction);
            }
        }
        add(match instruction {
            Instruction::Rem => Instruction::ApplyFilter(REMAINDER, Some(2), NOT_CACHED),
            instruction => redirected(instruction.clone(), &moved),
        });
    }
    Ok(Some(out))
}

/// Instructions of one guard.
const GUARD_LENGTH: u32 = 5;
/// The engine's mark for a filter it does not look up only once.
const NOT_CACHED: u8 = u8::MAX;

type Guard = Option<(&'static str, usize)>;

fn guard_of(instruction: &Instruction<'_>, plain_operand: bool) -> Result<Guard, String> {
    Ok(match instruction {
        Instruction::StringConcat => Some((ALL, 2)),
        Instruction::Eq
        | Instruction::Ne
        | Instruction::Gt
        | Instruction::Gte
        | Instruction::Lt
        | Instruction::Lte
        | Instruction::In
        | Instruction::CompareAndPreserve(_) => (!plain_operand).then_some((PAIR, 2)),
        Instruction::GetItem => (!plain_operand).then_some((LAST, 2)),
        Instruction::BuildMap(pairs) if *pairs > 0 => Some((KEYS, pairs * 2)),
        Instruction::BuildKwargs(pairs) if *pairs > 0 => Some((NESTED, pairs * 2)),
        Instruction::BuildList(Some(items)) | Instruction::BuildTuple(Some(items))
            if *items > 0 =>
        {
            Some((NESTED, *items))
        }
        Instruction::SetAttr(_) => Some((STORED, 2)),
        Instruction::ApplyFilter(name, Some(arguments), _) => {
            let arguments = usize::from(*arguments);
            match *name {
                name if SHALLOW_FILTERS.contains(&name) => None,
                "map" => Some((NAMED, arguments)),
                "select" | "reject" | "selectattr" | "rejectattr" => Some((EXTRA, arguments)),
                _ => Some((ALL, arguments)),
            }
        }
        Instruction::PerformTest(name, Some(arguments), _) => {
            let arguments = usize::from(*arguments);
            match *name {
                name if SHALLOW_TESTS.contains(&name) => None,
                _ => Some((if arguments > 1 { PAIR } else { ALL }, arguments)),
            }
        }
        Instruction::ApplyFilter(name, None, _) | Instruction::PerformTest(name, None, _) => {
            return Err(format!("The arguments of '{name}' cannot be unpacked."));
        }
        _ => None,
    })
}

fn is_lazy(instruction: &Instruction<'_>) -> bool {
    match instruction {
        Instruction::Slice | Instruction::Mul => true,
        Instruction::ApplyFilter(name, _, _) => ["chain", "reverse", "zip"].contains(name),
        _ => false,
    }
}

/// Where an instruction may jump to.
fn target(instruction: &Instruction<'_>) -> Option<u32> {
    match instruction {
        Instruction::Iterate(target)
        | Instruction::Jump(target)
        | Instruction::JumpIfFalse(target)
        | Instruction::JumpIfFalseOrPop(target)
        | Instruction::JumpIfTrueOrPop(target)
        | Instruction::BuildMacro(_, target, _) => Some(*target),
        _ => None,
    }
}

/// The instruction with its target where the guards have moved it.
fn redirected<'source>(
    mut instruction: Instruction<'source>,
    moved: &[u32],
) -> Instruction<'source> {
    if let Instruction::Iterate(target)
    | Instruction::Jump(target)
    | Instruction::JumpIfFalse(target)
    | Instruction::JumpIfFalseOrPop(target)
    | Instruction::JumpIfTrueOrPop(target)
    | Instruction::BuildMacro(_, target, _) = &mut instruction
    {
        let known = usize::try_from(*target)
            .ok()
            .and_then(|target| moved.get(target));
        if let Some(moved) = known {
            *target = *moved;
        }
    }
    instruction
}
