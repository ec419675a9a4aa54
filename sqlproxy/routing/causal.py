"""When a read must wait for the session's own writes, and what makes it wait.

Galera: ``wsrep_sync_wait=1`` makes a server apply everything the cluster had committed when the read arrived. The
preamble is sent in the same round trip, and remembered per backend until the session's next write.
"""

from __future__ import annotations


def needs_sync(mode: str, snapshot_causal: str, written: int, synced: int, is_primary: bool) -> bool:
    """Whether a read on a backend must first catch up.

    ``written`` counts the session's writes, ``synced`` is that count when the backend last caught up.
    """
    return mode == "session" and snapshot_causal == "galera" and not is_primary and synced < written


# A server that cannot catch up in repl.causal_read_timeout answers with an error, and the read goes to the primary.
PREAMBLE = b"SET STATEMENT wsrep_sync_wait=1 FOR SELECT 1"
# The same for a statement that asks about an earlier one: an EXPLAIN that reads a table leaves FOUND_ROWS() as it was.
PREAMBLE_TO_ASK = b"SET STATEMENT wsrep_sync_wait=1 FOR EXPLAIN SELECT 1 FROM information_schema.engines"
