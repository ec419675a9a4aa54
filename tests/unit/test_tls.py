"""The TLS that services show to clients."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from pathlib import Path

import pytest

from sqlproxy import tls
from sqlproxy.config import ServiceTLSConfig
from sqlproxy.errors import ConfigError


def test_disabled_is_none() -> None:
    assert tls.server_context("services.app.tls", ServiceTLSConfig(mode="disabled")) is None


def test_without_a_certificate_one_is_made_and_no_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    context = tls.server_context("services.app.tls", ServiceTLSConfig())
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert list(tmp_path.iterdir()) == []


def handshake() -> bytes:
    """The self-made certificate (DER) that a client got in a whole handshake."""
    server = tls.server_context("services.app.tls", ServiceTLSConfig())
    assert server is not None
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    done: set[int] = set()
    for _ in range(10):
        for number, end in enumerate(ends):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                done.add(number)
    assert done == {0, 1}
    return ends[0].getpeercert(binary_form=True) or b""


def test_a_made_certificate_completes_a_handshake() -> None:
    assert handshake()


def test_client_certificates_are_asked_for_where_there_is_an_authority(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text(ssl.DER_cert_to_PEM_cert(handshake()))
    context = tls.server_context("services.app.tls", ServiceTLSConfig(ca=str(authority)))
    assert context is not None
    assert context.verify_mode is ssl.CERT_OPTIONAL


@pytest.mark.parametrize("key", ["cert", "ca"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, key: str) -> None:
    path = tmp_path / "no.pem"
    with pytest.raises(ConfigError, match=rf"services.app.tls: {path} cannot be used"):
        tls.server_context("services.app.tls", ServiceTLSConfig(**{key: str(path)}))
    path.write_text("no certificate")
    with pytest.raises(ConfigError, match=rf"services.app.tls: {path} cannot be used"):
        tls.server_context("services.app.tls", ServiceTLSConfig(**{key: str(path)}))
