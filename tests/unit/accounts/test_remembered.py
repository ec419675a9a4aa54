from dataclasses import replace

from sqlproxy.accounts.model import Account
from sqlproxy.accounts.remembered import FastHashes
from sqlproxy.wire.auth import Credentials, Method
from sqlproxy.wire.sha2_password import double

ACCOUNT = Account("app", "%", (Method("caching_sha2_password", b"$A$005$one"),))
CHANGED = replace(ACCOUNT, authentications=(Method("caching_sha2_password", b"$A$005$two"),))
PROVED = Credentials(b"app", cleartext=b"pw")


def test_a_proved_password_is_remembered_with_its_fast_hash() -> None:
    hashes = FastHashes()
    hashes.remember(ACCOUNT, PROVED)
    found = hashes.remembered(ACCOUNT)
    assert found is not None
    assert (found.fast_hash, found.cleartext) == (double(b"pw"), b"pw")
    assert "pw" not in repr(found)


def test_an_account_with_another_hash_is_not_known() -> None:
    hashes = FastHashes()
    hashes.remember(ACCOUNT, PROVED)
    assert hashes.remembered(CHANGED) is None


def test_changed_accounts_are_forgotten_when_the_set_is_replaced() -> None:
    hashes = FastHashes()
    hashes.remember(ACCOUNT, PROVED)
    hashes.retain([ACCOUNT])
    assert len(hashes) == 1
    hashes.retain([CHANGED])
    assert len(hashes) == 0


def test_a_proof_without_cleartext_is_not_worth_keeping() -> None:
    hashes = FastHashes()
    hashes.remember(ACCOUNT, Credentials(b"app", sha256_stage1=b"x" * 32))
    assert hashes.remembered(ACCOUNT) is None


def test_a_configured_password_is_known_without_a_login() -> None:
    found = FastHashes().remembered(replace(ACCOUNT, password="pässword"))
    assert found is not None
    assert found.cleartext == "pässword".encode()


def test_only_the_most_recently_used_are_kept() -> None:
    hashes = FastHashes(accounts_kept=2)
    one, two, three = (replace(ACCOUNT, user=name) for name in ("one", "two", "three"))
    hashes.remember(one, PROVED)
    hashes.remember(two, PROVED)
    assert hashes.remembered(one)
    hashes.remember(three, PROVED)
    assert hashes.remembered(two) is None
    assert hashes.remembered(one)
