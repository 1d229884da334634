//! From Python's notation to that of the engine.
//!
//! They differ in details that packs use: a brace that is no repetition is a plain brace, a bracket
//! inside a class is a plain bracket, letters like `/` or `"` may carry a needless backslash, and
//! `\Z` is the end of the text.

/// The pattern, held to the start of the text.
pub(super) fn at_start(translated: &str) -> String {
    format!("\\A(?:{translated})")
}

/// The pattern for any text but one with a newline at its end.
pub(super) fn translate(pattern: &str) -> String {
    translate_with(pattern, "$")
}

/// The pattern for a text with a newline at its end, where `$` matches before it too.
pub(super) fn translate_for_last_newline(pattern: &str) -> String {
    translate_with(pattern, r"(?:$|(?=\n\z))")
}

fn translate_with(pattern: &str, end: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    while let Some(symbol) = rest.chars().next() {
        let after = &rest[symbol.len_utf8()..];
        rest = match symbol {
            '\\' => escape(after, false, &mut out),
            '[' => class(after, &mut out),
            '{' => repetition(after, &mut out),
            '$' => {
                out.push_str(end);
                after
            }
            other => {
                out.push(other);
                after
            }
        };
    }
    out
}

/// After a backslash. Gives what follows the escaped symbol.
fn escape<'a>(rest: &'a str, in_class: bool, out: &mut String) -> &'a str {
    let Some(symbol) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    match symbol {
        'Z' if !in_class => out.push_str("\\z"),
        // Symbols without a meaning of their own may not be escaped in the engine.
        '"' | '\'' | '/' | '<' | '>' | '_' | ':' | ';' | ',' | '=' | '!' | '@' | '%' | '`' => {
            out.push(symbol);
        }
        symbol if !symbol.is_ascii() => out.push(symbol),
        symbol => {
            out.push('\\');
            out.push(symbol);
        }
    }
    &rest[symbol.len_utf8()..]
}

/// After `[`. Gives what follows the class.
fn class<'a>(rest: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = rest;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut is_first = true;
    // Whether a dash here would make a range of what stands before it.
    let mut may_begin_range = false;
    while let Some(symbol) = rest.chars().next() {
        let after = &rest[symbol.len_utf8()..];
        if symbol == ']' && !is_first {
            out.push(']');
            return after;
        }
        is_first = false;
        if symbol == '-' && may_begin_range && !after.starts_with(']') {
            out.push('-');
            rest = class_member(after, out);
            may_begin_range = false;
        } else {
            rest = class_member(rest, out);
            may_begin_range = true;
        }
    }
    rest
}

/// One symbol of a class. Gives what follows it.
fn class_member<'a>(text: &'a str, out: &mut String) -> &'a str {
    let Some(symbol) = text.chars().next() else {
        return text;
    };
    let after = &text[symbol.len_utf8()..];
    match symbol {
        '\\' => return escape(after, true, out),
        // These mean something inside the engine's classes.
        ']' | '[' | '&' | '~' | '-' => out.push('\\'),
        _ => {}
    }
    out.push(symbol);
    after
}

/// After `{`: a repetition, or a plain brace.
fn repetition<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let Some((least, most, length)) = repetition_bounds(rest) else {
        out.push_str("\\{");
        return rest;
    };
    out.push('{');
    out.push_str(if least.is_empty() { "0" } else { least });
    if let Some(most) = most {
        out.push(',');
        out.push_str(most);
    }
    out.push('}');
    &rest[length..]
}

/// `2}`, `2,}`, `,3}` or `2,3}` at the start of a text: both bounds, and how long it is.
pub(super) fn repetition_bounds(text: &str) -> Option<(&str, Option<&str>, usize)> {
    let end = text.find('}')?;
    let (least, most) = match text[..end].split_once(',') {
        Some((least, most)) => (least, Some(most)),
        None => (&text[..end], None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let sound = digits(least) && most.is_none_or(digits) && !(least.is_empty() && most.is_none());
    sound.then_some((least, most, end + 1))
}

pub(super) fn translate_wildcard(pattern: &str) -> String {
    let mut out = String::from("\\A");
    let mut rest = pattern;
    while let Some(symbol) = rest.chars().next() {
        let after = &rest[symbol.len_utf8()..];
        rest = match symbol {
            '*' => {
                out.push_str(".*");
                after.trim_start_matches('*')
            }
            '?' => {
                out.push('.');
                after
            }
            '[' => wildcard_class(after, &mut out),
            other => {
                out.push_str(&fancy_regex::escape(other.encode_utf8(&mut [0; 4])));
                after
            }
        };
    }
    out.push_str("\\z");
    out
}

/// After `[` of a wildcard: a class when it is closed, else a plain bracket.
fn wildcard_class<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let (negated, inside) = match rest.strip_prefix('!') {
        Some(inside) => (true, inside),
        None => (false, rest),
    };
    // A bracket right at the start belongs to the class.
    let from = usize::from(inside.starts_with(']'));
    let Some(end) = inside[from..].find(']').map(|end| end + from) else {
        out.push_str("\\[");
        return rest;
    };
    out.push_str(if negated { "[^" } else { "[" });
    for symbol in inside[..end].chars() {
        if !(symbol == '-' || symbol.is_alphanumeric()) {
            out.push('\\');
        }
        if symbol.is_ascii() || symbol.is_alphanumeric() {
            out.push(symbol);
        } else {
            // Only ASCII symbols may carry a backslash.
            out.pop();
            out.push(symbol);
        }
    }
    out.push(']');
    &inside[end + 1..]
}
