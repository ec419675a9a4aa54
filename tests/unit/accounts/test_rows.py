import json

import pytest

from sqlproxy.accounts.model import Account
from sqlproxy.accounts.rows import from_global_priv, from_user
from sqlproxy.wire.auth import Method

# Recorded from MariaDB 10.11.19.
CHANGED = 1795253831
DAY = 24 * 3600
NATIVE = (
    '{"access":0,"version_id":101119,"plugin":"mysql_native_password","authentication_string":'
    '"*9F75CEF7FD0C75DC40611DD8F86B6FFF569BF56D","password_last_changed":1795253831,"default_role":"r1"}'
)
MULTI = (
    '{"access":0,"version_id":101119,"plugin":"mysql_native_password","authentication_string":'
    '"*BFD4D71FEB048F752D3E1662A91680E1D6BEDB95","auth_or":[{},{"plugin":"ed25519","authentication_string":'
    '"NRLVR1xEE+JF5Od5TWHhta+Gr648Q2ZybzW/9VKzhPc"},{"plugin":"unix_socket"}],"password_last_changed":1795253831}'
)
LOCKED = (
    '{"access":0,"version_id":101119,"plugin":"mysql_native_password","authentication_string":'
    '"*A6C4E0E2B9E43CDBFCDCDC8DE615C3AFB10FF5A6","account_locked":true,"password_last_changed":1795253831}'
)
SPECIFIED = (
    '{"access":0,"version_id":101119,"plugin":"mysql_native_password","authentication_string":'
    '"*C27C379BC9A2BAD89FFCBC86D4467BC312E61A69","ssl_type":3,"ssl_cipher":"ECDHE-RSA-AES128-GCM-SHA256",'
    '"x509_issuer":"","x509_subject":"/CN=x","password_last_changed":1795253831}'
)
ROLE = '{"access":0,"version_id":101119,"is_role":true}'
ROOT = '{"access":18446744073709551615}'


def account(priv: str, *, now: float = CHANGED, default_lifetime: int = 0) -> Account:
    return from_global_priv("%", "u", priv, now, default_lifetime)


def test_a_native_account_with_a_default_role() -> None:
    stored = b"*9F75CEF7FD0C75DC40611DD8F86B6FFF569BF56D"
    assert account(NATIVE) == Account("u", "%", (Method("mysql_native_password", stored),), default_role="r1")


def test_auth_or_gives_one_method_each_and_an_empty_item_stands_for_the_outer_one() -> None:
    assert account(MULTI).authentications == (
        Method("mysql_native_password", b"*BFD4D71FEB048F752D3E1662A91680E1D6BEDB95"),
        Method("ed25519", b"NRLVR1xEE+JF5Od5TWHhta+Gr648Q2ZybzW/9VKzhPc"),
        Method("unix_socket"),
    )


def test_locks_roles_and_tls_demands_are_read() -> None:
    assert account(LOCKED).locked
    assert account(ROLE).is_role
    specified = account(SPECIFIED)
    assert (specified.tls, specified.tls_cipher) == ("specified", "ECDHE-RSA-AES128-GCM-SHA256")
    assert (specified.tls_issuer, specified.tls_subject) == ("", "/CN=x")
    assert account('{"ssl_type":1}').tls == "any"
    assert account('{"ssl_type":2}').tls == "x509"
    assert account('{"ssl_type":0}').tls == account('{"ssl_type":-1}').tls == ""


def test_a_row_without_plugin_is_a_native_account_without_password() -> None:
    assert account(ROOT).authentications == (Method("mysql_native_password"),)


