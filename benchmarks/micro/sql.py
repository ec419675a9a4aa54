"""What classifying or digesting one statement costs, in nanoseconds; SQLPROXY_PURE=1 gives the uncompiled figures.

python benchmarks/micro/sql.py
"""

import timeit
from collections.abc import Callable
from functools import partial

from sqlproxy.sql.classify import classify
from sqlproxy.sql.digest import digest, digest_hash
from sqlproxy.sql.familiar import classify_shape
from sqlproxy.sql.shape import shape_key

HEADER = b"\x00\x00\x00\x00\x03"  # packet header and COM_QUERY: text starts at 5
REPEATS = 7  # the best of these counts: the others were disturbed

SHORT = b"SELECT id, name, balance FROM accounts WHERE id = 1234567890"
LONG = (
    b"SELECT c.id, c.name, COUNT(*) AS n, SUM(o.total) FROM customers c JOIN orders o ON o.customer_id = c.id "
    b"WHERE o.status IN ('new', 'paid', 'shipped') AND c.created_at > '2024-01-01' AND c.note <> '"
    + b"a note of some length, " * 20
    + b"' "
    + b"AND c.region_number BETWEEN 17 AND 23 " * 35
)[:2048]
INSERT = b"INSERT INTO orders (customer_id, product, quantity, note) VALUES " + b", ".join(
    b"(%d, 'product number %d', %d, 'some note that somebody wrote')" % (n * 7919, n, n % 10) for n in range(30)
)
TEXTS = {"60 B SELECT": SHORT, "2 KB SELECT": LONG, "2 KB INSERT": INSERT}


def statement(data: bytes, start: int, mode: int) -> int:
    """What the data path does with a text whose shape it has seen lately: the digest's key and the classification."""
    return classify_shape(data, start, mode, shape_key(data, start, mode))


FUNCTIONS = (statement, classify, shape_key, digest, digest_hash)


def nanoseconds(call: Callable[[], object]) -> float:
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    count = max(1, number // 5)
    return min(timer.repeat(REPEATS, count)) / count * 1e9


def main() -> None:
    """Print one line per function and text."""
    for function in FUNCTIONS:
        for name, text in TEXTS.items():
            packet = HEADER + text
            cost = nanoseconds(partial(function, packet, 5, 0))
            print(f"{function.__name__:12} {name:12} {len(text):5} B {cost:10.0f} ns")


if __name__ == "__main__":
    main()
