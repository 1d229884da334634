"""HTTP runs, against a server."""

import base64
import gzip
import json
import time

from tests.client import result_of
from tests.server import Server, json_answer
from tests.test_host import HostTestCase


def answer(method, path, headers, body):
    if path.startswith("/json"):
        return json_answer(200, {"method": method, "path": path, "body": body.decode("utf-8")})
    if path == "/broken-json":
        return 200, [("Content-Type", "application/json")], b"{no"
    if path == "/missing":
        return 404, [("Content-Type", "text/plain")], b"gone"
    if path.startswith("/to/"):
        return int(path.split("/")[2]), [("Location", "/json")], b""
    if path == "/loop":
        return 302, [("Location", "/loop")], b""
    if path.startswith("/away"):
        return 302, [("Location", "http://localhost:%s/json" % path.split(":")[1])], b""
    if path == "/zipped":
        return 200, [("Content-Encoding", "gzip")], gzip.compress("t\u00e9xt".encode("utf-8"))
    if path == "/cookies":
        return 200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b""
    if path.startswith("/slow"):
        time.sleep(3)
    if path == "/large":
        return 200, [], b"x" * 5000
    return 200, [("Content-Type", "text/plain")], b"plain"


class HttpRequests(HostTestCase):
    def setUp(self):
        super().setUp()
        self.server = Server(answer)
        self.addCleanup(self.server.close)

    def fetch(self, path, **orders):
        orders.setdefault("url", self.server.url + path)
        orders.setdefault("env", {"no_proxy": "*"})
        end, _, errors = self.client.run(id="http", kind="http", **orders)
        self.client.send(request="forget", id="http")
        document = result_of(end) if end.get("result") else None
        return document, errors

    def test_json_is_parsed_and_text_is_not(self):
        document, _ = self.fetch("/json")
        self.assertEqual(document["status"], True)
        self.assertEqual(document["result"]["status_code"], 200)
        self.assertEqual((document["result"]["parsed"], document["result"]["body"]["method"]), (True, "GET"))
        self.assertEqual(document["result"]["headers"]["Content-Type"], "application/json")
        document, _ = self.fetch("/plain")
        self.assertEqual((document["result"]["parsed"], document["result"]["body"]), (False, "plain"))
        document, _ = self.fetch("/broken-json")
        self.assertEqual((document["result"]["parsed"], document["result"]["body"]), (False, "{no"))

    def test_statuses_from_400_are_failures_with_a_result(self):
        document, _ = self.fetch("/missing")
        self.assertEqual((document["status"], document["result"]["status_code"]), (False, 404))
        self.assertEqual(document["result"]["body"], "gone")

    def test_method_headers_cookies_query_and_credentials_are_sent(self):
        self.fetch(
            "/json?a=1",
            method="PURGE",
            headers={"X-Number": 7},
            cookies={"c": "d"},
            params={"b": [1, 2], "none": None},
            username="ada",
            password="s\u00e9same",
            auth="x-auth-token=XYZ",
            action="core.http",
        )
        method, path, headers, _ = self.server.requests[-1]
        self.assertEqual((method, path), ("PURGE", "/json?a=1&b=1&b=2"))
        self.assertEqual((headers["X-Number"], headers["Cookie"], headers["x-auth-token"]), ("7", "c=d", "XYZ"))
        self.assertEqual(base64.b64decode(headers["Authorization"].split()[1]).decode("utf-8"), "ada:s\u00e9same")
        self.assertEqual((headers["User-Agent"], headers["X-Stanley-Action"]), ("st2/v3.9.0", "core.http"))

    def test_a_body_makes_it_a_post(self):
        document, _ = self.fetch("/json", body="text \u2713")
        self.assertEqual((document["result"]["body"]["method"], document["result"]["body"]["body"]), ("POST", "text \u2713"))
        document, _ = self.fetch("/json", body={"a": [1]})
        self.assertEqual(json.loads(document["result"]["body"]["body"]), {"a": [1]})
        self.assertEqual(self.server.requests[-1][2]["Content-Type"], "application/json")

    def test_a_python_literal_declared_as_json_is_sent_as_json(self):
        headers = {"content-type": "application/json"}
        document, _ = self.fetch("/json", body="{'a': True}", headers=headers)
        self.assertEqual(json.loads(document["result"]["body"]["body"]), {"a": True})
        document, errors = self.fetch("/json", body="no json", headers=headers)
        self.assertIsNone(document)
        self.assertIn("not JSON", errors)

    def test_a_file_is_sent_as_a_form(self):
        document, _ = self.fetch("/json", file_name="notes.txt", file_content="hello", file_content_type="text/plain")
        body = document["result"]["body"]["body"]
        self.assertIn('name="notes.txt"', body)
        self.assertIn("Content-Type: text/plain\r\n\r\nhello\r\n", body)

    def test_redirects_are_followed_only_when_asked_for(self):
        document, _ = self.fetch("/to/302")
        self.assertEqual((document["status"], document["result"]["status_code"]), (True, 302))
        for status, method in ((301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")):
            document, _ = self.fetch("/to/%d" % status, body="b", allow_redirects=True)
            self.assertEqual(document["result"]["body"]["method"], method, status)
        document, _ = self.fetch("/loop", allow_redirects=True)
        self.assertIn("redirects", document["result"]["error"])

    def test_credentials_do_not_follow_to_another_host(self):
        self.fetch("/away:%d" % self.server.port, username="u", password="p", allow_redirects=True)
        self.assertIn("Authorization", self.server.requests[-2][2])
        self.assertNotIn("Authorization", self.server.requests[-1][2])

    def test_lists_of_hosts_hold_for_redirects_too(self):
        document, _ = self.fetch("/json", url_hosts_blacklist=["127.0.0.1"])
        self.assertIn("blacklisted", document["result"]["error"])
        document, _ = self.fetch("/json", url_hosts_whitelist=["127.0.0.1"])
        self.assertTrue(document["status"])
        document, _ = self.fetch(
            "/away:%d" % self.server.port, url_hosts_whitelist=["127.0.0.1"], allow_redirects=True
        )
        self.assertIn("not whitelisted", document["result"]["error"])

    def test_time_outs_and_unreachable_hosts_are_told_without_the_query(self):
        document, _ = self.fetch("/slow?token=hidden", timeout=0.2)
        self.assertEqual((document["status"], document["timed_out"]), (False, True))
        self.assertNotIn("hidden", document["result"]["error"])
        document, _ = self.fetch("", url="http://127.0.0.1:1/x?token=hidden")
        self.assertEqual((document["status"], document["timed_out"]), (False, False))
        self.assertNotIn("hidden", document["result"]["error"])

    def test_only_http_is_spoken(self):
        document, _ = self.fetch("", url="file:///etc/passwd")
        self.assertIn("http://", document["result"]["error"])

    def test_a_proxy_is_used(self):
        proxy = Server(lambda method, path, headers, body: json_answer(200, {"through": path}))
        self.addCleanup(proxy.close)
        document, _ = self.fetch("", url="http://nowhere.invalid/x", http_proxy=proxy.url, env={})
        self.assertEqual(document["result"]["body"], {"through": "http://nowhere.invalid/x"})

    def test_compressed_bodies_repeated_headers_and_head(self):
        document, _ = self.fetch("/zipped")
        self.assertEqual(document["result"]["body"], "t\u00e9xt")
        document, _ = self.fetch("/cookies")
        self.assertEqual(document["result"]["headers"]["Set-Cookie"], "a=1, b=2")
        document, _ = self.fetch("/json", method="HEAD")
        self.assertEqual((document["status"], document["result"]["body"]), (True, ""))

    def test_a_body_beyond_the_limit_is_refused(self):
        document, errors = self.fetch("/large", result_limit=1000)
        self.assertIsNone(document)
        self.assertIn("limit of 1000", errors)
