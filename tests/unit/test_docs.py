"""The documentation says what the code does: every configuration key, its default, and links that lead somewhere."""

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from sqlproxy import config
from sqlproxy.admin.routes import ROUTES
from sqlproxy.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SECTIONS: dict[str, type[BaseModel]] = {
    "## Top level": config.Settings,
    "## `[[servers]]`": config.ServerConfig,
    "### `[servers.tls]`": config.ServerTLSConfig,
    "## `[monitor]`": config.MonitorConfig,
    "## `[accounts]`": config.AccountsConfig,
    "### `[[accounts.users]]`": config.AccountConfig,
    "## `[[services]]`": config.ServiceConfig,
    "### `[services.tls]`": config.ServiceTLSConfig,
    "### `[services.allow_list]`": config.AllowListConfig,
    "## `[[rules]]`": config.RuleConfig,
    "## `[admin]`": config.AdminConfig,
    "## `[log]`": config.LogConfig,
    "## `[tracing]`": config.TracingConfig,
}
TABLES = {
    "servers",
    "monitor",
    "accounts",
    "services",
    "rules",
    "admin",
    "log",
    "tracing",
}  # of the top level: sections of their own


def documented(section: str) -> dict[str, str]:
    """Key to default of a section's table, both as written."""
    text = (ROOT / "docs/configuration.md").read_text()
    body = re.split(r"^##", text.split(f"\n{section}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", body, re.MULTILINE))


def same(field: FieldInfo, written: str) -> bool:
    """Whether a default as written means the model's."""
    if field.is_required():
        return written == "required"
    if field.default is None:
        return written == "none"
    value: Any = tomllib.loads(f"value = {written.strip('`')}")["value"]
    adapter: TypeAdapter[Any] = TypeAdapter(
        Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    )
    return bool(adapter.validate_python(value) == field.get_default())


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented_and_no_other(section: str) -> None:
    keys = set(SECTIONS[section].model_fields) - (TABLES if SECTIONS[section] is config.Settings else set())
    assert set(documented(section)) == keys


@pytest.mark.parametrize("section", SECTIONS)
def test_documented_defaults_are_the_models(section: str) -> None:
    model = SECTIONS[section]
    for key, written in documented(section).items():
        assert same(model.model_fields[key], written), f"{section} {key}: {written}"


def test_the_page_of_all_options_is_current() -> None:
    spec = importlib.util.spec_from_file_location("options", ROOT / "docs" / "options.py")
    assert spec is not None
    assert spec.loader is not None
    options = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(options)
    assert options.PAGE.read_text() == options.page(), "write it again: .venv/bin/python docs/options.py"


def test_the_example_configuration_is_valid() -> None:
    for path in sorted((ROOT / "config").rglob("*.toml")):
        assert config.load(path).servers, path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_every_route_of_the_admin_side_is_documented() -> None:
    text = (ROOT / "docs/admin.md").read_text()
    missing = [f"{route.method} {route.path}" for route in ROUTES if f"`{route.method} {route.path}`" not in text]
    assert not missing


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs/admin.md").read_text()
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    missing = [name for name in names if f"`sqlproxy {name}" not in text]
    assert not missing


def test_modules_and_functions_named_in_the_architecture_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    for path in set(re.findall(r"`(sqlproxy/[\w/]+\.py)`", text)):
        assert (ROOT / path).exists(), path
    for path, name in re.findall(r"`(\w[\w/]+\.py):(\w+)`", text):
        source = (ROOT / "sqlproxy" / path).read_text()
        assert re.search(rf"^\s*(async )?(def|class) {name}\b|^{name}\b", source, re.MULTILINE), f"{path}:{name}"
