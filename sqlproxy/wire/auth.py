"""The words of a login: Method (how an account may prove itself), Credentials (what was proved), Step (what is next).

The exchanges themselves are in ``server_auth`` (we let a client in) and ``client_auth`` (we log in to a server); the
arithmetic of each plugin is in ``native_password``, ``sha2_password``, ``ed25519`` and ``rsa``.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import StrEnum

from sqlproxy.errors import AccessDenied, Fault
from sqlproxy.wire import ed25519, native_password, sha2_password
from sqlproxy.wire.constants import CACHING_SHA2, ED25519, NATIVE, SHA256

MAX_PASSWORD = 1024  # bytes of a cleartext password that are looked at; longer ones are wrong

# How grant tables call the plugin -> the plugin the client must run. Empty: accounts older than plugins.
CLIENT_PLUGINS = {
    "": NATIVE,
    NATIVE: NATIVE,
    CACHING_SHA2: CACHING_SHA2,
    SHA256: CACHING_SHA2,  # its hash needs the cleartext, which caching_sha2_password asks for just as safely
    "ed25519": ED25519,
    ED25519: ED25519,
}


class Kind(StrEnum):
    """What the caller does with a ``Step``."""

    SEND = "send"  # send ``payload`` as the next packet, then read one
    WAIT = "wait"  # send nothing, read one more packet
    OK = "ok"  # logged in; a server sends ``payload``, if any, before its OK packet
    DENIED = "denied"  # refuse the client; ``reason`` is for the log, never for the client


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client has proved to know, as far as it serves to log in elsewhere in its name.

    ``cleartext`` is the password; ``sha1_stage1`` SHA1(password), enough for mysql_native_password;
    ``sha256_stage1`` SHA256(password), enough for caching_sha2_password's fast path. None: not known.
    """

    username: bytes
    cleartext: bytes | None = None
    sha1_stage1: bytes | None = None
    sha256_stage1: bytes | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.username!r})"

    @property
    def native(self) -> bytes | None:
        """SHA1(password) if it can be had; empty for an empty password."""
        if self.cleartext is None:
            return self.sha1_stage1
        return native_password.stage1(self.cleartext) if self.cleartext else b""

    @property
    def sha2(self) -> bytes | None:
        """SHA256(password) if it can be had; empty for an empty password."""
        if self.cleartext is None:
            return self.sha256_stage1
        return sha2_password.stage1(self.cleartext) if self.cleartext else b""


class MissingSecret(AccessDenied):
    """A server wants a proof that what the client proved to the proxy does not give."""

    fault = Fault.PROXY


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next in a login; see ``Kind``."""

    kind: Kind
    payload: bytes = field(default=b"", repr=False)
    credentials: Credentials | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Method:
    """One way an account may prove itself: plugin and authentication_string as in the grant table."""

    plugin: str
    auth_string: bytes = field(default=b"", repr=False)

    @property
    def client_plugin(self) -> str | None:
        """The plugin a client runs for it; None if the proxy cannot check it (unix_socket, pam, gssapi, …)."""
        return CLIENT_PLUGINS.get(self.plugin)

    def text(self) -> str:
        """The authentication string, for plugins that keep ASCII there."""
        return self.auth_string.decode("latin-1")

    def accepts(self, password: bytes) -> bool:
        """Whether ``password`` is the account's; up to 5 ms for salted hashes."""
        if self.client_plugin is None or len(password) > MAX_PASSWORD:
            return False
        if not password or not self.auth_string:
            return not password and not self.auth_string and self.client_plugin != ED25519
        if self.client_plugin == NATIVE:
            expected = native_password.stage2(self.text())
            actual = native_password.stage2(native_password.stored_hash(password))
        elif self.client_plugin == ED25519:
            expected = ed25519.decode_stored(self.text())
            actual = ed25519.public_key(password)
        else:
            return sha2_password.verify(password, self.auth_string)
        return expected is not None and actual is not None and hmac.compare_digest(actual, expected)


def methods_for_password(password: bytes) -> tuple[Method, ...]:
    """Methods for an account whose password is known: clients may use mysql_native_password or client_ed25519.

    Together with ``sha2_password.double(password)`` as the cached hash, caching_sha2_password works as well.
    """
    if not password:
        return (Method(NATIVE),)
    native = Method(NATIVE, native_password.stored_hash(password).encode())
    return (native, Method("ed25519", ed25519.stored_hash(password).encode()))
