//! Paths into a payload, in the dialect of JSONPath that StackStorm's rules use.
//!
//! The dialect is older than the standard: paths start at a name (`trigger.body.user`), names may
//! hold dashes, `trigger['a b']` and `trigger."a b"` quote a name, `a,b` and `a|b` take either name,
//! `[*]` on something that is no list takes that thing itself, and there are no filters. The
//! standard's libraries refuse or misread such paths, so this is read here; most paths are a few
//! names and a walk along them allocates nothing.

use serde_json::Value;
use std::ops::ControlFlow;

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Segment {
    Name(String),
    /// Any of these names, in order.
    Names(Vec<String>),
    /// `.*`: the values of a mapping.
    Values,
    Index(i64),
    /// `[from:to:step]`; `[*]` has neither.
    Slice {
        from: Option<i64>,
        to: Option<i64>,
        step: i64,
    },
    /// `..`: here and everywhere below.
    Descend,
}

/// Deeper payloads are not searched by `..` any further.
const DEEPEST: usize = 128;

impl Path {
    /// Parses a path whose first name is `root`; none when it starts elsewhere.
    pub fn parse(text: &str, root: &str) -> Result<Option<Path>, String> {
        let segments = parse_segments(text)
            .map_err(|(rest, fault)| format!("{fault} at {:?} of path {text:?}", shorten(rest)))?;
        match segments.split_first() {
            Some((Segment::Name(first), rest)) if first == root => Ok(Some(Path {
                segments: rest.to_vec(),
            })),
            _ => Ok(None),
        }
    }

    /// The first value at the path.
    pub fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        let mut found = None;
        let _ = walk(value, &self.segments, 0, &mut |value| {
            found = Some(value);
            ControlFlow::Break(())
        });
        found
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(20).collect()
}

type Visit<'v, 'f> = &'f mut dyn FnMut(&'v Value) -> ControlFlow<()>;

fn walk<'v>(
    value: &'v Value,
    segments: &[Segment],
    depth: usize,
    visit: Visit<'v, '_>,
) -> ControlFlow<()> {
    let Some((segment, rest)) = segments.split_first() else {
        return visit(value);
    };
    match segment {
        Segment::Name(name) => match value.as_object().and_then(|entries| entries.get(name)) {
            Some(value) => walk(value, rest, depth, visit),
            None => ControlFlow::Continue(()),
        },
        Segment::Names(names) => {
            for name in names {
                if let Some(value) = value.as_object().and_then(|entries| entries.get(name)) {
                    walk(value, rest, depth, visit)?;
                }
            }
            ControlFlow::Continue(())
        }
        Segment::Values => {
            for value in value
                .as_object()
                .into_iter()
                .flat_map(|entries| entries.values())
            {
                walk(value, rest, depth, visit)?;
            }
            ControlFlow::Continue(())
        }
        Segment::Index(index) => {
            let items = value.as_array().map_or(&[][..], Vec::as_slice);
            match position(*index, items.len()) {
                Some(at) => walk(&items[at], rest, depth, visit),
                None => ControlFlow::Continue(()),
            }
        }
        Segment::Slice { from, to, step } => {
            let items = match value {
                Value::Array(items) => items.as_slice(),
                other => std::slice::from_ref(other),
            };
            let (mut at, end) = bounds(*from, *to, *step, items.len());
            while if *step > 0 { at < end } else { at > end } {
                let item = usize::try_from(at).ok().and_then(|at| items.get(at));
                if let Some(item) = item {
                    walk(item, rest, depth, visit)?;
                }
                at += *step;
            }
            ControlFlow::Continue(())
        }
        Segment::Descend => descend(value, rest, depth, visit),
    }
}

