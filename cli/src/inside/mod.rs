//! Inside an instance: a shell or a command in it (`ssh`), its files (`files`), copies of them (`cp`).
//!
//! All three are the same connection, to the SSH proxy: the latter two run small programs of the app's stack
//! (`find`, `cat`, `tar`) there. So nothing gets at a file that a shell would not get at, and one access rule and one
//! record hold for all.

pub mod connection;
pub mod copy;
pub mod files;
mod place;
pub mod shell;
mod terminal;

/// A word for the shell of the instance.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_quoted_word_stays_one() {
        assert_eq!(super::quoted("a b$c"), "'a b$c'");
        assert_eq!(super::quoted("it's"), "'it'\\''s'");
    }
}
