//! Names: of apps, hosts, paths and domains, and the routes made of them.

/// Why a name cannot be taken; a sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(pub String);

fn invalid<T>(text: impl Into<String>) -> Result<T, InvalidName> {
    Err(InvalidName(text.into()))
}

/// Names of apps, spaces and organizations.
pub fn check_name(name: &str) -> Result<(), InvalidName> {
    if name.trim().is_empty() {
        return invalid("Name must not be blank");
    }
    if name.chars().count() > 255 {
        return invalid("Name is too long (maximum is 255 characters)");
    }
    if name.chars().any(char::is_control) {
        return invalid("Name must not contain control characters");
    }
    Ok(())
}

/// `host.domain/path`, as the bus and the router know a route.
pub fn route_url(host: &str, domain: &str, path: &str) -> String {
    if host.is_empty() {
        format!("{domain}{path}")
    } else {
        format!("{host}.{domain}{path}")
    }
}

/// `domain:port`, of a route that has a port.
pub fn port_url(domain: &str, port: u16) -> String {
    format!("{domain}:{port}")
}

/// Hosts of the platform itself, under every shared domain.
pub const SYSTEM_HOSTS: &[&str] = &[
    "api",
    "uaa",
    "login",
    "log-cache",
    "st2",
    "events",
    "console",
];

/// Whether a name is one of the platform's under this shared domain, or lies beneath one: whoever
/// had it would be sent the passwords of others.
pub fn is_of_the_system(name: &str, shared_domain: &str) -> bool {
    SYSTEM_HOSTS.iter().any(|host| {
        let system = format!("{host}.{shared_domain}");
        name == system || name.ends_with(&format!(".{system}"))
    })
}

/// Lower-cases and checks a host under a domain. Empty: the domain itself; `*`: any host.
pub fn check_host(host: &str, domain: &str) -> Result<String, InvalidName> {
    let host = host.to_lowercase();
    if host.is_empty() || host == "*" {
        return Ok(host);
    }
    if host.len() > 63 {
        return invalid(format!(
            "Host '{host}' is too long (maximum is 63 characters)"
        ));
    }
    if !host
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
    {
        return invalid(format!(
            "Host '{host}' must be either \"*\" or contain only letters, digits, \"-\" and \"_\""
        ));
    }
    if host.starts_with('-') || host.ends_with('-') {
        return invalid(format!("Host '{host}' must not start or end with \"-\""));
    }
    if host.len() + 1 + domain.len() > 253 {
        return invalid(format!(
            "Host '{host}' combined with domain name '{domain}' is too long (maximum is 253 characters)"
        ));
    }
    Ok(host)
}

/// Empty, or `/…`.
pub fn check_path(path: &str) -> Result<(), InvalidName> {
    if path.is_empty() {
        return Ok(());
    }
    if !path.starts_with('/') {
        return invalid("Path must begin with /");
    }
    if path == "/" {
        return invalid("Path cannot be exactly '/'");
    }
    if path.contains('?') {
        return invalid("Path cannot contain '?'");
    }
    if path.len() > 128 {
        return invalid("Path is too long (maximum is 128 characters)");
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || "/-._~!$&'()*+,;=:@%".contains(c);
    match path.chars().find(|c| !fine(*c)) {
        Some(c) => invalid(format!("Path is not valid: it contains {c:?}")),
        None => Ok(()),
    }
}

pub fn check_domain(name: &str) -> Result<(), InvalidName> {
    if name.len() < 3 || name.len() > 253 {
        return invalid("Name must be a domain of 3 to 253 characters");
    }
    if !name.contains('.') {
        return invalid("Name must contain at least one \".\"");
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.split('.').all(label) {
        Ok(())
    } else {
        invalid(
            "Name can contain multiple subdomains, each of 1 to 63 lower-case letters, digits and \"-\"",
        )
    }
}

/// A host made of an app's name: what cannot be in a host becomes `-` or is left out.
pub fn host_of_app(name: &str) -> String {
    let mut host = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => host.push(c),
            ' ' | '_' | '.' | '-' if !host.ends_with('-') => host.push('-'),
            _ => {}
        }
    }
    host.truncate(63);
    host.trim_matches('-').to_string()
}

const ADJECTIVES: &[&str] = &[
    "brave", "bright", "calm", "clever", "eager", "fancy", "gentle", "happy", "humble", "jolly",
    "kind", "lively", "lucky", "mellow", "merry", "noble", "patient", "proud", "quick", "quiet",
    "rapid", "shiny", "silent", "smart", "sturdy", "sunny", "swift", "tidy", "wise", "witty",
];
const NOUNS: &[&str] = &[
    "badger", "beaver", "bison", "camel", "crane", "dingo", "eagle", "falcon", "ferret", "gecko",
    "heron", "ibex", "jackal", "koala", "lemur", "lynx", "marmot", "newt", "otter", "panda",
    "puffin", "quail", "rabbit", "raven", "salmon", "tapir", "turtle", "walrus", "wombat", "zebra",
];

