"""Certificates that end, files that cannot be read, secrets that can."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sqlproxy.admin import check_files
from sqlproxy.admin.finding import Finding, Level
from sqlproxy.config import validate


def found(tls: dict[str, Any], path: Path | None = None, now: datetime | None = None) -> list[Finding]:
    settings = validate(
        {
            "servers": [{"name": "n1", "address": "n1:3306"}],
            "services": [{"name": "app", "listen": "127.0.0.1:4006", "tls": tls}],
        },
        "x",
    )
    return list(check_files.look(settings, path, now))


ENDS = datetime.now(UTC) + timedelta(days=300)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "proxy")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, ENDS - timedelta(days=365), ENDS)
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


def test_a_good_certificate_says_nothing(certificate: Path) -> None:
    assert found({"cert": str(certificate)}) == []


@pytest.mark.parametrize(("days", "level"), [(10, Level.WARN), (-1, Level.FAIL)])
def test_a_certificate_that_ends_is_told_of(certificate: Path, days: int, level: Level) -> None:
    (finding,) = found({"cert": str(certificate)}, now=ENDS - timedelta(days=days))
    assert finding.level is level


def test_files_that_cannot_be_used_fail(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("hello")
    assert found({"cert": str(tmp_path / "x.pem")})[0].text.endswith("holds no certificate in PEM")
    assert found({"cert": str(tmp_path / "y.pem")})[0].text.endswith("cannot be read: No such file or directory")


def test_secrets_that_others_can_read_are_told(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('[monitor]\npassword = "x"\n')
    path.chmod(0o644)
    (finding,) = found({}, path)
    assert finding.text.endswith("others may read it (mode 0644)")
    path.chmod(0o600)
    assert found({}, path) == []
    path.write_text('[monitor]\npassword_file = "/run/x"\n')
    path.chmod(0o644)
    assert found({}, path, datetime.now(UTC)) == []
