//! YAML as StackStorm's loader understands it, as JSON values.
//!
//! Packs are written for PyYAML, which follows YAML 1.1: a bare `yes` is a boolean, `0777` is
//! octal, `1:30` is ninety. The parser behind this module gives events with the style of every
//! scalar, so that `yes` and `"yes"` can be told apart; [`scalar`] gives bare words their
//! meaning.
//!
//! ```text
//!   text ─► events (granit-parser) ─► Loader: frames, anchors, merges, limits ─► Value + places
//! ```
//!
//! What JSON cannot hold is refused with its place: infinities, integers beyond 64 bits, keys that
//! are lists or mappings, aliases that contain themselves. Keys of other types become their JSON
//! text (`yes:` is the key `true`), dates become ISO 8601 strings. Of two equal keys the last wins,
//! as in PyYAML.
//!
//! Pitfalls: aliases are copies here, so a few lines can ask for gigabytes. Every node and every
//! byte of text is weighed, and an alias weighs what it copies ([`Limits`]).

mod scalar;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};

/// How much a document may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of source text.
    pub bytes: usize,
    /// Nodes plus bytes of text of the value, aliases and merges counted in full.
    pub weight: usize,
    /// Lists and mappings inside each other.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes: 2 << 20,
            weight: 8 << 20,
            depth: 64,
        }
    }
}

/// Line and column, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl From<Marker> for Place {
    fn from(marker: Marker) -> Self {
        Place {
            line: marker.line().max(1),
            column: marker.col() + 1,
        }
    }
}

/// Why a text is not one YAML document that JSON can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}line {line}, column {column}: {message}", file.as_ref().map(|file| format!("{file}, ")).unwrap_or_default())]
pub struct YamlError {
    pub file: Option<String>,
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl YamlError {
    fn at(place: Place, message: impl Into<String>) -> Self {
        YamlError {
            file: None,
            line: place.line,
            column: place.column,
            message: message.into(),
        }
    }

    /// The same error with the name of the file it is in.
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }
}

/// A value and where its parts stand.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    pub value: Value,
    places: BTreeMap<String, Place>,
}

/// Longer paths keep no place of their own: long keys with many children would otherwise be
/// copied into every child's path.
const LONGEST_RECORDED_PATH: usize = 400;

impl Document {
    /// A document without places, for values that did not come from a file.
    pub fn of(value: Value) -> Self {
        Document {
            value,
            places: BTreeMap::new(),
        }
    }

    /// Place of a part named like `parameters.cmd.type` or `formats[0]`, or of the nearest part
    /// around it.
    pub fn place(&self, path: &str) -> Option<Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(*place);
            }
            if path.is_empty() {
                return None;
            }
            path = &path[..path.rfind(['.', '[']).unwrap_or(0)];
        }
    }
}

/// The value of a text of one document; an empty text is null.
pub fn parse(text: &str) -> Result<Value, YamlError> {
    load(text, Limits::default()).map(|document| document.value)
}

/// Value and places of a text of one document.
pub fn load(text: &str, limits: Limits) -> Result<Document, YamlError> {
    if text.len() > limits.bytes {
        return Err(YamlError::at(
            Place { line: 1, column: 1 },
            format!(
                "the file has {} bytes; at most {} are read",
                text.len(),
                limits.bytes
            ),
        ));
    }
    let mut loader = Loader::new(limits);
    // As PyYAML does; the depth is held in the loader.
    let options = granit_parser::options! { block_scalar_eof_without_line_feed: true };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) =
            event.map_err(|error| YamlError::at(Place::from(*error.marker()), error.info()))?;
        loader.take(event, Place::from(span.tag_start().unwrap_or(span.start)))?;
    }
    Ok(loader.finish())
}

/// What a mapping's next value belongs to.
enum Key {
    Name(String),
    /// `<<`: the value's entries come under those written out.
    Merge,
}

enum Container {
    List(Vec<Value>),
    Mapping {
        written: Map<String, Value>,
        merged: Map<String, Value>,
        key: Option<Key>,
    },
}

