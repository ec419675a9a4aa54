"""Who may begin a session: passwords, conditions, and what is left when it does not come to one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sqlproxy.accounts.model import Account, Accounts
from sqlproxy.accounts.registry import AccountRegistry
from sqlproxy.accounts.throttle import Throttle
from sqlproxy.config import AccountsConfig
from sqlproxy.errors import ServerError, SqlproxyError
from sqlproxy.session import login
from sqlproxy.session.client import Client
from sqlproxy.session.session import Session
from sqlproxy.topology.model import Role
from sqlproxy.wire import codec, native_password
from sqlproxy.wire.auth import Method
from sqlproxy.wire.constants import NATIVE
from sqlproxy.wire.handshake import HandshakeResponse
from tests.support.fakes import CAPABILITIES, Bench, FakeTransport, settle
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]

SCRAMBLE = b"x" * 20
SECRET = (Method(NATIVE, native_password.stored_hash(b"secret").encode()),)


def account(user: str = "app", **changes: Any) -> Account:
    return Account(user, "%", SECRET, **changes)


def open_door(b: Bench, *accounts: Account) -> None:
    """Let these accounts in."""
    registry = AccountRegistry(AccountsConfig(source="static"), "", "", b.publisher, [])
    registry.accounts = Accounts(accounts)
    b.service.accounts = registry
    b.service.throttle = Throttle(3, 60.0)


def client_of(b: Bench, address: str = "10.1.2.3") -> Client:
    client = Client(b.service, address)
    client.connection_made(FakeTransport(client))
    client.await_login(lambda: None)
    client.scramble, client.plugin, client.capabilities = SCRAMBLE, NATIVE, CAPABILITIES
    return client


async def begin_session(client: Client, request: HandshakeResponse) -> Session:
    """Prove, and open the first connection."""
    proof = login.Proof(client, request)
    outcome = proof.start()
    while outcome is not login.Outcome.PROVED:
        again = outcome is login.Outcome.DOUBT
        outcome = await proof.ask_again() if again else proof.receive(await client.read_packet())
    assert proof.login is not None
    session = Session(client.service, client, 7, proof.login, proof.charset)
    await login.open_first(session)
    return session


def response(user: bytes = b"app", password: bytes = b"secret", database: bytes | None = None) -> HandshakeResponse:
    answer = native_password.reply(native_password.stage1(password), SCRAMBLE) if password else b""
    return HandshakeResponse(CAPABILITIES, user, answer, database, NATIVE)


async def refusal(attempt: Coroutine[Any, Any, Any]) -> tuple[int, str]:
    with pytest.raises(SqlproxyError) as caught:
        await attempt
    return caught.value.code, caught.value.message


@virtual
async def test_a_good_password_begins_a_session_on_a_server_that_reads(bench: MakeBench) -> None:
    b = bench()
    open_door(b, account())
    session = await begin_session(client_of(b), response(database=b"shop"))
    assert session.number == 7
    assert session.state.database == b"shop"
    (name,) = session.backends
    assert name in ("n2", "n3")
    given = b.fleet[name].logins[0].credentials
    assert (given.username, given.sha1_stage1) == (b"app", native_password.stage1(b"secret"))
    session.close()


DENIED = "Access denied for user '{}'@'10.1.2.3' (using password: {})"


@pytest.mark.parametrize(
    ("user", "password", "text"),
    [
        (b"app", b"wrong", DENIED.format("app", "YES")),
        (b"app", b"", DENIED.format("app", "NO")),
        (b"nobody", b"secret", DENIED.format("nobody", "YES")),
    ],
)
@virtual
async def test_a_wrong_password_and_an_unknown_user_read_alike(
    bench: MakeBench, user: bytes, password: bytes, text: str
) -> None:
    b = bench()
    open_door(b, account())
    client = client_of(b)
    answer = native_password.reply(native_password.stage1(password), SCRAMBLE) if password else b""
    client.data_received(codec.packet(3, answer) * 3)
    assert await refusal(begin_session(client, response(user, password))) == (1045, text)
    assert b.counters() == (0, 0)


@pytest.mark.parametrize(
    ("changes", "secure", "code"),
    [
        ({"locked": True}, False, 4151),
        ({"tls": "any"}, False, 1045),
        ({"tls": "x509"}, True, 1045),
        ({"tls": "specified", "tls_subject": "/CN=client"}, True, 1045),
        ({"tls": "specified", "tls_cipher": "TLS_AES_256_GCM_SHA384"}, True, 1045),
        ({"is_role": True}, False, 1045),
    ],
)
@virtual
async def test_what_an_account_demands_beyond_its_password(
    bench: MakeBench, changes: dict[str, Any], secure: bool, code: int
) -> None:
    b = bench()
    open_door(b, account(**changes))
    client = client_of(b)
    client.tls = client.secure = secure
    client.data_received(codec.packet(3, native_password.reply(native_password.stage1(b"secret"), SCRAMBLE)))
    assert (await refusal(begin_session(client, response())))[0] == code
    assert b.counters() == (0, 0)


@virtual
async def test_a_locked_account_does_not_say_so_to_those_without_its_password(bench: MakeBench) -> None:
    b = bench()
    open_door(b, account(locked=True))
    assert (await refusal(begin_session(client_of(b), response(password=b"wrong"))))[0] == 1045


@virtual
async def test_tls_satisfies_an_account_that_demands_it(bench: MakeBench) -> None:
    b = bench()
    open_door(b, account(tls="any"))
    client = client_of(b)
    client.tls = client.secure = True
    (await begin_session(client, response())).close()


@virtual
async def test_the_servers_have_the_last_word(bench: MakeBench) -> None:
    b = bench()
    open_door(b, account())
    for server in b.fleet.servers.values():
        server.refusal = ServerError("Unknown database 'shop'", code=1049, sqlstate="42000")
    assert await refusal(begin_session(client_of(b), response(database=b"shop"))) == (
        1049,
        "Unknown database 'shop'",
    )


@virtual
async def test_without_any_server_a_login_ends_before_clients_give_up(bench: MakeBench) -> None:
    b = bench("n1")
    open_door(b, account())
    b.publish(n1=Role.DOWN)
    before = asyncio.get_running_loop().time()
    assert (await refusal(begin_session(client_of(b), response())))[0] == 1429
    assert asyncio.get_running_loop().time() - before < b.service.config.login_timeout
    assert b.service.waiting == 0


@virtual
async def test_a_host_is_blocked_after_too_many_failures_and_a_success_forgives_them(bench: MakeBench) -> None:
    b = bench()
    open_door(b, account())
    for password in (b"wrong", b"wrong", b"secret", b"wrong", b"wrong"):
        if password == b"wrong":
            await refusal(begin_session(client_of(b), response(password=password)))
        else:
            (await begin_session(client_of(b), response())).close()
    login.check_admission(b.service, "10.1.2.3")
    await refusal(begin_session(client_of(b), response(password=b"wrong")))
    with pytest.raises(SqlproxyError, match=r"Host '10.1.2.3' is blocked"):
        login.check_admission(b.service, "10.1.2.3")
    login.check_admission(b.service, "10.1.2.4")


@virtual
async def test_a_full_service_says_so(bench: MakeBench) -> None:
    b = bench(max_connections=1)
    open_door(b, account())
    login.check_admission(b.service, "10.1.2.3")
    b.client()
    with pytest.raises(SqlproxyError, match="Too many connections") as caught:
        login.check_admission(b.service, "10.1.2.3")
    assert caught.value.code == 1040


@virtual
async def test_nothing_secret_is_in_what_can_be_printed(bench: MakeBench) -> None:
    b = bench()
    open_door(b, account())
    session = await begin_session(client_of(b), response())
    assert "secret" not in repr(session.login)
    assert native_password.stage1(b"secret").hex() not in repr(session.login)
    session.close()
    await settle()
