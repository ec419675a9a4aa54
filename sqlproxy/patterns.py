"""Regular expressions that operators give, matched against what clients send. The only module that knows RE2.

RE2 takes time linear in the text whatever the pattern is, so that no statement can keep the proxy busy. It has no
look-around and no back-references. Source: https://github.com/google/re2/wiki/Syntax.
"""

from __future__ import annotations

from typing import Any, Final

import re2

_MEMORY: Final = 8 << 20  # bytes a pattern may use


class Pattern:
    """A compiled pattern over bytes, case-insensitive; ``.`` is any byte, also the end of a line."""

    def __init__(self, text: str) -> None:
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1  # byte by byte: statements may be in any character set
        options.case_sensitive = False
        options.dot_nl = True
        options.log_errors = False
        options.max_mem = _MEMORY
        try:
            self._compiled: Any = re2.compile(text.encode(), options)
        except re2.error as error:
            raise ValueError(f"{text!r} is not a pattern that RE2 takes: {_words(error)}") from None

    def found_in(self, text: bytes) -> bool:
        """Whether the pattern matches anywhere."""
        return self._compiled.search(text) is not None

    def substitute(self, replacement: bytes, text: bytes) -> bytes:
        """The text with every match replaced; ``\\1`` stands for a group."""
        found: bytes = self._compiled.sub(replacement, text)
        return found

    def check_replacement(self, replacement: str) -> None:
        """Raises ValueError when the replacement names a group that is not there."""
        try:
            self._compiled.sub(replacement.encode(), b"")
            match = re2.compile(r"\\(\d+)")
            numbers = [int(found[1]) for found in match.finditer(replacement)]
        except Exception as error:
            raise ValueError(f"{replacement!r} cannot replace a match: {error}") from None
        if any(number > self._compiled.groups for number in numbers):
            raise ValueError(f"{replacement!r} names a group that the pattern does not have")


def _words(error: Exception) -> str:
    reason = error.args[0] if error.args else error
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
