"""The packets that open a connection or change its user: greeting, SSL request, handshake response, COM_CHANGE_USER.

Payloads only, no frames. Plugin names are ``str`` (latin-1, so that any bytes survive), everything else that a peer
may choose freely is ``bytes``. Malformed input raises ``ProtocolError`` (``ServerProtocolError`` for a greeting).

Sources: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets.html,
https://mariadb.com/kb/en/connection/ and the servers' ``sql/auth/sql_authentication.cc`` and ``sql/sql_acl.cc``.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass

from sqlproxy.errors import ProtocolError, ServerProtocolError
from sqlproxy.wire import codec
from sqlproxy.wire.constants import (
    CLIENT_CONNECT_ATTRS,
    CLIENT_CONNECT_WITH_DB,
    CLIENT_LONG_PASSWORD,
    CLIENT_PLUGIN_AUTH,
    CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
    CLIENT_PROTOCOL_41,
    CLIENT_SECURE_CONNECTION,
    CLIENT_SSL,
    CLIENT_ZSTD_COMPRESSION_ALGORITHM,
    COM_CHANGE_USER,
    ER_HANDSHAKE_ERROR,
    NATIVE,
)
from sqlproxy.wire.packets import is_err, parse_err, server_bytes

SCRAMBLE_LENGTH = 20
_SCRAMBLE_BYTES = bytes(byte for byte in range(1, 128) if byte != ord("$"))
_TO_SCRAMBLE = bytes(_SCRAMBLE_BYTES[byte % len(_SCRAMBLE_BYTES)] for byte in range(256))
_PART_1 = 8  # bytes of the scramble before the capabilities
_PROTOCOL_VERSION = 10
SSL_REQUEST = 32  # bytes of the packet that asks for TLS
_HEAD = struct.Struct("<IIB19sI")  # handshake response: capabilities, max packet, collation, filler, MariaDB's
_GREETING_MIDDLE = struct.Struct(
    "<HBHHB6sI"
)  # low capabilities, collation, status, high, auth length, filler, MariaDB's


def new_scramble() -> bytes:
    """20 random bytes for a greeting, from 1 to 127 but never ``$``: clients treat them as text, as MySQL does."""
    return secrets.token_bytes(SCRAMBLE_LENGTH).translate(_TO_SCRAMBLE)


def split(capabilities: int) -> tuple[int, int]:
    """The 32 bits that both have, and MariaDB's, which CLIENT_LONG_PASSWORD would forbid."""
    low, high = capabilities & 0xFFFFFFFF, capabilities >> 32
    return (low & ~CLIENT_LONG_PASSWORD if high else low), high


