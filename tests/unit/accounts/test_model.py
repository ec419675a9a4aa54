from sqlproxy.accounts.model import Account, Accounts
from sqlproxy.wire.auth import Method


def test_hashes_and_passwords_stay_out_of_repr() -> None:
    account = Account("app", "%", (Method("mysql_native_password", b"*5EC2E7"),), password="hush")
    shown = repr(Accounts((account,)))
    assert "5EC2E7" not in shown
    assert "hush" not in shown
    assert str(account) == "'app'@'%'"


def test_sets_are_equal_when_their_accounts_are_whatever_their_source_and_age() -> None:
    account = Account("app")
    assert Accounts((account,), "n1", 1.0) == Accounts((account,), "n2", 2.0)
    assert Accounts((account,)) != Accounts(())


def test_plugins_in_use_are_listed_once() -> None:
    both = (Method("ed25519", b"x"), Method("mysql_native_password", b"y"))
    accounts = Accounts((Account("a", "%", both), Account("b", "%", both[1:])))
    assert accounts.plugins() == ("ed25519", "mysql_native_password")
    assert len(accounts) == 2
