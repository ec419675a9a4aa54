"""Who may begin a session: the account, its proof, its conditions, and a first server that agrees."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from sqlproxy.accounts.model import Account
from sqlproxy.accounts.refusal import access_denied, account_locked, host_blocked, shown_host
from sqlproxy.errors import ProtocolError, SqlproxyError
from sqlproxy.session.acquire import acquire
from sqlproxy.session.connect import Login
from sqlproxy.session.session import Session
from sqlproxy.sql.bits import MODE_DOUBLE, MODE_KANA, MODE_MULTIBYTE, READ
from sqlproxy.wire.auth import Credentials, Kind
from sqlproxy.wire.constants import ED25519, ER_CON_COUNT_ERROR, ER_UNKNOWN_COM_ERROR
from sqlproxy.wire.handshake import ChangeUser, HandshakeResponse
from sqlproxy.wire.server_auth import ServerAuth

if TYPE_CHECKING:
    from sqlproxy.session.client import Client
    from sqlproxy.session.service import Service

log = logging.getLogger("sqlproxy.client")

_CHANGES_REFUSED: Final = 3  # failed changes of the user, after which MariaDB refuses to try any more

# Collations of character sets whose trail bytes may look like quotes, MariaDB's NO PAD ones from 1024 on.
_COLLATIONS: Final = {
    **dict.fromkeys((1, 84, 1025), MODE_MULTIBYTE | MODE_DOUBLE),  # big5
    **dict.fromkeys((28, 87, 1052, 248, 249, 250), MODE_MULTIBYTE | MODE_DOUBLE),  # gbk, gb18030
    **dict.fromkeys((13, 88, 1037, 95, 96, 1119), MODE_MULTIBYTE | MODE_KANA),  # sjis, cp932
}


def may_announce(service: Service, address: str) -> bool:
    """Whether a connection from this address ("" on a unix socket) may begin with a PROXY protocol header."""
    networks = service.config.proxy_protocol_networks
    if not networks:
        return False
    if not address:
        return "localhost" in networks
    found = ip_address(address.partition("%")[0])
    return any(network == "*" or (network != "localhost" and found in ip_network(network)) for network in networks)


def check_admission(service: Service, address: str) -> None:
    """Raises SqlproxyError when nobody from this address may log in now."""
    if service.throttle.blocked(address, time.monotonic()):
        raise host_blocked(shown_host(address or None))
    limit = service.config.max_connections
    if limit and service.stats.sessions >= limit:
        raise SqlproxyError("Too many connections", code=ER_CON_COUNT_ERROR, sqlstate="08004")


async def begin_session(client: Client, response: HandshakeResponse, number: int) -> Session:
    """Authenticate, and open the first connection in the client's name, so that the servers have the last word.

    Raises AccessDenied as the servers word it, or a server's own error (unknown database, account expired, …).
    """
    login = await _authenticate(client, response)
    session = Session(client.service, client, number, login, _COLLATIONS.get(response.collation, 0))
    await _open_first(session)
    return session


async def change_user(client: Client, session: Session, payload: bytes) -> None:
    """Make the session another user's by a COM_CHANGE_USER. Raises as ``begin_session``."""
    try:
        request = ChangeUser.parse(payload, client.capabilities)
    except ProtocolError:
        raise _unknown_command() from None
    if client.failed_changes >= _CHANGES_REFUSED:
        raise _unknown_command()
    login = await _authenticate(client, request)
    session.adopt(login, _COLLATIONS.get(request.collation, 0))
    await _reach_first(session)


def _unknown_command() -> SqlproxyError:
    return SqlproxyError("Unknown command", code=ER_UNKNOWN_COM_ERROR, sqlstate="08S01")


def restore(session: Session, before: Login) -> None:
    """Begin the session anew in the name it had, with the servers' own character set, after a refused change."""
    collation = session.service.offer()[2]
    session.adopt(replace(before, collation=collation), _COLLATIONS.get(collation, 0))


def _origin(client: Client) -> tuple[str, int] | None:
    return (client.address, client.port) if client.address else None


