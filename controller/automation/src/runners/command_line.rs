//! What the shell runners run, as a value: the text for the shell, its environment, its input.
//!
//! Arguments of scripts: those with a position come last, in that order, as plain words (booleans `1`
//! and `0`, lists joined by commas, objects as JSON, null as an empty word); the others come first, by
//! name (`--name=value`; true: just `--name`; false, null and the empty text: not at all).
//!
//! Differences from StackStorm, both of them bugs there: a positional integer 0 is `0`, not an empty
//! word; a list or object passed by name is JSON, not the text Python would print.

use super::environment::{
    ActionIdentity, Environment, EnvironmentError, checked, of, shell_environment, text,
};
use super::shell::quote;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use thiserror::Error;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Sensitive(String);

impl Sensitive {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Sensitive {
        Sensitive(text.into())
    }

    /// The text, for whoever uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Sensitive {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(crate::documents::MASK)
    }
}

/// What is to be run. `text` may hold secret parameters; a log shows it only after scrubbing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// For `/bin/sh -c`.
    pub text: Sensitive,
    /// Its variables.
    pub environment: Environment,
    /// Its directory.
    pub cwd: String,
    /// Seconds until it is killed.
    pub timeout: u64,
    /// Written to its standard input, which is closed then; nothing: closed at once.
    pub stdin: Option<Sensitive>,
    /// A file that must be executable first.
    pub make_executable: Option<String>,
}

/// What the shell runners have in common.
#[derive(Debug, Clone, Copy)]
pub struct ShellRun<'a> {
    /// The parameters of the runner, rendered and with defaults.
    pub parameters: &'a Map<String, Value>,
    /// The sandbox's own variables.
    pub base_environment: &'a BTreeMap<String, String>,
    /// Who the action is.
    pub identity: &'a ActionIdentity,
    /// Its directory unless it names one.
    pub default_cwd: &'a str,
    /// The user it is to run as, if that is not the sandbox's own.
    pub run_as: Option<&'a str>,
}

/// A parameter that has a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positional<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its declared type, if it has a single one.
    pub kind: Option<&'a str>,
}

/// Why there is nothing to run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommandLineError {
    /// The command is missing.
    #[error("the parameter \"cmd\" is missing: there is no command to run")]
    NoCommand,
    /// A parameter of the runner has the wrong type.
    #[error("the parameter \"{name}\" must be {expected}")]
    Parameter {
        /// Which.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A command line cannot hold it.
    #[error("the command contains a NUL character")]
    Nul,
    /// The environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}

/// For `local-shell-cmd`.
pub fn shell_command(run: ShellRun<'_>) -> Result<CommandLine, CommandLineError> {
    let command = optional_text(run.parameters, "cmd")?.ok_or(CommandLineError::NoCommand)?;
    run.command_line(command.to_owned(), None)
}

/// For `local-shell-script`: the script at `path`, with the action's own parameters.
pub fn shell_script(
    run: ShellRun<'_>,
    path: &str,
    parameters: &Map<String, Value>,
    positional: &[Positional<'_>],
) -> Result<CommandLine, CommandLineError> {
    let prefix = optional_text(run.parameters, "kwarg_op")?.unwrap_or("--");
    let mut command = quote(path).into_owned();
    for argument in script_arguments(prefix, parameters, positional) {
        command.push(' ');
        command.push_str(&argument);
    }
    run.command_line(command, Some(path.to_owned()))
}

impl ShellRun<'_> {
    fn command_line(
        &self,
        command: String,
        make_executable: Option<String>,
    ) -> Result<CommandLine, CommandLineError> {
        if command.contains('\0') {
            return Err(CommandLineError::Nul);
        }
        let sudo = sudo(self.parameters)?;
        let password = optional_text(self.parameters, "sudo_password")?;
        let text = match (sudo, self.run_as) {
            (true, _) => sudo_form(None, password.is_some(), &command),
            (false, Some(user)) => sudo_form(Some(user), password.is_some(), &command),
            (false, None) => command,
        };
        let through_sudo = sudo || self.run_as.is_some();
        Ok(CommandLine {
            text: Sensitive(text),
            environment: shell_environment(
                self.base_environment,
                optional_object(self.parameters, "env")?,
                self.identity,
            )?,
            cwd: optional_text(self.parameters, "cwd")?
                .unwrap_or(self.default_cwd)
                .to_owned(),
            timeout: timeout(self.parameters)?,
            stdin: password
                .filter(|_| through_sudo)
                .map(|password| Sensitive(format!("{password}\n"))),
            make_executable,
        })
    }
}

/// A command for other hosts: one text, since SSH carries neither variables nor a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteCommand {
    /// For the login shell of the host.
    pub text: Sensitive,
    /// Written to its standard input.
    pub stdin: Option<Sensitive>,
    /// Seconds until it is given up.
    pub timeout: u64,
}

