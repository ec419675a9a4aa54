"""The files for containers, systemd and balancers: what they name exists, and what they promise fits together."""

from __future__ import annotations

import configparser
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sqlproxy.admin.routes import ROUTES
from sqlproxy.cli import app
from sqlproxy.config import Settings, load, parse

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
COMMANDS = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
PUBLIC = [route.path for route in ROUTES if route.public]
SCRIPTS = sorted(CONFIG.rglob("*.sh"))


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CONFIG / "kubernetes" / name).read_text()))


def of_kind(name: str, kind: str) -> dict[str, Any]:
    return next(document for document in documents(name) if document["kind"] == kind)


def is_public(path: str) -> bool:
    return any(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route), path) for route in PUBLIC)


# -- Docker ------------------------------------------------------------------------------------------------------


def test_the_image_holds_what_it_copies_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY"):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored, source
    stages = [number for number, line in enumerate(lines) if line.startswith("FROM")]
    assert len(stages) == 2
    assert "USER 65532" in lines[stages[1] :]
    (check,) = [line for line in lines if line.startswith("HEALTHCHECK")]
    assert re.search(r'CMD \["sqlproxy", "(\w+)"\]', check)[1] in COMMANDS  # type: ignore[index]


def test_services_of_the_composition_find_what_they_name() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            assert (ROOT / volume.split(":")[0]).exists(), (name, volume)
        for other in service.get("depends_on", []):
            assert other in services, (name, other)
        for secret in service.get("secrets", []):
            assert (ROOT / COMPOSE["secrets"][secret]["file"]).exists()
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), (name, port)  # its passwords are known to everybody
    assert [name for name in services if "healthcheck" in services[name]] == ["n1", "n2", "n3", "proxy"]
    assert services["sysbench"]["profiles"] == ["sysbench"]


def test_the_compositions_proxy_knows_its_servers_users_and_token() -> None:
    settings = load(CONFIG / "compose" / "sqlproxy.toml")
    assert [server.name for server in settings.servers] == ["n1", "n2", "n3"]
    assert settings.admin.token.get_secret_value() == (CONFIG / "compose" / "admin.token").read_text().strip()
    init = (CONFIG / "compose" / "init.sql").read_text()
    password = settings.monitor.password.get_secret_value()
    assert f"{settings.monitor.user}@'%' IDENTIFIED BY '{password}'" in init
    assert COMPOSE["services"]["proxy"]["healthcheck"]["test"][2] in COMMANDS


# -- Kubernetes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["deployment.yaml", "sidecar.yaml"])
def test_configurations_in_the_cluster_are_valid(name: str, tmp_path: Path) -> None:
    settings = settings_of(name, tmp_path)
    assert len(settings.servers) == 3


def settings_of(name: str, tmp_path: Path) -> Settings:
    text: str = of_kind(name, "ConfigMap")["data"]["sqlproxy.toml"]
    for file in re.findall(r'_file = "([^"]+)"', text):
        (tmp_path / Path(file).name).write_text("secret")
    return parse(re.sub(r"/etc/sqlproxy/secrets", str(tmp_path), text), name)


@pytest.mark.parametrize(("name", "kind"), [("deployment.yaml", "containers"), ("sidecar.yaml", "initContainers")])
def test_probes_ask_what_answers_without_credentials(name: str, kind: str) -> None:
    container = of_kind(name, "Deployment")["spec"]["template"]["spec"][kind][0]
    ports = {port["name"] for port in container.get("ports", [])}
    probes = [container[probe] for probe in container if probe.endswith("Probe")]
    assert len(probes) >= 2
    for probe in probes:
        if "httpGet" in probe:
            assert is_public(probe["httpGet"]["path"])
            assert probe["httpGet"]["port"] in ports
        else:
            assert probe["exec"]["command"][:2] == ["sqlproxy", "health"]
    assert container["args"][0] in COMMANDS
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert container["args"][2] in mounted


def test_a_pod_that_goes_has_time_to_drain(tmp_path: Path) -> None:
    pod = of_kind("deployment.yaml", "Deployment")["spec"]["template"]["spec"]
    pause = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= pause + settings_of("deployment.yaml", tmp_path).drain_timeout + 10


def test_selectors_select_the_pods() -> None:
    deployment = of_kind("deployment.yaml", "Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    for selector in (
        deployment["selector"]["matchLabels"],
        of_kind("deployment.yaml", "Service")["spec"]["selector"],
        of_kind("deployment.yaml", "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    ports = {port["name"] for port in deployment["template"]["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in of_kind("deployment.yaml", "Service")["spec"]["ports"]} == ports


# -- systemd -----------------------------------------------------------------------------------------------------


def test_the_unit_starts_a_command_and_lets_it_drain() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(CONFIG / "systemd" / "sqlproxy.service")
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["ExecStart"].split()[1] in COMMANDS
    default = Settings.model_fields["drain_timeout"].default
    assert float(service["TimeoutStopSec"]) >= default + 10
    assert service["NoNewPrivileges"] == "yes"
    assert service["User"] != "root"


# -- balancers and scripts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((CONFIG / "keepalived").iterdir()), ids=lambda path: path.name)
def test_keepalived_asks_what_answers_without_credentials(path: Path) -> None:
    text = path.read_text()
    depth = 0
    for line in text.splitlines():
        bare = line.partition("#")[0]
        depth += bare.count("{") - bare.count("}")
        assert depth >= 0, line
    assert depth == 0
    asked = re.findall(r"\bpath (\S+)", text)
    assert [path for path in asked if not is_public(path)] == []
    assert asked or re.search(r"sqlproxy health --ready", text)


@pytest.mark.parametrize("path", sorted((CONFIG / "haproxy").iterdir()), ids=lambda path: path.name)
def test_haproxy_asks_what_answers_without_credentials(path: Path) -> None:
    asked = re.findall(r"httpchk GET (\S+)", path.read_text())
    assert asked
    assert [path for path in asked if not is_public(path)] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_executable_and_parse(path: Path) -> None:
    assert os.stat(path).st_mode & stat.S_IXUSR
    shell = path.read_text().partition("\n")[0].removeprefix("#!")
    assert subprocess.run([shell, "-n", path], capture_output=True, check=False).returncode == 0
