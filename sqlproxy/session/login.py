"""Who may begin a session: the account, its proof, its conditions, and a first server that agrees."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from sqlproxy.accounts import certificate
from sqlproxy.accounts.model import Account
from sqlproxy.accounts.refusal import access_denied, account_locked, host_blocked, shown_host
from sqlproxy.errors import AccessDenied, ProtocolError, SqlproxyError
from sqlproxy.session import errand
from sqlproxy.session.acquire import acquire
from sqlproxy.session.connect import Login
from sqlproxy.session.session import Session
from sqlproxy.sql.bits import MODE_DOUBLE, MODE_KANA, MODE_MULTIBYTE, READ
from sqlproxy.wire.auth import Credentials, Kind, Step
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
    check_room(service)


def check_room(service: Service) -> None:
    """Raises SqlproxyError when the service has all the sessions that it may have."""
    limit = service.config.max_connections
    if limit and service.stats.sessions >= limit:
        raise SqlproxyError("Too many connections", code=ER_CON_COUNT_ERROR, sqlstate="08004")


class Outcome(Enum):
    """What a packet of the client has brought about."""

    MORE = "more"  # a question has been sent; its answer is the next packet
    PROVED = "proved"
    DOUBT = "doubt"  # no; but the account may have been changed since it was read


class Proof:
    """A client proves who it is, packet by packet. ``login`` says how to log in to servers in its name, once it has.

    ``request`` is what it asks with. Every method raises AccessDenied with error 1045, for every reason alike, or with
    what keeps the account from logging in.
    """

    def __init__(self, client: Client, request: HandshakeResponse | ChangeUser) -> None:
        self.login: Login | None = None
        self.charset = _COLLATIONS.get(request.collation, 0)  # MODE_ bits
        self._client = client
        self._request = request
        self._accounts = client.service.accounts
        self._account = self._find()
        self._auth: ServerAuth | None = None
        self._used = False  # a password was sent
        self._asked = False  # for the newest accounts
        self._reason = ""  # of a denial, for the log

    def _find(self) -> Account | None:
        return self._accounts.find(self._request.username, self._client.address or None)

    def start(self) -> Outcome:
        """What follows the request."""
        client, request = self._client, self._request
        subject = self._account or self._accounts.decoy(request.username)
        known = self._accounts.remembered(subject)
        self._auth = ServerAuth(
            request,
            client.scramble,
            subject.authentications,
            greeting_plugin=client.plugin,
            cached_sha256=known.fast_hash if known else None,
            secure=client.secure,
            rsa_key=client.service.rsa_key,
            want_cleartext=known is None and _needs_cleartext(subject),
        )
        self._used = bool(request.auth_response)
        return self._take(self._auth.start())

    def receive(self, payload: bytes) -> Outcome:
        """What follows a further packet."""
        assert self._auth is not None
        self._used = self._used or bool(payload.strip(b"\x00"))
        return self._take(self._auth.receive(payload))

    async def ask_again(self) -> Outcome:
        """After a doubt: begin anew if the account has changed."""
        self._asked = True
        if await self._accounts.refresh("a login failed", anew=True):
            fresh = self._find()
            if fresh is not None and fresh != self._account:
                self._account = fresh
                return self.start()
        raise self._denial(self._reason)

    def _take(self, step: Step) -> Outcome:
        if step.kind is Kind.SEND:
            self._client.send_packet(step.payload)
            return Outcome.MORE
        account = self._account
        if step.kind is Kind.OK and step.credentials is not None and account is not None and not account.is_role:
            if step.payload:
                self._client.send_packet(step.payload)
            self.login = self._proved(account, step.credentials)
            return Outcome.PROVED
        self._reason = step.reason
        if self._asked:
            raise self._denial(self._reason)
        return Outcome.DOUBT

    def _proved(self, account: Account, credentials: Credentials) -> Login:
        client, request, service = self._client, self._request, self._client.service
        self._check_conditions(account)
        service.throttle.succeeded(client.address)
        self._accounts.remember(account, credentials)
        return Login(
            _completed(service, account, credentials),
            client.capabilities,
            request.collation,
            request.database or b"",
            request.attrs,
            _origin(client),
            bool(account.tls),
        )

    def _check_conditions(self, account: Account) -> None:
        """What an account demands beyond its password."""
        if account.locked:
            raise account_locked()
        if not account.tls:
            return
        if not self._client.tls:
            raise self._denial(f"the account demands TLS ({account.tls})", used=True)
        shown = self._client.shown
        reason = certificate.refusal(account, shown)
        if reason:
            asked = shown.certificate or self._client.service.config.tls.ca
            why = "" if asked else ", as without ca in [services.tls] clients are not asked for one"
            raise self._denial(reason + why, used=True)

    def _denial(self, reason: str, used: bool = False) -> AccessDenied:
        """Error 1045, counted and logged."""
        client, user = self._client, self._request.username
        blocked = client.service.throttle.failed(client.address, time.monotonic())
        log.info(
            "client %s: user '%s' denied: %s", client.host, user.decode(errors="replace"), reason or "unknown user"
        )
        if blocked:
            log.warning("client %s: blocked for a while after too many failed logins", client.host)
        return access_denied(user, _shown_host(client), used or self._used)


async def change_user(client: Client, session: Session, payload: bytes) -> None:
    """Make the session another user's by a COM_CHANGE_USER. Raises as ``Proof`` and ``open_first``."""
    try:
        request = ChangeUser.parse(payload, client.capabilities)
    except ProtocolError:
        raise _unknown_command() from None
    if client.failed_changes >= _CHANGES_REFUSED:
        raise _unknown_command()
    proof = Proof(client, request)
    outcome = proof.start()
    while outcome is not Outcome.PROVED:
        again = outcome is Outcome.DOUBT
        outcome = await proof.ask_again() if again else proof.receive(await client.read_packet())
    assert proof.login is not None
    session.adopt(proof.login, proof.charset)
    await _reach_first(session)


def _unknown_command() -> SqlproxyError:
    return SqlproxyError("Unknown command", code=ER_UNKNOWN_COM_ERROR, sqlstate="08S01")


def restore(session: Session, before: Login) -> None:
    """Begin the session anew in the name it had, with the servers' own character set, after a refused change."""
    collation = session.service.offer()[2]
    session.adopt(replace(before, collation=collation), _COLLATIONS.get(collation, 0))


def _origin(client: Client) -> tuple[str, int] | None:
    return (client.address, client.port) if client.address else None


async def open_first(session: Session) -> None:
    """A connection to a server that reads go to, so that the servers have the last word on who gets in.

    Raises a server's own error (unknown database, account expired, …); the session is closed then.
    """
    try:
        await _reach_first(session)
    except BaseException:
        session.close()
        raise


async def _reach_first(session: Session) -> None:
    errand.limit_wait(session, session.service.config.login_timeout * 0.8)
    try:
        await acquire(session, READ)
    finally:
        errand.stop_waiting(session)


def _needs_cleartext(account: Account) -> bool:
    """An ed25519 signature proves the client, but serves to log in to no server."""
    return any(method.client_plugin == ED25519 for method in account.authentications)


def _shown_host(client: Client) -> str:
    return shown_host(client.address or None, client.service.accounts.accounts.skip_name_resolve)


def _completed(service: Service, account: Account, credentials: Credentials) -> Credentials:
    """With the cleartext from the configuration or an earlier full login, for servers that ask for more."""
    known = service.accounts.remembered(account)
    if credentials.cleartext is not None or known is None:
        return credentials
    return Credentials(credentials.username, known.cleartext, credentials.sha1_stage1, credentials.sha256_stage1)
