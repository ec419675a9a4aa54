import pytest

from sqlproxy.accounts.refusal import access_denied, account_locked, host_blocked, shown_host


@pytest.mark.parametrize(("using_password", "word"), [(True, "YES"), (False, "NO")])
def test_a_refused_login_reads_as_on_the_server(using_password: bool, word: str) -> None:
    error = access_denied("app", "localhost", using_password)
    assert error.message == f"Access denied for user 'app'@'localhost' (using password: {word})"
    assert (error.code, error.sqlstate) == (1045, "28000")


def test_names_that_are_no_utf8_are_shown_as_far_as_possible() -> None:
    assert access_denied(b"\xfcser", "10.0.0.1", True).message.startswith("Access denied for user '\ufffdser'@")


def test_locked_accounts_and_blocked_hosts_read_as_on_the_server() -> None:
    assert (account_locked().code, account_locked().message) == (4151, "Access denied, this account is locked")
    blocked = host_blocked("10.0.0.1")
    assert blocked.message == "Host '10.0.0.1' is blocked because of many connection errors"
    assert (blocked.code, blocked.sqlstate) == (1129, "HY000")


@pytest.mark.parametrize(
    ("ip", "shown"), [(None, "localhost"), ("127.0.0.1", "localhost"), ("::ffff:10.0.0.1", "10.0.0.1")]
)
def test_hosts_are_shown_by_name_where_known(ip: str | None, shown: str) -> None:
    assert shown_host(ip) == shown


def test_without_name_resolution_loopback_is_shown_by_address() -> None:
    assert shown_host("127.0.0.1", skip_name_resolve=True) == "127.0.0.1"
