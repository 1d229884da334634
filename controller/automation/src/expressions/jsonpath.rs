//! The JSONPath dialect of `jsonpath_query`: that of the Python package jsonpath-rw, not RFC 9535.
//!
//! Packs depend on where the two differ: a query starts without `$`, `[*]` on what is not a list
//! takes it for a list of one, `*` on a list matches nothing, `a,b` names two fields, and `where`,
//! `|`, `` `parent` `` and `` `this` `` exist. Operators bind, from the loosest, as
//! `..`  `.`  `|`  `where`; brackets bind tightest.
//!
//! Every node that is looked at is paid for through `spend`, since `..` within `..` grows with a
//! power of the data.

use std::iter::Peekable;
use std::rc::Rc;
use std::str::CharIndices;

use serde_json::Value;

/// Parentheses and operators in one query.
const DEEPEST_QUERY: usize = 64;

#[derive(Debug, Clone, PartialEq)]
enum Path {
    Root,
    This,
    Parent,
    Fields(Vec<String>),
    AnyField,
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Child(Box<Path>, Box<Path>),
    Descendants(Box<Path>, Box<Path>),
    Union(Box<Path>, Box<Path>),
    Where(Box<Path>, Box<Path>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Operator(String),
    Number(i64),
    Where,
    DoubleDot,
    Symbol(char),
}

/// Why a query is not one; the text is for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("jsonpath query {query:?}: {reason}")]
pub(crate) struct QueryError {
    query: String,
    reason: String,
}

/// A node of the data and the nodes above it.
struct Node<'data> {
    value: &'data Value,
    parent: Option<Rc<Node<'data>>>,
}

type Matches<'data> = Vec<Rc<Node<'data>>>;

/// A parsed query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query(Path);

impl Query {
    pub(crate) fn parse(query: &str) -> Result<Query, QueryError> {
        let fail = |reason: String| QueryError {
            query: query.to_owned(),
            reason,
        };
        let mut parser = Parser {
            tokens: tokens(query).map_err(fail)?,
            at: 0,
            depth: 0,
        };
        let path = parser.path(0).map_err(fail)?;
        match parser.peek() {
            None => Ok(Query(path)),
            Some(token) => Err(fail(format!("unexpected {token:?}"))),
        }
    }

    /// The values that match, in the order of the data. `spend` is called for every node visited
    /// and ends the search with its error.
    pub(crate) fn find<'data, E>(
        &self,
        data: &'data Value,
        spend: &dyn Fn() -> Result<(), E>,
    ) -> Result<Vec<&'data Value>, E> {
        let root = Rc::new(Node {
            value: data,
            parent: None,
        });
        let matches = find(&self.0, &root, spend)?;
        Ok(matches.iter().map(|node| node.value).collect())
    }
}

fn find<'data, E>(
    path: &Path,
    node: &Rc<Node<'data>>,
    spend: &dyn Fn() -> Result<(), E>,
) -> Result<Matches<'data>, E> {
    spend()?;
    let below = |value| {
        Rc::new(Node {
            value,
            parent: Some(Rc::clone(node)),
        })
    };
    Ok(match path {
        Path::This => vec![Rc::clone(node)],
        Path::Root => {
            let mut top = node;
            while let Some(parent) = &top.parent {
                top = parent;
            }
            vec![Rc::clone(top)]
        }
        Path::Parent => node.parent.iter().map(Rc::clone).collect(),
        Path::AnyField => match node.value {
            Value::Object(entries) => entries.values().map(below).collect(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => vec![],
        },
        Path::Fields(names) => names
            .iter()
            .filter_map(|name| node.value.as_object()?.get(name))
            .map(below)
            .collect(),
        Path::Index(index) => node
            .value
            .as_array()
            .and_then(|items| items.get(position(*index, items.len())?))
            .map(below)
            .into_iter()
            .collect(),
        Path::Slice(start, end) => match node.value {
            Value::Array(items) => {
                let start = start.map_or(0, |start| clamp(start, items.len()));
                let end = end.map_or(items.len(), |end| clamp(end, items.len()));
                items
                    .get(start..end)
                    .unwrap_or_default()
                    .iter()
                    .map(below)
                    .collect()
            }
            // What is not a list counts as a list of one.
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => {
                let start = start.map_or(0, |start| clamp(start, 1));
                let end = end.map_or(1, |end| clamp(end, 1));
                if start < end {
                    vec![Rc::clone(node)]
                } else {
                    vec![]
                }
            }
        },
        Path::Child(left, right) => {
            let mut matches = vec![];
            for left in find(left, node, spend)? {
                matches.extend(find(right, &left, spend)?);
            }
            matches
        }
        Path::Descendants(left, right) => {
            let mut matches = vec![];
            for left in find(left, node, spend)? {
                descend(right, &left, &mut matches, spend)?;
            }
            matches
        }
        Path::Union(left, right) => {
            let mut matches = find(left, node, spend)?;
            matches.extend(find(right, node, spend)?);
            matches
        }
        Path::Where(left, condition) => {
            let mut matches = vec![];
            for left in find(left, node, spend)? {
                if !find(condition, &left, spend)?.is_empty() {
                    matches.push(left);
                }
            }
            matches
        }
    })
}

