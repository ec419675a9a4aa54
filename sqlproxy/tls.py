"""The TLS contexts for clients of services and operators: their own certificate, or a self-signed one made at start."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sqlproxy.config import ServiceTLSConfig, Settings
from sqlproxy.errors import ConfigError, ServerError
from sqlproxy.session.connect import make_context

_VALID_FOR = datetime.timedelta(days=3650)  # a restart makes a new one


def server_context(key: str, config: ServiceTLSConfig) -> ssl.SSLContext | None:
    """The context, None when TLS is disabled. Raises ConfigError, naming the key, when a file cannot be used."""
    if config.mode == "disabled":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if config.cert:
            context.load_cert_chain(config.cert, config.key or None)
        else:
            _load_self_signed(context)
        if config.ca:
            context.load_verify_locations(config.ca)
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{key}: {config.cert or config.ca} cannot be used: {error}") from None
    return context


def is_self_signed(config: ServiceTLSConfig) -> bool:
    """Whether clients are shown a certificate that is made at start."""
    return config.mode != "disabled" and not config.cert and not config.ca


def contexts(
    settings: Settings, kept: Mapping[str, ssl.SSLContext | None] | None = None
) -> dict[str, ssl.SSLContext | None]:
    """The context of every service; self-signed ones are taken from ``kept`` if they are there.

    Raises ConfigError when a file of a service or of a server cannot be used.
    """
    for server in settings.servers:
        tls = server.server().tls
        if tls.ca or tls.cert:
            try:
                make_context(tls)
            except ServerError as error:
                raise ConfigError(f"servers.{server.name}.{error.message}") from None
    known = kept or {}
    return {
        config.name: known[config.name]
        if is_self_signed(config.tls) and config.name in known
        else server_context(f"services.{config.name}.tls", config.tls)
        for config in settings.services
    }


def _load_self_signed(context: ssl.SSLContext) -> None:
    """The ssl module reads certificates from files only; they are gone when this returns."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sqlproxy")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + _VALID_FOR)
        .sign(key, hashes.SHA256())
    )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "sqlproxy.pem"
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context.load_cert_chain(path)