fn descend<'v>(
    value: &'v Value,
    rest: &[Segment],
    depth: usize,
    visit: Visit<'v, '_>,
) -> ControlFlow<()> {
    walk(value, rest, depth, visit)?;
    if depth >= DEEPEST {
        return ControlFlow::Continue(());
    }
    match value {
        Value::Array(items) => {
            for item in items {
                descend(item, rest, depth + 1, visit)?;
            }
        }
        Value::Object(entries) => {
            for value in entries.values() {
                descend(value, rest, depth + 1, visit)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    ControlFlow::Continue(())
}

fn position(index: i64, length: usize) -> Option<usize> {
    let length_signed = i64::try_from(length).ok()?;
    let at = if index < 0 {
        index + length_signed
    } else {
        index
    };
    usize::try_from(at).ok().filter(|at| *at < length)
}

/// Start and end of Python's slice.
fn bounds(from: Option<i64>, to: Option<i64>, step: i64, length: usize) -> (i64, i64) {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let (lowest, highest) = if step > 0 {
        (0, length)
    } else {
        (-1, length - 1)
    };
    let resolve = |bound: i64| {
        let bound = if bound < 0 {
            bound.saturating_add(length)
        } else {
            bound
        };
        bound.clamp(lowest, highest)
    };
    let (first, last) = if step > 0 {
        (lowest, highest)
    } else {
        (highest, lowest)
    };
    (from.map_or(first, resolve), to.map_or(last, resolve))
}

type Fault<'a> = (&'a str, &'static str);

fn parse_segments(text: &str) -> Result<Vec<Segment>, Fault<'_>> {
    let mut segments = Vec::new();
    let mut rest = text.trim();
    if let Some(after) = rest.strip_prefix('$') {
        rest = after.trim_start();
        rest = match rest.strip_prefix("..") {
            Some(after) => {
                segments.push(Segment::Descend);
                after
            }
            None => rest.strip_prefix('.').unwrap_or(rest),
        };
    }
    let mut expects_name = true;
    loop {
        rest = rest.trim_start();
        if expects_name {
            rest = if let Some(after) = rest.strip_prefix('[') {
                bracket(after, &mut segments)?
            } else {
                names(rest, &mut segments)?
            };
            expects_name = false;
            continue;
        }
        if let Some(after) = rest.strip_prefix("..") {
            segments.push(Segment::Descend);
            rest = after;
            expects_name = true;
        } else if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            expects_name = true;
        } else if let Some(after) = rest.strip_prefix('[') {
            rest = bracket(after, &mut segments)?;
        } else if rest.is_empty() {
            return Ok(segments);
        } else {
            return Err((rest, "unexpected text"));
        }
    }
}

/// `name`, `"name"`, `*`, or several names with `,` or `|` between.
fn names<'a>(text: &'a str, segments: &mut Vec<Segment>) -> Result<&'a str, Fault<'a>> {
    if let Some(after) = text.strip_prefix('*') {
        segments.push(Segment::Values);
        return Ok(after);
    }
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let (name, after) = name(rest.trim_start())?;
        found.push(name);
        let after = after.trim_start();
        match after.strip_prefix([',', '|']) {
            Some(after) => rest = after,
            None => {
                segments.push(one_or_more(found));
                return Ok(after);
            }
        }
    }
}

fn one_or_more(mut names: Vec<String>) -> Segment {
    if names.len() == 1 {
        Segment::Name(names.remove(0))
    } else {
        Segment::Names(names)
    }
}

fn name(text: &str) -> Result<(String, &str), Fault<'_>> {
    if let Some(quote @ ('"' | '\'')) = text.chars().next() {
        let mut name = String::new();
        let mut symbols = text[1..].char_indices();
        while let Some((at, symbol)) = symbols.next() {
            match symbol {
                '\\' => name.extend(symbols.next().map(|(_, symbol)| symbol)),
                symbol if symbol == quote => return Ok((name, &text[at + 2..])),
                symbol => name.push(symbol),
            }
        }
        return Err((text, "a quote without end"));
    }
    let is_part = |symbol: char| symbol.is_alphanumeric() || matches!(symbol, '_' | '-' | '@');
    let end = text.find(|symbol| !is_part(symbol)).unwrap_or(text.len());
    if end == 0 {
        return Err((text, "a name is missing"));
    }
    Ok((text[..end].to_owned(), &text[end..]))
}

