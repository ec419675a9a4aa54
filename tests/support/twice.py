"""One server under two names, so that a session has two backends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.proxy import STATIC, Proxy, running_proxy
from tests.support.quiet import assert_no_internal_error


@contextmanager
def served_twice(directory: Path, port: int) -> Iterator[Proxy]:
    """A proxy in front of the server on a loopback port: n1 takes writes and transactions, n2 the reads."""
    with running_proxy(directory, {"n1": port, "n2": port}, extra=STATIC) as proxy:
        proxy.wait_roles(n1="primary", n2="replica")
        yield proxy
        assert_no_internal_error(proxy)
