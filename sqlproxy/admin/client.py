"""The CLI's way to a running proxy: its admin API over the standard library's HTTP client.

`urllib.request` would obey http_proxy and friends, which must not see what goes to the loopback; so `http.client`.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
from urllib.parse import quote, unquote, urlencode, urlsplit

from sqlproxy.errors import SqlproxyError

DEFAULT_URL = "http://127.0.0.1:8989"
CA_VARIABLE = "SQLPROXY_ADMIN_CA"  # names a file with the certificates to believe, for https
TIMEOUT = 60.0  # seconds; a switchover waits for transactions to end
_MAX_ANSWER = 64 << 20


class Unreachable(SqlproxyError):
    """No proxy answers at the admin URL."""


class BadUrl(SqlproxyError):
    """The admin URL is none."""


class Refused(SqlproxyError):
    """The proxy answered no; ``status`` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class AdminClient:
    """Asks the admin API at ``http://[user:password@]host:port``, https likewise, or ``unix:/path``.

    Answers are decoded JSON. Raises BadUrl, Unreachable, or Refused with the proxy's own sentence.
    """

    def __init__(self, url: str = DEFAULT_URL, token: str = "", timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._path = url.removeprefix("unix:") if url.startswith("unix:") else ""
        self._headers = {"Accept": "application/json"}
        self._scheme, self._host, self._port, credentials = "http", "localhost", 0, ""
        if not self._path:
            self._scheme, self._host, self._port, credentials = _parse(url)
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        elif credentials:
            self._headers["Authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        self.url = url if self._path else f"{self._scheme}://{_bracketed(self._host)}:{self._port}"

    def get(self, path: str, **query: str) -> object:
        """What is at a path."""
        return self._ask("GET", f"{path}?{urlencode(query)}" if query else path)

    def put(self, path: str, body: object) -> object:
        """Change what is at a path."""
        return self._ask("PUT", path, body)

    def post(self, path: str, body: object) -> object:
        """Ask for something to be done."""
        return self._ask("POST", path, body)

    def delete(self, path: str) -> object:
        """Take away what is at a path."""
        return self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: object = None) -> object:
        headers = dict(self._headers)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            return _decode(answer.status, answer.read(_MAX_ANSWER), self.url)
        except TimeoutError:
            raise Unreachable(f"the proxy at {self.url} does not answer within {self._timeout:g} s") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise Unreachable(f"no proxy answers at {self.url}: {reason}") from None
        except http.client.HTTPException as error:
            raise Unreachable(f"what answers at {self.url} is not sqlproxy: {type(error).__name__}") from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._path:
            return _UnixConnection(self._path, self._timeout)
        if self._scheme == "https":
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=_trust())
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)


def _trust() -> ssl.SSLContext:
    """Whom to believe: the system's authorities, or those of the file named by ``CA_VARIABLE``. Raises BadUrl."""
    path = os.environ.get(CA_VARIABLE, "")
    try:
        return ssl.create_default_context(cafile=path or None)
    except OSError as error:
        raise BadUrl(f"{CA_VARIABLE}: {path} cannot be used: {error.strerror or error}") from None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._unix_path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._unix_path)


def segment(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


def _parse(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port, ``user:password``. The URL may hold a password, so errors never quote it."""
    reason = "the admin URL is not one such as http://127.0.0.1:8989 or unix:/path"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadUrl(reason) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise BadUrl(reason)
    credentials = "" if parts.username is None else f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), credentials


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _decode(status: int, data: bytes, url: str) -> object:
    try:
        answer = json.loads(data)
    except ValueError:
        raise Unreachable(f"what answers at {url} is not sqlproxy: it does not speak JSON") from None
    if status < 400:
        return answer
    error, hint = (answer.get("error"), answer.get("hint")) if isinstance(answer, dict) else (None, None)
    text = str(error or f"the proxy answered HTTP {status}")
    raise Refused(status, f"{text} ({hint})" if hint else text)
