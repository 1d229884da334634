"""Asks a name server with dig and returns the lines of the answer."""

import random
import subprocess

from st2common.runners.base_action import Action


class Dig(Action):
    def run(self, hostname, nameserver=None, querytype="A", queryopts="short", count=0, rand=False):
        command = ["dig"]
        if nameserver:
            command.append("@" + nameserver)
        command += ["+" + option.strip() for option in queryopts.split(",") if option.strip()]
        command += [hostname, querytype]
        try:
            outcome = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        except FileNotFoundError:
            return False, "dig is not installed (Debian package bind9-dnsutils)"
        if outcome.returncode != 0:
            return False, outcome.stderr.strip() or outcome.stdout.strip()
        text = outcome.stdout.replace('"', "") if querytype.lower() == "txt" else outcome.stdout
        lines = [line for line in text.splitlines() if line]
        if 0 < count < len(lines):
            lines = lines[:count]
        if rand:
            random.shuffle(lines)
        return lines
