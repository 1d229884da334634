//! How an app's command is started: through a shell that first reads what the buildpacks left.
//!
//! The command is an argument of the shell, never pasted into its text, so that no quoting can go
//! wrong. The last `exec` makes the app itself the process that gets the signals and whose status
//! counts.

/// Scripts that buildpacks and the app leave for this moment, in the order Cloud Foundry's
/// launcher reads them; then the command, in the app's folder.
const SCRIPT: &str = r#"
umask 0077
cd /home/vcap/app || exit 1
shopt -s nullglob
for script in /home/vcap/profile.d/*.sh /home/vcap/deps/*/profile.d/*.sh /home/vcap/app/.profile.d/*.sh; do
  . "$script"
done
[ -f /home/vcap/app/.profile ] && . /home/vcap/app/.profile
unset script
shopt -u nullglob
exec /bin/bash -c "$1"
"#;

/// The words of the process that runs `command` in an instance.
pub fn arguments(command: &str) -> Vec<String> {
    ["/bin/bash", "-c", SCRIPT, "stackyard-launcher", command]
        .map(str::to_string)
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_stays_one_word() {
        let words = arguments("echo \"$PORT\"; exit 3 # '");
        assert_eq!(words.len(), 5);
        assert_eq!(words[4], "echo \"$PORT\"; exit 3 # '");
        assert!(!words[2].contains("exit 3"));
    }
}
