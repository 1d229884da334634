"""A command or a script on remote hosts over SSH (contract 2.8, 2.10, 3), with paramiko.

One thread per host, a bounded number at a time. A host that fails has an entry that says why; the others go on. Output of
a single host is also printed as it comes, because then there is no doubt whose it is.
"""

import concurrent.futures
import io
import json
import shlex
import socket
import sys
import time

from yard_host.worker import Refusal

DEFAULT_PORT = 22
DEFAULT_TIMEOUT = 60
MOST_PARALLEL = 50
READ_SIZE = 32 * 1024
# How often a waiting thread looks at the clock.
TICK_SECONDS = 0.02
_KEY_MARK = "PRIVATE KEY-----"


def run(orders, send_result):
    paramiko = _paramiko()
    hosts = [host.strip() for host in orders["hosts"] if host.strip()]
    if not hosts:
        raise Refusal("no hosts are named")
    key = _key(paramiko, orders)
    workers = 1
    if orders.get("parallel") is not False:
        workers = max(1, min(len(hosts), orders.get("max_parallel") or MOST_PARALLEL))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        answers = {
            host: pool.submit(_on_host, paramiko, key, host, orders, len(hosts) == 1) for host in hosts
        }
        results = {}
        for host, answer in answers.items():
            name = _address(host, orders)[0]
            # Two ports of one host keep both their entries.
            results[host if name in results else name] = answer.result()
    send_result(conclude(results, bool(orders.get("allow_partial_failure"))))


def conclude(results, partial):
    """The result document: all hosts must have succeeded, or any of them with `partial`."""
    succeeded = [result["succeeded"] for result in results.values()]
    status = any(succeeded) if partial else all(succeeded)
    late = not status and all(result.get("timeout", False) for result in results.values())
    return {"result": results, "status": status, "timed_out": late}


def _paramiko():
    try:
        import paramiko
    except ImportError as error:
        raise Refusal(
            "remote actions need the Python package paramiko, which this environment does not have: %s" % error
        ) from error
    return paramiko


def _key(paramiko, orders):
    """The private key, from its text or its file; None to log in with a password."""
    given = orders.get("private_key")
    if not given or orders.get("password"):
        return None
    passphrase = orders.get("passphrase") or None
    if _KEY_MARK in given:
        text = given
    else:
        try:
            with open(given, encoding="utf-8") as file:
                text = file.read()
        except OSError as error:
            raise Refusal("cannot read the private key %s: %s" % (given, error.strerror)) from error
    failure = None
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text), password=passphrase)
        except paramiko.PasswordRequiredException as error:
            raise Refusal("the private key is encrypted and no passphrase is given") from error
        except (paramiko.SSHException, ValueError) as error:
            failure = error
    raise Refusal("the private key cannot be used: %s" % failure)


def _address(host, orders):
    """Host and port of `host`, `host:port`, `[v6]:port` or a bare v6 address."""
    port = orders.get("port") or DEFAULT_PORT
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, int(rest[1:]) if rest.startswith(":") and rest[1:].isdigit() else port
    if host.count(":") == 1:
        name, _, text = host.partition(":")
        if text.isdigit():
            return name, int(text)
    return host, port


def _on_host(paramiko, key, host, orders, live):
    clients = []
    try:
        try:
            client = _connect(paramiko, key, host, orders, clients)
        except (paramiko.SSHException, OSError, EOFError) as error:
            return _failure("cannot connect to %s: %s" % (host, _text(error)))
        script = orders.get("script")
        if script is None:
            return _execute(client, orders["command"], orders, live)
        return _run_script(client, script, orders, live)
    except (paramiko.SSHException, OSError, EOFError) as error:
        return _failure("the connection to %s broke: %s" % (host, _text(error)))
    finally:
        for client in reversed(clients):
            client.close()


def _text(error):
    return str(error) or type(error).__name__


def _failure(error):
    return {"failed": True, "succeeded": False, "return_code": 255, "stdout": "", "stderr": "", "error": error}


def _connect(paramiko, key, host, orders, clients):
    """A client of the host, through the bastion if there is one. `clients` collects what must be closed."""
    through = None
    address = _address(host, orders)
    if orders.get("bastion_host"):
        bastion = _open(paramiko, key, _address(orders["bastion_host"], {}), orders, None, clients)
        through = bastion.get_transport().open_channel(
            "direct-tcpip", address, ("", 0), timeout=_connect_timeout(orders)
        )
    return _open(paramiko, key, address, orders, through, clients)