/// For `remote-shell-cmd` (`command` is `cmd`) and `remote-shell-script` (`command` is the copied
/// script with its [`arguments`]): variables exported, directory changed, then the command.
///
/// The password for sudo goes over standard input, not through an `echo` in the command as upstream:
/// everybody on the host can read command lines.
pub fn remote_command(
    parameters: &Map<String, Value>,
    command: &str,
    identity: &ActionIdentity,
) -> Result<RemoteCommand, CommandLineError> {
    if command.contains('\0') {
        return Err(CommandLineError::Nul);
    }
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in optional_object(parameters, "env")?.into_iter().flatten() {
        variables.insert(checked(name)?.to_owned(), text(name, value)?);
    }
    variables.extend(of(identity));
    let exports: Vec<String> = variables
        .iter()
        .map(|(name, value)| format!("{}={}", quote(name), quote(value)))
        .collect();
    let cwd = optional_text(parameters, "cwd")?.unwrap_or("/tmp");
    let whole = format!(
        "export {} && cd {} && {command}",
        exports.join(" "),
        quote(cwd)
    );
    let password = optional_text(parameters, "sudo_password")?;
    let sudo = sudo(parameters)?;
    Ok(RemoteCommand {
        text: Sensitive(if sudo {
            sudo_form(None, password.is_some(), &whole)
        } else {
            whole
        }),
        stdin: password
            .filter(|_| sudo)
            .map(|password| Sensitive(format!("{password}\n"))),
        timeout: timeout(parameters)?,
    })
}

/// The command through sudo: as root, or as another user with that user's home.
fn sudo_form(user: Option<&str>, password: bool, command: &str) -> String {
    let mut form = "sudo".to_owned();
    if password {
        form.push_str(" -S");
    }
    form.push_str(" -E");
    if let Some(user) = user {
        form.push_str(" -H -u ");
        form.push_str(&quote(user));
    }
    format!("{form} -- bash -c {}", quote(command))
}

/// The arguments of a script, quoted.
/// The words a script is called with, quoted for the shell: by name first, then by position.
pub fn script_arguments(
    prefix: &str,
    parameters: &Map<String, Value>,
    positional: &[Positional<'_>],
) -> Vec<String> {
    let has_position = |name: &str| positional.iter().any(|one| one.name == name);
    let mut arguments: Vec<String> = parameters
        .iter()
        .filter(|(name, _)| !has_position(name))
        .filter_map(|(name, value)| {
            let option = format!("{prefix}{name}");
            let value = match value {
                Value::Null | Value::Bool(false) => return None,
                Value::Bool(true) => return Some(quote(&option).into_owned()),
                Value::String(text) if text.is_empty() => return None,
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
            };
            Some(format!("{}={}", quote(&option), quote(&value)))
        })
        .collect();
    arguments.extend(positional.iter().map(|one| {
        let value = parameters.get(one.name).unwrap_or(&Value::Null);
        quote(&word(one.kind, value)).into_owned()
    }));
    arguments
}

/// A positional argument as a word. What counts is the value; the declared type decides only where
/// one is declared that the value does not have.
fn word(kind: Option<&str>, value: &Value) -> String {
    match (kind, value) {
        (_, Value::Null) | (Some("null"), _) => String::new(),
        (_, Value::Bool(yes)) => if *yes { "1" } else { "0" }.to_owned(),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Array(items)) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => text.clone(),
                Value::Null => "None".to_owned(),
                Value::Bool(true) => "True".to_owned(),
                Value::Bool(false) => "False".to_owned(),
                Value::Number(_) | Value::Array(_) | Value::Object(_) => item.to_string(),
            })
            .collect::<Vec<_>>()
            .join(","),
        (_, Value::Object(object)) if object.is_empty() => String::new(),
        (Some("boolean"), Value::Number(number)) => if number.as_f64() == Some(0.0) {
            "0"
        } else {
            "1"
        }
        .to_owned(),
        (_, Value::Number(_) | Value::Object(_)) => value.to_string(),
    }
}

