"""sqlproxy: a topology-aware SQL proxy for Galera and MySQL.

``SQLPROXY_PURE=1`` makes every module load from its ``.py`` source even where a compiled one lies beside it,
so that one test suite can run over both. The same happens when the compiled modules do not belong to the sources: one
is missing or, in a checkout, older than its source.
"""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path

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
        if not os.path.exists(source):
            raise ModuleNotFoundError(f"{name} exists only compiled, which is not used: {PURE_BECAUSE}", name=name)
        return spec_from_file_location(name, source, loader=SourceFileLoader(name, source))


def _why_pure(package: Path) -> str:
    """Why no compiled module is to be used; "" when all may be. They know each other, so it is all or none."""
    if os.environ.get("SQLPROXY_PURE") == "1":
        return "SQLPROXY_PURE=1"
    checkout = (package.parent / "setup.py").exists()  # elsewhere the times say when a file was copied
    for declarations in sorted(package.rglob("*.pxd")):
        source, compiled = declarations.with_suffix(".py"), declarations.with_suffix(EXTENSION_SUFFIXES[0])
        if not source.exists():
            source = declarations.with_suffix(".pyx")
            if sys.platform != "linux":
                continue
        if not compiled.exists():
            return f"{compiled.name} has not been built"
        if checkout and compiled.stat().st_mtime < source.stat().st_mtime:
            return f"{compiled.name} is older than {source.name}"
    return ""


PURE_BECAUSE = _why_pure(Path(__file__).parent)

if PURE_BECAUSE:
    sys.meta_path.insert(0, _PureFinder())
