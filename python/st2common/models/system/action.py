"""Command lines of shell actions (contract 2.10)."""

import os
import pwd
import shlex

__all__ = ["ShellCommandAction", "ShellScriptAction"]


class ShellCommandAction:
    """A command for the shell, run as another user through sudo where asked for."""

    def __init__(
        self, name, action_exec_id, command, user, env_vars=None, sudo=False, timeout=None, cwd=None, sudo_password=None
    ):
        self.name = name
        self.action_exec_id = action_exec_id
        self.command = command
        self.user = user
        self.env_vars = env_vars or {}
        self.sudo = sudo
        self.timeout = timeout
        self.cwd = cwd
        self.sudo_password = sudo_password

    def get_full_command_string(self):
        return self._with_rights(self.command)

    def get_sanitized_full_command_string(self):
        command = self.get_full_command_string()
        return "echo -e '********\n' | " + command if self.sudo_password else command

    def get_timeout(self):
        return self.timeout

    def get_cwd(self):
        return self.cwd

    def _with_rights(self, command):
        flags = ["-S"] if self.sudo_password else []
        flags.append("-E")
        if not self.sudo:
            if not self.user or self.user == pwd.getpwuid(os.getuid()).pw_name:
                return command
            flags += ["-H", "-u", shlex.quote(self.user)]
        return "sudo %s -- bash -c %s" % (" ".join(flags), shlex.quote(command))


class ShellScriptAction(ShellCommandAction):
    """A script with named and positional arguments."""

    def __init__(
        self,
        name,
        action_exec_id,
        script_local_path_abs,
        named_args=None,
        positional_args=None,
        env_vars=None,
        user=None,
        sudo=False,
        timeout=None,
        cwd=None,
        sudo_password=None,
    ):
        super().__init__(name, action_exec_id, None, user, env_vars, sudo, timeout, cwd, sudo_password)
        self.script_local_path_abs = script_local_path_abs
        self.named_args = named_args
        self.positional_args = positional_args

    def get_full_command_string(self):
        words = [shlex.quote(self.script_local_path_abs)]
        for name, value in (self.named_args or {}).items():
            if value is True:
                words.append(name)
            elif value is not None and value is not False and value != "":
                words.append("%s=%s" % (shlex.quote(name), shlex.quote(str(value))))
        words.extend(shlex.quote(word) for word in self.positional_args or [])
        return self._with_rights(" ".join(words))
