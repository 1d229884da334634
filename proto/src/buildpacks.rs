//! Buildpacks: the names of those that come with Stackyard, and the addresses that others are fetched from.
//!
//! The controller checks an address when an app is made, the stager passes it on, the builder fetches. A
//! `.zip` over HTTP is an archive, any other address a git repository; `#` chooses a branch, a tag or a commit
//! of it.

use std::fmt;

/// The buildpacks that come with Stackyard, in their order of detection.
pub const SHIPPED: [&str; 4] = ["staticfile", "nodejs", "python", "binary"];
/// Ways to ask an address; which of them may be used is the operator's choice (`staging/buildpacks/schemes`).
pub const SCHEMES: [&str; 3] = ["https", "http", "git"];
/// The setting with the schemes that may be used, `,` between them.
const ALLOWED_SCHEMES: &str = "staging/buildpacks/schemes";

const LONGEST: usize = 2048;

/// The schemes that the text of the setting allows.
pub fn allowed_schemes(setting: &str) -> Vec<String> {
    let schemes = setting.split(',').map(str::trim);
    schemes
        .filter(|scheme| SCHEMES.contains(scheme))
        .map(str::to_string)
        .collect()
}

/// A checked address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Without the part after `#`.
    pub url: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Zip,
    /// Branch, tag or commit; None: what the repository has as its default.
    Git {
        reference: Option<String>,
    },
}

/// Why a text is no address that a buildpack can be fetched from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    #[error(
        "it must begin with https://, http:// or git://: other ways need keys, which a staging does not have"
    )]
    Scheme,
    #[error("addresses that begin with {scheme}:// are not fetched here ({})", allowed_in_words(.allowed))]
    NotAllowed {
        scheme: &'static str,
        allowed: Vec<String>,
    },
    #[error("it may not hold a user name or a password: whoever sees the app would see them")]
    Credentials,
    #[error("it names no host")]
    Host,
    #[error("it holds {0:?}, which no address has")]
    Character(char),
    #[error("it is longer than {LONGEST} characters")]
    TooLong,
    #[error("{0:?} is no name of a branch, a tag or a commit")]
    Reference(String),
}

fn allowed_in_words(allowed: &[String]) -> String {
    if allowed.is_empty() {
        return format!("the operator allows none, see {ALLOWED_SCHEMES}");
    }
    format!(
        "the operator allows {}, see {ALLOWED_SCHEMES}",
        allowed.join(", ")
    )
}

/// Whether a text means an address at all, right or wrong, and not the name of a buildpack.
pub fn is_address(text: &str) -> bool {
    text.contains("://") || text.starts_with("git@") || text.contains('/')
}

impl Address {
    /// Reads an address that may be asked.
    pub fn parse_allowed(text: &str, allowed: &[String]) -> Result<Address, InvalidAddress> {
        let address = Address::parse(text)?;
        let scheme = address.scheme();
        if allowed.iter().any(|one| one == scheme) {
            return Ok(address);
        }
        Err(InvalidAddress::NotAllowed {
            scheme,
            allowed: allowed.to_vec(),
        })
    }

    pub fn scheme(&self) -> &'static str {
        let has = |scheme: &&&str| self.url.starts_with(&format!("{scheme}://"));
        SCHEMES
            .iter()
            .find(has)
            .expect("an address was read with one of them")
    }

    pub fn parse(text: &str) -> Result<Address, InvalidAddress> {
        if text.len() > LONGEST {
            return Err(InvalidAddress::TooLong);
        }
        if let Some(wrong) = text
            .chars()
            .find(|it| !it.is_ascii_graphic() || "\"'<>\\^`{|}".contains(*it))
        {
            return Err(InvalidAddress::Character(wrong));
        }
        let (url, reference) = match text.split_once('#') {
            Some((url, reference)) => (url, Some(reference)),
            None => (text, None),
        };
        let (scheme, rest) = url.split_once("://").ok_or(InvalidAddress::Scheme)?;
        if !SCHEMES.contains(&scheme) {
            return Err(InvalidAddress::Scheme);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(InvalidAddress::Credentials);
        }
        if authority.is_empty() || authority.starts_with([':', '-']) {
            return Err(InvalidAddress::Host);
        }
        let file = path.split('?').next().unwrap_or_default();
        let is_zip = scheme != "git" && file.to_ascii_lowercase().ends_with(".zip");
        let kind = match (is_zip, reference) {
            (true, None) => Kind::Zip,
            (true, Some(reference)) => {
                return Err(InvalidAddress::Reference(reference.to_string()));
            }
            (false, None) => Kind::Git { reference: None },
            (false, Some(reference)) if is_reference(reference) => Kind::Git {
                reference: Some(reference.to_string()),
            },
            (false, Some(reference)) => {
                return Err(InvalidAddress::Reference(reference.to_string()));
            }
        };
        Ok(Address {
            url: url.to_string(),
            kind,
        })
    }
}

