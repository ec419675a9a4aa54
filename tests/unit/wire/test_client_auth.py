"""The client's side of a login: what the proxy answers a server, and what it refuses to give away."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlproxy.errors import ProtocolError, ServerError, ServerProtocolError
from sqlproxy.wire import constants as c
from sqlproxy.wire import ed25519, native_password, rsa, sha2_password
from sqlproxy.wire.auth import Credentials, Kind, MissingSecret
from sqlproxy.wire.client_auth import ClientAuth
from sqlproxy.wire.packets import auth_switch_packet, err_packet, ok_packet

SCRAMBLE = b"abcdefghijklmnopqrst"
OTHER = b"ABCDEFGHIJKLMNOPQRST"
PASSWORD = b"secret"
KNOWN = Credentials(b"app", cleartext=PASSWORD)
STAGE1 = native_password.stage1(PASSWORD)
KEY = rsa.RSAKey.generate()


def test_the_native_plugin_needs_only_stage_1() -> None:
    login = ClientAuth(Credentials(b"app", sha1_stage1=STAGE1), server="n1")
    assert login.response(c.NATIVE, SCRAMBLE) == (c.NATIVE, native_password.reply(STAGE1, SCRAMBLE))
    ok = ok_packet(2)
    step = login.receive(ok)
    assert (step.kind, step.payload) == (Kind.OK, ok)


def test_a_plugin_the_credentials_serve_is_announced() -> None:
    native = ClientAuth(Credentials(b"app", sha1_stage1=STAGE1), server="n1")
    assert native.response(c.CACHING_SHA2, SCRAMBLE)[0] == c.NATIVE
    sha2 = ClientAuth(Credentials(b"app", sha256_stage1=sha2_password.stage1(PASSWORD)), server="n1")
    assert sha2.response(c.NATIVE, SCRAMBLE)[0] == c.CACHING_SHA2


def test_credentials_without_any_secret_name_the_remedy() -> None:
    with pytest.raises(MissingSecret, match=r"n1 asks for mysql_native_password from 'app'; .*\[\[accounts\.users\]\]"):
        ClientAuth(Credentials(b"app"), server="n1").response(c.NATIVE, SCRAMBLE)


def test_an_empty_password_is_an_empty_answer() -> None:
    empty = Credentials(b"app", cleartext=b"")
    for plugin in (c.NATIVE, c.CACHING_SHA2):
        assert ClientAuth(empty, server="n1").response(plugin, SCRAMBLE) == (plugin, b"")


def test_a_switch_answers_the_new_scramble() -> None:
    login = ClientAuth(KNOWN, server="n1")
    login.response(c.CACHING_SHA2, SCRAMBLE)
    step = login.receive(auth_switch_packet(c.NATIVE, OTHER + b"\x00"))
    assert (step.kind, step.payload) == (Kind.SEND, native_password.reply(STAGE1, OTHER))


def test_ed25519_signs_the_nonce() -> None:
    login = ClientAuth(KNOWN, server="n1")
    login.response(c.NATIVE, SCRAMBLE)
    step = login.receive(auth_switch_packet(c.ED25519, bytes(32)))
    assert step.payload == ed25519.sign(PASSWORD, bytes(32))
    with pytest.raises(ServerProtocolError, match="nonce of 20 bytes"):
        login.receive(auth_switch_packet(c.ED25519, bytes(20)))


@pytest.mark.parametrize("plugin", [c.ED25519, c.CACHING_SHA2, c.SHA256, c.CLEAR])
def test_a_plugin_beyond_the_credentials_names_server_and_plugin(plugin: str) -> None:
    login = ClientAuth(Credentials(b"app", sha1_stage1=STAGE1), server="n1", secure=True)
    login.response(c.NATIVE, SCRAMBLE)
    with pytest.raises(MissingSecret, match=f"server n1 asks for {plugin} from 'app'"):
        login.receive(auth_switch_packet(plugin, bytes(32) if plugin == c.ED25519 else SCRAMBLE + b"\x00"))


@pytest.mark.parametrize("plugin", ["dialog", "auth_gssapi_client", "mysql_old_password", ""])
def test_unknown_plugins_are_refused_by_name(plugin: str) -> None:
    login = ClientAuth(KNOWN, server="n1", secure=True)
    login.response(c.NATIVE, SCRAMBLE)
    with pytest.raises(MissingSecret, match=f"asks for {plugin}, which the proxy cannot answer"):
        login.receive(auth_switch_packet(plugin, b""))


def test_the_fast_path_waits_for_ok() -> None:
    login = ClientAuth(KNOWN, server="n1")
    login.response(c.CACHING_SHA2, SCRAMBLE)
    assert login.receive(b"\x01\x03").kind is Kind.WAIT


def test_full_authentication_over_tls_sends_the_password() -> None:
    login = ClientAuth(KNOWN, server="n1", secure=True)
    login.response(c.CACHING_SHA2, SCRAMBLE)
    assert login.receive(b"\x01\x04").payload == PASSWORD + b"\x00"


def test_full_authentication_over_plain_tcp_asks_for_the_key() -> None:
    login = ClientAuth(KNOWN, server="n1")
    login.response(c.CACHING_SHA2, SCRAMBLE)
    assert login.receive(b"\x01\x04").payload == b"\x02"
    message = login.receive(b"\x01" + KEY.public_pem).payload
    assert KEY.decrypt(message, SCRAMBLE) == PASSWORD


def test_a_server_that_switches_instead_of_sending_its_key_gets_no_password() -> None:
    login = ClientAuth(KNOWN, server="n1")
    login.response(c.CACHING_SHA2, SCRAMBLE)
    login.receive(b"\x01\x04")
    login.receive(auth_switch_packet(c.NATIVE, OTHER))
    with pytest.raises(ServerProtocolError, match="mysql_native_password does not know"):
        login.receive(b"\x01" + KEY.public_pem)


def test_a_configured_key_is_used_at_once() -> None:
    login = ClientAuth(KNOWN, server="n1", server_key=KEY.public_pem)
    login.response(c.CACHING_SHA2, SCRAMBLE)
    assert KEY.decrypt(login.receive(b"\x01\x04").payload, SCRAMBLE) == PASSWORD


def test_asking_for_the_key_can_be_forbidden() -> None:
    login = ClientAuth(KNOWN, server="n1", retrieve_key=False)
    login.response(c.CACHING_SHA2, SCRAMBLE)
    with pytest.raises(MissingSecret, match="use TLS or configure its public key"):
        login.receive(b"\x01\x04")


def test_sha256_password_is_answered_over_tls_and_rsa() -> None:
    switch = auth_switch_packet(c.SHA256, OTHER + b"\x00")
    assert ClientAuth(KNOWN, server="n1", secure=True).receive(switch).payload == PASSWORD + b"\x00"
    login = ClientAuth(KNOWN, server="n1")
    assert login.receive(switch).payload == b"\x01"
    assert KEY.decrypt(login.receive(b"\x01" + KEY.public_pem).payload, OTHER) == PASSWORD


def test_the_password_never_travels_in_clear_without_tls() -> None:
    login = ClientAuth(KNOWN, server="n1")
    with pytest.raises(MissingSecret, match="use TLS"):
        login.receive(auth_switch_packet(c.CLEAR, b""))
    assert (
        ClientAuth(KNOWN, server="n1", secure=True).receive(auth_switch_packet(c.CLEAR, b"")).payload == b"secret\x00"
    )


def test_a_refusal_is_the_servers_own() -> None:
    login = ClientAuth(KNOWN, server="n1")
    login.response(c.NATIVE, SCRAMBLE)
    with pytest.raises(ServerError, match="Access denied") as caught:
        login.receive(err_packet(1045, "28000", "Access denied for user"))
    assert (caught.value.code, caught.value.sqlstate) == (1045, "28000")


@pytest.mark.parametrize("payload", [b"", b"\x02", b"\xfb", b"\x01\x05", b"\x01", b"\xff\xff\xff\x01", b"\xfex"])
def test_what_belongs_to_no_login_is_the_servers_fault(payload: bytes) -> None:
    login = ClientAuth(KNOWN, server="n1")
    login.response(c.CACHING_SHA2, SCRAMBLE)
    with pytest.raises(ServerProtocolError):
        login.receive(payload)


def test_a_server_that_switches_for_ever_is_given_up() -> None:
    login = ClientAuth(KNOWN, server="n1")
    login.response(c.NATIVE, SCRAMBLE)

    def endless() -> None:
        for _ in range(100):
            login.receive(auth_switch_packet(c.NATIVE, SCRAMBLE))

    with pytest.raises(ServerProtocolError, match="does not belong to a login"):
        endless()


PLUGINS = st.sampled_from([c.NATIVE, c.CACHING_SHA2, c.ED25519, c.SHA256, c.CLEAR, "x"])


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.builds(auth_switch_packet, PLUGINS, st.binary(max_size=40)),
            st.builds(lambda data: b"\x01" + data, st.one_of(st.binary(max_size=40), st.just(b"\x04"))),
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_junk_raises_nothing_but_errors_of_ours(packets: list[bytes], secure: bool) -> None:
    login = ClientAuth(KNOWN, server="n1", secure=secure)
    login.response(c.NATIVE, SCRAMBLE)
    for packet in packets:
        with contextlib.suppress(ProtocolError, ServerError, MissingSecret):
            login.receive(packet)
