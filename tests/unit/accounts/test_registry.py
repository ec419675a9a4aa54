import asyncio
from collections.abc import Callable

import pytest

from sqlproxy.accounts.model import Account, Accounts
from sqlproxy.accounts.registry import AccountRegistry, order
from sqlproxy.config import AccountsConfig
from sqlproxy.errors import SqlproxyError
from sqlproxy.topology.model import Address, AdminState, Role, Server, ServerView, Snapshot
from sqlproxy.topology.publisher import Publisher
from sqlproxy.wire.auth import Credentials, Method

SERVERS = tuple(Server(name, Address("127.0.0.1", 3306)) for name in ("n1", "n2", "n3"))
APP = Account("app", "%", (Method("mysql_native_password", b"*AB"),))


class Tables:
    """What the servers would answer: a set of accounts or an error for each, and who was asked as whom."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[Account, ...] | str] = {"n1": (APP,), "n2": (APP,), "n3": (APP,)}
        self.asked: list[str] = []
        self.logins: set[tuple[str, str]] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, server: Server, user: str, password: str, seconds: float) -> Accounts:
        self.asked.append(server.name)
        self.logins.add((user, password))
        await self.gate.wait()
        answer = self.answers[server.name]
        if isinstance(answer, str):
            raise SqlproxyError(f"{server.name}: {answer}")
        return Accounts(answer, server.name, 1.0)

    def fail(self) -> None:
        self.answers = dict.fromkeys(self.answers, "no")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def registry(tables: Tables, clock: Callable[[], float], publisher: Publisher, **config: object) -> AccountRegistry:
    return AccountRegistry(
        *(AccountsConfig.model_validate(config), "monitor", "secret", publisher, SERVERS), load=tables.load, clock=clock
    )


@pytest.fixture
def tables() -> Tables:
    return Tables()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


async def test_accounts_are_there_after_the_start(tables: Tables, clock: Clock, publisher: Publisher) -> None:
    accounts = registry(tables, clock, publisher)
    await accounts.start()
    assert accounts.find(b"app", "10.0.0.1") == APP
    assert accounts.find("other", "10.0.0.1") is None
    assert (tables.asked, tables.logins) == (["n1"], {("monitor", "secret")})
    await accounts.stop()


async def test_an_own_user_is_used_where_configured(tables: Tables, clock: Clock, publisher: Publisher) -> None:
    accounts = registry(tables, clock, publisher, user="grants", password="g")
    assert await accounts.refresh("test")
    assert tables.logins == {("grants", "g")}


async def test_the_next_server_is_asked_when_one_fails(tables: Tables, clock: Clock, publisher: Publisher) -> None:
    tables.answers["n1"] = "no"
    accounts = registry(tables, clock, publisher)
    assert await accounts.refresh("test")
    assert (tables.asked, accounts.accounts.source, accounts.error) == (["n1", "n2"], "n2", "")


async def test_the_last_good_set_stays_when_all_servers_fail_and_that_is_said_once(
    tables: Tables, clock: Clock, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = registry(tables, clock, publisher)
    await accounts.refresh("test")
    tables.fail()
    for _ in range(3):
        clock.now += 1
        assert not await accounts.refresh("test")
    assert accounts.find("app", "10.0.0.1") == APP
    assert accounts.error == "n1: no; n2: no; n3: no"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["the accounts cannot be read, those of n1 stay in force: n1: no; n2: no; n3: no"]
    assert [event.kind for event in publisher.events] == ["accounts"]


async def test_recovery_is_told_as_well(tables: Tables, clock: Clock, publisher: Publisher) -> None:
    good = dict(tables.answers)
    tables.fail()
    accounts = registry(tables, clock, publisher)
    assert not await accounts.refresh("test")
    assert accounts.find("app", "10.0.0.1") is None
    tables.answers = good
    clock.now += 1
    assert await accounts.refresh("test")
    assert [event.text for event in publisher.events] == [
        "the accounts cannot be read, nobody can log in: n1: no; n2: no; n3: no",
        "the accounts are read again from n1",
    ]


async def test_at_most_one_load_a_second(tables: Tables, clock: Clock, publisher: Publisher) -> None:
    accounts = registry(tables, clock, publisher)
    assert await accounts.refresh("test")
    clock.now += 0.9
    assert not await accounts.refresh("test")
    clock.now += 0.1
    assert await accounts.refresh("test")
    assert len(tables.asked) == 2


async def test_a_failed_login_reads_anew_however_shortly_after(
    tables: Tables, clock: Clock, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqlproxy.accounts.registry.LOGIN_INTERVAL", 0.001)
    accounts = registry(tables, clock, publisher)
    assert await accounts.refresh("test")
    assert not await accounts.refresh("test")
    assert await accounts.refresh("test", anew=True)
    assert len(tables.asked) == 2


async def test_a_failed_login_is_not_content_with_a_load_that_began_before(
    tables: Tables, clock: Clock, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqlproxy.accounts.registry.LOGIN_INTERVAL", 0.001)
    accounts = registry(tables, clock, publisher)
    tables.gate.clear()
    before = asyncio.create_task(accounts.refresh("test"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert accounts._reading
    logins = [asyncio.create_task(accounts.refresh("test", anew=True)) for _ in range(3)]
    await asyncio.sleep(0)
    tables.gate.set()
    assert await before
    assert await asyncio.gather(*logins) == [True] * 3
    assert len(tables.asked) == 2


async def test_callers_share_the_load_under_way(tables: Tables, clock: Clock, publisher: Publisher) -> None:
    accounts = registry(tables, clock, publisher)
    tables.gate.clear()
    waiting = [asyncio.create_task(accounts.refresh("test")) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    tables.gate.set()
    assert await asyncio.gather(*waiting[1:]) == [True] * 4
    assert tables.asked == ["n1"]


async def test_stop_ends_a_load_under_way(tables: Tables, clock: Clock, publisher: Publisher) -> None:
    accounts = registry(tables, clock, publisher)
    tables.gate.clear()
    waiting = asyncio.create_task(accounts.refresh("test"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await accounts.stop()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_static_accounts_ask_no_server(tables: Tables, clock: Clock, publisher: Publisher) -> None:
    accounts = registry(tables, clock, publisher, source="static", users=[{"name": "app", "password": "pw"}])
    await accounts.start()
    assert accounts.find("app", "10.0.0.1") is not None
    assert not await accounts.refresh("test")
    assert tables.asked == []
    await accounts.stop()


async def test_configured_passwords_supplement_the_servers_accounts(
    tables: Tables, clock: Clock, publisher: Publisher
) -> None:
    accounts = registry(tables, clock, publisher, users=[{"name": "app", "password": "pw"}])
    await accounts.refresh("test")
    found = accounts.find("app", "10.0.0.1")
    assert found is not None
    assert (found.password, found.authentications) == ("pw", APP.authentications)
    remembered = accounts.remembered(found)
    assert remembered is not None
    assert remembered.cleartext == b"pw"


async def test_what_was_proved_is_forgotten_when_the_hash_changes(
    tables: Tables, clock: Clock, publisher: Publisher
) -> None:
    accounts = registry(tables, clock, publisher)
    await accounts.refresh("test")
    accounts.remember(APP, Credentials(b"app", cleartext=b"pw"))
    assert accounts.remembered(APP) is not None
    tables.answers["n1"] = (Account("app", "%", (Method("mysql_native_password", b"*CD"),)),)
    clock.now += 1
    await accounts.refresh("test")
    assert accounts.remembered(APP) is None
    assert len(accounts.fast_hashes) == 0


async def test_a_decoy_uses_the_plugins_of_real_accounts(tables: Tables, clock: Clock, publisher: Publisher) -> None:
    tables.answers["n1"] = (Account("app", "%", (Method("ed25519", b"key"),)),)
    accounts = registry(tables, clock, publisher)
    await accounts.refresh("test")
    assert accounts.decoy(b"nobody").authentications[0].plugin == "ed25519"


def view(name: str, role: Role, state: AdminState = AdminState.ACTIVE) -> ServerView:
    return ServerView(name, role, state, "")


def test_the_primary_is_asked_first_then_the_replicas_and_nobody_else() -> None:
    views = (view("n1", Role.DOWN), view("n2", Role.REPLICA), view("n3", Role.PRIMARY))
    assert [server.name for server in order(SERVERS, Snapshot(1, 0.0, views, "n3"))] == ["n3", "n2"]
    assert order(SERVERS, Snapshot(1, 0.0, (view("n1", Role.PRIMARY, AdminState.MAINTENANCE),), "n1")) == []


def test_before_the_first_snapshot_everybody_is_asked_as_configured() -> None:
    assert order(SERVERS, Snapshot(0, 0.0)) == list(SERVERS)
