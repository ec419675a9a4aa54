from pydantic import SecretStr

from sqlproxy.accounts.host import Dialect
from sqlproxy.accounts.match import find
from sqlproxy.accounts.model import Account, Accounts
from sqlproxy.accounts.static import from_config, supplement
from sqlproxy.config import AccountConfig
from sqlproxy.wire.auth import Method


def user(name: str, password: str | None = None, **fields: object) -> AccountConfig:
    return AccountConfig.model_validate({"name": name, "password": password, **fields})


def test_a_password_can_be_checked_with_any_plugin() -> None:
    (account,) = from_config([user("app", "pw")]).accounts
    plugins = {method.client_plugin for method in account.authentications}
    assert plugins == {"mysql_native_password", "client_ed25519", "caching_sha2_password"}
    assert all(method.accepts(b"pw") for method in account.authentications)
    assert not any(method.accepts(b"other") for method in account.authentications)
    assert account.password == "pw"


def test_a_hash_is_one_of_mysql_native_password() -> None:
    hashed = SecretStr("*9F75CEF7FD0C75DC40611DD8F86B6FFF569BF56D")
    (account,) = from_config([user("app", password_hash=hashed)]).accounts
    assert account.authentications == (Method("mysql_native_password", b"*9F75CEF7FD0C75DC40611DD8F86B6FFF569BF56D"),)
    assert account.password is None


def test_an_empty_password_is_one_and_no_password_is_no_way_in() -> None:
    empty, none = from_config([user("empty", ""), user("none")]).accounts
    assert any(method.accepts(b"") for method in empty.authentications)
    assert none.authentications == ()


def test_each_host_is_an_account_and_prefix_lengths_work() -> None:
    accounts = from_config([user("app", "pw", hosts=["10.0.0.0/8", "localhost"])])
    assert accounts.source == "static"
    assert accounts.loaded_at > 0
    for ip in ("10.9.8.7", None, "127.0.0.1"):
        assert find(accounts, "app", ip) is not None
    assert find(accounts, "app", "11.0.0.1") is None


def test_configured_passwords_are_added_to_the_accounts_they_name() -> None:
    anywhere, here, other = Account("app", "%"), Account("app", "localhost"), Account("other", "%")
    accounts = Accounts((anywhere, here, other), "n1", 5.0, Dialect.MARIADB, True)
    known = supplement(accounts, [user("app", "one"), user("app", "two", hosts="localhost")])
    assert [account.password for account in known.accounts] == ["one", "two", None]
    assert (known.source, known.loaded_at, known.skip_name_resolve) == ("n1", 5.0, True)


def test_configured_passwords_make_no_accounts_of_their_own() -> None:
    assert supplement(Accounts(), [user("app", "one")]) == Accounts()


def test_a_password_for_a_host_is_not_given_to_accounts_of_other_hosts() -> None:
    known = supplement(Accounts((Account("app", "%"),)), [user("app", "two", hosts="localhost")])
    assert known.accounts[0].password is None
