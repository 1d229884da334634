//! What a request to a webhook tells the rules.

use serde_json::{Map, Value, json};

/// Headers that prove who sends; rules and their actions have no business with them.
const CREDENTIALS: [&str; 5] = [
    "x-auth-token",
    "st2-api-key",
    "cookie",
    "authorization",
    "proxy-authorization",
];

/// The payload of `core.st2.webhook`. Names of headers keep the case they came in; `headers_lower`
/// has them in lower case, for rules that cannot know it. Values of a header that came several times
/// are joined by commas.
pub fn webhook_payload<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
    body: Value,
) -> Value {
    let mut as_sent = Map::new();
    let mut lower = Map::new();
    for (name, value) in headers {
        let name_lower = name.to_ascii_lowercase();
        if CREDENTIALS.contains(&name_lower.as_str()) {
            continue;
        }
        append(&mut as_sent, name.to_owned(), value);
        append(&mut lower, name_lower, value);
    }
    json!({"headers": as_sent, "headers_lower": lower, "body": body})
}

fn append(headers: &mut Map<String, Value>, name: String, value: &str) {
    let joined = match headers.get(&name).and_then(Value::as_str) {
        Some(before) => format!("{before},{value}"),
        None => value.to_owned(),
    };
    headers.insert(name, Value::from(joined));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_reach_the_rules() {
        let payload = webhook_payload(
            [
                ("X-Auth-Token", "t"),
                ("st2-api-key", "k"),
                ("Cookie", "c"),
                ("Authorization", "a"),
                ("X-GitHub-Event", "push"),
                ("Accept", "a"),
                ("Accept", "b"),
            ],
            json!({"ref": "main"}),
        );
        assert_eq!(
            payload,
            json!({
                "headers": {"X-GitHub-Event": "push", "Accept": "a,b"},
                "headers_lower": {"x-github-event": "push", "accept": "a,b"},
                "body": {"ref": "main"},
            })
        );
    }
}
