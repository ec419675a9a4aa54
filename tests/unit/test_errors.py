"""Errors that clients read."""

from __future__ import annotations

from collections.abc import Iterator

from sqlproxy import errors


def kinds(kind: type[errors.SqlproxyError] = errors.SqlproxyError) -> Iterator[type[errors.SqlproxyError]]:
    yield kind
    for derived in kind.__subclasses__():
        yield from kinds(derived)


def test_no_error_has_a_code_that_client_libraries_keep_for_themselves() -> None:
    # MariaDB Connector/C answers such an ERR packet with "Received malformed packet" in place of our words.
    assert [kind.__name__ for kind in kinds() if 2000 <= kind.code < 3000] == []
