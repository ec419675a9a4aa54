"""The configuration file: what is accepted, how refusals read, what the environment changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy import config_fields
from sqlproxy.config import Settings, load, parse
from sqlproxy.errors import ConfigError
from sqlproxy.topology.model import Address
from sqlproxy.units import parse_address, parse_duration, parse_size

ROOT = Path(__file__).parents[2]
GOOD = """
[[servers]]
name = "n1"
address = "127.0.0.1:33101"

[[servers]]
name = "n2"
address = "127.0.0.1:33102"

[monitor]
password = "monitor"

[[services]]
name = "app"
listen = "127.0.0.1:4006"
"""
SERVICE = '[[services]]\nname = "app"\nlisten = "127.0.0.1:4006"\n'
SERVER = '[[servers]]\nname = "n1"\naddress = "127.0.0.1:33101"\n'


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.toml")
    return str(caught.value)


def test_the_shipped_file_is_valid() -> None:
    assert [server.name for server in load(ROOT / "config" / "sqlproxy.toml").servers] == ["n1", "n2", "n3"]


def test_the_defaults_are_the_promised_ones() -> None:
    settings = parse(GOOD, "x.toml")
    assert settings.workers == 0
    assert (settings.monitor.topology, settings.monitor.interval, settings.monitor.timeout) == ("galera", 0.5, 1.0)
    assert settings.accounts.source == "servers"
    service = settings.services[0]
    assert (service.router, service.causal_reads, service.failover_timeout) == ("readwritesplit", "session", 30.0)
    assert settings.admin.listen == Address(host="127.0.0.1", port=8989)


def test_exactly_once_is_refused_without_the_certification_it_needs() -> None:
    text = GOOD + "exactly_once = true\n"
    assert parse(text, "x.toml").exactly_once
    message = refusal(text.replace("[monitor]", '[monitor]\ntopology = "static"'))
    assert message == (
        "x.toml: services.app.exactly_once: needs the certification of Galera, and monitor.topology is 'static'"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "[montior]\n", "x.toml:16: montior: unknown key"),
        ("wrokers = 2\n" + GOOD, "x.toml:1: wrokers: unknown key"),
        (GOOD.replace('password = "monitor"', "interval = 500"), "x.toml:11: monitor.interval: 500 is not a duration"),
        (
            GOOD.replace('password = "monitor"', "interval = 0.5"),
            "x.toml:11: monitor.interval: '0.5' is not a duration",
        ),
        (
            GOOD.replace('password = "monitor"', 'interval = "0s"'),
            "x.toml:11: monitor.interval: Input should be greater",
        ),
        (
            GOOD.replace('password = "monitor"', 'interval = "9s"'),
            "x.toml:10: monitor: stale_after must be longer than interval and timeout together",
        ),
        (GOOD.replace('password = "monitor"', 'pasword = "x"'), "x.toml:11: monitor.pasword: unknown key"),
        (GOOD.replace('password = "monitor"', "password = 1"), "x.toml:11: monitor.password: must be text in quotes"),
        (
            GOOD.replace('"127.0.0.1:33102"', '"127.0.0.1"'),
            "x.toml:8: servers[1].address: '127.0.0.1' is not an address",
        ),
        (GOOD.replace('name = "n2"\n', ""), "x.toml:6: servers[1].name: is missing"),
        (GOOD.replace('"n2"', '"n 2"'), "x.toml:7: servers[1].name: String should match pattern"),
        (GOOD.replace('"n2"', '"n1"'), "x.toml: servers: 'n1' is given twice"),
        (GOOD.replace('"n2"', '"n2"\nweight = -1'), "x.toml:8: servers[1].weight: Input should be greater"),
        (GOOD + 'servers = ["n9"]\n', "x.toml: services.app.servers: there is no server named 'n9'"),
        (GOOD + 'router = "random"\n', "x.toml:16: services[0].router: Input should be 'readwritesplit' or 'readconn'"),
        (GOOD + "[services.tls]\nmode = 3\n", "x.toml:17: services[0].tls.mode: Input should be 'disabled'"),
        (GOOD + '[admin]\nlisten = "0.0.0.0:8989"\n', "x.toml:16: admin: listen: 0.0.0.0:8989 is not loopback"),
        (GOOD + '[admin]\nuser = "ops"\n', "x.toml:16: admin: user and password go together"),
        (GOOD + '[admin]\nlisten = "127.0.0.1:4006"\n', "x.toml: listen: '127.0.0.1:4006' is given twice"),
        (
            GOOD + "[accounts]\n[[accounts.users]]\nname = 'a'\nhost = 'b'\n",
            "x.toml:19: accounts.users[0].host: unknown key",
        ),
        (SERVICE, "x.toml: servers: is missing"),
        ("servers = []\n" + SERVICE, "x.toml:1: servers: at least one is needed"),
        ('servers = "n1"\n' + SERVICE, "x.toml:1: servers: must be a list"),
        ('monitor = "galera"\n' + SERVER + SERVICE, "x.toml:1: monitor: must be a table"),
        ("workers = \n", "x.toml: Invalid value (at line 1, column 11)"),
    ],
)
def test_a_refusal_names_file_line_key_and_reason(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "missing.toml", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "latin1.toml", "is not text in UTF-8"),
    ):
        if path.name == "latin1.toml":
            path.write_bytes(b'name = "\xe4"')
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert str(caught.value) == f"{path}: {reason}"


# -- environment -------------------------------------------------------------------------------------------------


def test_the_environment_overrides_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLPROXY_WORKERS", "2")
    monkeypatch.setenv("SQLPROXY_MONITOR__PASSWORD", "123")
    monkeypatch.setenv("SQLPROXY_MONITOR__INTERVAL", "2s")
    monkeypatch.setenv("SQLPROXY_ADMIN__LISTEN", "")
    settings = parse(GOOD, "x.toml")
    assert (settings.workers, settings.monitor.interval, settings.admin.listen) == (2, 2.0, None)
    assert settings.monitor.password.get_secret_value() == "123"


def test_the_environment_overrides_list_items_by_number_and_adds_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLPROXY_SERVERS__1__WEIGHT", "7")
    monkeypatch.setenv("SQLPROXY_SERVERS__2__NAME", "n3")
    monkeypatch.setenv("SQLPROXY_SERVERS__2__ADDRESS", "db3:3306")
    monkeypatch.setenv("SQLPROXY_SERVICES__0__LISTEN", '["127.0.0.1:1", "[::1]:2"]')
    settings = parse(GOOD, "x.toml")
    assert [(server.name, server.weight) for server in settings.servers] == [("n1", 1), ("n2", 7), ("n3", 1)]
    assert [str(address) for address in settings.services[0].listen] == ["127.0.0.1:1", "[::1]:2"]


def test_a_whole_list_can_be_given_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLPROXY_SERVERS", '[{"name": "only", "address": "unix:/run/mysqld.sock"}]')
    assert [str(server.address) for server in parse(GOOD, "x.toml").servers] == ["unix:/run/mysqld.sock"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "SQLPROXY_MONITOR__INTERVAL",
            "5",
            "environment variable SQLPROXY_MONITOR__INTERVAL: monitor.interval: '5' is not",
        ),
        (
            "SQLPROXY_MONITOR__PASWORD",
            "x",
            "environment variable SQLPROXY_MONITOR__PASWORD: monitor.pasword: unknown key",
        ),
        (
            "SQLPROXY_SERVERS__0__ADDRESS",
            "x",
            "environment variable SQLPROXY_SERVERS__0__ADDRESS: servers[0].address: 'x' is",
        ),
        ("SQLPROXY_SERVERS", "n1,n2", "environment variable SQLPROXY_SERVERS: is not JSON"),
    ],
)
def test_a_bad_value_from_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    assert refusal(GOOD).startswith(message)


def test_the_clis_own_variables_are_not_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLPROXY_ADMIN_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SQLPROXY_ADMIN_TOKEN", "t0ken")
    assert parse(GOOD, "x.toml").admin.token.get_secret_value() == ""


# -- secrets -----------------------------------------------------------------------------------------------------


def test_a_secret_comes_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(" s3cret \r\n")
    settings = parse(GOOD.replace('password = "monitor"', f'password_file = "{secret}"'), "x.toml")
    assert settings.monitor.password.get_secret_value() == " s3cret "


def test_an_unreadable_secret_file_is_named(tmp_path: Path) -> None:
    text = GOOD.replace('password = "monitor"', f'password_file = "{tmp_path}/none"')
    assert refusal(text) == f"x.toml:10: monitor: password_file: cannot read {tmp_path}/none: No such file or directory"


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace('password = "monitor"', 'password = "a"\npassword_file = "b"')
    assert refusal(text) == "x.toml:10: monitor: password and password_file are both given"


def test_the_environment_wins_whichever_way_a_secret_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("from file")
    in_file = GOOD.replace('password = "monitor"', f'password_file = "{secret}"')
    monkeypatch.setenv("SQLPROXY_MONITOR__PASSWORD", "from env")
    assert parse(in_file, "x.toml").monitor.password.get_secret_value() == "from env"
    monkeypatch.delenv("SQLPROXY_MONITOR__PASSWORD")
    monkeypatch.setenv("SQLPROXY_MONITOR__PASSWORD_FILE", str(secret))
    assert parse(GOOD, "x.toml").monitor.password.get_secret_value() == "from file"


def test_secrets_are_in_no_repr_and_no_refusal() -> None:
    text = GOOD.replace('"monitor"', '"s3cret"') + '[admin]\nuser = "u"\npassword = "s3cret"\ntoken = "s3cret"\n'
    text += '[accounts]\nsource = "static"\n[[accounts.users]]\nname = "a"\npassword = "s3cret"\n'
    settings: Settings = parse(text, "x.toml")
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in refusal(text + "nmae = 1\n")
    assert "s3cret" not in refusal(text + 'password_hash = ["s3cret"]\n')


def test_a_public_admin_address_is_accepted_with_a_password_or_a_token() -> None:
    for secret in ('user = "ops"\npassword = "x"', 'token = "x"'):
        settings = parse(GOOD + f'[admin]\nlisten = "0.0.0.0:8989"\n{secret}\n', "x.toml")
        assert settings.admin.listen == Address(host="0.0.0.0", port=8989)


# -- units -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("2s", 2.0), ("1.5 m", 90.0), ("1h", 3600.0), ("0s", 0.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("value", ["", "5", "s", "-1s", "1d", "1s 2s", "1e3s", 5, 0.5, None, True])
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [(0, 0), (17, 17), ("17", 17), ("64KiB", 65536), ("1MiB", 1 << 20), ("2 GiB", 2 << 30), ("1MB", 10**6)],
)
def test_sizes(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["", "MiB", "-1", -1, "1.5MiB", "1mib", "1TiB", 1.0, None, True])
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:3306", Address(host="127.0.0.1", port=3306)),
        ("db_1.example:1", Address(host="db_1.example", port=1)),
        ("[::1]:65535", Address(host="::1", port=65535)),
        ("[fe80::1%eth0]:3306", Address(host="fe80::1%eth0", port=3306)),
        ("unix:/run/my.sock", Address(path="/run/my.sock")),
    ],
)
def test_addresses_are_read_and_written_alike(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "value",
    [
        "",
        ":",
        "h",
        "h:",
        ":1",
        "h:0",
        "h:65536",
        "h:-1",
        "h:٣",
        "::1:3306",
        "[::1]",
        "[h:1",
        "unix:",
        "unix:x",
        "a b:1",
        1,
        None,
    ],
)
def test_what_is_no_address(value: object) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        parse_address(value)


@given(st.text())
def test_any_text_is_read_or_refused_as_an_address(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert address.path or 0 < address.port < 65536


@given(st.text())
def test_any_file_is_read_or_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text, "x.toml")


def test_tracing_without_its_libraries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD + '[tracing]\nendpoint = "http://127.0.0.1:4318"\nratio = 0.25\n'
    assert parse(text, "f").tracing.ratio == 0.25
    monkeypatch.setattr(config_fields, "find_spec", lambda name: None)
    assert 'tracing needs the libraries of OpenTelemetry: pip install "sqlproxy[otel]"' in refusal(text)
    assert parse(GOOD, "f").tracing.endpoint == ""


@pytest.mark.parametrize(
    "line",
    ['endpoint = "collector:4318"', 'endpoint = "http://user:secret@collector:4318"', "ratio = 1.5", "ratio = -0.1"],
)
def test_bad_values_of_tracing_are_refused(line: str) -> None:
    with pytest.raises(ConfigError, match="tracing"):
        parse(f"{GOOD}[tracing]\n{line}\n", "f")


def test_an_allow_list_needs_a_file() -> None:
    with pytest.raises(ConfigError, match='mode = "learn" needs a file'):
        parse(GOOD + '[services.allow_list]\nmode = "learn"\n', "f")
