//! Asking a person. Without a terminal nobody is asked and the answer is an error that says which
//! flag to give instead.

use crate::failure::{Failure, Outcome};
use std::io::{IsTerminal, Write};

/// `y` or `yes`.
pub fn confirm(question: &str) -> Outcome<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(
            Failure::usage(format!("{question} Nobody can be asked here"))
                .fix("add --force (or --yes)"),
        );
    }
    let answer = ask(&format!("{question} [y/N] "))?;
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

/// One line of text.
pub fn ask(question: &str) -> Outcome<String> {
    let mut stderr = std::io::stderr();
    // The question goes where it does not mix with a result.
    let _ = write!(stderr, "{question}").and_then(|()| stderr.flush());
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|error| Failure::failed("read the answer").because(error))?;
    Ok(line.trim().to_string())
}

/// One line that is not shown; without a terminal the first line of standard input.
pub fn secret(question: &str) -> Outcome<String> {
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password(question)
            .map_err(|error| Failure::failed("read the password").because(error));
    }
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|error| Failure::failed("read the password from standard input").because(error))?;
    let password = line.trim_end_matches(['\r', '\n']).to_string();
    if password.is_empty() {
        Err(Failure::usage("no password was given"))
    } else {
        Ok(password)
    }
}
