"""A web app on one dependency, bottle, that tells which instance answers."""

import os
import signal
import socketserver
import threading
import time
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import bottle

app = bottle.Bottle()


@app.get("/")
def hello():
    bottle.response.content_type = "text/plain; charset=utf-8"
    index = os.environ.get("CF_INSTANCE_INDEX", "?")
    version = os.environ.get("VERSION", "none")
    return f"hello from python, instance {index}, version {version}\n"


@app.get("/env")
def env():
    prefixes = ("CF_", "VCAP_", "PORT", "HOME", "MEMORY_LIMIT", "TMPDIR", "USER", "VERSION")
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}


@app.get("/slow")
def slow():
    seconds = min(float(bottle.request.query.get("seconds", "1")), 60.0)
    time.sleep(seconds)
    return f"slept {seconds}\n"


@app.get("/crash")
def crash():
    print("crashing as asked", flush=True)
    os._exit(1)


class Server(socketserver.ThreadingMixIn, WSGIServer):
    # Requests under way are waited for when the server is closed.
    daemon_threads = False
    request_queue_size = 128


class Handler(WSGIRequestHandler):
    def log_message(self, form, *arguments):
        print(f"{self.command} {self.path} {arguments[1] if len(arguments) > 1 else ''}", flush=True)

    def address_string(self):
        return self.client_address[0]


def main():
    port = int(os.environ.get("PORT", "8080"))
    server = make_server("0.0.0.0", port, app, server_class=Server, handler_class=Handler)
    # `shutdown` waits for the serving loop, so it may not be called from the thread that runs it.
    stop = lambda *_: threading.Thread(target=server.shutdown).start()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"listening on {port}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    print("stopped", flush=True)


if __name__ == "__main__":
    main()
