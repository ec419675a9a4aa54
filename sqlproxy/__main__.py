"""``python -m sqlproxy`` and the ``sqlproxy`` script."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from sqlproxy.cli import app


def main() -> NoReturn:
    """Run the command line; a reader that went away (``sqlproxy events | head``) is no error worth words."""
    code: str | int | None = 0
    try:
        app(prog_name="sqlproxy")
    except SystemExit as stop:
        code = stop.code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
