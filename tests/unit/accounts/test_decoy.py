from sqlproxy.accounts.decoy import Decoys
from sqlproxy.wire.auth import Method

PLUGINS = ("caching_sha2_password", "ed25519", "mysql_native_password", "unix_socket")
NAMES = [f"user{number}" for number in range(200)]


def test_a_name_gets_the_same_decoy_every_time() -> None:
    decoys = Decoys(b"secret")
    assert [decoys.account(name, PLUGINS) for name in NAMES] == [
        decoys.account(name.encode(), PLUGINS) for name in NAMES
    ]


def test_decoys_use_all_plugins_that_can_be_checked_and_no_other() -> None:
    used = {Decoys(b"secret").account(name, PLUGINS).authentications[0].plugin for name in NAMES[:40]}
    assert used == set(PLUGINS) - {"unix_socket"}


def test_decoys_of_another_process_differ() -> None:
    one, other = Decoys(), Decoys()
    assert any(one.account(name, PLUGINS) != other.account(name, PLUGINS) for name in NAMES)


def test_without_accounts_a_decoy_is_native() -> None:
    (method,) = Decoys(b"secret").account("u", ("unix_socket",)).authentications
    assert method.plugin == "mysql_native_password"


def test_a_new_plugin_changes_the_choice_for_few_names_only() -> None:
    decoys = Decoys(b"secret")
    before = [decoys.account(name, PLUGINS[1:3]) for name in NAMES]
    after = [decoys.account(name, PLUGINS[0:3]) for name in NAMES]
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert 0 < len(changed) < len(NAMES) / 2
    assert all(new.authentications[0].plugin == PLUGINS[0] for new in changed)


def test_hashes_look_real_and_accept_nothing() -> None:
    decoys = Decoys(b"secret")
    shapes = {"mysql_native_password": 41, "ed25519": 43, "caching_sha2_password": 70}
    for plugin, length in shapes.items():
        (method,) = decoys.account("u", (plugin,)).authentications
        assert len(method.auth_string) == length
        assert isinstance(method, Method)
        assert not any(method.accepts(password) for password in (b"", b"u", b"secret"))