@dataclass(frozen=True, slots=True)
class Greeting:
    """A server's HandshakeV10.

    ``capabilities`` are 32 bits; ``mariadb_capabilities`` the four bytes that MariaDB keeps in the reserved space, 0
    when CLIENT_LONG_PASSWORD (there CLIENT_MYSQL) is set. ``scramble`` is 20 bytes without the NUL that follows it.
    """

    server_version: bytes
    connection_id: int
    scramble: bytes
    capabilities: int
    mariadb_capabilities: int = 0
    collation: int = 45
    status: int = 2
    auth_plugin: str = NATIVE

    @property
    def all_capabilities(self) -> int:
        """With MariaDB's above the others."""
        return self.capabilities | self.mariadb_capabilities << 32

    def encode(self) -> bytes:
        """The payload of the packet."""
        middle = _GREETING_MIDDLE.pack(
            self.capabilities & 0xFFFF,
            self.collation & 0xFF,
            self.status,
            self.capabilities >> 16,
            SCRAMBLE_LENGTH + 1 if self.capabilities & CLIENT_PLUGIN_AUTH else 0,
            b"",
            0 if self.capabilities & CLIENT_LONG_PASSWORD else self.mariadb_capabilities,
        )
        start = b"\x0a" + self.server_version + b"\x00" + struct.pack("<I", self.connection_id)
        whole = start + self.scramble[:_PART_1] + b"\x00" + middle + self.scramble[_PART_1:] + b"\x00"
        if self.capabilities & CLIENT_PLUGIN_AUTH:
            whole += self.auth_plugin.encode("latin-1") + b"\x00"
        return whole

    @classmethod
    def parse(cls, payload: bytes) -> Greeting:
        """The first packet of a server.

        Raises ``ServerError`` with the server's own code and text when it answers with an ERR packet (too many
        connections, host blocked), ``ServerProtocolError`` when the bytes are no HandshakeV10.
        """
        if is_err(payload):
            raise parse_err(payload) or ServerProtocolError("the server greets with a progress report")
        with server_bytes():
            return cls._parse(payload)

    @classmethod
    def _parse(cls, payload: bytes) -> Greeting:
        version, pos = codec.read_uint(payload, 0, 1, "protocol version")
        if version != _PROTOCOL_VERSION:
            raise ProtocolError(f"the server speaks protocol version {version}; only version 10 is supported")
        server_version, pos = codec.read_null_string(payload, pos, "server version")
        connection_id, pos = codec.read_uint(payload, pos, 4, "connection id")
        part_1, pos = codec.read_bytes(payload, pos, _PART_1, "scramble")
        middle, pos = codec.read_bytes(payload, pos + 1, _GREETING_MIDDLE.size, "capabilities")
        low, collation, status, high, auth_length, _, mariadb = _GREETING_MIDDLE.unpack(middle)
        capabilities = low | high << 16
        part_2, plugin = _greeting_tail(payload, pos, capabilities, auth_length)
        return cls(
            server_version=server_version,
            connection_id=connection_id,
            scramble=part_1 + part_2,
            capabilities=capabilities,
            mariadb_capabilities=0 if capabilities & CLIENT_LONG_PASSWORD else mariadb,
            collation=collation,
            status=status,
            auth_plugin=plugin,
        )


class GreetingForm:
    """A greeting but for what differs from client to client; ``capabilities`` as in ``Greeting.all_capabilities``."""

    def __init__(
        self, server_version: bytes, capabilities: int, mariadb_capabilities: int, collation: int, plugin: str
    ) -> None:
        greeting = Greeting(
            server_version, 0, bytes(SCRAMBLE_LENGTH), capabilities, mariadb_capabilities, collation, auth_plugin=plugin
        )
        self.capabilities = greeting.all_capabilities
        self.plugin = plugin
        whole = codec.packet(0, greeting.encode())
        number = len(whole) - len(greeting.encode()) + 1 + len(server_version) + 1
        first = number + 4
        second = first + _PART_1 + 1 + _GREETING_MIDDLE.size
        self._start = whole[:number]
        self._middle = whole[first + _PART_1 : second]
        self._end = whole[second + SCRAMBLE_LENGTH - _PART_1 :]

    def packet(self, connection_id: int, scramble: bytes) -> bytes:
        """The whole packet, header included, for one client."""
        number = connection_id.to_bytes(4, "little")
        return self._start + number + scramble[:_PART_1] + self._middle + scramble[_PART_1:] + self._end


def _greeting_tail(payload: bytes, pos: int, capabilities: int, auth_length: int) -> tuple[bytes, str]:
    """The rest of the scramble (12 bytes) and the plugin; both are missing from no server since 5.5."""
    if not capabilities & CLIENT_SECURE_CONNECTION:
        raise ProtocolError("the server offers only the authentication of MySQL before 4.1, which is not supported")
    part_2, pos = codec.read_bytes(payload, pos, SCRAMBLE_LENGTH - _PART_1, "scramble")
    if not capabilities & CLIENT_PLUGIN_AUTH:
        return part_2, NATIVE
    # The second part is max(13, length - 8) bytes: 12 of scramble and its NUL, unless a plugin wants more.
    pos += max(13, auth_length - _PART_1) - len(part_2)
    return part_2, _lenient_name(payload, pos)[0]


