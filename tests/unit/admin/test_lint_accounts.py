"""Who cannot log in through the proxy, who can too easily, and accounts that differ."""

from __future__ import annotations

from typing import Any

import pytest

from sqlproxy.accounts.model import TLS_ANY, TLS_SPECIFIED, TLS_X509, Account, Accounts
from sqlproxy.admin import lint_accounts
from sqlproxy.admin.finding import Finding
from sqlproxy.config import Settings, validate
from sqlproxy.wire.auth import Method

NATIVE = (Method("mysql_native_password", b"*0123"),)
APP = Account("app", "10.0.0.%", NATIVE)


def configured(
    tls: str = "preferred", server: dict[str, Any] | None = None, users: list[Any] | None = None
) -> Settings:
    return validate(
        {
            "servers": [{"name": name, "address": f"{name}:3306", **(server or {})} for name in ("n1", "n2")],
            "accounts": {"users": users or []},
            "services": [{"name": "app", "listen": "127.0.0.1:4006", "tls": {"mode": tls}}],
        },
        "x",
    )


def found(*accounts: Account, settings: Settings | None = None, seen_from: str = "10.0.0.20") -> list[Finding]:
    servers = {name: Accounts(accounts) for name in ("n1", "n2")}
    hosts = dict.fromkeys(servers, seen_from)
    return list(lint_accounts.accounts(servers, hosts, settings or configured()))


def test_accounts_that_work_say_nothing() -> None:
    own = Account("root", "localhost", (Method("unix_socket"),)), Account("mariadb.sys", "localhost", locked=True)
    assert found(APP, *own, Account("readers", "", is_role=True)) == []


@pytest.mark.parametrize("plugin", ["pam", "gssapi", "unix_socket", "parsec", "authentication_ldap_sasl"])
def test_plugins_that_cannot_be_relayed_are_told(plugin: str) -> None:
    (finding,) = found(APP, Account("staff", "%", (Method(plugin),)))
    assert finding.text == f"'staff'@'%' cannot log in through the proxy: the plugin {plugin} cannot be relayed"


def test_one_of_several_methods_is_enough() -> None:
    assert found(Account("staff", "%", (Method("unix_socket"), *NATIVE))) == []


def test_ed25519_needs_tls_or_a_configured_password() -> None:
    signed = Account("staff", "%", (Method("ed25519", b"x"),))
    assert found(signed) == []
    (finding,) = found(signed, settings=configured("disabled"))
    assert "cannot log in without TLS" in finding.text
    assert found(signed, settings=configured("disabled", users=[{"name": "staff", "password": "x"}])) == []


@pytest.mark.parametrize("tls", [TLS_X509, TLS_SPECIFIED])
def test_client_certificates_are_told(tls: str) -> None:
    (finding,) = found(Account("staff", "%", NATIVE, tls=tls))
    assert "no service asks for client certificates" in finding.text


def test_accounts_that_must_use_tls_need_a_service_that_has_it() -> None:
    account = Account("staff", "%", NATIVE, tls=TLS_ANY)
    (finding,) = found(account, settings=configured("disabled"))
    assert finding.text == "'staff'@'%' must use TLS, which service app does not offer"
    assert found(account) == []


def test_open_doors_are_told() -> None:
    texts = [
        finding.text
        for finding in found(Account("", "%", NATIVE), Account("check", "%", (Method("mysql_native_password"),)))
    ]
    assert texts[0].startswith("''@'%': anybody can log in")
    assert texts[1] == "'check'@'%': no password is needed"
    (finding,) = found(Account("root", "%", NATIVE))
    assert "root can log in from other machines" in finding.text


def test_users_that_the_servers_do_not_let_in_from_the_proxy_are_told() -> None:
    findings = found(APP, seen_from="10.9.9.9")
    assert [(finding.subject, finding.text) for finding in findings] == [
        (name, "'app' may not log in from 10.9.9.9, which is where the proxy comes from") for name in ("n1", "n2")
    ]
    assert found(APP, seen_from="10.9.9.9", settings=configured(server={"proxy_protocol": True})) == []
    assert found(Account("app", "%.example.com", NATIVE), seen_from="proxy.example.com") == []


def test_accounts_that_are_not_everywhere_or_not_alike_are_told() -> None:
    other = Account("app", "10.0.0.%", (Method("mysql_native_password", b"*4567"),))
    servers = {"n1": Accounts((APP, Account("extra", "10.0.0.%", NATIVE))), "n2": Accounts((other,))}
    findings = list(lint_accounts.accounts(servers, {}, configured()))
    assert [(finding.subject, finding.text) for finding in findings] == [
        ("n2", "lacks accounts that other servers have: 'extra'@'10.0.0.%'"),
        ("accounts", "'app'@'10.0.0.%': the password or plugin is not the same on all servers"),
    ]


def test_long_lists_are_cut() -> None:
    many = [Account(f"u{number}", "%", (Method("pam"),)) for number in range(9)]
    assert "and 4 more" in found(*many)[0].text


def test_without_accounts_there_is_nothing_to_say() -> None:
    assert list(lint_accounts.accounts({}, {}, configured())) == []
