//! The environment variables of an action: what stands where, and who wins.
//!
//! First the sandbox's own variables, then the action's `env` parameter, then what tells the action who
//! it is. The last wins: a pack cannot pretend to be another execution.

use super::command_line::Sensitive;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use thiserror::Error;

/// Who an action is, for itself and for clients it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionIdentity {
    /// The pack it belongs to.
    pub pack: String,
    /// The execution.
    pub execution: String,
    /// Where the API of automation is, version included.
    pub api_url: String,
    /// Where the API for apps is.
    pub apps_url: String,
    /// A token that ends with the execution.
    pub token: Option<Sensitive>,
    /// Whether it should be verbose.
    pub debug: bool,
}

/// Environment variables.
#[derive(Clone, PartialEq, Eq)]
pub struct Environment {
    /// By name. May hold secrets: not printed.
    pub variables: BTreeMap<String, String>,
    /// Variables the action asked for and does not get.
    pub refused: Vec<String>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("names", &self.variables.keys())
            .field("refused", &self.refused)
            .finish()
    }
}

/// Why there is no such environment.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EnvironmentError {
    /// No process can have such a variable.
    #[error("the environment variable \"{0}\" has a name that is empty or contains \"=\" or NUL")]
    Name(String),
    /// Variables are texts.
    #[error("the environment variable \"{0}\" must be a text, a number or a boolean, without NUL")]
    Value(String),
}

/// For shell runners: `base`, then `env`, then the identity.
pub fn shell_environment(
    base: &BTreeMap<String, String>,
    env: Option<&Map<String, Value>>,
    identity: &ActionIdentity,
) -> Result<Environment, EnvironmentError> {
    let mut variables = base.clone();
    for (name, value) in env.into_iter().flatten() {
        variables.insert(checked(name)?.to_owned(), text(name, value)?);
    }
    variables.extend(of(identity));
    Ok(Environment {
        variables,
        refused: Vec::new(),
    })
}

/// For Python actions: as for the shell, but the interpreter's own path is not the action's to change;
/// clients in the action find the API by `ST2_API_URL` and `ST2_AUTH_TOKEN` too.
pub fn python_environment(
    base: &BTreeMap<String, String>,
    env: Option<&Map<String, Value>>,
    identity: &ActionIdentity,
) -> Result<Environment, EnvironmentError> {
    let is_refused = |name: &str| name.eq_ignore_ascii_case("PYTHONPATH");
    let mut allowed = env.cloned().unwrap_or_default();
    let refused: Vec<String> = allowed
        .keys()
        .filter(|name| is_refused(name))
        .cloned()
        .collect();
    for name in &refused {
        allowed.remove(name);
    }
    let mut environment = shell_environment(base, Some(&allowed), identity)?;
    environment.refused = refused;
    environment
        .variables
        .insert("ST2_API_URL".to_owned(), identity.api_url.clone());
    if let Some(token) = &identity.token {
        environment
            .variables
            .insert("ST2_AUTH_TOKEN".to_owned(), token.expose().to_owned());
    }
    Ok(environment)
}

pub(super) fn of(identity: &ActionIdentity) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::from([
        ("ST2_ACTION_PACK_NAME".to_owned(), identity.pack.clone()),
        (
            "ST2_ACTION_EXECUTION_ID".to_owned(),
            identity.execution.clone(),
        ),
        ("ST2_ACTION_API_URL".to_owned(), identity.api_url.clone()),
        ("YARD_API_URL".to_owned(), identity.apps_url.clone()),
        (
            "ST2_ACTION_DEBUG".to_owned(),
            if identity.debug { "True" } else { "False" }.to_owned(),
        ),
    ]);
    if let Some(token) = &identity.token {
        // One token, good for both APIs.
        for name in ["ST2_ACTION_AUTH_TOKEN", "YARD_TOKEN"] {
            variables.insert(name.to_owned(), token.expose().to_owned());
        }
    }
    variables
}

pub(super) fn checked(name: &str) -> Result<&str, EnvironmentError> {
    if name.is_empty() || name.contains(['=', '\0']) {
        Err(EnvironmentError::Name(name.to_owned()))
    } else {
        Ok(name)
    }
}

pub(super) fn text(name: &str, value: &Value) -> Result<String, EnvironmentError> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            return Err(EnvironmentError::Value(name.to_owned()));
        }
    };
    if text.contains('\0') {
        return Err(EnvironmentError::Value(name.to_owned()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn identity() -> ActionIdentity {
        ActionIdentity {
            pack: "core".to_owned(),
            execution: "e1".to_owned(),
            api_url: "http://st2.example/api/v1".to_owned(),
            apps_url: "http://api.example".to_owned(),
            token: Some(Sensitive::new("t0ken")),
            debug: false,
        }
    }

    fn base() -> BTreeMap<String, String> {
        BTreeMap::from([("HOME", "/home"), ("LANG", "C"), ("PYTHONPATH", "/lib")])
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn env(value: Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn the_action_wins_over_the_sandbox_and_the_identity_over_both() {
        let env = env(json!({"LANG": "de", "N": 5, "T": true, "ST2_ACTION_EXECUTION_ID": "fake"}));
        let environment =
            shell_environment(&base(), Some(&env), &identity()).expect("an environment");
        let get = |name: &str| environment.variables[name].as_str();
        assert_eq!((get("HOME"), get("LANG")), ("/home", "de"));
        assert_eq!((get("N"), get("T")), ("5", "True"));
        assert_eq!(get("ST2_ACTION_EXECUTION_ID"), "e1");
        assert_eq!(get("ST2_ACTION_AUTH_TOKEN"), "t0ken");
        assert_eq!(get("YARD_API_URL"), "http://api.example");
        assert_eq!(get("YARD_TOKEN"), "t0ken");
        assert_eq!(get("ST2_ACTION_DEBUG"), "False");
        assert!(!format!("{environment:?} {:?}", identity()).contains("t0ken"));
    }

    #[test]
    fn a_python_action_cannot_change_the_interpreter_s_path() {
        let env = env(json!({"PythonPath": "/mine", "A": "b"}));
        let environment =
            python_environment(&base(), Some(&env), &identity()).expect("an environment");
        assert_eq!(environment.refused, ["PythonPath"]);
        assert_eq!(environment.variables["PYTHONPATH"], "/lib");
        assert!(!environment.variables.contains_key("PythonPath"));
        assert_eq!(environment.variables["A"], "b");
        assert_eq!(environment.variables["ST2_AUTH_TOKEN"], "t0ken");
        assert_eq!(environment.variables["ST2_API_URL"], identity().api_url);
    }

    #[test]
    fn what_cannot_be_a_variable_is_refused() {
        let attempt = |value: Value| shell_environment(&base(), Some(&env(value)), &identity());
        assert_eq!(
            attempt(json!({"A=B": "c"})),
            Err(EnvironmentError::Name("A=B".to_owned()))
        );
        assert_eq!(
            attempt(json!({"A": ["c"]})),
            Err(EnvironmentError::Value("A".to_owned()))
        );
        assert_eq!(
            attempt(json!({"A": "b\0"})),
            Err(EnvironmentError::Value("A".to_owned()))
        );
    }
}
