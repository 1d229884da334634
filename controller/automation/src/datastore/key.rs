//! The names of keys.
//!
//! A key lives in the scope of the system or of one user. On the wire the scopes are `system` and
//! `user` (or their full names `st2kv.system`, `st2kv.user`); stored, the full name is kept and a
//! user's key is called `USER:name`. The name itself may contain `:` (what a sensor keeps is called
//! `PACK.CLASS:name`), so only the first `:` of a user's key separates, and a user's name has none.

use std::str::FromStr;
use thiserror::Error;

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everybody's.
    System,
    /// One user's.
    User,
}

impl Scope {
    /// As it is stored and shown: `st2kv.system`.
    pub fn full(self) -> &'static str {
        match self {
            Scope::System => "st2kv.system",
            Scope::User => "st2kv.user",
        }
    }

    /// As clients ask for it: `system`.
    pub fn short(self) -> &'static str {
        match self {
            Scope::System => "system",
            Scope::User => "user",
        }
    }
}

impl FromStr for Scope {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Scope, KeyError> {
        match text {
            "system" | "st2kv.system" => Ok(Scope::System),
            "user" | "st2kv.user" => Ok(Scope::User),
            other => Err(KeyError::Scope(other.to_owned())),
        }
    }
}

/// Which scopes a list covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeFilter {
    /// The system's keys and those of the asking user.
    All,
    /// One scope.
    One(Scope),
}

impl FromStr for ScopeFilter {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<ScopeFilter, KeyError> {
        match text {
            "all" => Ok(ScopeFilter::All),
            other => other.parse().map(ScopeFilter::One),
        }
    }
}

/// Why a key's name or scope is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not a scope.
    #[error("Invalid scope \"{0}\"! Allowed scopes are system, user, st2kv.system, st2kv.user.")]
    Scope(String),
    /// A key must be called something.
    #[error("the name of a key must not be empty")]
    NoName,
    /// A key of a user names the user.
    #[error("the key \"{0}\" is in a user's scope, but no user is named")]
    NoUser(String),
    /// The stored name could not be taken apart again.
    #[error("the user name \"{0}\" cannot own keys: it contains \":\"")]
    User(String),
}

/// A key's full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    owner: Option<String>,
    name: String,
}

impl Key {
    /// A key of the system.
    pub fn system(name: &str) -> Result<Key, KeyError> {
        named(name)?;
        Ok(Key {
            owner: None,
            name: name.to_owned(),
        })
    }

    /// A key of a user.
    pub fn user(user: &str, name: &str) -> Result<Key, KeyError> {
        named(name)?;
        if user.is_empty() {
            return Err(KeyError::NoUser(name.to_owned()));
        }
        if user.contains(':') {
            return Err(KeyError::User(user.to_owned()));
        }
        Ok(Key {
            owner: Some(user.to_owned()),
            name: name.to_owned(),
        })
    }

    /// The key that a request in this scope by this user means.
    pub fn of(scope: Scope, user: &str, name: &str) -> Result<Key, KeyError> {
        match scope {
            Scope::System => Key::system(name),
            Scope::User => Key::user(user, name),
        }
    }

    /// The key that is stored under this name.
    pub fn from_stored(scope: Scope, stored: &str) -> Result<Key, KeyError> {
        match scope {
            Scope::System => Key::system(stored),
            Scope::User => match stored.split_once(':') {
                Some((user, name)) => Key::user(user, name),
                None => Err(KeyError::NoUser(stored.to_owned())),
            },
        }
    }

    /// Its scope.
    pub fn scope(&self) -> Scope {
        match self.owner {
            None => Scope::System,
            Some(_) => Scope::User,
        }
    }

    /// Its user, if it is one's.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Its name without its user.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name under which it is stored in its scope.
    pub fn stored_name(&self) -> String {
        match &self.owner {
            None => self.name.clone(),
            Some(user) => format!("{user}:{}", self.name),
        }
    }

    /// `key_value_pair:st2kv.system:NAME`.
    pub fn uid(&self) -> String {
        format!(
            "key_value_pair:{}:{}",
            self.scope().full(),
            self.stored_name()
        )
    }
}

fn named(name: &str) -> Result<(), KeyError> {
    if name.is_empty() {
        Err(KeyError::NoName)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn scopes_have_a_short_and_a_full_name() {
        for scope in [Scope::System, Scope::User] {
            assert_eq!(scope.short().parse(), Ok(scope));
            assert_eq!(scope.full().parse(), Ok(scope));
        }
        assert_eq!("all".parse(), Ok(ScopeFilter::All));
        assert_eq!("user".parse(), Ok(ScopeFilter::One(Scope::User)));
        assert_eq!(
            "all".parse::<Scope>(),
            Err(KeyError::Scope("all".to_owned()))
        );
    }

    #[test]
    fn a_user_s_key_is_stored_with_the_user() {
        let key = Key::of(Scope::User, "ada", "Pack.Sensor:seen").expect("a key");
        assert_eq!(key.stored_name(), "ada:Pack.Sensor:seen");
        assert_eq!(key.uid(), "key_value_pair:st2kv.user:ada:Pack.Sensor:seen");
        assert_eq!((key.owner(), key.name()), (Some("ada"), "Pack.Sensor:seen"));
        let key = Key::of(Scope::System, "ada", "a.b").expect("a key");
        assert_eq!((key.stored_name().as_str(), key.owner()), ("a.b", None));
    }

    #[test]
    fn names_that_could_not_be_read_back_are_refused() {
        assert_eq!(Key::system(""), Err(KeyError::NoName));
        assert_eq!(Key::user("a:b", "x"), Err(KeyError::User("a:b".to_owned())));
        assert_eq!(Key::user("", "x"), Err(KeyError::NoUser("x".to_owned())));
        assert_eq!(
            Key::from_stored(Scope::User, "x"),
            Err(KeyError::NoUser("x".to_owned()))
        );
    }

    proptest! {
        #[test]
        fn a_stored_name_reads_back(user in "[^:]{1,8}", name in ".{1,12}") {
            for key in [Key::system(&name), Key::user(&user, &name)] {
                let key = key.expect("a key");
                prop_assert_eq!(Key::from_stored(key.scope(), &key.stored_name()), Ok(key));
            }
        }
    }
}