/// What git would not take for an option, a range or a pattern.
fn is_reference(text: &str) -> bool {
    let allowed = |it: char| it.is_ascii_alphanumeric() || "._-/+".contains(it);
    !text.is_empty()
        && text.chars().all(allowed)
        && !text.starts_with(['-', '/', '.'])
        && !text.contains("..")
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)?;
        match &self.kind {
            Kind::Git {
                reference: Some(reference),
            } => write!(f, "#{reference}"),
            Kind::Git { reference: None } | Kind::Zip => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_what_is_fetched_and_how() {
        let git = |reference: Option<&str>| Kind::Git {
            reference: reference.map(str::to_string),
        };
        for (text, url, kind) in [
            ("https://h/x.git", "https://h/x.git", git(None)),
            ("http://h:81/x#v1.2", "http://h:81/x", git(Some("v1.2"))),
            ("https://h/x.git#a/b", "https://h/x.git", git(Some("a/b"))),
            ("https://h/x.zip", "https://h/x.zip", Kind::Zip),
            ("https://h/X.ZIP?raw=1", "https://h/X.ZIP?raw=1", Kind::Zip),
            ("git://h/x.zip#v1", "git://h/x.zip", git(Some("v1"))),
            (
                "https://h/x?file=y.zip",
                "https://h/x?file=y.zip",
                git(None),
            ),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!(
                (address.url.as_str(), &address.kind),
                (url, &kind),
                "{text}"
            );
            assert_eq!(address.to_string(), text);
            assert!(is_address(text));
        }
    }

    #[test]
    fn the_operator_says_how_addresses_may_be_asked() {
        let allowed = allowed_schemes("https, git,gopher");
        assert_eq!(allowed, ["https", "git"]);
        for (text, is_fine) in [
            ("https://h/x.git", true),
            ("git://h/x", true),
            ("http://h/x.zip", false),
        ] {
            let parsed = Address::parse_allowed(text, &allowed);
            assert_eq!(parsed.is_ok(), is_fine, "{text}: {parsed:?}");
        }
        let told = Address::parse_allowed("http://h/x", &allowed_schemes(""));
        assert_eq!(
            told.expect_err("none is allowed").to_string(),
            "addresses that begin with http:// are not fetched here (the operator allows none, see staging/buildpacks/schemes)"
        );
    }

    #[test]
    fn what_cannot_be_fetched_is_refused() {
        let reference = |text: &str| InvalidAddress::Reference(text.into());
        for (text, why) in [
            ("git@h:a/b.git", InvalidAddress::Scheme),
            ("ssh://h/x", InvalidAddress::Scheme),
            ("file:///etc", InvalidAddress::Scheme),
            ("./folder", InvalidAddress::Scheme),
            ("https://me:secret@h/x", InvalidAddress::Credentials),
            ("https:///x", InvalidAddress::Host),
            ("https://-oProxyCommand=x/y", InvalidAddress::Host),
            ("https://h/a b", InvalidAddress::Character(' ')),
            ("https://h/x#--upload-pack=y", reference("--upload-pack=y")),
            ("https://h/x#--upload-pack", reference("--upload-pack")),
            ("https://h/x#a..b", reference("a..b")),
            ("https://h/x#", reference("")),
            ("https://h/x.zip#v1", reference("v1")),
        ] {
            assert_eq!(Address::parse(text), Err(why), "{text}");
            assert!(is_address(text), "{text}");
        }
        assert!(!is_address("python_buildpack"));
        let long = format!("https://h/{}", "x".repeat(LONGEST));
        assert_eq!(Address::parse(&long), Err(InvalidAddress::TooLong));
    }
}
