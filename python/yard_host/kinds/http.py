"""An HTTP request, with the options of the `http-request` runner (contract 3).

Redirects are followed here and not by urllib, so that the lists of hosts hold for every hop and credentials do not travel
to another host.
"""

import ast
import base64
import json
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zlib

import st2common
from yard_host.orders import DEFAULT_RESULT_LIMIT
from yard_host.worker import Refusal

MOST_REDIRECTS = 30
DEFAULT_TIMEOUT = 60
_REDIRECTS = (301, 302, 303, 307, 308)


def run(orders, send_result):
    try:
        result = fetch(orders)
    except (TimeoutError, socket.timeout):
        timeout = orders.get("timeout") or DEFAULT_TIMEOUT
        error = "no answer from %s within %s s" % (_without_query(orders["url"]), timeout)
        send_result({"result": {"error": error}, "status": False, "timed_out": True})
        return
    except (OSError, ValueError) as error:
        text = "%s: %s" % (_without_query(orders["url"]), getattr(error, "reason", None) or error)
        send_result({"result": {"error": text}, "status": False, "timed_out": False})
        return
    send_result({"result": result, "status": result["status_code"] < 400, "timed_out": False})


def fetch(orders):
    """`{status_code, body, parsed, headers}` of the last answer."""
    headers, data = _content(orders)
    url = _with_query(orders["url"], orders.get("params"))
    method = (orders.get("method") or ("POST" if data else "GET")).upper()
    opener = _opener(orders)
    for _ in range(MOST_REDIRECTS + 1):
        _check_host(url, orders)
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        timeout = orders.get("timeout") or DEFAULT_TIMEOUT
        try:
            answer = opener.open(request, timeout=timeout)
        except urllib.error.URLError as error:
            if isinstance(error.reason, (TimeoutError, socket.timeout)):
                raise error.reason from error
            raise
        with answer:
            target = answer.headers.get("Location")
            if not orders.get("allow_redirects") or answer.status not in _REDIRECTS or not target:
                return _document(answer, method, orders)
        following = urllib.parse.urljoin(url, target)
        if answer.status == 303 and method != "HEAD" or answer.status in (301, 302) and method == "POST":
            method, data = "GET", None
            headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
        if _origin(following) != _origin(url):
            headers = {
                name: value for name, value in headers.items() if name.lower() not in ("authorization", "cookie")
            }
        url = following
    raise ValueError("more than %d redirects" % MOST_REDIRECTS)


class _EveryAnswer(urllib.request.HTTPErrorProcessor):
    """An answer of 4xx or 5xx, or a redirect, is an answer and no exception."""

    def http_response(self, request, response):
        return response

    https_response = http_response


def _opener(orders):
    proxies = urllib.request.getproxies()
    for scheme in ("http", "https"):
        if orders.get(scheme + "_proxy"):
            proxies[scheme] = orders[scheme + "_proxy"]
    verify = orders.get("verify_ssl_cert")
    context = ssl._create_unverified_context() if verify is False else ssl.create_default_context()
    return urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=context), _EveryAnswer()
    )


def _content(orders):
    """The headers and the bytes of the request."""
    headers = {str(name): str(value) for name, value in (orders.get("headers") or {}).items()}
    names = {name.lower() for name in headers}
    headers["User-Agent"] = "st2/v%s" % st2common.__version__
    headers["X-Stanley-Action"] = orders.get("action") or "http"
    if "accept" not in names:
        headers["Accept"] = "*/*"
    if orders.get("username") or orders.get("password"):
        pair = "%s:%s" % (orders.get("username") or "", orders.get("password") or "")
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode("utf-8")).decode("ascii")
    if orders.get("auth"):
        name, equals, value = orders["auth"].partition("=")
        if not equals:
            raise Refusal("auth must have the form name=value, such as x-auth-token=XYZ")
        headers[name.strip()] = value.strip()
    cookies = orders.get("cookies")
    if cookies:
        headers["Cookie"] = "; ".join("%s=%s" % pair for pair in cookies.items())
    if orders.get("file_name") and orders.get("file_content"):
        boundary = uuid.uuid4().hex
        headers["Content-Type"] = "multipart/form-data; boundary=" + boundary
        return headers, _multipart(orders, boundary)
    body = orders.get("body")
    if body is None or body == "":
        return headers, None
    declared = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    if not isinstance(body, str):
        if not declared:
            headers["Content-Type"] = "application/json"
        body = json.dumps(body)
    elif declared.split(";")[0].strip() == "application/json":
        body = _json_text(body)
    elif not declared:
        # urllib would declare a form.
        headers["Content-Type"] = "text/plain; charset=utf-8"
    return headers, body.encode("utf-8")


