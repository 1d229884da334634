//! What a Python action says: its wrapper prints the answer between two delimiters among whatever the
//! action itself printed.

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// What stands before and after the answer.
pub const DELIMITER: &str = "%%%%%~=~=~=************=~=~=~%%%%";

/// The exit status of a wrapper whose action returned nonsense as its status.
pub(super) const INVALID_STATUS: i32 = 220;

/// The answer of a Python action.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PythonAnswer {
    /// What it returned.
    #[serde(default)]
    pub result: Value,
    /// Whether it says itself that it succeeded; None if it leaves that to its exit status.
    #[serde(default)]
    pub status: Option<bool>,
}

/// Why an output has no proper answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// The delimiter must be there twice.
    #[error("The result length should be 3, was {0}.")]
    Parts(usize),
    /// What stands between is no answer.
    #[error("the answer of the action is not understood: {0}")]
    Answer(String),
}

/// Takes the answer out of the output. None if there is none, as when the action was killed.
pub fn separate(stdout: &str) -> Result<(String, Option<PythonAnswer>), ProtocolError> {
    let parts: Vec<&str> = stdout.split(DELIMITER).collect();
    match parts.as_slice() {
        [all] => Ok(((*all).to_owned(), None)),
        [before, answer, after] => {
            let answer = answer.trim();
            let text = format!("{before}{after}");
            if answer.is_empty() {
                return Ok((text, None));
            }
            let answer = serde_json::from_str(answer)
                .map_err(|error| ProtocolError::Answer(error.to_string()))?;
            Ok((text, Some(answer)))
        }
        _ => Err(ProtocolError::Parts(parts.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_answer_is_taken_out_of_the_output() {
        let printed =
            format!("one\n{DELIMITER}{{\"result\": [1], \"status\": true}}\n{DELIMITER}two\n");
        assert_eq!(
            separate(&printed),
            Ok((
                "one\ntwo\n".to_owned(),
                Some(PythonAnswer {
                    result: json!([1]),
                    status: Some(true)
                })
            ))
        );
    }

    #[test]
    fn no_answer_is_not_an_error_but_a_broken_one_is() {
        assert_eq!(separate("one\n"), Ok(("one\n".to_owned(), None)));
        assert_eq!(
            separate(&format!("a{DELIMITER}b")),
            Err(ProtocolError::Parts(2))
        );
        assert!(matches!(
            separate(&format!("{DELIMITER}{{\"status\": 5}}{DELIMITER}")),
            Err(ProtocolError::Answer(_))
        ));
    }
}
