"""Files the configuration names: certificates that end soon or cannot be read, secrets that others can read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from sqlproxy.admin.finding import Finding, Level
from sqlproxy.config import Settings

_SOON: Final = 21  # days
_SECRET: Final = re.compile(r"^\s*(password|password_hash|token)\s*=", re.MULTILINE)
_OTHERS: Final = 0o044  # readable by the group or by everybody


def look(settings: Settings, path: Path | None, now: datetime | None = None) -> Iterator[Finding]:
    """All findings; ``path`` is the configuration's file."""
    for service in settings.services:
        for file in filter(None, (service.tls.cert, service.tls.ca)):
            yield from _certificate(f"service {service.name}", Path(file), now or datetime.now(UTC))
    for file in filter(None, (settings.admin.tls.cert, settings.admin.tls.ca)):
        yield from _certificate("admin", Path(file), now or datetime.now(UTC))
    for server in settings.servers:
        for file in filter(None, (server.tls.cert, server.tls.ca)):
            yield from _certificate(server.name, Path(file), now or datetime.now(UTC))
    if path is not None:
        yield from _readable(path)


def _certificate(subject: str, path: Path, now: datetime) -> Iterator[Finding]:
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        yield Finding(Level.FAIL, subject, f"{path} cannot be read: {error.strerror}", "name a file the proxy may read")
        return
    except ValueError:
        yield Finding(Level.FAIL, subject, f"{path} holds no certificate in PEM", "name a file with one")
        return
    ends = min(certificate.not_valid_after_utc for certificate in certificates)
    days = (ends - now).total_seconds() / 86400
    if days < 0:
        yield Finding(Level.FAIL, subject, f"{path}: the certificate has ended on {ends:%Y-%m-%d}", "renew it")
    elif days < _SOON:
        yield Finding(Level.WARN, subject, f"{path}: the certificate ends in {days:.0f} days", "renew it")


def _readable(path: Path) -> Iterator[Finding]:
    try:
        mode, text = path.stat().st_mode, path.read_text()
    except (OSError, UnicodeDecodeError):
        return
    if mode & _OTHERS and _SECRET.search(text):
        shown = f"{path}: holds a password, and others may read it (mode {mode & 0o777:04o})"
        yield Finding(Level.WARN, "configuration", shown, f"chmod 600 {path}, or password_file")