/// After `[`: an index, a slice, `*`, or names.
fn bracket<'a>(text: &'a str, segments: &mut Vec<Segment>) -> Result<&'a str, Fault<'a>> {
    let inside = text.trim_start();
    let close = |rest: &'a str| {
        rest.trim_start()
            .strip_prefix(']')
            .ok_or((rest, "a bracket without end"))
    };
    let starts_slice = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | ':'))
    };
    if let Some(after) = inside.strip_prefix('*') {
        let rest = close(after)?;
        segments.push(Segment::Slice {
            from: None,
            to: None,
            step: 1,
        });
        return Ok(rest);
    }
    if inside.starts_with('?') {
        return Err((inside, "filters are not part of the rules' paths"));
    }
    if !starts_slice(inside) {
        let rest = names(inside, segments)?;
        return close(rest);
    }
    let end = inside.find(']').ok_or((text, "a bracket without end"))?;
    let (numbers, rest) = (&inside[..end], &inside[end + 1..]);
    let number = |text: &str| -> Result<Option<i64>, Fault<'a>> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| (inside, "no number"))
    };
    let parts: Vec<&str> = numbers.split(':').collect();
    segments.push(match parts.as_slice() {
        [index] => Segment::Index(number(index)?.ok_or((inside, "no number"))?),
        [from, to] => Segment::Slice {
            from: number(from)?,
            to: number(to)?,
            step: 1,
        },
        [from, to, step] => Segment::Slice {
            from: number(from)?,
            to: number(to)?,
            step: match number(step)? {
                Some(0) => return Err((inside, "a step of zero")),
                Some(step) => step,
                None => 1,
            },
        },
        _ => return Err((inside, "no slice")),
    });
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::Path;

    fn payload() -> Value {
        json!({
            "body": {"user": {"id": 7, "name": "ada"}, "tags": ["x", "y", "z"], "a b": 1},
            "headers": {"X-Event": "push"},
            "items": [{"id": 1}, {"id": 2, "more": {"id": 3}}],
        })
    }

    #[track_caller]
    fn check(path: &str, expected: Option<Value>) {
        let payload = payload();
        let found = Path::parse(path, "trigger")
            .expect(path)
            .and_then(|path| path.first(&payload).cloned());
        assert_eq!(found, expected, "for {path}");
    }

    #[test]
    fn the_first_value_at_a_path_is_found() {
        check("trigger.body.user.name", Some(json!("ada")));
        check("$.trigger.body.user.id", Some(json!(7)));
        check("trigger", Some(payload()));
        check("trigger.headers.X-Event", Some(json!("push")));
        check("trigger.headers['X-Event']", Some(json!("push")));
        check("trigger.body.\"a b\"", Some(json!(1)));
        check("trigger[body][tags][1]", Some(json!("y")));
        check("trigger.body.tags[-1]", Some(json!("z")));
        check("trigger.body.tags[9]", None);
        check("trigger.body.tags[1:]", Some(json!("y")));
        check("trigger.body.tags[::-1]", Some(json!("z")));
        check("trigger.items[*].more.id", Some(json!(3)));
        check("trigger.body[*].user.id", Some(json!(7)));
        check("trigger.body.user.*", Some(json!(7)));
        check("trigger..id", Some(json!(7)));
        check("trigger.body.user.nick|name", Some(json!("ada")));
        check("trigger.body.user.nick,name", Some(json!("ada")));
        check("trigger.body.absent.name", None);
        check("trigger.body.tags.name", None);
        check("payload.body", None);
    }

    #[test]
    fn faults_say_where() {
        for (path, part) in [
            ("trigger.", "a name is missing"),
            ("trigger.items[?(@.id == 1)]", "filters"),
            ("trigger.items[0", "without end"),
            ("trigger.items[::0]", "step of zero"),
            ("trigger.items['a", "without end"),
            ("", "a name is missing"),
            ("trigger.`parent`", "a name is missing"),
            ("trigger.a b", "unexpected text"),
        ] {
            let error = Path::parse(path, "trigger").expect_err(path);
            assert!(error.contains(part), "{path}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_path_or_a_fault(text in "[a-c.\\[\\]*:,|'\"0-9 $-]{0,30}") {
            if let Ok(Some(path)) = Path::parse(&format!("trigger{text}"), "trigger") {
                let _ = path.first(&payload());
            }
        }

        #[test]
        fn quoted_names_reach_any_key(key in "[ -~]{1,12}") {
            let payload = json!({ key.clone(): 5 });
            let quoted = key.replace('\\', "\\\\").replace('\'', "\\'");
            let path = Path::parse(&format!("trigger['{quoted}']"), "trigger")
                .expect("quoted")
                .expect("of the trigger");
            prop_assert_eq!(path.first(&payload), Some(&json!(5)));
        }
    }
}
