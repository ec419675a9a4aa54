from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.accounts.throttle import Throttle


def fail(throttle: Throttle, host: str, times: int, now: float = 0.0) -> list[bool]:
    return [throttle.failed(host, now) for _ in range(times)]


def test_the_last_failure_allowed_blocks_the_host_for_a_while() -> None:
    throttle = Throttle(3, 60.0)
    assert fail(throttle, "h", 3) == [False, False, True]
    assert throttle.blocked("h", 0.0) == 60.0
    assert throttle.blocked("h", 59.0) == 1.0
    assert throttle.blocked("h", 60.0) == 0.0
    assert throttle.blocked("other", 0.0) == 0.0
    assert throttle.hosts(1.0) == {"h": 59.0}


def test_a_good_login_resets_the_count() -> None:
    throttle = Throttle(3, 60.0)
    fail(throttle, "h", 2)
    throttle.succeeded("h")
    assert fail(throttle, "h", 2) == [False, False]
    assert throttle.blocked("h", 0.0) == 0.0


def test_after_a_block_counting_starts_anew() -> None:
    throttle = Throttle(2, 10.0)
    fail(throttle, "h", 2)
    assert fail(throttle, "h", 1, now=10.0) == [False]
    assert throttle.blocked("h", 10.0) == 0.0


def test_failures_during_a_block_do_not_prolong_it() -> None:
    throttle = Throttle(2, 10.0)
    fail(throttle, "h", 2)
    fail(throttle, "h", 5, now=5.0)
    assert throttle.blocked("h", 10.0) == 0.0


def test_zero_failures_allowed_means_no_limit_at_all() -> None:
    throttle = Throttle(0, 60.0)
    assert not any(fail(throttle, "h", 1000))
    assert len(throttle) == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans())))
def test_memory_is_bounded_whatever_hosts_come(logins: list[tuple[int, bool]]) -> None:
    throttle = Throttle(2, 60.0, hosts_kept=5)
    for now, (host, good) in enumerate(logins):
        if good:
            throttle.succeeded(str(host))
        else:
            throttle.failed(str(host), float(now))
        assert len(throttle) <= 5