fn descend<'data, E>(
    path: &Path,
    node: &Rc<Node<'data>>,
    matches: &mut Matches<'data>,
    spend: &dyn Fn() -> Result<(), E>,
) -> Result<(), E> {
    matches.extend(find(path, node, spend)?);
    let below = |value| {
        Rc::new(Node {
            value,
            parent: Some(Rc::clone(node)),
        })
    };
    match node.value {
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| descend(path, &below(item), matches, spend)),
        Value::Object(entries) => entries
            .values()
            .try_for_each(|value| descend(path, &below(value), matches, spend)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// A Python index within a list, from its end when negative.
fn position(index: i64, length: usize) -> Option<usize> {
    if index < 0 {
        length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
    } else {
        usize::try_from(index).ok()
    }
}

/// A Python slice bound within a list.
fn clamp(bound: i64, length: usize) -> usize {
    if bound < 0 {
        position(bound, length).unwrap_or(0)
    } else {
        usize::try_from(bound).unwrap_or(usize::MAX).min(length)
    }
}

fn tokens(query: &str) -> Result<Vec<Token>, String> {
    let mut found = vec![];
    let mut characters = query.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            ' ' | '\t' => {}
            '.' if characters.next_if(|(_, next)| *next == '.').is_some() => {
                found.push(Token::DoubleDot);
            }
            '*' | '.' | '[' | ']' | '(' | ')' | '$' | ',' | ':' | '|' => {
                found.push(Token::Symbol(character));
            }
            '\'' | '"' => found.push(Token::Name(quoted(&mut characters, character)?)),
            '`' => found.push(Token::Operator(quoted(&mut characters, character)?)),
            'a'..='z' | 'A'..='Z' | '_' | '@' => {
                let mut end = at + 1;
                while let Some((at, _)) = characters.next_if(|(_, next)| {
                    next.is_ascii_alphanumeric() || matches!(next, '_' | '@' | '-')
                }) {
                    end = at + 1;
                }
                found.push(match &query[at..end] {
                    "where" => Token::Where,
                    name => Token::Name(name.to_owned()),
                });
            }
            '-' | '0'..='9' => {
                let mut end = at + 1;
                while let Some((at, _)) = characters.next_if(|(_, next)| next.is_ascii_digit()) {
                    end = at + 1;
                }
                let digits = &query[at..end];
                found.push(Token::Number(
                    digits
                        .parse()
                        .map_err(|_| format!("{digits:?} is not an index"))?,
                ));
            }
            character => return Err(format!("unexpected character {character:?}")),
        }
    }
    Ok(found)
}

