"""The house's rules, enforced on the source: layers, pure parts, one file per outside library.

Imports inside functions and under TYPE_CHECKING count like any other.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "sqlproxy"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

BASE = {"errors", "inherited"}
FACTS = BASE | {"wire", "sql"}
WORDS = FACTS | {"topology", "units"}
CONFIG = {"config", "config_fields", "config_rules", "config_sources"}
SETTINGS = WORDS | CONFIG | {"toml_lines", "logs", "origins", "patterns"}
SESSION = SETTINGS | {"routing", "accounts", "session"}
ADMIN = SESSION | {"monitor", "admin", "allow_files"}
EDGE = ADMIN | {"listener", "supervisor", "tls"}

# package or top-level module → what it may import of ours, besides itself
MAY_IMPORT = {
    "errors": set[str](),
    "inherited": {"errors"},
    "logs": set[str](),
    "toml_lines": set[str](),
    "wire": BASE,
    "sql": BASE,
    "topology": FACTS,
    "units": FACTS | {"topology"},
    "config": WORDS | CONFIG | {"toml_lines", "origins", "patterns"},
    "config_fields": WORDS,
    "config_rules": WORDS | {"config_fields", "patterns"},
    "config_sources": set[str](),
    "patterns": set[str](),
    "origins": {"toml_lines"},
    "allow_files": SETTINGS | {"routing"},
    "otel": SESSION,
    "monitor": SETTINGS,
    "routing": SETTINGS,
    "accounts": SETTINGS,
    "session": SESSION,
    "pace": set[str](),
    "door": FACTS,
    "admin": ADMIN | {"door", "pace"},
    "tls": SESSION,
    "reload": SETTINGS,
    "output": {"logs"},
    "top": {"output", "logs"},
    "screen": ADMIN | {"output", "top"},
    "reloading": ADMIN | {"reload"},
    "listener": EDGE,
    "loops": set[str](),
    "systemd": set[str](),
    "channel": BASE,
    "handover": SESSION,
    "reload_needs": SESSION | {"allow_files"},
    "engine": EDGE | {"handover", "otel", "pace", "reload_needs"},
    "fleet": SESSION,
    "supervisor": EDGE
    | {"app", "channel", "fleet", "pace", "reload", "reload_needs", "reloading", "steering", "upgrade"}
    | {"worker_process"},
    "worker_process": EDGE | {"channel", "reload_needs"},
    "worker": EDGE | {"channel", "engine", "loops"},
    "migrate": SETTINGS,
    "lab": (EDGE - {"admin"}) | {"door"},
    "steering": EDGE | {"reload", "reloading"},
    "app": EDGE | {"engine", "pace", "reload", "reloading", "steering", "upgrade"},
    "run": EDGE | {"app", "lab", "loops", "systemd", "upgrade"},
    "upgrade": BASE,
    "cli": EDGE | {"app", "lab", "migrate", "output", "run", "screen"},
    "__main__": {"cli"},
}

NO_ASYNCIO = (
    "wire/*",
    "sql/*",
    "topology/*",
    "routing/*",
    "config*.py",
    "origins.py",
    "reload.py",
    "errors.py",
    "migrate/*",
    *(f"monitor/{name}.py" for name in ("base", "changes", "flavours", "galera", "static", "views")),
    *(f"monitor/{name}.py" for name in ("group_replication", "ndb", "replication")),
    *(f"session/{name}.py" for name in ("state", "prepared", "history", "parcel", "transaction")),
    *(f"admin/{name}.py" for name in ("finding", "lint_accounts", "lint_cluster", "lint_server", "check_files")),
    *(f"admin/{name}.py" for name in ("access", "clustercheck", "metrics", "openapi", "routes", "view")),
)

ONLY_IN = {
    "aiomysql": ("monitor/probe.py", "accounts/loader.py"),
    "mysql_mimic": ("admin/sql.py", "lab/embedded*.py"),
    "prometheus_client": ("admin/metrics.py",),
    "aiohttp": ("admin/http.py", "admin/http_client.py"),
    "typer": ("cli.py", "lab/cli.py"),
    "rich": ("output.py", "screen.py", "lab/cli.py"),
    "pydantic": ("config*.py",),
    "re2": ("patterns.py",),
    "pydantic_settings": ("config.py", "config_sources.py"),
    "pymysql": ("lab/*.py",),
    "uvloop": ("loops.py",),
    "opentelemetry": ("otel.py",),
    "zstandard": ("wire/zstd.py",),
}


@cache
def imports(module: str, package: Path = PACKAGE) -> frozenset[str]:
    """Every dotted name a module imports, relative ones made absolute; names of packages with what is taken."""
    tree = ast.parse((package / module).read_text())
    return frozenset(name for node in ast.walk(tree) for name in _imported(node, Path(module).parts[:-1]))


def _imported(node: ast.AST, folders: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        here = ["sqlproxy", *folders]
        origin = here[: len(here) - node.level + 1] if node.level else []
        name = ".".join([*origin, *([node.module] if node.module else [])])
        yield from (f"{name}.{alias.name}" for alias in node.names)


def part_of(name: str) -> str:
    """The package or top-level module of ours a dotted name is in; empty when it is in none."""
    parts = name.split(".")
    if parts[0] != "sqlproxy" or len(parts) < 2:
        return ""
    ours = (PACKAGE / parts[1]).is_dir() or (PACKAGE / f"{parts[1]}.py").is_file()
    return parts[1] if ours else ""


def layer_of(module: str) -> str:
    return Path(module).parts[0].removesuffix(".py")


@pytest.mark.parametrize("module", [module for module in MODULES if module != "__init__.py"])
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    layer = layer_of(module)
    assert layer in MAY_IMPORT, f"{layer} has no place among the layers yet"
    used = {part_of(name) for name in imports(module)} - {"", layer}
    assert used <= MAY_IMPORT[layer]


@pytest.mark.parametrize("module", [m for m in MODULES if any(fnmatch(m, pattern) for pattern in NO_ASYNCIO)])
def test_what_decides_knows_no_event_loop(module: str) -> None:
    assert not {name for name in imports(module) if name.split(".")[0] in ("asyncio", "uvloop")}


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_an_outside_library_stays_in_its_file(library: str) -> None:
    users = [m for m in MODULES if any(name.split(".")[0] == library for name in imports(m))]
    assert [m for m in users if not any(fnmatch(m, pattern) for pattern in ONLY_IN[library])] == []


def test_an_import_is_seen_wherever_it_hides(tmp_path: Path) -> None:
    (tmp_path / "wire").mkdir()
    (tmp_path / "wire" / "x.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from sqlproxy import session\n"
        "def f():\n    from ..admin import view\n    from . import codec\n    import aiohttp.web\n"
    )
    found = imports("wire/x.py", tmp_path)
    assert found == {
        "typing.TYPE_CHECKING",
        "sqlproxy.session",
        "sqlproxy.admin.view",
        "sqlproxy.wire.codec",
        "aiohttp.web",
    }


def declarations() -> dict[str, tuple[str, str]]:
    """The classes of all declaration files: name → (name of the class it extends or "", what is declared)."""
    pattern = re.compile(r"^cdef class (\w+)(?:\((\w+)\))?:\n((?:[ \t]+.*\n|\n)*)", re.MULTILINE)
    texts = [path.read_text() + "\n" for path in PACKAGE.rglob("*.pxd")]
    return {m[1]: (m[2] or "", m[3]) for text in texts for m in pattern.finditer(text)}


def assigned(body: ast.ClassDef) -> set[str]:
    """The attributes that a class's own methods set on ``self``."""
    stored = [node for node in ast.walk(body) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    return {node.attr for node in stored if isinstance(node.value, ast.Name) and node.value.id == "self"}


def test_a_compiled_class_declares_every_attribute() -> None:
    """Compiled, an undeclared one raises AttributeError, which no uncompiled test can show."""
    known = declarations()
    for path in sorted(PACKAGE.rglob("*.pxd")):
        source = path.with_suffix(".py")
        for node in ast.parse(source.read_text()).body if source.exists() else ():
            if not isinstance(node, ast.ClassDef) or node.name not in known:
                continue
            name, text = node.name, ""
            while name:
                name, declared = known.get(name, ("", ""))
                text += declared
            missing = assigned(node) - set(re.findall(r"\w+", text))
            assert "__dict__" in text or not missing, f"{path.name}: {node.name} lacks {sorted(missing)}"
