"""What the accounts of the servers say: who cannot log in through the proxy, and who can too easily. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from sqlproxy.accounts.match import find
from sqlproxy.accounts.model import TLS_ANY, TLS_SPECIFIED, TLS_X509, Account, Accounts
from sqlproxy.admin.finding import Finding, Level
from sqlproxy.config import Settings
from sqlproxy.wire.constants import CACHING_SHA2, NATIVE

_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_OF_THE_SERVER: Final = ("mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys", "PUBLIC", "mysql")
_SIGNED: Final = "ed25519"  # needs the password: from the client or the configuration
_SHOWN: Final = 5  # accounts of one finding


def accounts(found: Mapping[str, Accounts], seen_from: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """All findings. ``found``: accounts by server; ``seen_from``: the proxy's address as each server sees it."""
    if not found:
        return
    first = next(iter(found.values()))
    remote = [account for account in first.accounts if _may_be_used(account)]
    yield from _refused(remote, settings)
    yield from _too_easy(first.accounts)
    yield from _cut_off(found, seen_from, settings)
    yield from _different(found)


def _may_be_used(account: Account) -> bool:
    """An account that an application on another machine might use."""
    own = account.user in _OF_THE_SERVER or account.is_role or account.locked
    return not own and account.host not in _LOCAL


def _refused(remote: Iterable[Account], settings: Settings) -> Iterator[Finding]:
    known = {user.name for user in settings.accounts.users if user.password is not None}
    by_plugin: dict[str, list[Account]] = {}
    certified, unencrypted = [], []
    clear = [service.name for service in settings.services if service.tls.mode == "disabled"]
    asking = any(service.tls.ca and service.tls.mode != "disabled" for service in settings.services)
    for account in remote:
        if account.tls in (TLS_X509, TLS_SPECIFIED):
            certified += [] if asking else [account]
        elif account.tls == TLS_ANY and clear:
            unencrypted.append(account)
        if account.authentications and all(method.client_plugin is None for method in account.authentications):
            by_plugin.setdefault(account.authentications[0].plugin, []).append(account)
        elif {method.plugin for method in account.authentications} == {_SIGNED} and account.user not in known and clear:
            by_plugin.setdefault(_SIGNED, []).append(account)
    for plugin, those in sorted(by_plugin.items()):
        text = f"{_listed(those)} cannot log in through the proxy: the plugin {plugin} cannot be relayed"
        if plugin == _SIGNED:
            text = f"{_listed(those)} cannot log in without TLS, where the proxy has no password for {plugin}"
        yield Finding(Level.WARN, "accounts", text, f"give them {NATIVE} or {CACHING_SHA2}, or [[accounts.users]]")
    if certified:
        text = f"{_listed(certified)} cannot log in through the proxy: no service asks for client certificates"
        yield Finding(Level.WARN, "accounts", text, "ca in [services.tls], and cert and key in [servers.tls]")
    if unencrypted:
        text = f"{_listed(unencrypted)} must use TLS, which service {', '.join(clear)} does not offer"
        yield Finding(Level.WARN, "accounts", text, 'mode = "preferred" in [services.tls]')


def _too_easy(all_accounts: Iterable[Account]) -> Iterator[Finding]:
    real = [a for a in all_accounts if not a.is_role and not a.locked and a.user not in _OF_THE_SERVER]
    anonymous = [account for account in real if not account.user]
    if anonymous:
        text = f"{_listed(anonymous)}: anybody can log in, and named users from there may be taken for nobody"
        yield Finding(Level.WARN, "accounts", text, f"DROP USER {anonymous[0]}")
    open_ = [account for account in real if account.user and _has_no_password(account)]
    remote = [account for account in open_ if account.host not in _LOCAL]
    if remote:
        text = f"{_listed(remote)}: no password is needed"
        fix = "set passwords; accounts of load balancers' checks are not needed behind the proxy: DROP USER"
        yield Finding(Level.WARN, "accounts", text, fix)
    root = [account for account in real if account.user == "root" and account.host not in _LOCAL]
    if root:
        text = f"{_listed(root)}: root can log in from other machines, and so through the proxy"
        yield Finding(Level.WARN, "accounts", text, "keep root to localhost")


def _has_no_password(account: Account) -> bool:
    checked = [method for method in account.authentications if method.client_plugin is not None]
    return any(not method.auth_string for method in checked) if checked else False


def _cut_off(found: Mapping[str, Accounts], seen_from: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """Users that exist for other machines, but not for the proxy's."""
    announced = {server.name for server in settings.servers if server.proxy_protocol}
    for name, one in found.items():
        host = seen_from.get(name, "")
        if not host or name in announced:
            continue
        users = sorted({account.user for account in one.accounts if account.user and _may_be_used(account)})
        missing = [user for user in users if not _has_account(one, user, host)]
        if missing:
            shown = ", ".join(repr(user) for user in missing[:_SHOWN]) + (" …" if len(missing) > _SHOWN else "")
            text = f"{shown} may not log in from {host}, which is where the proxy comes from"
            fix = f"CREATE USER …@'{host}', or proxy_protocol = true for this server"
            yield Finding(Level.WARN, name, text, fix)


def _has_account(found: Accounts, user: str, host: str) -> bool:
    """Whether the user itself, not an anonymous account in its place, is let in from a host."""
    is_address = ":" in host or host.replace(".", "").isdigit()
    account = find(found, user, host if is_address else None, None if is_address else host)
    return account is not None and account.user == user


def _different(found: Mapping[str, Accounts]) -> Iterator[Finding]:
    """Accounts that are not on all servers, or not alike: the session would be another one after a failover."""
    by_name = {
        name: {str(account): account for account in one.accounts if not account.is_role} for name, one in found.items()
    }
    everywhere = set().union(*by_name.values())
    for name, own in by_name.items():
        missing = sorted(everywhere - own.keys())
        if missing:
            text = f"lacks accounts that other servers have: {_named(missing)}"
            yield Finding(Level.WARN, name, text, "create them there, alike")
    first = next(iter(by_name.values()))
    unlike = sorted(
        account
        for account in set.intersection(*(set(own) for own in by_name.values()))
        if any(own[account].authentications != first[account].authentications for own in by_name.values())
    )
    if unlike:
        text = f"{_named(unlike)}: the password or plugin is not the same on all servers"
        yield Finding(Level.WARN, "accounts", text, "set the same password on all servers")


def _listed(those: Iterable[Account]) -> str:
    return _named([str(account) for account in those])


def _named(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
