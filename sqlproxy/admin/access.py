"""Who may use the admin side: credentials, and what a browser can be tricked into. Pure decisions on header text.

Without credentials (loopback only) every program on the machine may ask, but a web page in somebody's browser may
not: the Host header must be a loopback name (DNS rebinding), changes need a JSON content type, which other sites
cannot send unasked (cross-site request forgery), and a foreign Origin is refused.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlproxy.config import AdminConfig

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served: HTTP status, sentence, what to do instead."""

    status: int
    error: str
    hint: str


class Guard:
    """Decides on each request from its method and headers."""

    def __init__(self, config: AdminConfig) -> None:
        self.configure(config)

    def configure(self, config: AdminConfig) -> None:
        """Who may ask from now on."""
        self._user = config.user
        self._password = config.password.get_secret_value()
        self._token = config.token.get_secret_value()
        self.open = not (self._token or (self._user and self._password))

    def identify(self, headers: Mapping[str, str]) -> str | None:
        """Who asks: the user's name, "token", "anonymous" where no credentials are configured, None when refused."""
        if self.open:
            return "anonymous"
        scheme, _, value = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._token and _same(value.strip(), self._token):
            return "token"
        if scheme.lower() == "basic":
            return self._basic(value.strip())
        return None

    def _basic(self, value: str) -> str | None:
        try:
            text = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, ValueError):
            return None
        user, _, password = text.partition(":")
        if self._user and self._password and _same(user, self._user) & _same(password, self._password):
            return self._user
        # A browser cannot be told a bearer token, so the token also works as the password of any user.
        if self._token and _same(password, self._token):
            return "token"
        return None

    def refuse(self, method: str, headers: Mapping[str, str]) -> Refusal | None:
        """Why a request may not be served whoever asks, or None."""
        host = headers.get("Host", "")
        if self.open and not is_loopback_host(host):
            return Refusal(403, f"the host {host!r} is not this machine's loopback", "ask http://127.0.0.1 instead")
        if method not in CHANGING:
            return None
        origin = headers.get("Origin")
        if origin is not None and _netloc(origin) != host.lower():
            return Refusal(403, f"changes from the origin {origin!r} are refused", "use the dashboard or the CLI")
        content_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if method != "DELETE" and content_type != "application/json":
            return Refusal(415, "changes are asked for in JSON", "send Content-Type: application/json")
        return None


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def _netloc(url: str) -> str:
    """Host and port in lower case; empty when there are none ("null" origins, malformed ones)."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def is_loopback_host(host: str) -> bool:
    """Whether a Host header (name or address, with or without port) names this machine's loopback."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