/// `app-lucky-otter-xy`: a host that is hardly taken. `random` is the caller's.
pub fn random_host(app: &str, random: u64) -> String {
    let pick = |words: &[&'static str], shift: u32| {
        words[((random >> shift) % words.len() as u64) as usize]
    };
    let letter = |shift: u32| char::from(b'a' + ((random >> shift) % 26) as u8);
    let suffix = format!(
        "-{}-{}-{}{}",
        pick(ADJECTIVES, 0),
        pick(NOUNS, 16),
        letter(32),
        letter(40)
    );
    let mut host = host_of_app(app);
    host.truncate(63 - suffix.len());
    let host = host.trim_end_matches('-');
    format!("{host}{suffix}")
        .trim_start_matches('-')
        .to_string()
}

/// A route as a manifest writes it, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteName {
    pub domain: String,
    pub host: String,
    pub path: String,
    pub port: Option<u16>,
}

/// Finds the domain of `host.domain/path` or `domain:port` among those that exist: the longest that fits, with at
/// most one label before it.
pub fn parse_route<'a>(
    text: &str,
    domains: impl IntoIterator<Item = &'a str>,
) -> Result<RouteName, InvalidName> {
    const SCHEMES: [&str; 4] = ["http", "https", "tcp", "udp"];
    let bare = match text.split_once("://") {
        Some((scheme, rest)) if SCHEMES.contains(&scheme) => rest,
        _ => text,
    };
    let (name, path) = match bare.find('/') {
        Some(at) => (&bare[..at], &bare[at..]),
        None => (bare, ""),
    };
    let path = if path == "/" { "" } else { path };
    let (name, port) = match name.split_once(':') {
        Some((name, port)) => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => {
                return invalid(format!("The route '{text}' is not a properly formed URL"));
            }
        },
        None => (name, None),
    };
    let name = name.to_lowercase();
    let mut best: Option<(&str, &str)> = None;
    for domain in domains {
        let host = if name == domain {
            Some("")
        } else {
            name.strip_suffix(domain)
                .and_then(|rest| rest.strip_suffix('.'))
        };
        let Some(host) = host else { continue };
        if best.is_none_or(|(_, longest)| domain.len() > longest.len()) {
            best = Some((host, domain));
        }
    }
    let Some((host, domain)) = best else {
        return invalid(format!("No domains exist for route {text}"));
    };
    if host.contains('.') {
        return invalid(format!("No domains exist for route {text}"));
    }
    check_path(path)?;
    Ok(RouteName {
        host: check_host(host, domain)?,
        domain: domain.to_string(),
        path: path.to_string(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_route_finds_its_longest_domain() {
        let domains = ["yard.internal", "apps.yard.internal", "example.com"];
        let check = |text: &str, expected: Option<(&str, &str, &str)>| {
            let got = parse_route(text, domains).ok();
            let expected = expected.map(|(host, domain, path)| RouteName {
                host: host.into(),
                domain: domain.into(),
                path: path.into(),
                port: text.ends_with(":1234").then_some(1234),
            });
            assert_eq!(got, expected, "{text}");
        };
        check("a.yard.internal", Some(("a", "yard.internal", "")));
        check(
            "a.apps.yard.internal/x/y",
            Some(("a", "apps.yard.internal", "/x/y")),
        );
        check("https://A.example.com/", Some(("a", "example.com", "")));
        check("example.com", Some(("", "example.com", "")));
        check("*.example.com", Some(("*", "example.com", "")));
        check("a.b.example.com", None);
        check("notexample.com", None);
        check("a.example.org", None);
        check("example.com:1234", Some(("", "example.com", "")));
        check("tcp://a.example.com:1234", Some(("a", "example.com", "")));
        check("example.com:70000", None);
        check("example.com:", None);
        check("ftp://example.com", None);
        check("a b.example.com", None);
        check("-a.example.com", None);
    }

    #[test]
    fn names_that_would_break_something_are_refused() {
        assert!(check_name(" ").is_err());
        assert!(check_name("a\nb").is_err());
        assert!(check_name(&"x".repeat(256)).is_err());
        assert!(check_name("Dora's app").is_ok());
        assert!(check_path("x").is_err());
        assert!(check_path("/").is_err());
        assert!(check_path("/a?b").is_err());
        assert!(check_path("/a b").is_err());
        assert!(check_path("/a/b").is_ok());
        assert!(check_domain("internal").is_err());
        assert!(check_domain("a..b").is_err());
        assert!(check_domain("yard.internal").is_ok());
    }

    proptest! {
        #[test]
        fn a_host_made_of_any_name_is_valid_or_empty(name in "\\PC{0,100}", random in any::<u64>()) {
            let host = host_of_app(&name);
            prop_assert!(check_host(&host, "yard.internal").is_ok());
            let random = random_host(&name, random);
            prop_assert!(!random.is_empty());
            prop_assert!(check_host(&random, "yard.internal").is_ok(), "{}", random);
        }

        #[test]
        fn what_is_put_together_is_taken_apart_again(host in "[a-z][a-z0-9]{0,10}", path in "(/[a-z]{1,5}){0,3}") {
            let url = route_url(&host, "yard.internal", &path);
            let parsed = parse_route(&url, ["internal", "yard.internal"]).unwrap();
            prop_assert_eq!(parsed, RouteName { host, domain: "yard.internal".into(), path, port: None });
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = parse_route(&text, ["yard.internal"]);
        }
    }
}
