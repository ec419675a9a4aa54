"""sqlproxy: a topology-aware SQL proxy for Galera and MySQL.

``SQLPROXY_PURE=1`` makes every module load from its ``.py`` source even where a compiled one lies beside it,
so that one test suite can run over both.
"""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location

__version__ = "0.1.0"


class _PureFinder(MetaPathFinder):
    """Prefer the source of a module over its compiled twin."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if not name.startswith("sqlproxy."):
            return None
        spec = PathFinder.find_spec(name, path)  # type: ignore[arg-type]
        if spec is None or spec.origin is None or not spec.origin.endswith(".so"):
            return None
        folder, _, file = spec.origin.rpartition("/")
        source = f"{folder}/{file.split('.', 1)[0]}.py"  # framing.cpython-311-x86_64-linux-gnu.so
        return spec_from_file_location(name, source, loader=SourceFileLoader(name, source))


if os.environ.get("SQLPROXY_PURE") == "1":
    sys.meta_path.insert(0, _PureFinder())
