//! Chat aliases: from a line of chat to an action and its parameters.
//!
//! ```text
//!   "deploy {{ app }} to {{ where = prod }}"  ─► Pattern (an expression with named groups)
//!   "deploy web tag=v2"  ─► pairs at the end {tag: v2} + "deploy web" ─► {app: web, where: prod, …}
//! ```
//!
//! A pattern is a regular expression in which `{{ name }}` and `{{ name = default }}` stand for
//! values: a word, words in quotes, or braces around JSON. Values stay text; the action's schema
//! casts them. Of all patterns of all aliases exactly one must match a command, first among those
//! that match a command as a whole, then among those with `match_multiple`, which run the action
//! for each match.

mod pattern;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::{Map, Value};

pub use pattern::{Mismatch, Pattern, PatternError};

use crate::python_regex::{Flags, PythonRegex, RegexError};
use crate::spec::Alias;

/// An alias with its patterns made ready.
#[derive(Debug, Clone)]
pub struct CompiledAlias<'a> {
    alias: &'a Alias,
    patterns: Vec<ReadyPattern<'a>>,
}

#[derive(Debug, Clone)]
struct ReadyPattern<'a> {
    text: &'a str,
    display: Option<&'a str>,
    match_multiple: bool,
    /// A pattern that cannot be compiled matches nothing: it was reported when it was registered.
    pattern: Option<Pattern>,
}

impl<'a> CompiledAlias<'a> {
    pub fn new(alias: &'a Alias) -> Self {
        let patterns = alias.formats.iter().flat_map(|format| {
            format.patterns().iter().map(|text| ReadyPattern {
                text,
                display: format.display(),
                match_multiple: format.matches_multiple(),
                pattern: Pattern::compile(text).ok(),
            })
        });
        CompiledAlias {
            alias,
            patterns: patterns.collect(),
        }
    }
}

/// The alias and the pattern that a command matched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Match<'a> {
    #[serde(rename = "actionalias")]
    pub alias: &'a Alias,
    pub display: Option<&'a str>,
    pub representation: &'a str,
    #[serde(skip)]
    pub match_multiple: bool,
}

/// Why a command gives no execution. The texts are those that chat users know from StackStorm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    #[error("Command '{command}' matched no patterns")]
    NoMatch { command: String },
    #[error("Command '{command}' matched more than 1 pattern")]
    Ambiguous {
        command: String,
        /// The patterns, with the refs of their aliases.
        candidates: Vec<(String, String)>,
    },
    #[error("Command '{command}' matched more than 1 (multi) pattern")]
    AmbiguousMultiple {
        command: String,
        candidates: Vec<(String, String)>,
    },
    #[error("Format string \"{format}\" is not available on the alias \"{alias}\"")]
    UnknownFormat { format: String, alias: String },
    #[error("Action alias with name \"{name}\" is disabled.")]
    Disabled { name: String },
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error("Immutable arguments cannot be overriden: {}", parameters.join(","))]
    Immutable { parameters: Vec<String> },
}

/// The one pattern of enabled aliases that matches a command.
pub fn find<'a>(aliases: &[CompiledAlias<'a>], command: &str) -> Result<Match<'a>, AliasError> {
    let matching = |match_multiple: bool| -> Vec<Match<'a>> {
        let enabled = aliases.iter().filter(|alias| alias.alias.enabled);
        enabled
            .flat_map(|alias| alias.patterns.iter().map(move |ready| (alias.alias, ready)))
            .filter(|(_, ready)| ready.match_multiple == match_multiple)
            .filter(|(_, ready)| {
                ready
                    .pattern
                    .as_ref()
                    .is_some_and(|pattern| pattern.extract(command).is_ok())
            })
            .map(|(alias, ready)| Match {
                alias,
                display: ready.display,
                representation: ready.text,
                match_multiple,
            })
            .collect()
    };
    let command_text = || command.to_owned();
    let candidates = |matches: &[Match<'_>]| {
        matches
            .iter()
            .map(|found| {
                (
                    found.representation.to_owned(),
                    found.alias.reference.clone(),
                )
            })
            .collect()
    };
    let mut single = matching(false);
    match single.len() {
        0 => {}
        1 => return Ok(single.remove(0)),
        _ => {
            return Err(AliasError::Ambiguous {
                command: command_text(),
                candidates: candidates(&single),
            });
        }
    }
    let mut multiple = matching(true);
    match multiple.len() {
        0 => Err(AliasError::NoMatch {
            command: command_text(),
        }),
        1 => Ok(multiple.remove(0)),
        _ => Err(AliasError::AmbiguousMultiple {
            command: command_text(),
            candidates: candidates(&multiple),
        }),
    }
}

