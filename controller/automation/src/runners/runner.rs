//! Which runners there are.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A runner, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runner {
    LocalShellCmd,
    LocalShellScript,
    RemoteShellCmd,
    RemoteShellScript,
    PythonScript,
    HttpRequest,
    ActionChain,
    Orquesta,
    Announcement,
    Noop,
    Inquirer,
    WinrmCmd,
    WinrmPsCmd,
    WinrmPsScript,
    MistralV2,
}

/// Where the work of a runner is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// In a sandbox on an agent.
    Agent,
    /// In the controller, at once.
    Here,
    /// By the conductor, step by step.
    Workflow,
    /// By a person.
    Inquiry,
    /// Nowhere.
    Refused,
}

/// Why a runner is not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The workflow language that was removed.
    #[error(
        "the runner \"mistral-v2\" is not supported: Mistral workflows were removed from StackStorm in 3.3. Rewrite the workflow for the runner \"orquesta\"."
    )]
    Mistral,
    /// Windows hosts need the Python library pywinrm, which is not part of this installation.
    #[error(
        "the runner \"{0}\" is not supported: this installation has no client for Windows Remote Management. Run the command through a \"python-script\" action whose pack requires pywinrm."
    )]
    Winrm(&'static str),
}

impl Runner {
    /// All of them, in the order of the catalogue.
    pub const ALL: [Runner; 15] = [
        Runner::LocalShellCmd,
        Runner::LocalShellScript,
        Runner::RemoteShellCmd,
        Runner::RemoteShellScript,
        Runner::PythonScript,
        Runner::HttpRequest,
        Runner::ActionChain,
        Runner::Orquesta,
        Runner::Announcement,
        Runner::Noop,
        Runner::Inquirer,
        Runner::WinrmCmd,
        Runner::WinrmPsCmd,
        Runner::WinrmPsScript,
        Runner::MistralV2,
    ];

    /// The name that packs use.
    pub fn name(self) -> &'static str {
        match self {
            Runner::LocalShellCmd => "local-shell-cmd",
            Runner::LocalShellScript => "local-shell-script",
            Runner::RemoteShellCmd => "remote-shell-cmd",
            Runner::RemoteShellScript => "remote-shell-script",
            Runner::PythonScript => "python-script",
            Runner::HttpRequest => "http-request",
            Runner::ActionChain => "action-chain",
            Runner::Orquesta => "orquesta",
            Runner::Announcement => "announcement",
            Runner::Noop => "noop",
            Runner::Inquirer => "inquirer",
            Runner::WinrmCmd => "winrm-cmd",
            Runner::WinrmPsCmd => "winrm-ps-cmd",
            Runner::WinrmPsScript => "winrm-ps-script",
            Runner::MistralV2 => "mistral-v2",
        }
    }

    /// Other names of it.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Runner::Orquesta => &["orchestra"],
            Runner::LocalShellCmd
            | Runner::LocalShellScript
            | Runner::RemoteShellCmd
            | Runner::RemoteShellScript
            | Runner::PythonScript
            | Runner::HttpRequest
            | Runner::ActionChain
            | Runner::Announcement
            | Runner::Noop
            | Runner::Inquirer
            | Runner::WinrmCmd
            | Runner::WinrmPsCmd
            | Runner::WinrmPsScript
            | Runner::MistralV2 => &[],
        }
    }

    /// The runner of this name or alias.
    pub fn from_name(name: &str) -> Option<Runner> {
        Runner::ALL
            .into_iter()
            .find(|runner| runner.name() == name || runner.aliases().contains(&name))
    }

    /// Where its work is done.
    pub fn work(self) -> Work {
        match self {
            Runner::LocalShellCmd
            | Runner::LocalShellScript
            | Runner::RemoteShellCmd
            | Runner::RemoteShellScript
            | Runner::PythonScript
            | Runner::HttpRequest => Work::Agent,
            Runner::ActionChain | Runner::Orquesta => Work::Workflow,
            Runner::Announcement | Runner::Noop => Work::Here,
            Runner::Inquirer => Work::Inquiry,
            Runner::WinrmCmd | Runner::WinrmPsCmd | Runner::WinrmPsScript | Runner::MistralV2 => {
                Work::Refused
            }
        }
    }

    /// Why it is not supported, if it is not.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Runner::MistralV2 => Some(Refusal::Mistral),
            Runner::WinrmCmd | Runner::WinrmPsCmd | Runner::WinrmPsScript => {
                Some(Refusal::Winrm(self.name()))
            }
            Runner::LocalShellCmd
            | Runner::LocalShellScript
            | Runner::RemoteShellCmd
            | Runner::RemoteShellScript
            | Runner::PythonScript
            | Runner::HttpRequest
            | Runner::ActionChain
            | Runner::Orquesta
            | Runner::Announcement
            | Runner::Noop
            | Runner::Inquirer => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runner_is_found_by_its_names() {
        for runner in Runner::ALL {
            assert_eq!(Runner::from_name(runner.name()), Some(runner));
            assert_eq!(
                serde_json::to_value(runner).expect("JSON"),
                serde_json::json!(runner.name())
            );
            assert_eq!(runner.refusal().is_some(), runner.work() == Work::Refused);
        }
        assert_eq!(Runner::from_name("orchestra"), Some(Runner::Orquesta));
        assert_eq!(Runner::from_name("run-local"), None);
    }

    #[test]
    fn a_refusal_says_what_to_do_instead() {
        let text = Runner::MistralV2
            .refusal()
            .map(|refusal| refusal.to_string());
        assert!(text.is_some_and(|text| text.contains("\"orquesta\"")));
        let text = Runner::WinrmCmd
            .refusal()
            .map(|refusal| refusal.to_string());
        assert!(text.is_some_and(|text| text.contains("\"winrm-cmd\"")));
    }
}
