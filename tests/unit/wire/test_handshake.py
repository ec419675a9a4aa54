"""Greeting, SSL request, handshake response and COM_CHANGE_USER: real packets, round trips and junk."""

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.errors import ProtocolError, ServerError, ServerProtocolError
from sqlproxy.wire import constants as c
from sqlproxy.wire.handshake import ChangeUser, Greeting, HandshakeResponse, is_ssl_request, new_scramble
from sqlproxy.wire.packets import err_packet

MARIADB_GREETING = bytes.fromhex(
    "0a352e352e352d31302e31312e31392d4d6172696144422d302b64656231327531001a000000474e345634412b5100fef7080200ff811500"
    "00000000001d00000038646e7d4a397c2647722c7d006d7973716c5f6e61746976655f70617373776f726400"
)
MYSQL_GREETING = bytes.fromhex(
    "0a392e372e342d32002a000000706277254f5a537c00ffffff0200ffdf15000000000000000000006a4a494d3e7e1f7b4d55410600636163"
    "68696e675f736861325f70617373776f726400"
)
MARIADB_RESPONSE = bytes.fromhex(
    "8ca2bf000000100021000000000000000000000000000000000000000000000061707000148817c50fa779daef010ee7577825b0847df984"
    "2e73686f70006d7973716c5f6e61746976655f70617373776f7264007f035f6f73054c696e75780c5f636c69656e745f6e616d650a6c6962"
    "6d617269616462045f7069640532393234330f5f636c69656e745f76657273696f6e06332e332e3230095f706c6174666f726d067838365f"
    "36340c70726f6772616d5f6e616d65056d7973716c0c5f7365727665725f686f7374093132372e302e302e31"
)
# The example of MySQL's protocol documentation: no connection attributes, one-byte auth length.
DOCUMENTED_RESPONSE = bytes.fromhex(
    "8da60f000000000108000000000000000000000000000000000000000000000070616d0014ab09eef6bcb1323e61143865c0991d957d75d4"
    "477465737400"
    "6d7973716c5f6e61746976655f70617373776f726400"
)

CAPABILITIES = st.integers(0, 2**32 - 1).map(lambda n: n | c.CLIENT_PROTOCOL_41)
TEXT = st.binary(max_size=40).map(lambda b: b.replace(b"\x00", b""))
NAME = TEXT.map(lambda b: b.decode("latin-1"))


def test_mariadbs_greeting_is_understood_and_written_alike() -> None:
    greeting = Greeting.parse(MARIADB_GREETING)
    assert greeting.server_version == b"5.5.5-10.11.19-MariaDB-0+deb12u1"
    assert greeting.scramble == b"GN4V4A+Q8dn}J9|&Gr,}"
    assert greeting.auth_plugin == c.NATIVE
    assert greeting.mariadb_capabilities == 0x1D
    assert not greeting.capabilities & c.CLIENT_LONG_PASSWORD
    assert greeting.encode() == MARIADB_GREETING


def test_mysqls_greeting_is_understood_and_written_alike() -> None:
    greeting = Greeting.parse(MYSQL_GREETING)
    assert (greeting.server_version, greeting.connection_id) == (b"9.7.4-2", 42)
    assert (greeting.auth_plugin, greeting.collation, greeting.status) == (c.CACHING_SHA2, 255, 2)
    assert greeting.mariadb_capabilities == 0
    assert greeting.encode() == MYSQL_GREETING


def test_a_greeting_without_plugins_means_the_native_one() -> None:
    greeting = Greeting(b"5.1", 1, b"s" * 20, c.CLIENT_PROTOCOL_41 | c.CLIENT_SECURE_CONNECTION | 1)
    assert Greeting.parse(greeting.encode()) == greeting


