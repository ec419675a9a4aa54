"""Conditions of accounts on TLS, judged as the servers do; names as OpenSSL writes them in one line."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sqlproxy.accounts.certificate import NOTHING, Shown, oneline, refusal
from sqlproxy.accounts.model import Account

CIPHER = "TLS_AES_256_GCM_SHA384"


def name(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


SUBJECT = name((NameOID.COUNTRY_NAME, "SE"), (NameOID.ORGANIZATION_NAME, "MariaDB"), (NameOID.COMMON_NAME, "client"))
ISSUER = name((NameOID.COMMON_NAME, "the CA"))


@pytest.fixture(scope="module")
def shown() -> Shown:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime(2026, 1, 1)
    built = x509.CertificateBuilder().subject_name(SUBJECT).issuer_name(ISSUER).public_key(key.public_key())
    built = built.serial_number(5).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    certificate = built.sign(key, hashes.SHA256())
    return Shown(CIPHER, certificate.public_bytes(serialization.Encoding.DER))


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (SUBJECT, "/C=SE/O=MariaDB/CN=client"),
        (name((NameOID.EMAIL_ADDRESS, "a@b.c"), (NameOID.DOMAIN_COMPONENT, "org")), "/emailAddress=a@b.c/DC=org"),
        (name((NameOID.COMMON_NAME, "M\u00fcller/a\x7f")), "/CN=M\\xC3\\xBCller/a\\x7F"),
        (name((x509.ObjectIdentifier("1.2.3.4.5"), "x")), "/1.2.3.4.5=x"),
        (
            x509.Name(
                [
                    x509.RelativeDistinguishedName(
                        [x509.NameAttribute(NameOID.COMMON_NAME, "a"), x509.NameAttribute(NameOID.USER_ID, "b")]
                    )
                ]
            ),
            "/CN=a+UID=b",
        ),
        (x509.Name([]), ""),
    ],
)
def test_a_name_in_one_line(found: x509.Name, line: str) -> None:
    assert oneline(found) == line


@pytest.mark.parametrize(
    ("demand", "reason"),
    [
        ({"tls": ""}, ""),
        ({"tls": "any"}, ""),
        ({"tls": "x509"}, ""),
        ({"tls": "specified", "tls_cipher": CIPHER}, ""),
        ({"tls": "specified", "tls_cipher": "RC4"}, f"the account demands the cipher RC4, and {CIPHER} is in use"),
        ({"tls": "specified", "tls_subject": "/C=SE/O=MariaDB/CN=client", "tls_issuer": "/CN=the CA"}, ""),
        (
            {"tls": "specified", "tls_subject": "/CN=client"},
            "the account demands the subject /CN=client, and the client's certificate has /C=SE/O=MariaDB/CN=client",
        ),
        (
            {"tls": "specified", "tls_issuer": "/CN=other"},
            "the account demands the issuer /CN=other, and the client's certificate has /CN=the CA",
        ),
    ],
)
def test_what_is_shown_is_held_against_what_is_demanded(shown: Shown, demand: dict[str, str], reason: str) -> None:
    assert refusal(Account("app", **demand), shown) == reason  # type: ignore[arg-type]


@pytest.mark.parametrize("demand", [{"tls": "x509"}, {"tls": "specified", "tls_subject": "/CN=x"}])
def test_a_certificate_that_is_demanded_must_be_shown(demand: dict[str, str]) -> None:
    assert refusal(Account("app", **demand), NOTHING) == (  # type: ignore[arg-type]
        "the account demands a client certificate, and none was shown"
    )


def test_a_certificate_that_cannot_be_read_is_none() -> None:
    demand = Account("app", tls="specified", tls_subject="/CN=x")
    assert refusal(demand, Shown(CIPHER, b"junk")).startswith("the client's certificate cannot be read")