/// Parameters of each execution that a command asks for, by one of the alias's patterns. With
/// `match_multiple` there is one execution for every match, else exactly one.
pub fn extract(
    alias: &Alias,
    format: &str,
    command: &str,
    match_multiple: bool,
) -> Result<Vec<Map<String, Value>>, AliasError> {
    if !alias.enabled {
        return Err(AliasError::Disabled {
            name: alias.name.clone(),
        });
    }
    let is_known = alias
        .formats
        .iter()
        .any(|known| known.patterns().iter().any(|pattern| pattern == format));
    if !is_known {
        return Err(AliasError::UnknownFormat {
            format: format.to_owned(),
            alias: alias.name.clone(),
        });
    }
    let pattern = Pattern::compile(format)?;
    Ok(if match_multiple {
        pattern.extract_all(command)?
    } else {
        vec![pattern.extract(command)?]
    })
}

/// Adds the alias's immutable parameters, already rendered, to those of a command, which may not
/// name them.
pub fn add_immutable(
    immutable: &Map<String, Value>,
    parameters: &mut Map<String, Value>,
) -> Result<(), AliasError> {
    let overridden: Vec<String> = immutable
        .keys()
        .filter(|name| parameters.contains_key(*name))
        .cloned()
        .collect();
    if !overridden.is_empty() {
        return Err(AliasError::Immutable {
            parameters: overridden,
        });
    }
    parameters.extend(
        immutable
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    Ok(())
}

/// One line of help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HelpLine<'a> {
    pub pack: &'a str,
    pub display: &'a str,
    pub description: Option<&'a str>,
}

/// Lines of help, and how many there are without the page's bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Help<'a> {
    pub available: usize,
    #[serde(rename = "helpstrings")]
    pub lines: Vec<HelpLine<'a>>,
}

/// Which lines of help are asked for.
#[derive(Debug, Clone, Default)]
pub struct HelpQuery<'q> {
    /// A regular expression on the display text, whatever its case.
    pub filter: &'q str,
    /// Empty for all packs.
    pub pack: &'q str,
    /// Zero for no limit.
    pub limit: usize,
    pub offset: usize,
}

/// What can be said, for people. An error: the filter is no regular expression.
pub fn help<'a>(
    aliases: impl IntoIterator<Item = &'a Alias>,
    query: &HelpQuery<'_>,
) -> Result<Help<'a>, RegexError> {
    let flags = Flags {
        ignore_case: true,
        ..Flags::default()
    };
    let filter = PythonRegex::compile(query.filter, flags)?;
    let mut help = Help {
        available: 0,
        lines: Vec::new(),
    };
    for alias in aliases {
        if !alias.enabled || !(query.pack.is_empty() || query.pack == alias.pack) {
            continue;
        }
        for display in alias.formats.iter().filter_map(|format| format.display()) {
            if display.is_empty() || !filter.is_match(display)? {
                continue;
            }
            let is_on_page = help.available >= query.offset
                && (query.limit == 0 || help.available < query.offset + query.limit);
            help.available += 1;
            if is_on_page {
                help.lines.push(HelpLine {
                    pack: &alias.pack,
                    display,
                    description: alias.description.as_deref(),
                });
            }
        }
    }
    Ok(help)
}