def _lenient_name(payload: bytes, pos: int) -> tuple[str, int]:
    """A plugin name up to its NUL, or to the end of the packet: some peers forget the NUL, or the name."""
    end = payload.find(b"\x00", pos)
    if end < 0:
        return payload[pos:].decode("latin-1"), max(pos, len(payload))
    return payload[pos:end].decode("latin-1"), end + 1


def is_ssl_request(payload: bytes) -> bool:
    """Whether a client's first packet asks for TLS: the head of a handshake response and nothing else."""
    return len(payload) == SSL_REQUEST and bool(int.from_bytes(payload[:4], "little") & CLIENT_SSL)


@dataclass(frozen=True, slots=True)
class HandshakeResponse:
    """A client's HandshakeResponse41.

    ``database`` is None when the client names none; ``attrs`` is the raw block of connection attributes without its
    length; ``mariadb_capabilities`` is 0 unless CLIENT_LONG_PASSWORD (MariaDB: CLIENT_MYSQL) is clear.
    """

    capabilities: int
    username: bytes
    auth_response: bytes = b""
    database: bytes | None = None
    plugin: str = ""
    attrs: bytes = b""
    max_packet: int = 1 << 24
    collation: int = 45
    mariadb_capabilities: int = 0
    zstd_level: int = 0

    def __repr__(self) -> str:
        return f"HandshakeResponse({self.username!r}, capabilities={self.capabilities:#x}, plugin={self.plugin!r})"

    @property
    def all_capabilities(self) -> int:
        """With MariaDB's above the others."""
        return self.capabilities | self.mariadb_capabilities << 32

    def head(self) -> bytes:
        """The 32 bytes before the user name; with CLIENT_SSL set they are the SSL request."""
        mariadb = 0 if self.capabilities & CLIENT_LONG_PASSWORD else self.mariadb_capabilities
        return _HEAD.pack(self.capabilities, self.max_packet, self.collation & 0xFF, b"", mariadb)

    def encode(self) -> bytes:
        """The payload of the packet; raises ``ProtocolError`` if the auth response does not fit its length field."""
        whole = self.head() + self.username + b"\x00" + self._encoded_auth()
        if self.capabilities & CLIENT_CONNECT_WITH_DB:
            whole += (self.database or b"") + b"\x00"
        if self.capabilities & CLIENT_PLUGIN_AUTH:
            whole += self.plugin.encode("latin-1") + b"\x00"
        if self.capabilities & CLIENT_CONNECT_ATTRS:
            whole += codec.write_lenenc_string(self.attrs)
        if self.capabilities & CLIENT_ZSTD_COMPRESSION_ALGORITHM:
            whole += bytes((self.zstd_level,))
        return whole

    def _encoded_auth(self) -> bytes:
        if self.capabilities & CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA:
            return codec.write_lenenc_string(self.auth_response)
        if self.capabilities & CLIENT_SECURE_CONNECTION:
            return _short_string(self.auth_response)
        return self.auth_response + b"\x00"

    @classmethod
    def parse(cls, payload: bytes) -> HandshakeResponse:
        """A client's answer to the greeting, from any client since 4.1."""
        if len(payload) >= 2 and not int.from_bytes(payload[:2], "little") & CLIENT_PROTOCOL_41:
            raise ProtocolError(
                "the client speaks the protocol of MySQL before 4.1, which is not supported",
                code=ER_HANDSHAKE_ERROR,
                sqlstate="08S01",
            )
        if len(payload) < _HEAD.size:
            raise codec.truncated("handshake response", 0)
        capabilities, max_packet, collation, _, mariadb = _HEAD.unpack_from(payload)
        username, pos = codec.read_null_string(payload, _HEAD.size, "user name")
        auth, pos = _read_auth(payload, pos, capabilities)
        database, plugin, attrs, zstd = _response_tail(payload, pos, capabilities)
        if capabilities & CLIENT_LONG_PASSWORD:
            mariadb = 0
        return cls(capabilities, username, auth, database, plugin, attrs, max_packet, collation, mariadb, zstd)


