"""SSH runs, against a real sshd on a port of its own."""

import getpass
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import unittest

from tests.client import eventually, result_of
from tests.test_host import HostTestCase
from yard_host.kinds import ssh

_SEARCH = os.environ.get("PATH", "") + ":/usr/sbin"
SSHD = shutil.which("sshd", path=_SEARCH)
HAS_PARAMIKO = importlib.util.find_spec("paramiko") is not None


class Sshd:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="yard-sshd-")
        self.key = os.path.join(self.folder, "key")
        host_key = os.path.join(self.folder, "host_key")
        for path in (self.key, host_key):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        self.locked_key = os.path.join(self.folder, "locked")
        shutil.copy(self.key, self.locked_key)
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", self.locked_key], check=True,
            stdout=subprocess.DEVNULL,
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = os.path.join(self.folder, "config")
        with open(config, "w") as file:
            file.write(
                "Port %d\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s.pub\nStrictModes no\n"
                "UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n"
                "AllowTcpForwarding yes\nSubsystem sftp internal-sftp\n" % (self.port, host_key, self.key)
            )
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        self.process = subprocess.Popen([SSHD, "-D", "-f", config, "-E", os.path.join(self.folder, "log")])
        eventually(self._answers, "sshd did not start")

    def _answers(self):
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    def logins(self):
        with open(os.path.join(self.folder, "log")) as file:
            return file.read().count("Accepted publickey")

    def close(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)


@unittest.skipUnless(HAS_PARAMIKO, "paramiko is not installed")
@unittest.skipUnless(SSHD, "sshd is not installed")
class RemoteActions(HostTestCase):
    @classmethod
    def setUpClass(cls):
        cls.sshd = Sshd()
        cls.addClassCleanup(cls.sshd.close)

    def remote(self, command=None, **orders):
        orders.setdefault("hosts", ["127.0.0.1"])
        orders.setdefault("private_key", self.sshd.key)
        if command is not None:
            orders["command"] = command
        end, output, errors = self.client.run(
            id="ssh", kind="ssh", username=getpass.getuser(), port=self.sshd.port, **orders
        )
        self.client.send(request="forget", id="ssh")
        document = result_of(end) if end["result"] else None
        return document, output, errors

    def test_a_command_has_its_result_per_host(self):
        document, output, _ = self.remote("echo hello; echo oops >&2; exit 3")
        self.assertEqual(
            document,
            {
                "result": {
                    "127.0.0.1": {
                        "failed": True,
                        "succeeded": False,
                        "return_code": 3,
                        "stdout": "hello",
                        "stderr": "oops",
                    }
                },
                "status": False,
                "timed_out": False,
            },
        )
        self.assertEqual(output, "hello\n")

    def test_output_that_is_json_is_parsed(self):
        document, _, _ = self.remote("echo '{\"a\": 1}'")
        self.assertEqual(document["result"]["127.0.0.1"]["stdout"], {"a": 1})

    def test_directory_and_environment(self):
        document, _, _ = self.remote(
            'echo "$WORD in $(pwd)"', remote_cwd="/usr", remote_env={"WORD": "it's; rm -rf", "N": 3}
        )
        self.assertEqual(document["result"]["127.0.0.1"]["stdout"], "it's; rm -rf in /usr")

    def test_a_key_may_be_text_and_may_be_locked(self):
        with open(self.sshd.locked_key) as file:
            text = file.read()
        document, _, _ = self.remote("true", private_key=text, passphrase="open sesame")
        self.assertTrue(document["status"])
        document, _, errors = self.remote("true", private_key=text)
        self.assertIsNone(document)
        self.assertIn("no passphrase", errors)
        _, _, errors = self.remote("true", private_key="/no/such/key")
        self.assertIn("/no/such/key", errors)

    def test_hosts_that_cannot_be_reached_do_not_stop_the_others(self):
        hosts = ["127.0.0.1", "127.0.0.1:1"]
        document, _, _ = self.remote("echo hi", hosts=hosts)
        self.assertEqual(document["status"], False)
        self.assertTrue(document["result"]["127.0.0.1"]["succeeded"])
        self.assertIn("cannot connect", document["result"]["127.0.0.1:1"]["error"])
        document, _, _ = self.remote("echo hi", hosts=hosts, allow_partial_failure=True)
        self.assertEqual(document["status"], True)

    def test_hosts_work_at_the_same_time(self):
        # Each waits for the other's file: one after the other they would not end.
        meeting = tempfile.mkdtemp(dir=self.sshd.folder)
        document, _, _ = self.remote(
            "mktemp -p %s >/dev/null; while [ $(ls %s | wc -l) -lt 2 ]; do sleep 0.05; done; echo met" % (meeting, meeting),
            hosts=["127.0.0.1", "localhost"],
            timeout=20,
        )
        self.assertEqual([host["stdout"] for host in document["result"].values()], ["met", "met"])

    def test_a_command_beyond_its_time_is_told_with_what_it_printed(self):
        document, _, _ = self.remote("echo early; sleep 100", timeout=1)
        result = document["result"]["127.0.0.1"]
        self.assertEqual((result["return_code"], result["timeout"], result["stdout"]), (-9, True, "early"))
        self.assertEqual((document["status"], document["timed_out"]), (False, True))

    def test_large_output_arrives_whole(self):
        document, _, _ = self.remote("head -c 3000000 /dev/zero | tr '\\0' 'x'")
        self.assertEqual(len(document["result"]["127.0.0.1"]["stdout"]), 3000000)

    def test_a_script_is_copied_run_with_its_arguments_and_removed(self):
        folder = os.path.join(self.sshd.folder, "scripts")
        os.makedirs(folder, exist_ok=True)
        document, _, _ = self.remote(
            script={"name": "check.sh", "content": "#!/bin/sh\necho \"$1|$2\"; ls " + folder, "arguments": "--a='x y' 1"},
            dir=folder,
        )
        self.assertEqual(document["result"]["127.0.0.1"]["stdout"], "--a=x y|1\nssh-check.sh")
        self.assertEqual(os.listdir(folder), [])

    def test_a_bastion_stands_between(self):
        before = self.sshd.logins()
        document, _, _ = self.remote("true", bastion_host="localhost:%d" % self.sshd.port)
        self.assertTrue(document["status"], document)
        self.assertEqual(self.sshd.logins() - before, 2)


class CommandLines(unittest.TestCase):
    def test_sudo_keeps_the_environment_and_asks_for_a_password_only_if_there_is_one(self):
        self.assertEqual(
            ssh.command_line("echo 'a'", {"sudo": True}),
            """cd /tmp && sudo -E -H -u root -- bash -c 'echo '"'"'a'"'"''""",
        )
        self.assertIn("sudo -S -p '' -E", ssh.command_line("true", {"sudo": True, "sudo_password": "x"}))
        self.assertNotIn("sesame", ssh.command_line("true", {"sudo": True, "sudo_password": "sesame"}))

    def test_a_time_out_counts_only_when_no_host_did_better(self):
        late = {"succeeded": False, "timeout": True}
        failed = {"succeeded": False}
        self.assertTrue(ssh.conclude({"a": late, "b": late}, False)["timed_out"])
        self.assertFalse(ssh.conclude({"a": late, "b": failed}, False)["timed_out"])


@unittest.skipIf(HAS_PARAMIKO, "paramiko is installed")
class WithoutParamiko(HostTestCase):
    def test_it_says_what_is_missing(self):
        end, _, errors = self.client.run(id="ssh", kind="ssh", hosts=["h"], username="u", command="true")
        self.assertEqual((end["status"], end["result"]), (1, None))
        self.assertIn("paramiko", errors)
