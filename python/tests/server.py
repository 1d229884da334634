"""An HTTP server of the test's own process, which records what it is asked."""

import http.server
import json
import threading


class Server:
    """`answer(method, path, headers, body)` returns (status, headers, bytes)."""

    def __init__(self, answer):
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.requests.append((self.command, self.path, self.headers, body))
                status, headers, answer_body = answer(self.command, self.path, self.headers, body)
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer_body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer_body)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_PURGE = handle_any

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = "http://127.0.0.1:%d" % self.port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def json_answer(status, document, headers=()):
    return status, [("Content-Type", "application/json"), *headers], json.dumps(document).encode("utf-8")
