#!/usr/bin/env python3
"""Sends a mail through a sendmail program; arguments in the order of sendmail.yaml."""

import email.message
import mimetypes
import os
import shlex
import shutil
import socket
import subprocess
import sys


def main(arguments):
    program, sender, recipients, subject, send_empty, content_type, body = arguments[:7]
    attachments = [path for path in (arguments[7] if len(arguments) > 7 else "").split(",") if path]
    if not body.strip() and send_empty != "1":
        print("the body is empty: nothing is sent")
        return 0
    command = [shutil.which("sendmail"), "-t"] if program in ("", "None") else shlex.split(program)
    if command[0] is None:
        print("there is no sendmail in PATH", file=sys.stderr)
        return 2
    message = compose(sender, recipients, subject, content_type, body, attachments)
    status = subprocess.run(command, input=message.as_bytes()).returncode
    if status != 0:
        print("%s ended with status %d" % (command[0], status), file=sys.stderr)
        return 2
    print("the mail to %s was handed over" % recipients)
    return 0


def compose(sender, recipients, subject, content_type, body, attachments):
    message = email.message.EmailMessage()
    message["To"] = recipients
    message["From"] = sender if "@" in sender else "%s@%s" % (sender, socket.getfqdn())
    message["Subject"] = subject
    message.set_content(body, subtype=content_type.partition("/")[2] or "plain", charset="utf-8")
    for path in attachments:
        if not os.path.isfile(path):
            print("the attachment %s does not exist and is left out" % path, file=sys.stderr)
            continue
        kind, _, subkind = (mimetypes.guess_type(path)[0] or "application/octet-stream").partition("/")
        with open(path, "rb") as file:
            message.add_attachment(file.read(), maintype=kind, subtype=subkind, filename=os.path.basename(path))
    return message


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