struct Frame {
    container: Container,
    anchor: usize,
    /// Path of the container, none when too long to record.
    path: Option<String>,
    /// Weight of the document when the container began.
    weight_before: usize,
}

struct Anchored {
    value: Value,
    weight: usize,
}

struct Loader {
    limits: Limits,
    frames: Vec<Frame>,
    /// None while the anchored node is still open.
    anchors: BTreeMap<usize, Option<Anchored>>,
    weight: usize,
    documents: usize,
    root: Option<Value>,
    places: BTreeMap<String, Place>,
}

impl Loader {
    fn new(limits: Limits) -> Self {
        Loader {
            limits,
            frames: Vec::new(),
            anchors: BTreeMap::new(),
            weight: 0,
            documents: 0,
            root: None,
            places: BTreeMap::new(),
        }
    }

    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), YamlError> {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(YamlError::at(
                        place,
                        "a second document starts here; a file holds one",
                    ));
                }
                Ok(())
            }
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::Scalar(text, style, anchor, tag) => {
                self.scalar(&text, style, anchor, tag.as_deref(), place)
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "seq", place)?;
                self.open(Container::List(Vec::new()), anchor, place)
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "map", place)?;
                let mapping = Container::Mapping {
                    written: Map::new(),
                    merged: Map::new(),
                    key: None,
                };
                self.open(mapping, anchor, place)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(place),
            // Events that the parser's options switch on: comments and the like.
            _ => Ok(()),
        }
    }

    fn weigh(&mut self, more: usize, place: Place) -> Result<(), YamlError> {
        self.weight = self.weight.saturating_add(more);
        if self.weight > self.limits.weight {
            return Err(YamlError::at(
                place,
                "the document grows too large here, aliases written out",
            ));
        }
        Ok(())
    }

    /// Whether the next node is a key of the innermost mapping.
    fn awaits_key(&self) -> bool {
        matches!(
            self.frames.last().map(|frame| &frame.container),
            Some(Container::Mapping { key: None, .. })
        )
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        place: Place,
    ) -> Result<(), YamlError> {
        let weight = 1 + text.len();
        self.weigh(weight, place)?;
        let plain = style == ScalarStyle::Plain;
        if self.awaits_key() && plain && tag.is_none() && text == "<<" {
            self.set_key(Key::Merge, place);
            return Ok(());
        }
        let value =
            scalar::resolve(text, plain, tag).map_err(|message| YamlError::at(place, message))?;
        if anchor != 0 {
            let value = value.clone();
            self.anchors
                .insert(anchor, Some(Anchored { value, weight }));
        }
        self.add(value, place)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), YamlError> {
        let Some(known) = self.anchors.get(&anchor) else {
            return Err(YamlError::at(place, "the alias names no anchor"));
        };
        let Some(known) = known else {
            return Err(YamlError::at(
                place,
                "the alias stands inside the node that it names; such a value has no end",
            ));
        };
        let weight = known.weight;
        if self.weight.saturating_add(weight) <= self.limits.weight {
            let value = known.value.clone();
            self.weight += weight;
            return self.add(value, place);
        }
        self.weigh(weight, place)
    }

    fn open(&mut self, container: Container, anchor: usize, place: Place) -> Result<(), YamlError> {
        if self.awaits_key() {
            return Err(key_is_no_scalar(place));
        }
        if self.frames.len() >= self.limits.depth {
            return Err(YamlError::at(
                place,
                format!(
                    "lists and mappings stand more than {} deep inside each other",
                    self.limits.depth
                ),
            ));
        }
        let weight_before = self.weight;
        self.weigh(1, place)?;
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        let path = self.next_path();
        if let (Some(path), false) = (&path, self.in_mapping()) {
            self.places.insert(path.clone(), place);
        }
        self.frames.push(Frame {
            container,
            anchor,
            path,
            weight_before,
        });
        Ok(())
    }

    fn close(&mut self, place: Place) -> Result<(), YamlError> {
        let Some(frame) = self.frames.pop() else {
            return Err(YamlError::at(place, "an end without a start"));
        };
        let value = match frame.container {
            Container::List(items) => Value::Array(items),
            Container::Mapping {
                written,
                mut merged,
                key: _,
            } => {
                merged.extend(written);
                Value::Object(merged)
            }
        };
        if frame.anchor != 0 {
            self.anchors.insert(
                frame.anchor,
                Some(Anchored {
                    value: value.clone(),
                    weight: self.weight - frame.weight_before,
                }),
            );
            // The copy kept for the aliases is memory too.
            self.weigh(self.weight - frame.weight_before, place)?;
        }
        self.add(value, place)
    }

    fn in_mapping(&self) -> bool {
        matches!(
            self.frames.last().map(|frame| &frame.container),
            Some(Container::Mapping { .. })
        )
    }

    /// Path of the node that comes next.
    fn next_path(&self) -> Option<String> {
        let Some(frame) = self.frames.last() else {
            return Some(String::new());
        };
        let around = frame.path.as_ref()?;
        let path = match &frame.container {
            Container::List(items) => format!("{around}[{}]", items.len()),
            Container::Mapping {
                key: Some(Key::Name(name)),
                ..
            } => {
                if around.len() + name.len() > LONGEST_RECORDED_PATH {
                    return None;
                }
                join(around, name)
            }
            Container::Mapping { .. } => return None,
        };
        (path.len() <= LONGEST_RECORDED_PATH).then_some(path)
    }

    fn set_key(&mut self, new: Key, place: Place) {
        if let Some(Frame {
            container: Container::Mapping { key, .. },
            ..
        }) = self.frames.last_mut()
        {
            *key = Some(new);
        }
        if let Some(path) = self.next_path() {
            self.places.insert(path, place);
        }
    }

    /// Puts a whole node where it belongs.
    fn add(&mut self, value: Value, place: Place) -> Result<(), YamlError> {
        if self.awaits_key() {
            let name = match value {
                Value::String(text) => text,
                Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Array(_) | Value::Object(_) => return Err(key_is_no_scalar(place)),
            };
            self.set_key(Key::Name(name), place);
            return Ok(());
        }
        if !self.in_mapping()
            && !value.is_array()
            && !value.is_object()
            && let Some(path) = self.next_path()
        {
            self.places.insert(path, place);
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        match &mut frame.container {
            Container::List(items) => items.push(value),
            Container::Mapping {
                written,
                merged,
                key,
            } => match key.take() {
                Some(Key::Name(name)) => {
                    written.insert(name, value);
                }
                Some(Key::Merge) => merge(merged, value, place)?,
                None => return Err(YamlError::at(place, "a value without a key")),
            },
        }
        Ok(())
    }

    fn finish(self) -> Document {
        Document {
            value: self.root.unwrap_or(Value::Null),
            places: self.places,
        }
    }
}

