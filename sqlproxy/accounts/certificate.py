"""What an account demands of a client's TLS: REQUIRE X509, CIPHER, ISSUER, SUBJECT, judged as the servers do.

Sources: ``acl_check_ssl`` in MariaDB's ``sql/sql_acl.cc``; names are written as OpenSSL's ``X509_NAME_oneline`` does
(``crypto/x509/x509_obj.c``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509

from sqlproxy.accounts.model import TLS_SPECIFIED, TLS_X509, Account

_SHORT: Final = {  # as OpenSSL names them
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.13": "description",
    "2.5.4.17": "postalCode",
    "2.5.4.41": "name",
    "2.5.4.42": "GN",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.46": "dnQualifier",
    "2.5.4.65": "pseudonym",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}
_FIRST, _LAST = 0x20, 0x7E  # bytes that stand for themselves


@dataclass(frozen=True, slots=True)
class Shown:
    """What a client has shown by TLS: the cipher in use, and its certificate in DER, b"" for none.

    The certificate was verified: with authorities given, a handshake with another one fails.
    """

    cipher: str = ""
    certificate: bytes = b""


NOTHING: Final = Shown()


def refusal(account: Account, shown: Shown) -> str:
    """Why the account's conditions are not met, a clause for the log; "" when they are."""
    if account.tls not in (TLS_X509, TLS_SPECIFIED):
        return ""
    specified = account.tls == TLS_SPECIFIED
    if specified and account.tls_cipher and account.tls_cipher != shown.cipher:
        return f"the account demands the cipher {account.tls_cipher}, and {shown.cipher or 'none'} is in use"
    if specified and not account.tls_issuer and not account.tls_subject:
        return ""
    if not shown.certificate:
        return "the account demands a client certificate, and none was shown"
    return _wrong_name(account, shown.certificate) if specified else ""


def _wrong_name(account: Account, der: bytes) -> str:
    try:
        certificate = x509.load_der_x509_certificate(der)
        found = {"issuer": oneline(certificate.issuer), "subject": oneline(certificate.subject)}
    except ValueError as error:
        return f"the client's certificate cannot be read: {error}"
    for what, wanted in (("issuer", account.tls_issuer), ("subject", account.tls_subject)):
        if wanted and wanted != found[what]:
            return f"the account demands the {what} {wanted}, and the client's certificate has {found[what]}"
    return ""


def oneline(name: x509.Name) -> str:
    """A name such as "/C=SE/O=MariaDB/CN=client"; parts of one set are joined by "+"."""
    parts = []
    for group in name.rdns:
        for number, attribute in enumerate(group):
            value = attribute.value if isinstance(attribute.value, bytes) else attribute.value.encode()
            oid = attribute.oid.dotted_string
            parts.append(f"{'+' if number else '/'}{_SHORT.get(oid, oid)}={_printable(value)}")
    return "".join(parts)


def _printable(value: bytes) -> str:
    return "".join(chr(byte) if _FIRST <= byte <= _LAST else f"\\x{byte:02X}" for byte in value)
