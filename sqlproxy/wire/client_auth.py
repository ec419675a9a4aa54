"""The client's side of a login, sans-IO: the proxy logs in to a server with what its client has proved.

``response`` gives plugin and auth response for the HandshakeResponse (or COM_CHANGE_USER); then ``receive``, called
with every packet of the server, says what to do until it says OK.

Source: MySQL's ``sql-common/client.cc`` and ``sql-common/client_authentication.cc``, MariaDB Connector/C's
``plugins/auth``.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlproxy.errors import ServerProtocolError
from sqlproxy.wire import ed25519, native_password, rsa, sha2_password
from sqlproxy.wire.auth import Credentials, Kind, MissingSecret, Step
from sqlproxy.wire.constants import (
    AUTH_MORE_DATA,
    AUTH_SWITCH,
    CACHING_SHA2,
    CLEAR,
    ED25519,
    ERR,
    NATIVE,
    OK,
    SHA256,
)
from sqlproxy.wire.handshake import SCRAMBLE_LENGTH
from sqlproxy.wire.packets import parse_auth_more_data, parse_auth_switch, parse_err
from sqlproxy.wire.server_auth import FAST_OK, FULL_AUTH, KEY_REQUEST

_SHA256_KEY_REQUEST = b"\x01"
_MAX_ROUNDS = 16  # packets of one login; a server that asks for more is refused
_REMEDY = "configure the password under [[accounts.users]]"


class ClientAuth:
    """One login to one server.

    ``server`` is its name for messages. ``secure``: TLS or a unix socket; passwords never travel in clear otherwise.
    ``server_key``: the server's RSA key as PEM; without it, it is asked for unless ``retrieve_key`` is false (whoever
    can change the bytes on the way could then answer with a key of his own).
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        server: str,
        secure: bool = False,
        server_key: bytes | None = None,
        retrieve_key: bool = True,
    ) -> None:
        self._credentials = credentials
        self._server = server
        self._secure = secure
        self._server_key = server_key
        self._retrieve_key = retrieve_key
        self._plugin = NATIVE
        self._scramble = b""
        self._rounds = 0
        self.repeated = False  # the server asked again for what had been answered
        self._awaits_key = False

    def response(self, plugin: str, scramble: bytes) -> tuple[str, bytes]:
        """Plugin to announce and auth response, for a greeting that names ``plugin`` and holds ``scramble``.

        When the credentials do not serve that plugin, one they serve is announced; the server then asks for the
        account's own. Raises ``MissingSecret`` when they serve none at all.
        """
        for choice in (plugin, NATIVE, CACHING_SHA2):
            self._plugin, self._scramble = choice, scramble
            if choice == NATIVE and self._credentials.native is not None:
                return choice, self._native()
            if choice == CACHING_SHA2 and self._credentials.sha2 is not None:
                return choice, self._sha2()
        raise self._missing(plugin)

    def receive(self, payload: bytes) -> Step:
        """The step after a packet of the server: SEND, WAIT, or OK with the server's OK packet as payload.

        Raises ``ServerError`` for an ERR packet, ``MissingSecret`` when the credentials do not serve the plugin the
        server asks for, ``ServerProtocolError`` for anything else.
        """
        self._rounds += 1
        first = payload[0] if payload else -1
        if first == OK:
            return Step(Kind.OK, payload, self._credentials)
        if first == ERR:
            raise parse_err(payload) or ServerProtocolError(f"server {self._server} sent a progress report at login")
        if first in (AUTH_SWITCH, AUTH_MORE_DATA) and self._rounds <= _MAX_ROUNDS:
            return self._switch(payload) if first == AUTH_SWITCH else self._more(payload)
        raise ServerProtocolError(f"server {self._server} sent a packet that does not belong to a login")

    def _switch(self, payload: bytes) -> Step:
        plugin, data = parse_auth_switch(payload)
        replies: dict[str, Callable[[], bytes]] = {
            NATIVE: self._native,
            CACHING_SHA2: self._sha2,
            ED25519: self._ed25519,
            SHA256: self._sha256,
            CLEAR: self._clear,
        }
        if plugin not in replies:
            raise MissingSecret(f"server {self._server} asks for {plugin}, which the proxy cannot answer")
        self.repeated = plugin == NATIVE and (plugin, data[:SCRAMBLE_LENGTH]) == (self._plugin, self._scramble)
        self._plugin = plugin
        self._awaits_key = False
        if data:
            self._scramble = data if plugin == ED25519 else data[:SCRAMBLE_LENGTH]
        return Step(Kind.SEND, replies[plugin]())

    def _more(self, payload: bytes) -> Step:
        data = parse_auth_more_data(payload)
        if self._awaits_key:
            self._awaits_key = False
            return Step(Kind.SEND, rsa.encrypt(self._cleartext(), self._scramble, data))
        if self._plugin == CACHING_SHA2 and data == FAST_OK:
            return Step(Kind.WAIT)
        if self._plugin == CACHING_SHA2 and data == FULL_AUTH:
            return Step(Kind.SEND, self._password(KEY_REQUEST))
        raise ServerProtocolError(f"server {self._server} sent data that {self._plugin} does not know")

    def _native(self) -> bytes:
        secret = self._credentials.native
        if secret is None:
            raise self._missing()
        return native_password.reply(secret, self._checked_scramble()) if secret else b""

    def _sha2(self) -> bytes:
        secret = self._credentials.sha2
        if secret is None:
            raise self._missing()
        return sha2_password.reply(secret, self._checked_scramble()) if secret else b""

    def _ed25519(self) -> bytes:
        if len(self._scramble) != ed25519.NONCE_LENGTH:
            raise ServerProtocolError(f"server {self._server} sent a nonce of {len(self._scramble)} bytes, not 32")
        return ed25519.sign(self._cleartext(), self._scramble)

    def _sha256(self) -> bytes:
        return self._password(_SHA256_KEY_REQUEST) if self._cleartext() else b"\x00"

    def _clear(self) -> bytes:
        if not self._secure:
            raise MissingSecret(f"server {self._server} asks for {CLEAR}; use TLS towards it")
        return self._cleartext() + b"\x00"

    def _password(self, key_request: bytes) -> bytes:
        """The password as this connection allows: in clear, encrypted, or first a request for the server's key."""
        password = self._cleartext()
        if self._secure:
            return password + b"\x00"
        if self._server_key is not None:
            return rsa.encrypt(password, self._checked_scramble(), self._server_key)
        if not self._retrieve_key:
            raise MissingSecret(f"server {self._server} asks for the password; use TLS or configure its public key")
        self._checked_scramble()
        self._awaits_key = True
        return key_request

    def _cleartext(self) -> bytes:
        if self._credentials.cleartext is None:
            raise self._missing()
        return self._credentials.cleartext

    def _checked_scramble(self) -> bytes:
        if len(self._scramble) != SCRAMBLE_LENGTH:
            raise ServerProtocolError(f"server {self._server} sent a scramble of {len(self._scramble)} bytes, not 20")
        return self._scramble

    def _missing(self, plugin: str = "") -> MissingSecret:
        user = self._credentials.username.decode("utf-8", "replace")
        return MissingSecret(f"server {self._server} asks for {plugin or self._plugin} from '{user}'; {_REMEDY}")