fn quoted(characters: &mut Peekable<CharIndices<'_>>, quote: char) -> Result<String, String> {
    let mut text = String::new();
    while let Some((_, character)) = characters.next() {
        match character {
            '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
            character if character == quote => return Ok(text),
            character => text.push(character),
        }
    }
    Err(format!("{quote} is not closed"))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take_symbol(&mut self, symbol: char) -> bool {
        let found = self.peek() == Some(&Token::Symbol(symbol));
        if found {
            self.at += 1;
        }
        found
    }

    fn expect(&mut self, symbol: char) -> Result<(), String> {
        if self.take_symbol(symbol) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(token) => format!("expected {symbol:?}, not {token:?}"),
            None => format!("expected {symbol:?} at its end"),
        })
    }

    /// Operators that bind at least as tightly as `loosest`.
    fn path(&mut self, loosest: u8) -> Result<Path, String> {
        self.depth += 1;
        if self.depth > DEEPEST_QUERY {
            return Err("it is nested too deeply".into());
        }
        let mut left = self.step()?;
        loop {
            type Make = fn(Box<Path>, Box<Path>) -> Path;
            let (strength, make): (u8, Make) = match self.peek() {
                Some(Token::DoubleDot) => (1, Path::Descendants),
                Some(Token::Symbol('.')) => (2, Path::Child),
                Some(Token::Symbol('|')) => (3, Path::Union),
                Some(Token::Where) => (4, Path::Where),
                Some(Token::Name(_) | Token::Operator(_) | Token::Number(_) | Token::Symbol(_))
                | None => break,
            };
            if strength < loosest {
                break;
            }
            self.at += 1;
            let right = self.path(strength + 1)?;
            left = make(Box::new(left), Box::new(right));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn step(&mut self) -> Result<Path, String> {
        let token = self.peek().cloned().ok_or("it ends too early")?;
        self.at += 1;
        let mut path = match token {
            Token::Symbol('$') => Path::Root,
            Token::Symbol('*') => Path::AnyField,
            Token::Symbol('(') => {
                let inner = self.path(0)?;
                self.expect(')')?;
                inner
            }
            Token::Symbol('[') => self.bracket()?,
            Token::Name(name) => Path::Fields(self.more_names(name)?),
            Token::Operator(name) => match name.as_str() {
                "this" => Path::This,
                "parent" => Path::Parent,
                name => return Err(format!("unknown operator `{name}`")),
            },
            token @ (Token::Number(_) | Token::Where | Token::DoubleDot | Token::Symbol(_)) => {
                return Err(format!("unexpected {token:?}"));
            }
        };
        while self.take_symbol('[') {
            path = Path::Child(Box::new(path), Box::new(self.bracket()?));
        }
        Ok(path)
    }

    fn more_names(&mut self, first: String) -> Result<Vec<String>, String> {
        let mut names = vec![first];
        while self.take_symbol(',') {
            match self.peek().cloned() {
                Some(Token::Name(name)) => names.push(name),
                Some(
                    Token::Operator(_)
                    | Token::Number(_)
                    | Token::Where
                    | Token::DoubleDot
                    | Token::Symbol(_),
                )
                | None => return Err("expected a field after ','".into()),
            }
            self.at += 1;
        }
        Ok(names)
    }

    /// What stands between brackets; the opening one is behind.
    fn bracket(&mut self) -> Result<Path, String> {
        if self.take_symbol('*') {
            self.expect(']')?;
            return Ok(Path::Slice(None, None));
        }
        if let Some(Token::Name(name)) = self.peek().cloned() {
            self.at += 1;
            let names = self.more_names(name)?;
            self.expect(']')?;
            return Ok(Path::Fields(names));
        }
        let start = self.take_number();
        if self.take_symbol(':') {
            let end = self.take_number();
            self.expect(']')?;
            return Ok(Path::Slice(start, end));
        }
        let index = start.ok_or("expected an index, a slice or a field in brackets")?;
        self.expect(']')?;
        Ok(Path::Index(index))
    }

    fn take_number(&mut self) -> Option<i64> {
        let Some(Token::Number(number)) = self.peek() else {
            return None;
        };
        let number = *number;
        self.at += 1;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn people() -> Value {
        json!({
            "people": [
                {"first": "James", "last": "d", "age": 3},
                {"first": "Jacob", "last": "e"},
                {"first": "Jayden", "last": "f"},
                {"missing": "different"},
            ],
            "foo": {"bar": "baz", "a-b": 1, "a b": 2, "deep": {"last": "z"}},
        })
    }

    fn found(query: &str) -> Value {
        let data = people();
        let query = Query::parse(query).unwrap();
        let free = || Ok::<(), ()>(());
        Value::Array(
            query
                .find(&data, &free)
                .unwrap()
                .into_iter()
                .cloned()
                .collect(),
        )
    }

    /// The expected values are what jsonpath-rw 1.4.0 answers.
    #[test]
    fn queries_answer_as_jsonpath_rw_does() {
        for (query, expected) in [
            ("people[*].first", json!(["James", "Jacob", "Jayden"])),
            ("$.people[*].first", json!(["James", "Jacob", "Jayden"])),
            ("people.[0].first", json!(["James"])),
            ("people[0]['first']", json!(["James"])),
            ("people[-1].missing", json!(["different"])),
            ("people[9]", json!([])),
            ("people[1:3].last", json!(["e", "f"])),
            ("people[:1].last", json!(["d"])),
            ("people[-2:].last", json!(["f"])),
            ("people[2:1]", json!([])),
            ("foo.bar", json!(["baz"])),
            ("foo.a-b", json!([1])),
            ("foo.'a b'", json!([2])),
            ("foo[bar,'a b']", json!(["baz", 2])),
            ("people[0].first,last", json!(["James", "d"])),
            ("people.*", json!([])),
            ("people[0].*", json!([3, "James", "d"])),
            ("foo.bar[*]", json!(["baz"])),
            ("foo.bar[0:1]", json!(["baz"])),
            ("foo.bar[1:]", json!([])),
            ("foo[*].bar", json!(["baz"])),
            ("$..last", json!(["z", "d", "e", "f"])),
            ("foo..last", json!(["z"])),
            ("foo.bar|people", json!(["baz"])),
            ("(foo.bar)|(people[0].age)", json!(["baz", 3])),
            (
                "people[*] where age",
                json!([{"first": "James", "last": "d", "age": 3}]),
            ),
            ("(people[*] where age).first", json!(["James"])),
            ("foo.bar.`parent`.a-b", json!([1])),
            ("foo.`this`.bar", json!(["baz"])),
            ("nothing", json!([])),
            ("foo.bar.nothing", json!([])),
        ] {
            assert_eq!(found(query), expected, "{query}");
        }
    }

    #[test]
    fn what_is_not_a_query_says_why() {
        for (query, reason) in [
            ("", "it ends too early"),
            ("a[", "expected an index, a slice or a field in brackets"),
            ("a.'b", "' is not closed"),
            ("a b", "unexpected Name(\"b\")"),
            ("a.`nope`", "unknown operator `nope`"),
            ("a & b", "unexpected character '&'"),
            (
                "a[99999999999999999999]",
                "\"99999999999999999999\" is not an index",
            ),
        ] {
            assert_eq!(Query::parse(query).unwrap_err().reason, reason, "{query}");
        }
        let deep = "(".repeat(100_000);
        assert_eq!(
            Query::parse(&deep).unwrap_err().reason,
            "it is nested too deeply"
        );
    }

    #[test]
    fn a_search_ends_when_it_may_not_spend_more() {
        let mut data = json!("leaf");
        for _ in 0..60 {
            data = json!({"a": data});
        }
        let query = Query::parse("$..a..a..a..a..a..a").unwrap();
        let left = Cell::new(10_000);
        let spend = || {
            left.set(left.get() - 1);
            if left.get() > 0 { Ok(()) } else { Err("spent") }
        };
        assert_eq!(query.find(&data, &spend), Err("spent"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_fail_otherwise_than_by_an_error(query in "[\\[\\]().$,:|`'\"a-z0-9* -]{0,30}") {
            if let Ok(query) = Query::parse(&query) {
                let free = || Ok::<(), ()>(());
                let data = people();
                prop_assert!(query.find(&data, &free).is_ok());
            }
        }
    }
}