/// `around.name`, or `name` at the top.
pub(crate) fn join(around: &str, name: &str) -> String {
    if around.is_empty() {
        name.to_owned()
    } else {
        format!("{around}.{name}")
    }
}

/// Of several mappings in one `<<` the first wins, of several `<<` the last.
fn merge(merged: &mut Map<String, Value>, value: Value, place: Place) -> Result<(), YamlError> {
    let refuse = || {
        YamlError::at(
            place,
            "`<<` takes a mapping or a list of mappings, as aliases mostly",
        )
    };
    match value {
        Value::Object(entries) => merged.extend(entries),
        Value::Array(items) => {
            for item in items.into_iter().rev() {
                let Value::Object(entries) = item else {
                    return Err(refuse());
                };
                merged.extend(entries);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(refuse()),
    }
    Ok(())
}

fn key_is_no_scalar(place: Place) -> YamlError {
    YamlError::at(
        place,
        "a list or a mapping cannot be a key; a template such as {{ name }} must stand in quotes",
    )
}

fn check_tag(tag: Option<&Tag>, expected: &str, place: Place) -> Result<(), YamlError> {
    match tag {
        None => Ok(()),
        Some(tag) if scalar::is_unspecific(tag) => Ok(()),
        Some(tag) if tag.handle() == scalar::YAML && tag.suffix() == expected => Ok(()),
        Some(tag) => Err(YamlError::at(place, scalar::unknown_tag(tag))),
    }
}