@pytest.mark.parametrize(
    ("fields", "now", "default_lifetime", "expired"),
    [
        ({"password_last_changed": 0, "password_lifetime": -1}, CHANGED, 0, True),
        ({"password_last_changed": CHANGED}, CHANGED + 900 * DAY, 0, False),
        ({"password_last_changed": CHANGED}, CHANGED + 30 * DAY, 30, True),
        ({"password_last_changed": CHANGED, "password_lifetime": -1}, CHANGED + 30 * DAY - 1, 30, False),
        ({"password_last_changed": CHANGED, "password_lifetime": 0}, CHANGED + 900 * DAY, 30, False),
        ({"password_last_changed": CHANGED, "password_lifetime": 90}, CHANGED + 90 * DAY, 0, True),
        ({}, CHANGED, 30, False),
    ],
)
def test_passwords_expire_by_hand_by_their_lifetime_and_by_the_default(
    fields: dict[str, int], now: float, default_lifetime: int, expired: bool
) -> None:
    assert account(json.dumps(fields), now=now, default_lifetime=default_lifetime).password_expired is expired


@pytest.mark.parametrize("priv", ["", "[]", "null", "{", '"x"'])
def test_a_row_that_is_no_object_lets_nobody_in(priv: str) -> None:
    broken = account(priv)
    assert broken.authentications == ()
    assert broken.locked


def test_an_empty_list_of_alternatives_lets_nobody_in() -> None:
    assert account('{"auth_or":[]}').authentications == ()


def hexed(text: str | bytes) -> str:
    return (text.encode() if isinstance(text, str) else text).hex().upper()


def test_a_row_of_mysql_8_with_control_characters_in_its_salt() -> None:
    stored = b"$A$005$\x01\x7f'\"\\salt3456789012\n\r" + b"h" * 43
    row = {
        "Host": "%",
        "User": "u",
        "plugin": "caching_sha2_password",
        "authentication_string": hexed(stored),
        "account_locked": "Y",
        "password_expired": "Y",
        "ssl_type": "X509",
        "ssl_cipher": "",
        "x509_issuer": "",
        "x509_subject": hexed("/CN=x"),
        "User_attributes": None,
    }
    read = from_user(row)
    assert read.authentications == (Method("caching_sha2_password", stored),)
    assert (read.locked, read.password_expired, read.tls, read.tls_subject) == (True, True, "x509", "/CN=x")


def test_a_retained_second_password_of_mysql_is_another_method() -> None:
    attributes = json.dumps({"additional_password": "$A$005$second"})
    row = {"Host": "%", "User": "u", "plugin": "caching_sha2_password", "authentication_string": hexed("$A$005$first")}
    methods = from_user({**row, "User_attributes": attributes}).authentications
    assert [method.auth_string for method in methods] == [b"$A$005$first", b"$A$005$second"]


def test_an_account_that_needs_a_second_factor_cannot_be_checked() -> None:
    attributes = json.dumps({"Multi_factor_authentication": [{"plugin": "authentication_webauthn"}]})
    row = {"Host": "%", "User": "u", "plugin": "caching_sha2_password", "authentication_string": hexed("$A$005$first")}
    (method,) = from_user({**row, "User_attributes": attributes}).authentications
    assert method.client_plugin is None


@pytest.mark.parametrize(
    ("columns", "method"),
    [
        ({"Password": "*AB"}, Method("mysql_native_password", b"*AB")),
        ({"Password": "*AB", "plugin": "", "authentication_string": ""}, Method("mysql_native_password", b"*AB")),
        (
            {"Password": "*AB", "plugin": "mysql_native_password", "authentication_string": hexed("*CD")},
            Method("mysql_native_password", b"*CD"),
        ),
        ({"Password": "0123456789abcdef", "plugin": ""}, Method("mysql_old_password", b"0123456789abcdef")),
        (
            {"Password": "", "plugin": "ed25519", "authentication_string": hexed("key")},
            Method("ed25519", b"key"),
        ),
        ({"Password": "*AB", "plugin": "ed25519", "authentication_string": ""}, Method("ed25519")),
    ],
)
def test_older_tables_keep_hashes_in_the_password_column(columns: dict[str, str], method: Method) -> None:
    assert from_user({"Host": "%", "User": "u", **columns}).authentications == (method,)
