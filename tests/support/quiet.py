"""What must never be in a proxy's log, whatever clients and servers send."""

from tests.support.proxy import Proxy

_ALARMING = (" ERROR ", "Traceback", "internal error", "Fatal error", "never retrieved")


def assert_no_internal_error(proxy: Proxy) -> None:
    """Fail with the lines at fault if the proxy stumbled over its own code."""
    lines = [line for line in proxy.log.splitlines() if any(word in line for word in _ALARMING)]
    assert not lines, lines
