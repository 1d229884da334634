"""Tries to log in over SSH until it works."""

import os
import time

import paramiko

from st2common.runners.base_action import Action

SYSTEM_KEY = "/home/stanley/.ssh/stanley_rsa"


class WaitForSsh(Action):
    def run(self, hostname, port=22, username="stanley", password=None, keyfile=None, ssh_timeout=5, sleep_delay=20, retries=10):
        if not password and not keyfile:
            keyfile = SYSTEM_KEY
            self.logger.info("neither a password nor a key is given: trying %s", keyfile)
        if keyfile and not os.path.isfile(keyfile):
            return False, "the key %s does not exist" % keyfile
        for attempt in range(1, retries + 1):
            if attempt > 1:
                time.sleep(sleep_delay)
            with paramiko.SSHClient() as client:
                client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
                try:
                    client.connect(
                        hostname, port=port, username=username, password=password, key_filename=keyfile,
                        timeout=ssh_timeout, banner_timeout=ssh_timeout, auth_timeout=ssh_timeout,
                        allow_agent=False, look_for_keys=False,
                    )
                    return True
                except (paramiko.SSHException, OSError, EOFError) as error:
                    self.logger.info("attempt %d of %d failed: %s", attempt, retries, error)
        return False, "no login on %s:%d within %d attempts" % (hostname, port, retries)
