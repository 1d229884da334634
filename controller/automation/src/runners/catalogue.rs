//! The runners as the API lists them under `/runnertypes`.
//!
//! Names, types, defaults and flags of the parameters are part of the contract with packs: actions
//! override them by name.

use super::runner::Runner;
use crate::documents::derived_id;
use serde_json::{Map, Value, json};

/// The documents of all runners.
pub fn catalogue() -> Vec<Value> {
    Runner::ALL.into_iter().map(document).collect()
}

/// The document of a runner. One that is not supported is disabled from the start.
pub fn document(runner: Runner) -> Value {
    let uid = format!("runner_type:{}", runner.name());
    let (package, module) = module(runner);
    json!({
        "id": derived_id(&uid),
        "uid": uid,
        "name": runner.name(),
        "aliases": runner.aliases(),
        "description": description(runner),
        "enabled": runner.refusal().is_none(),
        "runner_package": package,
        "runner_module": module,
        "query_module": Value::Null,
        "output_key": output_key(runner),
        "output_schema": output_schema(runner),
        "runner_parameters": parameters(runner),
    })
}

fn description(runner: Runner) -> &'static str {
    match runner {
        Runner::LocalShellCmd => "Runs a command in the pack's sandbox.",
        Runner::LocalShellScript => "Runs a script of the pack in its sandbox.",
        Runner::RemoteShellCmd => "Runs a command on other hosts over SSH.",
        Runner::RemoteShellScript => {
            "Copies a script of the pack to other hosts over SSH and runs it there."
        }
        Runner::PythonScript => "Runs a Python class of the pack.",
        Runner::HttpRequest => "Sends an HTTP request.",
        Runner::ActionChain => "Runs actions one after the other.",
        Runner::Orquesta => "Runs a workflow.",
        Runner::Announcement => "Sends a message to all who listen to the event stream.",
        Runner::Noop => "Does nothing, and succeeds.",
        Runner::Inquirer => "Asks people a question and waits for the answer.",
        Runner::WinrmCmd => "Runs a command on a Windows host. Not supported by this installation.",
        Runner::WinrmPsCmd => {
            "Runs a PowerShell command on a Windows host. Not supported by this installation."
        }
        Runner::WinrmPsScript => {
            "Runs a PowerShell script on a Windows host. Not supported by this installation."
        }
        Runner::MistralV2 => "Ran Mistral workflows. Not supported: write them for orquesta.",
    }
}

/// The Python package and module of the runner upstream; clients show them.
fn module(runner: Runner) -> (&'static str, &'static str) {
    match runner {
        Runner::LocalShellCmd => ("local_runner", "local_shell_command_runner"),
        Runner::LocalShellScript => ("local_runner", "local_shell_script_runner"),
        Runner::RemoteShellCmd => ("remote_runner", "remote_command_runner"),
        Runner::RemoteShellScript => ("remote_runner", "remote_script_runner"),
        Runner::PythonScript => ("python_runner", "python_runner"),
        Runner::HttpRequest => ("http_runner", "http_runner"),
        Runner::ActionChain => ("action_chain_runner", "action_chain_runner"),
        Runner::Orquesta => ("orquesta_runner", "orquesta_runner"),
        Runner::Announcement => ("announcement_runner", "announcement_runner"),
        Runner::Noop => ("noop_runner", "noop_runner"),
        Runner::Inquirer => ("inquirer_runner", "inquirer_runner"),
        Runner::WinrmCmd => ("winrm_runner", "winrm_command_runner"),
        Runner::WinrmPsCmd => ("winrm_runner", "winrm_ps_command_runner"),
        Runner::WinrmPsScript => ("winrm_runner", "winrm_ps_script_runner"),
        Runner::MistralV2 => ("mistral_v2", "mistral_v2"),
    }
}

/// Under which key of a result its output stands.
pub(super) fn output_key(runner: Runner) -> Option<&'static str> {
    match runner {
        Runner::PythonScript => Some("result"),
        Runner::HttpRequest => Some("body"),
        Runner::ActionChain => Some("published"),
        Runner::Orquesta => Some("output"),
        Runner::LocalShellCmd
        | Runner::LocalShellScript
        | Runner::RemoteShellCmd
        | Runner::RemoteShellScript
        | Runner::Announcement
        | Runner::Noop
        | Runner::Inquirer
        | Runner::WinrmCmd
        | Runner::WinrmPsCmd
        | Runner::WinrmPsScript
        | Runner::MistralV2 => None,
    }
}