fn sudo(parameters: &Map<String, Value>) -> Result<bool, CommandLineError> {
    match parameters.get("sudo") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(sudo)) => Ok(*sudo),
        Some(_) => Err(CommandLineError::Parameter {
            name: "sudo",
            expected: "a boolean",
        }),
    }
}

fn timeout(parameters: &Map<String, Value>) -> Result<u64, CommandLineError> {
    match parameters.get("timeout") {
        None | Some(Value::Null) => Ok(60),
        Some(value) => {
            value
                .as_u64()
                .filter(|seconds| *seconds > 0)
                .ok_or(CommandLineError::Parameter {
                    name: "timeout",
                    expected: "a number of seconds, at least 1",
                })
        }
    }
}

/// A text that is given and not empty.
fn optional_text<'a>(
    parameters: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, CommandLineError> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(CommandLineError::Parameter {
            name,
            expected: "a text",
        }),
    }
}

fn optional_object<'a>(
    parameters: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a Map<String, Value>>, CommandLineError> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(CommandLineError::Parameter {
            name,
            expected: "an object",
        }),
    }
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
            token: None,
            debug: false,
        }
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    fn command(parameters: Value, run_as: Option<&str>) -> Result<CommandLine, CommandLineError> {
        shell_command(ShellRun {
            parameters: &object(parameters),
            base_environment: &BTreeMap::new(),
            identity: &identity(),
            default_cwd: "/packs/core",
            run_as,
        })
    }

    #[track_caller]
    fn script(runner: Value, parameters: Value, positional: &[(&str, &str)]) -> String {
        let positional: Vec<Positional<'_>> = positional
            .iter()
            .map(|(name, kind)| Positional {
                name,
                kind: Some(*kind),
            })
            .collect();
        shell_script(
            ShellRun {
                parameters: &object(runner),
                base_environment: &BTreeMap::new(),
                identity: &identity(),
                default_cwd: "/packs/core",
                run_as: None,
            },
            "/packs/core/actions/run.sh",
            &object(parameters),
            &positional,
        )
        .expect("a command line")
        .text
        .expose()
        .to_owned()
    }

    #[test]
    fn a_command_is_what_the_shell_reads() {
        let line =
            command(json!({"cmd": "echo $HOME | wc -c", "cwd": null}), None).expect("a line");
        assert_eq!(line.text.expose(), "echo $HOME | wc -c");
        assert_eq!((line.cwd.as_str(), line.timeout), ("/packs/core", 60));
        assert_eq!((line.stdin, line.make_executable), (None, None));
        let line =
            command(json!({"cmd": "ls", "cwd": "/srv", "timeout": 5}), None).expect("a line");
        assert_eq!((line.cwd.as_str(), line.timeout), ("/srv", 5));
    }

    #[test]
    fn sudo_keeps_the_environment_and_reads_its_password_from_the_input() {
        let line = command(json!({"cmd": "id 'x'", "sudo": true}), None).expect("a line");
        assert_eq!(
            line.text.expose(),
            "sudo -E -- bash -c 'id '\"'\"'x'\"'\"''"
        );
        let line = command(
            json!({"cmd": "id", "sudo": true, "sudo_password": "pw"}),
            None,
        )
        .expect("a line");
        assert_eq!(line.text.expose(), "sudo -S -E -- bash -c id");
        assert_eq!(line.stdin.as_ref().map(Sensitive::expose), Some("pw\n"));
        assert!(!format!("{line:?}").contains("pw"));
        let line = command(json!({"cmd": "id", "sudo_password": "pw"}), None).expect("a line");
        assert_eq!(line.stdin, None);
    }

    #[test]
    fn another_user_s_command_goes_through_sudo() {
        let line = command(json!({"cmd": "id"}), Some("stanley")).expect("a line");
        assert_eq!(line.text.expose(), "sudo -E -H -u stanley -- bash -c id");
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        for parameters in [json!({}), json!({"cmd": ""}), json!({"cmd": null})] {
            assert_eq!(command(parameters, None), Err(CommandLineError::NoCommand));
        }
        assert_eq!(
            command(json!({"cmd": "a\0b"}), None),
            Err(CommandLineError::Nul)
        );
        for (name, parameters) in [
            ("cmd", json!({"cmd": 5})),
            ("sudo", json!({"cmd": "id", "sudo": "yes"})),
            ("timeout", json!({"cmd": "id", "timeout": 0})),
            ("env", json!({"cmd": "id", "env": "A=B"})),
        ] {
            match command(parameters, None) {
                Err(CommandLineError::Parameter { name: found, .. }) => assert_eq!(found, name),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn named_arguments_come_first_then_those_with_a_position() {
        assert_eq!(
            script(
                json!({}),
                json!({"first": "a b", "second": 2, "name": "x y", "flag": true, "off": false, "none": null, "empty": "", "list": ["a", 1]}),
                &[("second", "integer"), ("first", "string")]
            ),
            "/packs/core/actions/run.sh --flag '--list=[\"a\",1]' --name='x y' 2 'a b'"
                .replace("'--list=[\"a\",1]'", "--list='[\"a\",1]'")
        );
    }

    #[test]
    fn words_are_written_by_their_type() {
        assert_eq!(
            script(
                json!({"kwarg_op": "-"}),
                json!({"yes": true, "no": false, "list": ["a", "b c", 3, true, null], "object": {"k": "v"}, "zero": 0, "named": 1.5, "float": 1.0}),
                &[
                    ("yes", "boolean"),
                    ("no", "boolean"),
                    ("list", "array"),
                    ("object", "object"),
                    ("missing", "string"),
                    ("zero", "integer"),
                    ("float", "number")
                ]
            ),
            "/packs/core/actions/run.sh -named=1.5 1 0 'a,b c,3,True,None' '{\"k\":\"v\"}' '' 0 1.0"
        );
    }

    #[test]
    fn a_script_is_made_executable_and_can_be_run_by_sudo() {
        let line = shell_script(
            ShellRun {
                parameters: &object(json!({"sudo": true})),
                base_environment: &BTreeMap::new(),
                identity: &identity(),
                default_cwd: "/packs/core",
                run_as: None,
            },
            "/packs/my pack/run.sh",
            &object(json!({"a": "b c"})),
            &[],
        )
        .expect("a line");
        assert_eq!(
            line.make_executable.as_deref(),
            Some("/packs/my pack/run.sh")
        );
        assert_eq!(
            line.text.expose(),
            "sudo -E -- bash -c ''\"'\"'/packs/my pack/run.sh'\"'\"' --a='\"'\"'b c'\"'\"''"
        );
    }

    #[test]
    fn a_remote_command_carries_its_variables_and_directory() {
        let parameters = object(json!({"env": {"A": "b c"}, "cwd": "/srv/x y"}));
        let command = remote_command(&parameters, "uptime", &identity()).expect("a command");
        assert_eq!(
            command.text.expose(),
            "export A='b c' ST2_ACTION_API_URL=http://st2.example/api/v1 ST2_ACTION_DEBUG=False ST2_ACTION_EXECUTION_ID=e1 ST2_ACTION_PACK_NAME=core YARD_API_URL=http://api.example && cd '/srv/x y' && uptime"
        );
        let parameters = object(json!({"sudo": true, "sudo_password": "pw"}));
        let command = remote_command(&parameters, "uptime", &identity()).expect("a command");
        assert!(
            command
                .text
                .expose()
                .starts_with("sudo -S -E -- bash -c 'export ")
        );
        assert!(!command.text.expose().contains("pw"));
        assert_eq!(command.stdin.as_ref().map(Sensitive::expose), Some("pw\n"));
    }
}
