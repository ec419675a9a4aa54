"""What a lab needs, says when it is missing, writes and removes."""

import ssl
from pathlib import Path

import pytest

from sqlproxy.errors import SqlproxyError
from sqlproxy.lab import certificates, install


@pytest.fixture(autouse=True)
def _as_oneself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "server_user", lambda: None)
    monkeypatch.setattr(certificates, "server_user", lambda: None)


def test_a_missing_server_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "SEARCH_PATH", "/nowhere")
    with pytest.raises(SqlproxyError, match=r"mariadbd \(package mariadb-server\) is missing: apt-get install -y "):
        install.server_program()


def test_a_missing_galera_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "_program", lambda name, package: name)
    monkeypatch.setattr(install, "_PROVIDERS", ("/nowhere/libgalera_smm.so",))
    with pytest.raises(SqlproxyError, match=r"libgalera_smm.so \(package galera-4\) is missing"):
        install.galera_provider()


def test_the_environment_chooses_the_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLPROXY_LAB_DIR", "/somewhere")
    assert install.default_directory("galera") == Path("/somewhere")


def test_option_files_quote_values_and_keep_transfers_plain(tmp_path: Path) -> None:
    install.write_options(tmp_path / "my.cnf", {"a": "x;y=z", "b": "1"})
    expected = '[mysqld]\na = "x;y=z"\nb = "1"\n\n[sst]\nssl-mode = DISABLED\n'
    assert (tmp_path / "my.cnf").read_text() == expected


def test_servers_do_not_share_a_directory_for_temporary_tables(tmp_path: Path) -> None:
    one, other = (install.server_options(tmp_path / name, 3306, tls=False)["tmpdir"] for name in ("n1", "n2"))
    assert one == f"{tmp_path}/n1/tmp"
    assert other == f"{tmp_path}/n2/tmp"


def test_removing_keeps_what_the_lab_did_not_make(tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    (lab / "n1").mkdir(parents=True)
    (lab / "notes").write_text("mine")
    install.remove_parts(lab, [lab / "n1", lab / "missing"])
    assert [path.name for path in lab.iterdir()] == ["notes"]
    install.remove_parts(lab, [lab / "notes"])
    assert not lab.exists()


def test_certificates_are_usable_and_the_key_is_closed_to_others(tmp_path: Path) -> None:
    certificates.make_certificates(tmp_path / "tls")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "tls" / "ca.pem"))
    context.load_cert_chain(tmp_path / "tls" / "cert.pem", tmp_path / "tls" / "key.pem")
    assert (tmp_path / "tls" / "key.pem").stat().st_mode & 0o777 == 0o600


def test_certificates_are_made_once(tmp_path: Path) -> None:
    certificates.make_certificates(tmp_path)
    first = (tmp_path / "cert.pem").read_bytes()
    certificates.make_certificates(tmp_path)
    assert (tmp_path / "cert.pem").read_bytes() == first


def test_accounts_are_exactly_those_promised() -> None:
    created = [line for line in install.ACCOUNTS_SQL.splitlines() if line.startswith("CREATE USER")]
    assert [line.split()[2] for line in created] == ["app@'%'", "monitor@'%'"]


def test_a_failed_installation_is_explained_by_its_first_error() -> None:
    output = "2026 [Note] starting\n2026 [ERROR] mmap failed\n2026 [ERROR] Aborting\nThe log says more\n"
    assert install._cause(output) == "2026 [ERROR] mmap failed"
    assert install._cause("no room\n") == "no room"
    assert install._cause("") == ""