def test_longer_authentication_data_is_skipped() -> None:
    data = bytearray(MARIADB_GREETING)
    data[MARIADB_GREETING.index(b"\x00") + 1 + 4 + 9 + 7] = 25
    data[-len(c.NATIVE) - 1 : -len(c.NATIVE) - 1] = b"more"
    greeting = Greeting.parse(bytes(data))
    assert (greeting.scramble, greeting.auth_plugin) == (b"GN4V4A+Q8dn}J9|&Gr,}", c.NATIVE)


def test_an_error_instead_of_a_greeting_is_the_servers_own() -> None:
    with pytest.raises(ServerError, match="Too many connections") as caught:
        Greeting.parse(b"\xff\x10\x04Too many connections")
    assert caught.value.code == 1040
    with pytest.raises(ServerError, match="blocked"):
        Greeting.parse(err_packet(1129, "HY000", "Host is blocked"))


def test_other_protocol_versions_are_refused() -> None:
    with pytest.raises(ServerProtocolError, match="version 9"):
        Greeting.parse(b"\x09" + MYSQL_GREETING[1:])


def test_scrambles_are_text_without_dollar() -> None:
    scramble = new_scramble()
    assert len(scramble) == 20
    assert all(0 < byte < 128 for byte in scramble)
    assert b"$" not in scramble
    assert scramble != new_scramble()


def test_the_documented_response_is_understood() -> None:
    response = HandshakeResponse.parse(DOCUMENTED_RESPONSE)
    assert (response.username, response.database, response.plugin) == (b"pam", b"test", c.NATIVE)
    assert len(response.auth_response) == 20
    assert response.collation == 8
    assert response.encode() == DOCUMENTED_RESPONSE


def test_a_mariadb_clients_response_is_understood() -> None:
    response = HandshakeResponse.parse(MARIADB_RESPONSE)
    assert (response.username, response.database, response.plugin) == (b"app", b"shop", c.NATIVE)
    assert response.attrs.startswith(b"\x03_os\x05Linux")
    assert response.encode() == MARIADB_RESPONSE


@st.composite
def responses(draw: st.DrawFn) -> HandshakeResponse:
    capabilities = draw(CAPABILITIES)
    lenenc = capabilities & c.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
    binary = lenenc or capabilities & c.CLIENT_SECURE_CONNECTION
    return HandshakeResponse(
        capabilities,
        draw(TEXT),
        draw(st.binary(max_size=300 if lenenc else 255) if binary else TEXT),
        draw(TEXT) if capabilities & c.CLIENT_CONNECT_WITH_DB else None,
        draw(NAME) if capabilities & c.CLIENT_PLUGIN_AUTH else "",
        draw(st.binary(max_size=300)) if capabilities & c.CLIENT_CONNECT_ATTRS else b"",
        draw(st.integers(0, 2**32 - 1)),
        draw(st.integers(0, 255)),
        0 if capabilities & c.CLIENT_LONG_PASSWORD else draw(st.integers(0, 2**32 - 1)),
        draw(st.integers(1, 22)) if capabilities & c.CLIENT_ZSTD_COMPRESSION_ALGORITHM else 0,
    )


@given(responses())
def test_responses_round_trip_in_every_variant(response: HandshakeResponse) -> None:
    assert HandshakeResponse.parse(response.encode()) == response


def test_the_ssl_request_is_the_head_of_a_response() -> None:
    response = HandshakeResponse(c.CLIENT_PROTOCOL_41 | c.CLIENT_SSL, b"app")
    assert is_ssl_request(response.head())
    assert not is_ssl_request(response.encode())
    assert not is_ssl_request(HandshakeResponse(c.CLIENT_PROTOCOL_41, b"app").head())


def test_clients_before_4_1_are_refused_in_words() -> None:
    with pytest.raises(ProtocolError, match=r"before 4\.1") as caught:
        HandshakeResponse.parse(bytes.fromhex("85240000006f6c6400474453435159525f"))
    assert caught.value.code == c.ER_HANDSHAKE_ERROR


