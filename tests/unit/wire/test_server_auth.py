"""The server's side of a login: which packets a client sees, who gets in, and who never does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlproxy.errors import ProtocolError
from sqlproxy.wire import constants as c
from sqlproxy.wire import ed25519, native_password, rsa, sha2_password
from sqlproxy.wire.auth import Credentials, Kind, Method
from sqlproxy.wire.handshake import ChangeUser, HandshakeResponse
from sqlproxy.wire.server_auth import ServerAuth, decoy

SCRAMBLE = b"abcdefghijklmnopqrst"
PASSWORD = "gehéim".encode()
KEY = rsa.RSAKey.generate()
MODERN = c.CLIENT_PROTOCOL_41 | c.CLIENT_SECURE_CONNECTION | c.CLIENT_PLUGIN_AUTH
OLD = c.CLIENT_PROTOCOL_41 | c.CLIENT_SECURE_CONNECTION

NATIVE = Method(c.NATIVE, native_password.stored_hash(PASSWORD).encode())
SHA2 = Method(c.CACHING_SHA2, sha2_password.stored_hash(PASSWORD, b"s" * 20, 1000))
ED25519 = Method("ed25519", ed25519.stored_hash(PASSWORD).encode())
SWITCH_NATIVE = b"\xfemysql_native_password\x00" + SCRAMBLE + b"\x00"
SWITCH_SHA2 = b"\xfecaching_sha2_password\x00" + SCRAMBLE + b"\x00"
ED25519_HEAD = b"\xfeclient_ed25519\x00"


def native_reply(password: bytes = PASSWORD) -> bytes:
    return native_password.reply(native_password.stage1(password), SCRAMBLE)


def sha2_reply(password: bytes = PASSWORD) -> bytes:
    return sha2_password.reply(sha2_password.stage1(password), SCRAMBLE)


def request(plugin: str, answer: bytes, capabilities: int = MODERN) -> HandshakeResponse:
    return HandshakeResponse(capabilities, b"app", answer, plugin=plugin)


def test_native_recovers_stage_1() -> None:
    step = ServerAuth(request(c.NATIVE, native_reply()), SCRAMBLE, [NATIVE]).start()
    assert step.kind is Kind.OK
    assert step.payload == b""
    assert step.credentials == Credentials(b"app", sha1_stage1=native_password.stage1(PASSWORD))


def test_a_wrong_native_reply_is_denied() -> None:
    step = ServerAuth(request(c.NATIVE, native_reply(b"other")), SCRAMBLE, [NATIVE]).start()
    assert (step.kind, step.reason, step.credentials) == (Kind.DENIED, "wrong password", None)


def test_a_client_of_another_plugin_is_switched_with_our_scramble() -> None:
    login = ServerAuth(request(c.CACHING_SHA2, sha2_reply()), SCRAMBLE, [NATIVE], greeting_plugin=c.CACHING_SHA2)
    step = login.start()
    assert (step.kind, step.payload) == (Kind.SEND, SWITCH_NATIVE)
    assert login.receive(native_reply()).kind is Kind.OK


def test_a_client_that_prefers_another_plugin_than_the_greetings_is_switched_before_it_answers() -> None:
    login = ServerAuth(request(c.CACHING_SHA2, b""), SCRAMBLE, [SHA2], secure=True)
    assert login.start().payload == SWITCH_SHA2
    assert login.receive(sha2_reply()).payload == b"\x01\x04"


def test_change_user_is_always_switched() -> None:
    command = ChangeUser(MODERN, b"app", native_reply(), plugin=c.NATIVE)
    login = ServerAuth(command, SCRAMBLE, [NATIVE])
    assert login.start().payload == SWITCH_NATIVE
    assert login.receive(native_reply()).kind is Kind.OK


def test_old_clients_use_native_and_cannot_be_switched() -> None:
    assert ServerAuth(request("", native_reply(), OLD), SCRAMBLE, [NATIVE]).start().kind is Kind.OK
    step = ServerAuth(request("", native_reply(), OLD), SCRAMBLE, [SHA2]).start()
    assert step.kind is Kind.DENIED
    assert "cannot change" in step.reason


def test_a_cached_sha2_hash_gives_the_fast_path() -> None:
    login = ServerAuth(
        request(c.CACHING_SHA2, sha2_reply()),
        SCRAMBLE,
        [SHA2],
        greeting_plugin=c.CACHING_SHA2,
        cached_sha256=sha2_password.double(PASSWORD),
    )
    step = login.start()
    assert (step.kind, step.payload) == (Kind.OK, b"\x01\x03")
    assert step.credentials == Credentials(b"app", sha256_stage1=sha2_password.stage1(PASSWORD))


def test_over_tls_the_full_login_takes_the_cleartext() -> None:
    login = ServerAuth(request(c.CACHING_SHA2, sha2_reply()), SCRAMBLE, [SHA2], secure=True)
    assert login.start().payload == b"\x01\x04"
    step = login.receive(PASSWORD + b"\x00")
    assert step.credentials == Credentials(b"app", cleartext=PASSWORD)


def test_over_plain_tcp_the_full_login_goes_through_rsa() -> None:
    login = ServerAuth(request(c.CACHING_SHA2, sha2_reply()), SCRAMBLE, [SHA2], rsa_key=KEY)
    assert login.start().payload == b"\x01\x04"
    pem = login.receive(b"\x02").payload
    assert pem == b"\x01" + KEY.public_pem
    step = login.receive(rsa.encrypt(PASSWORD, SCRAMBLE, pem[1:]))
    assert step.credentials == Credentials(b"app", cleartext=PASSWORD)


def test_a_client_that_knows_our_key_need_not_ask() -> None:
    login = ServerAuth(request(c.CACHING_SHA2, sha2_reply()), SCRAMBLE, [SHA2], rsa_key=KEY)
    login.start()
    assert login.receive(rsa.encrypt(PASSWORD, SCRAMBLE, KEY.public_pem)).kind is Kind.OK


def test_a_cleartext_password_over_plain_tcp_is_not_taken() -> None:
    login = ServerAuth(request(c.CACHING_SHA2, sha2_reply()), SCRAMBLE, [SHA2], rsa_key=KEY)
    login.start()
    assert login.receive(PASSWORD + b"\x00").kind is Kind.DENIED


def test_without_tls_and_key_a_full_login_is_denied_with_the_remedy() -> None:
    step = ServerAuth(request(c.CACHING_SHA2, sha2_reply()), SCRAMBLE, [SHA2]).start()
    assert step.kind is Kind.DENIED
    assert "TLS or an RSA key" in step.reason


def test_ed25519_signs_a_nonce_of_its_own() -> None:
    login = ServerAuth(request(c.NATIVE, native_reply()), SCRAMBLE, [ED25519])
    payload = login.start().payload
    nonce = payload.removeprefix(ED25519_HEAD)
    assert len(nonce) == 32
    step = login.receive(ed25519.sign(PASSWORD, nonce))
    assert (step.kind, step.credentials) == (Kind.OK, Credentials(b"app"))


def test_a_signature_that_came_before_the_nonce_is_not_looked_at() -> None:
    step = ServerAuth(request(c.ED25519, ed25519.sign(PASSWORD, SCRAMBLE)), SCRAMBLE, [ED25519]).start()
    assert step.payload.startswith(ED25519_HEAD)


def test_a_signature_of_another_nonce_is_denied() -> None:
    login = ServerAuth(request(c.NATIVE, b""), SCRAMBLE, [ED25519])
    login.start()
    assert login.receive(ed25519.sign(PASSWORD, bytes(32))).kind is Kind.DENIED


@pytest.mark.parametrize("method", [NATIVE, ED25519, SHA2])
@pytest.mark.parametrize("plugin", [c.NATIVE, c.CACHING_SHA2])
def test_wanted_cleartext_is_asked_for_whatever_the_account(method: Method, plugin: str) -> None:
    answer = native_reply() if plugin == c.NATIVE else sha2_reply()
    login = ServerAuth(
        request(plugin, answer),
        SCRAMBLE,
        [method],
        greeting_plugin=plugin,
        secure=True,
        want_cleartext=True,
        cached_sha256=sha2_password.double(PASSWORD),
    )
    step = login.start()
    if plugin == c.NATIVE:
        assert step.payload == SWITCH_SHA2
        step = login.receive(sha2_reply())
    assert step.payload == b"\x01\x04"
    assert login.receive(PASSWORD + b"\x00").credentials == Credentials(b"app", cleartext=PASSWORD)


@pytest.mark.parametrize("method", [NATIVE, ED25519, SHA2])
def test_clear_passwords_are_taken_over_tls(method: Method) -> None:
    def login(password: bytes) -> Kind:
        return ServerAuth(request(c.CLEAR, password, MODERN), SCRAMBLE, [method], secure=True).start().kind

    assert login(PASSWORD + b"\x00") is Kind.OK
    assert login(b"other\x00") is not Kind.OK
    assert login(PASSWORD * 1000 + b"\x00") is not Kind.OK


def test_clear_passwords_over_plain_tcp_are_not_looked_at() -> None:
    login = ServerAuth(request(c.CLEAR, PASSWORD + b"\x00"), SCRAMBLE, [NATIVE])
    assert login.start().payload == SWITCH_NATIVE


@pytest.mark.parametrize("plugin", [c.NATIVE, c.CACHING_SHA2])
def test_an_account_without_password_lets_in_those_who_send_none(plugin: str) -> None:
    for answer, kind in ((b"", Kind.OK), (b"x" * 20, Kind.DENIED)):
        login = ServerAuth(
            request(plugin, answer), SCRAMBLE, [Method(plugin)], greeting_plugin=plugin, secure=True, rsa_key=KEY
        )
        step = login.start()
        step = login.receive(b"x\x00") if step.kind is Kind.SEND else step
        assert step.kind is kind
        assert step.credentials is None or step.credentials.cleartext == b""


def test_alternatives_are_tried_plugin_by_plugin() -> None:
    other = Method("ed25519", ed25519.stored_hash(b"other").encode())
    login = ServerAuth(request(c.CACHING_SHA2, sha2_reply()), SCRAMBLE, [Method("unix_socket"), other, NATIVE])
    nonce = login.start().payload.removeprefix(ED25519_HEAD)
    step = login.receive(ed25519.sign(PASSWORD, nonce))
    assert step.payload == SWITCH_NATIVE
    assert login.receive(native_reply()).kind is Kind.OK


def test_hashes_of_one_plugin_share_an_exchange() -> None:
    other = Method(c.NATIVE, native_password.stored_hash(b"other").encode())
    assert ServerAuth(request(c.NATIVE, native_reply()), SCRAMBLE, [other, NATIVE]).start().kind is Kind.OK


@pytest.mark.parametrize("plugin", ["unix_socket", "pam", "gssapi", "mysql_old_password"])
def test_plugins_the_proxy_cannot_check_are_denied_by_name(plugin: str) -> None:
    step = ServerAuth(request(c.NATIVE, native_reply()), SCRAMBLE, [Method(plugin)]).start()
    assert step.kind is Kind.DENIED
    assert plugin in step.reason


@pytest.mark.parametrize("plugin", [c.NATIVE, c.CACHING_SHA2])
def test_unknown_users_see_the_same_packets_as_a_wrong_password(plugin: str) -> None:
    def trace(methods: list[Method]) -> list[bytes]:
        answer = native_reply(b"bad") if plugin == c.NATIVE else sha2_reply(b"bad")
        login = ServerAuth(
            request(plugin, answer), SCRAMBLE, methods, greeting_plugin=plugin, secure=True, decoy_plugin=plugin
        )
        step, seen = login.start(), []
        while step.kind is Kind.SEND:
            seen.append(step.payload)
            step = login.receive(b"bad\x00")
        assert step.kind is Kind.DENIED
        return seen

    known = NATIVE if plugin == c.NATIVE else SHA2
    assert trace([]) == trace([known])


def test_unknown_users_are_denied_even_with_a_cached_hash_of_theirs() -> None:
    login = ServerAuth(
        request(c.CACHING_SHA2, sha2_reply()),
        SCRAMBLE,
        [],
        greeting_plugin=c.CACHING_SHA2,
        decoy_plugin=c.CACHING_SHA2,
        cached_sha256=sha2_password.double(PASSWORD),
    )
    step = login.start()
    assert (step.kind, step.reason) == (Kind.DENIED, "unknown user")


@pytest.mark.parametrize("plugin", [c.NATIVE, "ed25519", c.CACHING_SHA2])
def test_decoys_look_like_accounts(plugin: str) -> None:
    assert decoy(plugin).plugin == plugin
    assert decoy(plugin).auth_string
    assert decoy(plugin) == decoy(plugin)


def test_packets_nobody_waits_for_are_refused() -> None:
    login = ServerAuth(request(c.NATIVE, native_reply()), SCRAMBLE, [NATIVE])
    with pytest.raises(ProtocolError, match="no authentication plugin waits"):
        login.receive(b"")
    login.start()
    with pytest.raises(ProtocolError, match="no authentication plugin waits"):
        login.receive(b"")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([NATIVE, SHA2, ED25519, Method("pam"), Method(c.NATIVE, b"invalid")]), max_size=3),
    st.sampled_from([c.NATIVE, c.CACHING_SHA2, c.CLEAR, c.ED25519, "", "dialog"]),
    st.booleans(),
    st.booleans(),
    st.lists(
        st.one_of(st.binary(max_size=70), st.sampled_from([b"", b"\x00", b"\x02", b"\x01"])), min_size=12, max_size=12
    ),
)
def test_junk_never_logs_in_and_every_login_ends(
    methods: list[Method], plugin: str, secure: bool, want_cleartext: bool, packets: list[bytes]
) -> None:
    login = ServerAuth(
        request(plugin, packets[0]), SCRAMBLE, methods, secure=secure, rsa_key=KEY, want_cleartext=want_cleartext
    )
    step = login.start()
    for packet in packets[1:]:
        if step.kind is not Kind.SEND:
            break
        step = login.receive(packet)
    assert step.kind is Kind.DENIED
