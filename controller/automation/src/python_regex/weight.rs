//! How much work a pattern can cause, told from its source.

use super::notation::repetition_bounds;

/// Constructs that only a back-tracking engine can match. A possessive repetition is one.
const HARD: &[&str] = &[
    "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?P=", "(?(", "++", "*+", "?+", "}+",
];

/// Whether a pattern may need more than linear time.
pub(super) fn is_hard(source: &str) -> bool {
    let has_back_reference = source
        .as_bytes()
        .windows(2)
        .any(|pair| pair[0] == b'\\' && matches!(pair[1], b'1'..=b'9' | b'k' | b'g'));
    has_back_reference || HARD.iter().any(|construct| source.contains(construct))
}

/// About how many states a pattern has: its atoms, each as often as it is repeated by count.
pub(super) fn weight(source: &str) -> u64 {
    let mut open: Vec<u64> = vec![];
    let mut total: u64 = 1;
    let mut last_atom: u64 = 0;
    let mut in_class = false;
    let mut rest = source;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        rest = after;
        if in_class {
            match character {
                '\\' => rest = skip_one(after),
                ']' => in_class = false,
                _ => {}
            }
            continue;
        }
        match character {
            '(' => {
                open.push(total);
                total = 0;
                last_atom = 0;
            }
            ')' => {
                last_atom = total.max(1);
                total = total.max(1).saturating_add(open.pop().unwrap_or(0));
            }
            '{' => {
                if let Some((least, most, length)) = repetition_bounds(after) {
                    rest = &after[length..];
                    let count = [Some(least), most]
                        .into_iter()
                        .flatten()
                        .map(|digits| match digits {
                            "" => 1,
                            digits => digits.parse().unwrap_or(u64::MAX),
                        })
                        .fold(1, u64::max);
                    total = total.saturating_add(last_atom.saturating_mul(count - 1));
                }
            }
            '*' | '+' | '?' | '|' => {}
            '[' => {
                in_class = true;
                rest = after.strip_prefix('^').unwrap_or(after);
                rest = rest.strip_prefix(']').unwrap_or(rest);
                total = total.saturating_add(1);
                last_atom = 1;
            }
            character => {
                if character == '\\' {
                    rest = skip_one(after);
                }
                total = total.saturating_add(1);
                last_atom = 1;
            }
        }
    }
    open.into_iter().fold(total, u64::saturating_add)
}

fn skip_one(text: &str) -> &str {
    let mut characters = text.chars();
    characters.next();
    characters.as_str()
}

#[cfg(test)]
mod tests {
    use super::weight;

    #[test]
    fn the_weight_of_a_pattern_follows_its_counted_repetitions() {
        for (source, expected) in [
            ("abc", 4),
            ("a{10}", 11),
            ("(ab){10}", 21),
            ("((a{10}){10}){10}", 1001),
            (r"\d{1,3}\.\d{1,3}", 8),
            ("[a-z]{2,5}", 6),
            ("a{99999999999999999999999}", u64::MAX),
        ] {
            assert_eq!(weight(source), expected, "{source}");
        }
    }
}
