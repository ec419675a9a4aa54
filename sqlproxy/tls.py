"""The TLS context that services show to clients: their own certificate, or a self-signed one made at start."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sqlproxy.config import ServiceTLSConfig
from sqlproxy.errors import ConfigError

_VALID_FOR = datetime.timedelta(days=3650)  # a restart makes a new one


def server_context(service: str, config: ServiceTLSConfig) -> ssl.SSLContext | None:
    """The context, None when TLS is disabled. Raises ConfigError when a file cannot be used."""
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
        raise ConfigError(f"services.{service}.tls: {config.cert or config.ca} cannot be used: {error}") from None
    return context


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
