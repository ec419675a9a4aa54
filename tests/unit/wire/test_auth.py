"""Methods and credentials: who is let in by a cleartext password, and what is never shown."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlproxy.errors import AccessDenied, Fault
from sqlproxy.wire import ed25519, native_password, sha2_password
from sqlproxy.wire.auth import MAX_PASSWORD, Credentials, Kind, Method, MissingSecret, Step, methods_for_password

PASSWORDS = st.text(min_size=1, max_size=60).map(str.encode)


def methods(password: bytes) -> list[Method]:
    return [
        Method("mysql_native_password", native_password.stored_hash(password).encode()),
        Method("", native_password.stored_hash(password).encode()),
        Method("ed25519", ed25519.stored_hash(password).encode()),
        Method("caching_sha2_password", sha2_password.stored_hash(password, b"s" * 20, 1000)),
        Method("sha256_password", b"$5$rounds=1000$salt$" + sha2_password.sha_crypt(password, b"salt", 1000)),
    ]


@settings(max_examples=20, deadline=None)
@given(PASSWORDS, PASSWORDS)
def test_every_kind_of_hash_accepts_its_own_password_only(password: bytes, other: bytes) -> None:
    for method in methods(password):
        assert method.accepts(password)
        assert method.accepts(other) == (other == password)
        assert not method.accepts(b"")


@pytest.mark.parametrize("plugin", ["mysql_native_password", "caching_sha2_password", ""])
def test_an_account_without_a_password_accepts_only_none(plugin: str) -> None:
    assert Method(plugin).accepts(b"")
    assert not Method(plugin).accepts(b"x")


@pytest.mark.parametrize("plugin", ["unix_socket", "pam", "gssapi", "mysql_old_password", "ed25519", "mysql_no_login"])
@pytest.mark.parametrize("password", [b"", b"x"])
def test_plugins_without_a_checkable_hash_accept_nobody(plugin: str, password: bytes) -> None:
    assert not Method(plugin).accepts(password)
    assert not Method(plugin, password).accepts(password)


@given(st.sampled_from(["mysql_native_password", "ed25519", "caching_sha2_password", "sha256_password"]), st.binary())
def test_a_broken_hash_accepts_nobody(plugin: str, stored: bytes) -> None:
    assert not Method(plugin, stored).accepts(b"password")


def test_a_very_long_password_is_not_even_hashed() -> None:
    password = b"x" * (MAX_PASSWORD + 1)
    assert not Method("", native_password.stored_hash(password).encode()).accepts(password)


def test_a_known_password_serves_native_and_ed25519_clients() -> None:
    plugins = {method.client_plugin for method in methods_for_password(b"pw") if method.accepts(b"pw")}
    assert plugins == {"mysql_native_password", "client_ed25519"}
    assert methods_for_password(b"") == (Method("mysql_native_password"),)


def test_credentials_derive_what_they_can() -> None:
    known = Credentials(b"u", cleartext=b"pw")
    assert (known.native, known.sha2) == (native_password.stage1(b"pw"), sha2_password.stage1(b"pw"))
    empty = Credentials(b"u", cleartext=b"")
    assert (empty.native, empty.sha2) == (b"", b"")
    partial = Credentials(b"u", sha1_stage1=b"1" * 20)
    assert (partial.native, partial.sha2) == (b"1" * 20, None)


def test_secrets_are_never_shown() -> None:
    secrets = Credentials(b"user", b"pass-word", b"stage-one", b"stage-two")
    shown = repr(secrets) + repr(Step(Kind.OK, b"pay-load", secrets)) + repr(Method("", b"the-hash"))
    for word in ("pass-word", "stage-one", "stage-two", "pay-load", "the-hash"):
        assert word not in shown


def test_a_missing_secret_is_a_denied_access_by_the_proxys_fault() -> None:
    error = MissingSecret("x")
    assert isinstance(error, AccessDenied)
    assert (error.code, error.fault) == (1045, Fault.PROXY)