@pytest.mark.parametrize("cut", [1, 2])
def test_a_plugin_name_may_lack_its_nul_and_attributes_may_be_missing(cut: int) -> None:
    capabilities = c.CLIENT_PROTOCOL_41 | c.CLIENT_SECURE_CONNECTION | c.CLIENT_PLUGIN_AUTH | c.CLIENT_CONNECT_ATTRS
    whole = HandshakeResponse(capabilities, b"app", b"x" * 20, plugin=c.NATIVE).encode()
    assert HandshakeResponse.parse(whole[:-cut]).plugin == c.NATIVE


def test_an_auth_response_too_long_for_its_length_byte_is_refused() -> None:
    response = HandshakeResponse(c.CLIENT_PROTOCOL_41 | c.CLIENT_SECURE_CONNECTION, b"app", bytes(256))
    with pytest.raises(ProtocolError, match="256 bytes"):
        response.encode()


def test_what_a_client_answered_is_not_shown() -> None:
    assert "secret" not in repr(HandshakeResponse(0, b"app", b"secret"))
    assert "secret" not in repr(ChangeUser(0, b"app", b"secret"))


@given(CAPABILITIES, TEXT, TEXT, TEXT, NAME, st.binary(max_size=300))
def test_change_user_round_trips(
    capabilities: int, user: bytes, auth: bytes, database: bytes, plugin: str, attrs: bytes
) -> None:
    command = ChangeUser(
        capabilities,
        user,
        auth,
        database,
        plugin=plugin if capabilities & c.CLIENT_PLUGIN_AUTH else "",
        attrs=attrs if capabilities & c.CLIENT_CONNECT_ATTRS else b"",
    )
    assert ChangeUser.parse(command.encode(), capabilities) == command


def test_change_user_may_end_after_the_database() -> None:
    command = ChangeUser.parse(b"\x11app\x00\x00shop\x00", c.CLIENT_SECURE_CONNECTION | c.CLIENT_PLUGIN_AUTH)
    assert (command.username, command.auth_response, command.database) == (b"app", b"", b"shop")


PARSERS: list[Callable[[bytes], object]] = [
    Greeting.parse,
    HandshakeResponse.parse,
    lambda payload: ChangeUser.parse(payload, 0xFFFFFFFF),
    lambda payload: ChangeUser.parse(payload, 0),
]
SAMPLES = [MARIADB_GREETING, MYSQL_GREETING, MARIADB_RESPONSE, DOCUMENTED_RESPONSE, b"\x11app\x00\x00shop\x00\x2d\x00"]


@given(st.binary(max_size=120), st.sampled_from(PARSERS))
def test_junk_raises_nothing_but_protocol_errors(junk: bytes, parse: Callable[[bytes], object]) -> None:
    for data in (junk, b"\x0a" + junk, b"\x00\x02" + junk):
        try:
            parse(data)
        except (ProtocolError, ServerError):
            continue


@given(st.sampled_from(SAMPLES), st.sampled_from(PARSERS), st.data())
def test_damaged_packets_raise_nothing_but_protocol_errors(
    sample: bytes, parse: Callable[[bytes], object], data: st.DataObject
) -> None:
    damaged = bytearray(sample[: data.draw(st.integers(0, len(sample)))])
    if damaged:
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        parse(bytes(damaged))
    except (ProtocolError, ServerError):
        return


@pytest.mark.parametrize("sample", [MARIADB_GREETING, MYSQL_GREETING])
def test_every_truncation_of_a_greetings_fixed_part_is_refused(sample: bytes) -> None:
    fixed = sample.index(b"\x00") + 1 + 4 + 8 + 1 + 18 + 12
    for cut in range(fixed):
        with pytest.raises(ServerProtocolError):
            Greeting.parse(sample[:cut])


def test_greetings_differ_only_where_they_are_told_to() -> None:
    greeting = Greeting.parse(MARIADB_GREETING)
    changed = dataclasses.replace(greeting, connection_id=7, capabilities=greeting.capabilities | 1)
    assert Greeting.parse(changed.encode()).mariadb_capabilities == 0
