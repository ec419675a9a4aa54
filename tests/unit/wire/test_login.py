"""Both sides of a login against each other, in memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlproxy.wire import constants as c
from sqlproxy.wire import ed25519, native_password, rsa, sha2_password
from sqlproxy.wire.auth import Credentials, Kind, Method, Step
from sqlproxy.wire.client_auth import ClientAuth
from sqlproxy.wire.handshake import ChangeUser, Greeting, HandshakeResponse, new_scramble
from sqlproxy.wire.packets import ok_packet
from sqlproxy.wire.server_auth import ServerAuth

KEY = rsa.RSAKey.generate()
CAPABILITIES = c.CLIENT_PROTOCOL_41 | c.CLIENT_SECURE_CONNECTION | c.CLIENT_PLUGIN_AUTH | c.CLIENT_LONG_PASSWORD
GREETING_PLUGINS = st.sampled_from([c.NATIVE, c.CACHING_SHA2])
PASSWORDS = st.one_of(st.just(""), st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))).map(
    lambda text: text.encode()[:190]
)


def account(plugin: str, password: bytes) -> Method:
    if plugin == "ed25519":
        return Method(plugin, ed25519.stored_hash(password).encode())
    if plugin == c.NATIVE:
        return Method(plugin, native_password.stored_hash(password).encode())
    return Method(plugin, sha2_password.stored_hash(password, b"s" * 20, 1000))


def run(client: ClientAuth, server: ServerAuth) -> Step:
    """Carry packets between the two until the server has its last word; gives that."""
    step = server.start()
    for _ in range(12):
        if step.kind is Kind.DENIED:
            return step
        if step.kind is Kind.OK:
            if step.payload:
                assert client.receive(step.payload).kind is Kind.WAIT
            assert client.receive(ok_packet(2)).kind is Kind.OK
            return step
        answer = client.receive(step.payload)
        assert answer.kind is Kind.SEND
        step = server.receive(answer.payload)
    raise AssertionError("the login does not end")


def login(
    credentials: Credentials, method: Method, greeting_plugin: str, *, secure: bool = False, **options: object
) -> Step:
    """A whole login, through encoded greeting and handshake response."""
    sent = Greeting(b"8.0", 1, new_scramble(), CAPABILITIES, auth_plugin=greeting_plugin)
    greeting = Greeting.parse(sent.encode())
    client = ClientAuth(credentials, server="n1", secure=secure)
    plugin, answer = client.response(greeting.auth_plugin, greeting.scramble)
    response = HandshakeResponse(CAPABILITIES, credentials.username, answer, plugin=plugin)
    server = ServerAuth(
        HandshakeResponse.parse(response.encode()),
        greeting.scramble,
        [method],
        greeting_plugin=greeting_plugin,
        secure=secure,
        rsa_key=KEY,
        **options,  # type: ignore[arg-type]
    )
    return run(client, server)


@settings(max_examples=60, deadline=None)
@given(PASSWORDS, st.sampled_from([c.NATIVE, c.CACHING_SHA2, "ed25519"]), GREETING_PLUGINS, st.booleans())
def test_the_right_password_logs_in(password: bytes, plugin: str, greeting_plugin: str, secure: bool) -> None:
    step = login(Credentials(b"app", password), account(plugin, password), greeting_plugin, secure=secure)
    assert step.kind is Kind.OK


@settings(max_examples=60, deadline=None)
@given(
    PASSWORDS,
    PASSWORDS,
    st.sampled_from([c.NATIVE, c.CACHING_SHA2, "ed25519"]),
    GREETING_PLUGINS,
    st.booleans(),
)
def test_another_password_does_not(
    password: bytes, other: bytes, plugin: str, greeting_plugin: str, want_cleartext: bool
) -> None:
    step = login(Credentials(b"app", other), account(plugin, password), greeting_plugin, want_cleartext=want_cleartext)
    assert (step.kind is Kind.OK) == (password == other) or (plugin == "ed25519" and password == other == b"")


@settings(max_examples=30, deadline=None)
@given(PASSWORDS, GREETING_PLUGINS)
def test_what_a_native_client_proves_logs_in_to_a_native_server(password: bytes, greeting_plugin: str) -> None:
    method = account(c.NATIVE, password)
    proved = login(Credentials(b"app", password), method, c.NATIVE).credentials
    assert proved is not None
    assert login(proved, method, greeting_plugin).kind is Kind.OK


@settings(max_examples=30, deadline=None)
@given(PASSWORDS)
def test_what_a_sha2_client_proves_on_the_fast_path_serves_a_server_that_knows_it(password: bytes) -> None:
    method, cached = account(c.CACHING_SHA2, password), sha2_password.double(password)
    proved = login(Credentials(b"app", password), method, c.CACHING_SHA2, cached_sha256=cached).credentials
    assert proved is not None
    assert login(proved, method, c.NATIVE, cached_sha256=cached).kind is Kind.OK


@pytest.mark.parametrize("plugin", [c.NATIVE, c.CACHING_SHA2, "ed25519"])
@pytest.mark.parametrize("secure", [False, True])
def test_wanted_cleartext_serves_every_server(plugin: str, secure: bool) -> None:
    method = account("ed25519", b"secret")
    step = login(Credentials(b"app", b"secret"), method, c.NATIVE, secure=secure, want_cleartext=True)
    assert step.credentials == Credentials(b"app", b"secret")
    assert login(step.credentials, account(plugin, b"secret"), c.NATIVE).kind is Kind.OK


@pytest.mark.parametrize("plugin", [c.NATIVE, c.CACHING_SHA2, "ed25519"])
def test_change_user_logs_in_as_well(plugin: str) -> None:
    client = ClientAuth(Credentials(b"app", b"secret"), server="n1")
    announced, answer = client.response(c.NATIVE, new_scramble())
    command = ChangeUser.parse(ChangeUser(CAPABILITIES, b"app", answer, plugin=announced).encode(), CAPABILITIES)
    server = ServerAuth(command, new_scramble(), [account(plugin, b"secret")], rsa_key=KEY)
    assert run(client, server).kind is Kind.OK