async def _open_first(session: Session) -> None:
    """A connection to a server that reads go to; closed again when the login ends here."""
    try:
        await _reach_first(session)
    except BaseException:
        session.close()
        raise


async def _reach_first(session: Session) -> None:
    session.limit_wait(session.service.config.login_timeout * 0.8)
    try:
        await acquire(session, READ)
    finally:
        session.stop_waiting()


async def _authenticate(client: Client, request: HandshakeResponse | ChangeUser) -> Login:
    """How to log in to servers in the client's name. Raises AccessDenied with error 1045, for every reason alike."""
    service = client.service
    account = service.accounts.find(request.username, client.address or None)
    step_credentials, reason, used = await _exchange(client, request, account)
    if step_credentials is None and await service.accounts.refresh("a login failed", anew=True):
        fresh = service.accounts.find(request.username, client.address or None)
        if fresh is not None and fresh != account:
            account = fresh
            step_credentials, reason, used = await _exchange(client, request, account)
    if step_credentials is None or account is None:
        _deny(client, request, reason or "unknown user", used)
    assert account is not None
    assert step_credentials is not None
    _check_conditions(client, request, account)
    service.throttle.succeeded(client.address)
    service.accounts.remember(account, step_credentials)
    return Login(
        _completed(service, account, step_credentials),
        client.capabilities,
        request.collation,
        request.database or b"",
        request.attrs,
        _origin(client),
        bool(account.tls),
    )


async def _exchange(
    client: Client, request: HandshakeResponse | ChangeUser, account: Account | None
) -> tuple[Credentials | None, str, bool]:
    """Run the authentication: what was proved or None, the reason for the log, whether a password was sent."""
    service = client.service
    subject = account or service.accounts.decoy(request.username)
    known = service.accounts.remembered(subject)
    auth = ServerAuth(
        request,
        client.scramble,
        subject.authentications,
        greeting_plugin=client.plugin,
        cached_sha256=known.fast_hash if known else None,
        secure=client.secure,
        rsa_key=service.rsa_key,
        want_cleartext=known is None and _needs_cleartext(subject),
    )
    used = bool(request.auth_response)
    step = auth.start()
    while step.kind is Kind.SEND:
        client.send_packet(step.payload)
        answer = await client.read_packet()
        used = used or bool(answer.strip(b"\x00"))
        step = auth.receive(answer)
    if step.kind is not Kind.OK or account is None or account.is_role:
        return None, step.reason, used
    if step.payload:
        client.send_packet(step.payload)
    return step.credentials, "", used


def _needs_cleartext(account: Account) -> bool:
    """An ed25519 signature proves the client, but serves to log in to no server."""
    return any(method.client_plugin == ED25519 for method in account.authentications)


def _deny(client: Client, request: HandshakeResponse | ChangeUser, reason: str, used: bool) -> None:
    blocked = client.service.throttle.failed(client.address, time.monotonic())
    name = request.username.decode(errors="replace")
    log.info("client %s: user '%s' denied: %s", client.host, name, reason)
    if blocked:
        log.warning("client %s: blocked for a while after too many failed logins", client.host)
    raise access_denied(request.username, _shown_host(client), used)


def _check_conditions(client: Client, request: HandshakeResponse | ChangeUser, account: Account) -> None:
    """What an account demands beyond its password. Raises AccessDenied."""
    if account.locked:
        raise account_locked()
    if account.tls and not client.tls:
        _deny(client, request, f"the account demands TLS ({account.tls})", True)
    if account.tls in ("x509", "specified"):
        _deny(client, request, f"the account demands a client certificate ({account.tls}), which is not relayed", True)


def _shown_host(client: Client) -> str:
    return shown_host(client.address or None, client.service.accounts.accounts.skip_name_resolve)


def _completed(service: Service, account: Account, credentials: Credentials) -> Credentials:
    """With the cleartext from the configuration or an earlier full login, for servers that ask for more."""
    known = service.accounts.remembered(account)
    if credentials.cleartext is not None or known is None:
        return credentials
    return Credentials(credentials.username, known.cleartext, credentials.sha1_stage1, credentials.sha256_stage1)
