"""The server's side of a login, sans-IO: a client proves who it is against the account's methods.

Give it the client's handshake response (or COM_CHANGE_USER) and the account's methods; ``start`` and then ``receive``,
called with every packet of the client, say what to do. Clients that run another plugin than the account's are switched;
accounts with alternatives (MariaDB's OR) are tried plugin by plugin, as MariaDB does. Unknown users get the exchange of
a decoy account that nobody can log in to.

Source: MySQL's ``sql/auth/sql_authentication.cc`` and ``sql/auth/sha2_password.cc``, MariaDB's ``sql/sql_acl.cc``.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import cache

from sqlproxy.errors import ProtocolError
from sqlproxy.wire import ed25519, native_password, sha2_password
from sqlproxy.wire.auth import MAX_PASSWORD, Credentials, Kind, Method, Step
from sqlproxy.wire.constants import CACHING_SHA2, CLEAR, CLIENT_PLUGIN_AUTH, ED25519, NATIVE
from sqlproxy.wire.handshake import ChangeUser, HandshakeResponse
from sqlproxy.wire.packets import auth_more_data_packet, auth_switch_packet
from sqlproxy.wire.rsa import RSAKey

FAST_OK = b"\x03"
FULL_AUTH = b"\x04"
KEY_REQUEST = b"\x02"
_EMPTY = (b"", b"\x00")  # how clients without a password answer caching_sha2_password
_WRONG = "wrong password"


@cache
def decoy(plugin: str) -> Method:
    """A method of grant-table plugin ``plugin`` with a password that nobody knows."""
    password = secrets.token_bytes(32)
    if plugin == NATIVE:
        return Method(NATIVE, native_password.stored_hash(password).encode())
    if plugin in ("ed25519", ED25519):
        return Method("ed25519", ed25519.stored_hash(password).encode())
    return Method(CACHING_SHA2, sha2_password.stored_hash(password, secrets.token_hex(10).encode()))


class ServerAuth:
    """One login of one client.

    ``request``: its HandshakeResponse or ChangeUser. ``scramble``: the 20 bytes of our greeting, or new ones for a
    ChangeUser, whose client is always sent them: C clients leave its auth response empty and wait for that.
    ``methods``: the account's, empty for an unknown user, who then sees the exchange of an account with
    ``decoy_plugin``. ``greeting_plugin``: the one our greeting named. ``cached_sha256``: SHA256(SHA256(password)) from
    an earlier full login, or from a configured password; the caller forgets it when the account changes. ``secure``:
    TLS or a unix socket. ``rsa_key``: for passwords over anything else. ``want_cleartext``: accept nothing but the
    password itself (by caching_sha2_password or mysql_clear_password), because a server will ask for it.
    """

    def __init__(
        self,
        request: HandshakeResponse | ChangeUser,
        scramble: bytes,
        methods: Sequence[Method],
        *,
        greeting_plugin: str = NATIVE,
        cached_sha256: bytes | None = None,
        secure: bool = False,
        rsa_key: RSAKey | None = None,
        want_cleartext: bool = False,
        decoy_plugin: str = NATIVE,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._request = request
        self._scramble = scramble
        self._unknown = not methods
        self._methods = tuple(methods) or (decoy(decoy_plugin),)
        self._greeting_plugin = greeting_plugin
        self._cached = None if want_cleartext else cached_sha256
        self._secure = secure
        self._rsa = rsa_key
        self._random = random
        self._nonce = b""
        self._can_switch = bool(request.capabilities & CLIENT_PLUGIN_AUTH)
        self._plugin = (request.plugin if self._can_switch else "") or NATIVE
        self._queue = self._clear_plugins() if want_cleartext else self._plugins()
        self._expect: Callable[[bytes], Step] | None = None

    def start(self) -> Step:
        """The step after the client's request."""
        if not any(method.client_plugin for method in self._methods):
            names = ", ".join(method.plugin for method in self._methods)
            return self._deny(f"the account uses {names}, which the proxy cannot check")
        answer = self._request.auth_response
        if self._plugin not in self._queue or not self._is_prepared(answer):
            return self._switch()
        self._queue.remove(self._plugin)
        return self._handler(self._plugin)(answer)

    def receive(self, payload: bytes) -> Step:
        """The step after a further packet of the client; raises ``ProtocolError`` when none was expected."""
        expect, self._expect = self._expect, None
        if expect is None:
            raise ProtocolError("the client sent a packet that no authentication plugin waits for")
        return expect(payload)

    def _is_prepared(self, answer: bytes) -> bool:
        """Whether ``answer`` can be the plugin's reply to our scramble.

        A client that prefers another plugin than our greeting named sends nothing and waits to be switched to it.
        """
        if self._plugin == ED25519 or (self._can_switch and isinstance(self._request, ChangeUser)):
            return False
        return bool(answer) or self._plugin == self._greeting_plugin or not self._can_switch

    def _plugins(self) -> list[str]:
        """The client plugins that can prove one of the methods: the client's own first, then in their order."""
        wanted = [method.client_plugin for method in self._methods if method.client_plugin]
        if self._cached is not None:
            wanted.append(CACHING_SHA2)
        if self._plugin == CLEAR and self._secure:
            wanted.append(CLEAR)
        if len(wanted) == 1:
            return wanted
        return sorted(dict.fromkeys(wanted), key=lambda plugin: plugin != self._plugin)

    def _clear_plugins(self) -> list[str]:
        """The one plugin that gives the proxy the password."""
        return [CLEAR if self._plugin == CLEAR and self._secure else CACHING_SHA2]

    def _handler(self, plugin: str) -> Callable[[bytes], Step]:
        handlers = {NATIVE: self._native, CACHING_SHA2: self._sha2, ED25519: self._ed25519, CLEAR: self._cleartext}
        return handlers[plugin]

    def _switch(self) -> Step:
        plugin = self._queue.pop(0)
        if not self._can_switch:
            return self._deny(f"the client cannot change its authentication plugin to {plugin}")
        if plugin == ED25519:
            self._nonce = self._random(ed25519.NONCE_LENGTH)
        data = {ED25519: self._nonce, CLEAR: b""}.get(plugin, self._scramble + b"\x00")
        return self._send(auth_switch_packet(plugin, data), self._handler(plugin))

    def _send(self, payload: bytes, expect: Callable[[bytes], Step]) -> Step:
        self._expect = expect
        return Step(Kind.SEND, payload)

    def _failed(self) -> Step:
        """This plugin did not prove the account: the next alternative, if there is one."""
        return self._switch() if self._queue else self._deny(_WRONG)

    def _deny(self, reason: str) -> Step:
        return Step(Kind.DENIED, reason="unknown user" if self._unknown else reason)

    def _accept(
        self,
        *,
        cleartext: bytes | None = None,
        sha1: bytes | None = None,
        sha256: bytes | None = None,
        payload: bytes = b"",
    ) -> Step:
        if self._unknown:
            return self._failed()
        return Step(Kind.OK, payload, Credentials(self._request.username, cleartext, sha1, sha256))

    def _native(self, answer: bytes) -> Step:
        for method in self._methods:
            if method.client_plugin != NATIVE:
                continue
            if not answer and not method.auth_string:
                return self._accept(cleartext=b"")
            secret = native_password.recover(answer, self._scramble, method.text())
            if secret is not None:
                return self._accept(sha1=secret)
        return self._failed()

    def _ed25519(self, answer: bytes) -> Step:
        for method in self._methods:
            key = ed25519.decode_stored(method.text()) if method.client_plugin == ED25519 else None
            if key is not None and ed25519.verify(key, answer, self._nonce):
                return self._accept()
        return self._failed()

    def _sha2(self, answer: bytes) -> Step:
        if answer in _EMPTY:
            return self._check(b"")
        if self._cached is not None:
            secret = sha2_password.recover(answer, self._scramble, self._cached)
            if secret is not None:
                return self._accept(sha256=secret, payload=auth_more_data_packet(FAST_OK))
        if not self._secure and self._rsa is None:
            return self._deny("caching_sha2_password needs TLS or an RSA key for this login")
        return self._send(auth_more_data_packet(FULL_AUTH), self._full)

    def _full(self, payload: bytes) -> Step:
        """The password, or a request for our key; a password cannot be mistaken for one, it ends with a NUL."""
        if payload == KEY_REQUEST and self._rsa is not None:
            return self._send(auth_more_data_packet(self._rsa.public_pem), self._encrypted)
        return self._cleartext(payload) if self._secure else self._encrypted(payload)

    def _encrypted(self, payload: bytes) -> Step:
        password = self._rsa.decrypt(payload, self._scramble) if self._rsa is not None else None
        return self._failed() if password is None else self._check(password)

    def _cleartext(self, payload: bytes) -> Step:
        if len(payload) > MAX_PASSWORD:
            return self._failed()
        return self._check(payload.removesuffix(b"\x00"))

    def _check(self, password: bytes) -> Step:
        if any(method.accepts(password) for method in self._methods):
            return self._accept(cleartext=password)
        return self._failed()
