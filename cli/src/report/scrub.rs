//! Takes secrets out of texts: those that are known, wherever they stand, and what looks like one.
//!
//! Known are the passwords, keys and tokens in the cluster's own files ([`super::secrets`]). What
//! users gave their apps is not known; where logs show it in one of the usual forms (a URL with a
//! password, a token, a parameter named so) it goes too.

use std::collections::BTreeSet;

pub const REMOVED: &str = "[removed]";
/// Shorter ones are words that stand everywhere.
const SHORTEST: usize = 6;

/// Names of parameters and fields whose values are secret.
const NAMES: &[&str] = &[
    "signature",
    "access_token",
    "refresh_token",
    "token",
    "password",
    "passwd",
    "passcode",
    "secret",
    "client_secret",
    "api_key",
    "apikey",
    "st2-api-key",
    "x-auth-token",
];

#[derive(Debug, Default)]
pub struct Scrubber {
    /// The longest first: one may be a part of another.
    known: Vec<String>,
}

impl Scrubber {
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Scrubber {
        let mut forms = BTreeSet::new();
        for secret in secrets {
            let secret = secret.trim();
            if secret.len() < SHORTEST {
                continue;
            }
            // As JSON and addresses write it.
            let escaped = serde_json::Value::from(secret).to_string();
            forms.insert(escaped.trim_matches('"').to_string());
            forms.insert(percent_encoded(secret));
            forms.insert(secret.to_string());
        }
        let mut known: Vec<String> = forms.into_iter().collect();
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Scrubber { known }
    }

    pub fn scrub(&self, text: &str) -> String {
        let mut text = text.to_string();
        for secret in &self.known {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), REMOVED);
            }
        }
        let lines = text.split_inclusive('\n');
        lines
            .map(|line| tokens(&parameters(&logins(line))))
            .collect()
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn ends_word(c: char) -> bool {
    c.is_whitespace() || "\"'`<>,;)}]\\".contains(c)
}

/// `https://user:password@host` to `https://[removed]@host`.
fn logins(line: &str) -> String {
    let mut scrubbed = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        scrubbed.push_str(before);
        let end = after
            .find(|c: char| c == '/' || c == '?' || ends_word(c))
            .unwrap_or(after.len());
        let authority = &after[..end];
        match authority.rfind('@') {
            Some(at) => {
                scrubbed.push_str(REMOVED);
                scrubbed.push_str(&authority[at..]);
            }
            None => scrubbed.push_str(authority),
        }
        rest = &after[end..];
    }
    scrubbed + rest
}

/// `token=abc`, `"password": "abc"`: the value goes, the name stays.
fn parameters(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let mut cuts: Vec<(usize, usize)> = Vec::new();
    for name in NAMES {
        for (at, _) in lower.match_indices(name) {
            let whole = !lower[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
            let Some(start) =
                value_after(&line[at + name.len()..]).map(|skip| at + name.len() + skip)
            else {
                continue;
            };
            let value = &line[start..];
            let end = value
                .find(|c: char| c == '&' || ends_word(c))
                .unwrap_or(value.len());
            if whole && end > 0 {
                cuts.push((start, start + end));
            }
        }
    }
    cuts.sort_unstable();
    let mut scrubbed = String::new();
    let mut from = 0;
    for (start, end) in cuts {
        if start < from {
            continue;
        }
        scrubbed.push_str(&line[from..start]);
        scrubbed.push_str(REMOVED);
        from = end;
    }
    scrubbed + &line[from..]
}

/// Where the value begins after a name: past `=`, `: `, `": "`. None: no value follows.
fn value_after(text: &str) -> Option<usize> {
    let mut skipped = 0;
    let mut assigned = false;
    for c in text.chars() {
        match c {
            '=' | ':' if !assigned => assigned = true,
            '"' | '\'' | ' ' | '\\' => {}
            _ if assigned => return Some(skipped),
            _ => return None,
        }
        skipped += c.len_utf8();
    }
    None
}

/// Signed tokens, wherever they stand.
fn tokens(line: &str) -> String {
    let mut scrubbed = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("eyJ") {
        let (before, after) = rest.split_at(at);
        scrubbed.push_str(before);
        let end = after
            .find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
            .unwrap_or(after.len());
        let word = &after[..end];
        if word.len() > 20 && word.contains('.') {
            scrubbed.push_str(REMOVED);
        } else {
            scrubbed.push_str(word);
        }
        rest = &after[end..];
    }
    scrubbed + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_goes_in_every_form() {
        let scrubber = Scrubber::new(["s3cret/pa\"ss", "s3cret", "x"].map(String::from));
        let text = scrubber.scrub("x s3cret {\"a\":\"s3cret/pa\\\"ss\"} ?p=s3cret%2Fpa%22ss\n");
        assert_eq!(text, "x [removed] {\"a\":\"[removed]\"} ?p=[removed]\n");
    }

    #[test]
    fn what_looks_like_a_secret_goes() {
        let scrubber = Scrubber::default();
        for (text, scrubbed) in [
            (
                "GET http://ada:pass@host/x http://host/@x",
                "GET http://[removed]@host/x http://host/@x",
            ),
            (
                "\"GET /blobs/1?expires=5&signature=ab12&x=1 HTTP/1.1\"",
                "\"GET /blobs/1?expires=5&signature=[removed]&x=1 HTTP/1.1\"",
            ),
            (
                "{\"password\": \"hunter2\", \"user\": \"ada\"}",
                "{\"password\": \"[removed]\", \"user\": \"ada\"}",
            ),
            (
                "authorization: bearer eyJhbGciOi.eyJzdWIiOiJhZGEi.c2ln end",
                "authorization: bearer [removed] end",
            ),
            (
                "the token ring, passwords: none",
                "the token ring, passwords: none",
            ),
            ("tokens=5 token=", "tokens=5 token="),
            ("österreich token=ä&b", "österreich token=[removed]&b"),
        ] {
            assert_eq!(scrubber.scrub(text), scrubbed);
        }
    }

    #[test]
    fn a_text_without_secrets_stays_as_it_is() {
        let text = "level=info msg=\"the daemon runs\" component=dea-1\n\n{\"a\": [1, 2]}\n";
        assert_eq!(Scrubber::new(["unseen".to_string()]).scrub(text), text);
    }
}