def _connect_timeout(orders):
    return orders.get("connect_timeout") or DEFAULT_TIMEOUT


def _open(paramiko, key, address, orders, through, clients):
    client = paramiko.SSHClient()
    clients.append(client)
    # As the runner always did: hosts are not known beforehand.
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    timeout = _connect_timeout(orders)
    client.connect(
        address[0],
        port=address[1],
        username=orders["username"],
        password=orders.get("password") or None,
        pkey=key,
        sock=through,
        timeout=timeout,
        banner_timeout=timeout,
        auth_timeout=timeout,
        allow_agent=False,
        look_for_keys=False,
    )
    return client


def _run_script(client, script, orders, live):
    folder = (orders.get("dir") or "/tmp").rstrip("/")
    # A name of its own per execution: two of them may use the same script at the same time.
    target = "%s/%s-%s" % (folder, orders["id"], script["name"].rpartition("/")[2])
    files = client.open_sftp()
    try:
        with files.open(target, "w") as remote:
            # Before the content is there: it may hold secrets.
            remote.chmod(0o700)
            remote.write(script["content"].encode("utf-8"))
        try:
            command = " ".join(filter(None, (shlex.quote(target), script.get("arguments", ""))))
            return _execute(client, command, orders, live)
        finally:
            try:
                files.remove(target)
            except OSError as error:
                print("the script %s stays on the host: %s" % (target, error), file=sys.stderr)
    finally:
        files.close()


def command_line(command, orders):
    """What the remote shell gets: directory, environment and, if asked for, sudo."""
    parts = []
    env = orders.get("remote_env") or {}
    if env:
        pairs = " ".join("%s=%s" % (name, shlex.quote(_env_text(value))) for name, value in sorted(env.items()))
        parts.append("export " + pairs)
    parts.append("cd " + shlex.quote(orders.get("remote_cwd") or "/tmp"))
    if orders.get("sudo"):
        asks = "-S -p '' " if orders.get("sudo_password") else ""
        parts.append("sudo %s-E -H -u root -- bash -c %s" % (asks, shlex.quote(command)))
    else:
        parts.append(command)
    return " && ".join(parts)


def _env_text(value):
    return value if isinstance(value, str) else json.dumps(value)


def _execute(client, command, orders, live):
    timeout = orders.get("timeout") or DEFAULT_TIMEOUT
    limit = orders.get("output_limit") or 16 * 1024 * 1024
    channel = client.get_transport().open_session(timeout=timeout)
    outputs = {"stdout": bytearray(), "stderr": bytearray()}
    deadline = time.monotonic() + timeout
    late = False
    try:
        channel.exec_command(command_line(command, orders))
        if orders.get("sudo") and orders.get("sudo_password"):
            channel.sendall((orders["sudo_password"] + "\n").encode("utf-8"))
        channel.shutdown_write()
        while True:
            # Asked before reading: what is read after the end is everything there is.
            ended = channel.exit_status_ready() and channel.eof_received
            moved = _drain(channel, outputs, limit, live)
            if ended and not moved:
                break
            if time.monotonic() >= deadline:
                late = True
                break
            if not moved:
                if channel.closed and channel.exit_status_ready():
                    break
                time.sleep(TICK_SECONDS)
        code = -9 if late else channel.recv_exit_status()
    except socket.timeout:
        late, code = True, -9
    finally:
        channel.close()
    result = {
        "failed": code != 0,
        "succeeded": code == 0,
        "return_code": code,
        "stdout": _value(outputs["stdout"]),
        "stderr": _value(outputs["stderr"]),
    }
    if late:
        result["timeout"] = True
        result["error"] = "the command did not end within %s s" % timeout
    return result


def _drain(channel, outputs, limit, live):
    moved = False
    for name, ready, receive, stream in (
        ("stdout", channel.recv_ready, channel.recv, sys.stdout),
        ("stderr", channel.recv_stderr_ready, channel.recv_stderr, sys.stderr),
    ):
        while ready():
            data = receive(READ_SIZE)
            if not data:
                break
            moved = True
            room = limit - len(outputs[name])
            outputs[name] += data[:max(room, 0)]
            if live:
                stream.buffer.write(data)
    return moved


def _value(output):
    """The text without its last newline; decoded when all of it is JSON."""
    text = output.decode("utf-8", "replace")
    if text.endswith("\n"):
        text = text[:-1]
    text = text.rstrip("\r")
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def _no_constant(name):
    raise ValueError(name)
