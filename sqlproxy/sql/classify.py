"""What a statement is: where it may run and what it does to the session.

``classify`` answers with one ``int`` of the bits in ``sqlproxy.sql.bits``, which this module hands on.
"""

from sqlproxy.sql.bits import *  # noqa: F403
from sqlproxy.sql.bits import describe, target_of
from sqlproxy.sql.statement import classify

__all__ = ["classify", "describe", "target_of"]