def _json_text(body):
    """JSON as it is; a Python literal, which users write too, as JSON."""
    try:
        json.loads(body)
        return body
    except ValueError:
        pass
    try:
        return json.dumps(ast.literal_eval(body))
    except (ValueError, SyntaxError, TypeError):
        raise Refusal("the body is declared as application/json but is not JSON") from None


def _multipart(orders, boundary):
    name = orders["file_name"].replace('"', "%22")
    kind = orders.get("file_content_type") or "application/octet-stream"
    head = '--%s\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\nContent-Type: %s\r\n\r\n' % (
        boundary, name, name, kind,
    )
    tail = "\r\n--%s--\r\n" % boundary
    return head.encode("utf-8") + orders["file_content"].encode("utf-8") + tail.encode("ascii")


def _document(answer, method, orders):
    body = b"" if method == "HEAD" else _read(answer, orders)
    charset = answer.headers.get_content_charset() or "utf-8"
    try:
        text = body.decode(charset)
    except (UnicodeDecodeError, LookupError):
        text = body.decode("utf-8", "replace")
    headers = {}
    for name, value in answer.headers.items():
        headers[name] = "%s, %s" % (headers[name], value) if name in headers else value
    content, parsed = text, False
    if answer.headers.get("Content-Type") and answer.headers.get_content_type() == "application/json":
        try:
            content, parsed = json.loads(text, parse_constant=lambda name: None), True
        except ValueError:
            # Said to be JSON, and is not: the user gets what came.
            pass
    return {"status_code": answer.status, "body": content, "parsed": parsed, "headers": headers}


def _read(answer, orders):
    limit = orders.get("result_limit")
    limit = DEFAULT_RESULT_LIMIT if limit is None else limit
    body = answer.read(limit + 1)
    encoding = (answer.headers.get("Content-Encoding") or "").lower()
    if encoding in ("gzip", "x-gzip", "deflate"):
        # 32: gzip and zlib are told apart by their headers.
        body = zlib.decompressobj(32 + zlib.MAX_WBITS).decompress(body, limit + 1)
    if len(body) > limit:
        raise Refusal("the body of the answer exceeds the limit of %d bytes" % limit)
    return body


def _with_query(url, params):
    if not params:
        return url
    pairs = {name: value for name, value in params.items() if value is not None}
    query = urllib.parse.urlencode(pairs, doseq=True)
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, query)))))


def _without_query(url):
    """For messages: a query may hold secrets, and so may the part before the host."""
    parts = urllib.parse.urlsplit(url)
    return "%s://%s%s" % (parts.scheme, parts.netloc.rpartition("@")[2], parts.path)


def _origin(url):
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc


def _check_host(url, orders):
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("the address must begin with http:// or https://")
    denied = {host.lower() for host in orders.get("url_hosts_blacklist") or []}
    allowed = {host.lower() for host in orders.get("url_hosts_whitelist") or []}
    host = (parts.hostname or "").lower()
    if host in denied:
        raise ValueError('the host "%s" is blacklisted' % host)
    if allowed and host not in allowed:
        raise ValueError('the host "%s" is not whitelisted' % host)