/// The schema of a result; `{}`: none.
pub(super) fn output_schema(runner: Runner) -> Value {
    let anything = || {
        let kinds = [
            "object", "string", "integer", "number", "boolean", "array", "null",
        ];
        json!({"anyOf": kinds.map(|kind| json!({"type": kind}))})
    };
    let properties = match runner {
        Runner::PythonScript => json!({
            "result": anything(),
            "stderr": {"type": "string", "required": true},
            "stdout": {"type": "string", "required": true},
            "exit_code": {"type": "integer", "required": true},
        }),
        Runner::HttpRequest => json!({
            "status_code": {"type": "integer"},
            "body": anything(),
            "parsed": {"type": "boolean"},
            "headers": {"type": "object"},
        }),
        Runner::ActionChain => json!({
            "published": {"type": "object"},
            "tasks": {"type": "array"},
        }),
        Runner::Orquesta => json!({
            "errors": {"anyOf": [{"type": "object"}, {"type": "array"}]},
            "output": anything(),
        }),
        Runner::LocalShellCmd
        | Runner::LocalShellScript
        | Runner::RemoteShellCmd
        | Runner::RemoteShellScript
        | Runner::Announcement
        | Runner::Noop
        | Runner::Inquirer
        | Runner::WinrmCmd
        | Runner::WinrmPsCmd
        | Runner::WinrmPsScript
        | Runner::MistralV2 => return json!({}),
    };
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

/// A parameter without anything special.
fn plain(kind: &str, description: &str) -> Value {
    json!({"type": kind, "description": description})
}

/// The same with more attributes.
fn with(mut parameter: Value, more: Value) -> Value {
    if let (Some(parameter), Value::Object(more)) = (parameter.as_object_mut(), more) {
        parameter.extend(more);
    }
    parameter
}

fn parameters(runner: Runner) -> Value {
    let mut all = Map::new();
    let mut add = |parameters: Value| {
        if let Value::Object(parameters) = parameters {
            all.extend(parameters);
        }
    };
    match runner {
        Runner::LocalShellCmd => {
            add(command("sandbox"));
            add(shell());
        }
        Runner::LocalShellScript => {
            add(shell());
            add(content());
        }
        Runner::RemoteShellCmd => {
            add(command("host"));
            add(shell());
            add(remote(true));
        }
        Runner::RemoteShellScript => {
            add(shell());
            add(remote(false));
        }
        Runner::PythonScript => {
            add(content());
            add(json!({
                "env": environment(),
                "timeout": timeout(600),
                "log_level": {
                    "type": "string", "default": "DEBUG",
                    "enum": ["AUDIT", "CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG"],
                    "description": "The least grave messages of the action's logger that are kept.",
                },
            }));
        }
        Runner::HttpRequest => add(http()),
        Runner::ActionChain => add(json!({
            "display_published": {
                "type": "boolean", "default": true,
                "description": "Whether the result shows what the steps published.",
            },
            "skip_notify": {
                "type": "array", "default": [],
                "description": "Steps that notify nobody.",
            },
        })),
        Runner::Orquesta => add(json!({
            "notify": {
                "type": "array", "default": [], "uniqueItems": true,
                "items": {"type": "string", "minLength": 1, "pattern": "^\\w+$"},
                "description": "Tasks that notify.",
            },
        })),
        Runner::Announcement => add(json!({
            "experimental": {
                "type": "boolean", "required": true, "default": false,
                "description": "Must be true: says that the caller knows this runner to be experimental.",
            },
            "route": {
                "type": "string", "default": "general", "minLength": 1, "maxLength": 255,
                "description": "Who is meant: the last part of the event's name. Words separated by dots.",
            },
        })),
        Runner::Noop => {}
        Runner::Inquirer => add(inquiry()),
        Runner::WinrmCmd | Runner::WinrmPsCmd => {
            add(command("host"));
            add(winrm());
        }
        Runner::WinrmPsScript => add(winrm()),
        Runner::MistralV2 => add(json!({
            "workflow": plain("string", "The workflow to run, if the file has several."),
            "task": plain("string", "The task to end with, in a reverse workflow."),
            "context": with(plain("object", "More context for the workflow."), json!({"default": {}})),
            "skip_notify": with(plain("array", "Tasks that notify nobody."), json!({"default": []})),
        })),
    }
    Value::Object(all)
}

fn command(place: &str) -> Value {
    json!({"cmd": plain("string", &format!("The command, as a shell on the {place} reads it."))})
}

fn environment() -> Value {
    plain("object", "Environment variables for the action.")
}

fn timeout(seconds: u32) -> Value {
    with(
        plain("integer", "Seconds after which the action is killed."),
        json!({"default": seconds}),
    )
}

/// What all shell runners have.
fn shell() -> Value {
    json!({
        "cwd": plain("string", "The directory in which it runs."),
        "env": environment(),
        "kwarg_op": {
            "type": "string", "default": "--",
            "description": "What stands before the name of a named argument.",
        },
        "sudo": {
            "type": "boolean", "default": false,
            "description": "Whether it runs as root, through sudo.",
        },
        "sudo_password": {
            "type": "string", "required": false, "default": null, "secret": true,
            "description": "The password for sudo, if it asks for one.",
        },
        "timeout": timeout(60),
    })
}

/// What runners of files have.
fn content() -> Value {
    json!({
        "debug": {
            "type": "boolean", "required": false, "default": false,
            "description": "Whether traces of the run are kept and the action is told to be verbose.",
        },
        "content_version": {
            "type": "string", "required": false,
            "description": "The commit, tag or branch of the pack to take the file from, if the pack is a git repository.",
        },
    })
}

fn remote(command: bool) -> Value {
    let optional =
        |kind: &str, description: &str| with(plain(kind, description), json!({"required": false}));
    let secret = |description: &str| {
        with(
            plain("string", description),
            json!({"required": false, "secret": true}),
        )
    };
    let mut folder = with(
        plain("string", "Where on the host the script is copied to."),
        json!({"default": "/tmp"}),
    );
    if command {
        folder["immutable"] = json!(true);
    }
    json!({
        "hosts": {
            "type": "string", "required": true,
            "description": "The hosts, separated by commas; a host may have a port: one.example,two.example:5555.",
        },
        "cwd": with(plain("string", "The directory on the host in which it runs."), json!({"default": "/tmp"})),
        "dir": folder,
        "parallel": {
            "type": "boolean", "default": false, "immutable": true,
            "description": "Whether it runs on several hosts at a time.",
        },
        "username": optional("string", "Who logs in; the installation's own user if none is given."),
        "password": secret("The password of that user; without it a private key is used."),
        "private_key": secret("The private key, or the path of its file."),
        "passphrase": secret("What unlocks the private key."),
        "port": optional("integer", "The port, for hosts that name none; 22 if none is given."),
        "bastion_host": optional("string", "A host to go through. It is logged in to like the others."),
    })
}

fn http() -> Value {
    let hosts = |description: &str| {
        json!({
            "type": "array", "required": false, "items": {"type": "string"},
            "description": description,
        })
    };
    json!({
        "url": {"type": "string", "required": true, "description": "The URL."},
        "headers": plain("object", "Headers of the request."),
        "cookies": plain("object", "Cookies to send."),
        "allow_redirects": {
            "type": "boolean", "default": false,
            "description": "Whether redirects are followed.",
        },
        "http_proxy": plain("string", "The proxy for http URLs, like http://10.10.1.10:3128."),
        "https_proxy": plain("string", "The proxy for https URLs, like http://10.10.1.10:3128."),
        "username": plain("string", "The user, for basic authentication."),
        "password": {
            "type": "string", "secret": true,
            "description": "The password, for basic authentication.",
        },
        "verify_ssl_cert": {
            "type": "boolean", "default": true,
            "description": "Whether the certificate of the server is checked.",
        },
        "url_hosts_blacklist": hosts("Hosts that no request goes to. Not together with url_hosts_whitelist."),
        "url_hosts_whitelist": hosts("The only hosts that requests go to. Not together with url_hosts_blacklist."),
    })
}

fn inquiry() -> Value {
    let people = |description: &str| json!({"type": "array", "required": false, "default": [], "description": description});
    json!({
        "schema": {
            "type": "object", "required": true,
            "default": super::inquiry::default_schema(),
            "description": "The JSON schema of the answer.",
        },
        "route": {
            "type": "string", "required": false, "default": "",
            "description": "Where to ask; rules choose by it.",
        },
        "roles": people("The roles that may answer; empty: every role."),
        "users": people("The users who may answer; empty: every user."),
        "ttl": {
            "type": "integer", "required": true, "default": 1440,
            "description": "Minutes to wait for the answer.",
        },
    })
}

fn winrm() -> Value {
    json!({
        "host": {"type": "string", "required": true, "description": "The host."},
        "username": {"type": "string", "required": true, "description": "Who logs in."},
        "password": {
            "type": "string", "required": true, "secret": true,
            "description": "The password of that user.",
        },
        "port": {
            "type": "integer", "required": false, "default": 5986,
            "description": "The port; 5985 goes with the scheme http.",
        },
        "scheme": {
            "type": "string", "required": false, "default": "https",
            "description": "The scheme; http goes with port 5985.",
        },
        "transport": {
            "type": "string", "required": false, "default": "ntlm",
            "enum": ["basic", "certificate", "credssp", "kerberos", "ntlm", "plaintext", "ssl"],
            "description": "How the user is authenticated.",
        },
        "verify_ssl_cert": {
            "type": "boolean", "default": true,
            "description": "Whether the certificate of the host is checked.",
        },
        "cwd": plain("string", "The directory in which it runs."),
        "env": environment(),
        "kwarg_op": {
            "type": "string", "default": "-",
            "description": "What stands before the name of a named argument.",
        },
        "timeout": timeout(60),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A parameter as `name type flags =default`, so that the whole contract can be read at a glance.
    fn line(runner: Runner) -> String {
        let document = document(runner);
        let parameters = document["runner_parameters"]
            .as_object()
            .expect("parameters");
        let mut lines: Vec<String> = parameters
            .iter()
            .map(|(name, parameter)| {
                let mut line = format!("{name}:{}", parameter["type"].as_str().expect("a type"));
                for flag in ["required", "immutable", "secret"] {
                    if parameter[flag] == json!(true) {
                        line.push_str(&format!(" {flag}"));
                    }
                }
                if let Some(default) = parameter.get("default") {
                    line.push_str(&format!(" ={default}"));
                }
                line
            })
            .collect();
        lines.sort();
        lines.join("; ")
    }

    #[test]
    fn the_parameters_are_those_of_the_contract() {
        let shell = "cwd:string; env:object; kwarg_op:string =\"--\"; sudo:boolean =false; sudo_password:string secret =null; timeout:integer =60";
        let content = "content_version:string; debug:boolean =false";
        assert_eq!(line(Runner::LocalShellCmd), format!("cmd:string; {shell}"));
        assert_eq!(
            line(Runner::LocalShellScript),
            format!(
                "content_version:string; {}",
                shell.replacen("env:", "debug:boolean =false; env:", 1)
            )
        );
        assert_eq!(
            line(Runner::RemoteShellCmd),
            "bastion_host:string; cmd:string; cwd:string =\"/tmp\"; dir:string immutable =\"/tmp\"; env:object; hosts:string required; kwarg_op:string =\"--\"; parallel:boolean immutable =false; passphrase:string secret; password:string secret; port:integer; private_key:string secret; sudo:boolean =false; sudo_password:string secret =null; timeout:integer =60; username:string"
        );
        assert_eq!(
            line(Runner::RemoteShellScript),
            line(Runner::RemoteShellCmd)
                .replace("cmd:string; ", "")
                .replace("dir:string immutable", "dir:string")
        );
        assert_eq!(
            line(Runner::PythonScript),
            format!("{content}; env:object; log_level:string =\"DEBUG\"; timeout:integer =600")
        );
        assert_eq!(
            line(Runner::HttpRequest),
            "allow_redirects:boolean =false; cookies:object; headers:object; http_proxy:string; https_proxy:string; password:string secret; url:string required; url_hosts_blacklist:array; url_hosts_whitelist:array; username:string; verify_ssl_cert:boolean =true"
        );
        assert_eq!(
            line(Runner::ActionChain),
            "display_published:boolean =true; skip_notify:array =[]"
        );
        assert_eq!(line(Runner::Orquesta), "notify:array =[]");
        assert_eq!(
            line(Runner::Announcement),
            "experimental:boolean required =false; route:string =\"general\""
        );
        assert_eq!(line(Runner::Noop), "");
        assert!(
            line(Runner::Inquirer)
                .starts_with("roles:array =[]; route:string =\"\"; schema:object required ={")
        );
        assert!(line(Runner::Inquirer).ends_with("; ttl:integer required =1440; users:array =[]"));
        let winrm = "env:object; host:string required; kwarg_op:string =\"-\"; password:string required secret; port:integer =5986; scheme:string =\"https\"; timeout:integer =60; transport:string =\"ntlm\"; username:string required; verify_ssl_cert:boolean =true";
        assert_eq!(line(Runner::WinrmPsScript), format!("cwd:string; {winrm}"));
        assert_eq!(
            line(Runner::WinrmCmd),
            format!("cmd:string; cwd:string; {winrm}")
        );
        assert_eq!(line(Runner::WinrmPsCmd), line(Runner::WinrmCmd));
    }

    #[test]
    fn the_documents_have_what_clients_read() {
        let documents = catalogue();
        assert_eq!(documents.len(), Runner::ALL.len());
        for document in &documents {
            assert_eq!(document["id"].as_str().map(str::len), Some(24));
            for parameter in document["runner_parameters"]
                .as_object()
                .expect("parameters")
                .values()
            {
                assert!(
                    parameter["description"]
                        .as_str()
                        .is_some_and(|text| !text.is_empty())
                );
            }
        }
        let orquesta = document(Runner::Orquesta);
        assert_eq!(orquesta["aliases"], json!(["orchestra"]));
        assert_eq!(orquesta["output_key"], "output");
        assert_eq!(document(Runner::WinrmCmd)["enabled"], false);
    }
}