def _short_string(value: bytes) -> bytes:
    if len(value) > 255:
        raise ProtocolError(f"an auth response of {len(value)} bytes does not fit; at most 255 are possible")
    return bytes((len(value),)) + value


def _read_auth(payload: bytes, pos: int, capabilities: int) -> tuple[bytes, int]:
    if capabilities & CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA:
        return codec.read_lenenc_string(payload, pos, "auth response")
    if capabilities & CLIENT_SECURE_CONNECTION:
        size, pos = codec.read_uint(payload, pos, 1, "auth response length")
        return codec.read_bytes(payload, pos, size, "auth response")
    return codec.read_null_string(payload, pos, "auth response")


def _response_tail(payload: bytes, pos: int, capabilities: int) -> tuple[bytes | None, str, bytes, int]:
    """Database, plugin, attributes, zstd level; what old clients announce but leave out at the end is empty."""
    database: bytes | None = None
    if capabilities & CLIENT_CONNECT_WITH_DB and pos < len(payload):
        database, pos = codec.read_null_string(payload, pos, "database")
    plugin, attrs, pos = _plugin_and_attrs(payload, pos, capabilities)
    zstd = payload[pos] if capabilities & CLIENT_ZSTD_COMPRESSION_ALGORITHM and pos < len(payload) else 0
    return database, plugin, attrs, zstd


def _plugin_and_attrs(payload: bytes, pos: int, capabilities: int) -> tuple[str, bytes, int]:
    plugin, attrs = "", b""
    if capabilities & CLIENT_PLUGIN_AUTH:
        plugin, pos = _lenient_name(payload, pos)
    if capabilities & CLIENT_CONNECT_ATTRS and pos < len(payload):
        attrs, pos = codec.read_lenenc_string(payload, pos, "connection attributes")
    return plugin, attrs, pos


@dataclass(frozen=True, slots=True)
class ChangeUser:
    """A COM_CHANGE_USER command; ``capabilities`` are those of the connection, they say which fields exist."""

    capabilities: int
    username: bytes
    auth_response: bytes = b""
    database: bytes = b""
    collation: int = 45
    plugin: str = ""
    attrs: bytes = b""

    def __repr__(self) -> str:
        return f"ChangeUser({self.username!r}, plugin={self.plugin!r})"

    def encode(self) -> bytes:
        """The payload, command byte included."""
        whole = bytes((COM_CHANGE_USER,)) + self.username + b"\x00" + self._encoded_auth()
        whole += self.database + b"\x00" + self.collation.to_bytes(2, "little")
        if self.capabilities & CLIENT_PLUGIN_AUTH:
            whole += self.plugin.encode("latin-1") + b"\x00"
        if self.capabilities & CLIENT_CONNECT_ATTRS:
            whole += codec.write_lenenc_string(self.attrs)
        return whole

    def _encoded_auth(self) -> bytes:
        if self.capabilities & CLIENT_SECURE_CONNECTION:
            return _short_string(self.auth_response)
        return self.auth_response + b"\x00"

    @classmethod
    def parse(cls, payload: bytes, capabilities: int) -> ChangeUser:
        """The command as a client with ``capabilities`` sends it; its end may be missing from the collation on."""
        username, pos = codec.read_null_string(payload, 1, "user name")
        auth, pos = _read_auth(payload, pos, capabilities & ~CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)
        database, pos = codec.read_null_string(payload, pos, "database")
        if pos == len(payload):
            return cls(capabilities, username, auth, database)
        collation, pos = codec.read_uint(payload, pos, 2, "collation")
        plugin, attrs, _ = _plugin_and_attrs(payload, pos, capabilities)
        return cls(capabilities, username, auth, database, collation, plugin, attrs)
