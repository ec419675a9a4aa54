"""Accounts for users that do not exist, so that the exchange does not tell them apart from those that do."""

from __future__ import annotations

import base64
import hmac
import os
from collections.abc import Sequence
from hashlib import sha512

from sqlproxy.accounts.model import Account
from sqlproxy.wire import ed25519
from sqlproxy.wire.auth import Method
from sqlproxy.wire.constants import CACHING_SHA2, ED25519, NATIVE


class Decoys:
    """Makes a decoy for a user name: the same one as long as the process lives and the plugins in use stay.

    Nobody knows a password for it: its hash comes from a secret of this process.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret if secret is not None else os.urandom(32)
        self._ed25519 = ed25519.stored_hash(self._digest("ed25519")).encode()  # slow; clients never see it

    def account(self, user: str | bytes, plugins: Sequence[str]) -> Account:
        """The decoy for ``user``, with one of ``plugins`` (those of real accounts) that the proxy can check."""
        name = user.decode("utf-8", "surrogateescape") if isinstance(user, bytes) else user
        usable = [plugin for plugin in plugins if Method(plugin).client_plugin is not None] or [NATIVE]
        # The highest digest wins: a plugin that comes into use changes the choice for few names.
        plugin = max(usable, key=lambda candidate: self._digest(f"{candidate}\0{name}"))
        return Account(name, "%", (Method(plugin, self._hash(plugin, name)),))

    def _hash(self, plugin: str, name: str) -> bytes:
        digest = self._digest(name)
        client_plugin = Method(plugin).client_plugin
        if client_plugin == ED25519:
            return self._ed25519
        if client_plugin == CACHING_SHA2:
            text = base64.b64encode(digest, b"./").rstrip(b"=")
            return b"$A$005$" + text[:20] + text[20:63]
        return b"*" + digest[:20].hex().upper().encode()

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._secret, text.encode("utf-8", "surrogateescape"), sha512)
