//! Anchors and aliases (`&a`, `*a`) are refused: a few lines of them expand to gigabytes.
//!
//! The parser resolves them before anybody can look, so they are looked for in the text, in the
//! places where YAML would take them for one: at the beginning of a value. Quoted texts, comments
//! and block texts (`|`, `>`) are left alone.

pub(super) fn has_any(text: &str) -> bool {
    // Lines deeper than this belong to a block text.
    let mut block: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(outer) = block {
            if line.trim().is_empty() || indent > outer {
                continue;
            }
            block = None;
        }
        let (found, last) = scan(line);
        if found {
            return true;
        }
        let header = last.trim_start_matches(['|', '>']);
        if last.starts_with(['|', '>'])
            && header.chars().all(|c| matches!(c, '+' | '-' | '0'..='9'))
        {
            block = Some(indent);
        }
    }
    false
}

/// Whether a value of the line begins with `&` or `*`, and the line's last word.
fn scan(line: &str) -> (bool, String) {
    let mut at_start = true;
    let mut quote: Option<char> = None;
    let mut before = ' ';
    let mut word = String::new();
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        if let Some(open) = quote {
            if c == '\\' && open == '"' {
                characters.next();
            } else if c == open {
                quote = None;
            }
            before = c;
            continue;
        }
        match c {
            '"' | '\'' if at_start => quote = Some(c),
            '#' if before.is_whitespace() => break,
            '&' | '*'
                if at_start
                    && characters
                        .peek()
                        .is_some_and(|next| next.is_alphanumeric() || *next == '_') =>
            {
                return (true, String::new());
            }
            _ => {}
        }
        if c.is_whitespace() {
            // "key: value" and "- value": what follows the mark begins a value.
            at_start |= matches!(before, ':' | '-' | '[' | '{' | ',' | '?');
            if !word.is_empty() && characters.peek().is_some_and(|next| !next.is_whitespace()) {
                word.clear();
            }
        } else {
            at_start = matches!(c, '[' | '{' | ',');
            word.push(c);
        }
        before = c;
    }
    (false, word.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::has_any;

    #[test]
    fn anchors_and_aliases_are_seen_and_nothing_else_is_taken_for_one() {
        for text in [
            "a: &x 1",
            "- *x",
            "a: *x",
            "a: [1, *x]",
            "<<: *base",
            "&top a: 1",
            "a: {b: &c d}",
            "  - &a\n    b: 1",
        ] {
            assert!(has_any(text), "{text}");
        }
        for text in [
            "command: sleep 1 && echo *x",
            "command: \"*x\"",
            "route: '*.example.com'",
            "# &a *b",
            "a: b # *c",
            "a: R&D",
            "a: 2 * 3",
            "command: |\n  - *x\n  &y\nname: b",
            "- a: >-\n    *x\n  b: 1",
            "a: x*y",
            "url: http://a/?b=1&c=2",
            "a: *",
            "a: '&x'",
        ] {
            assert!(!has_any(text), "{text}");
        }
    }
}
