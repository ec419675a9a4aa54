"""Rates between two looks."""

from sqlproxy.top import server_rows, service_rows


def test_rates_are_what_came_since_the_look_before() -> None:
    before = [{"name": "n1", "reads": 100, "writes": 5, "errors": 0}]
    now = [
        {"name": "n1", "role": "primary", "reads": 300, "writes": 9, "errors": 1, "figures": {"local_recv_queue": "3"}}
    ]
    row = server_rows(now, before, 2.0)[0]
    assert (row["reads/s"], row["writes/s"], row["queue"], row["role"]) == ("100", "2", "3", "primary")
    services = service_rows(
        [{"name": "app", "statements": 50, "sessions": 2}], [{"name": "app", "statements": 10}], 4.0
    )
    assert (services[0]["statements/s"], services[0]["sessions"]) == ("10", 2)


def test_a_server_that_is_new_has_no_rate_yet() -> None:
    assert server_rows([{"name": "n2", "reads": 7}], [], 1.0)[0]["reads/s"] == "0"
