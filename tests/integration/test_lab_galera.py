"""The lab does to real nodes what its commands say."""

import json
import ssl
import time

import pytest
from typer.testing import CliRunner

from sqlproxy.errors import ConfigError, SqlproxyError
from sqlproxy.lab.cli import lab as lab_cli
from sqlproxy.lab.galera import GaleraLab
from sqlproxy.lab.node import NodeStatus
from sqlproxy.lab.process import ProcessState
from sqlproxy.lab.single import SingleServer
from tests.support.mysqlclient import ask
from tests.support.waiting import wait_until


def row(lab: GaleraLab, name: str) -> NodeStatus:
    return next(status for status in lab.status() if status.name == name)


def test_up_gives_three_synced_nodes_in_one_component(healthy_galera: GaleraLab) -> None:
    rows = healthy_galera.status()
    assert [(status.name, status.port) for status in rows] == list(
        zip(("n1", "n2", "n3"), healthy_galera.ports, strict=True)
    )
    assert all(status.synced and status.cluster_size == 3 for status in rows)
    assert len({status.conf_id for status in rows}) == 1


def test_up_of_a_whole_cluster_changes_nothing(healthy_galera: GaleraLab) -> None:
    before = [status.pid for status in healthy_galera.status()]
    healthy_galera.up()
    assert [status.pid for status in healthy_galera.status()] == before


def test_the_accounts_can_log_in_and_do_their_work(healthy_galera: GaleraLab) -> None:
    assert ask(healthy_galera.ports[0], "SELECT DATABASE(), CURRENT_USER()") == [("app", "app@%")]
    ask(healthy_galera.ports[0], "CREATE OR REPLACE TABLE lab (id INT PRIMARY KEY)")
    ask(healthy_galera.ports[0], "DROP TABLE lab")
    monitor = {"user": "monitor", "password": "monitor", "database": None}
    assert ask(healthy_galera.ports[1], "SHOW SLAVE STATUS", **monitor) == []
    assert ask(healthy_galera.ports[1], "SELECT COUNT(*) FROM mysql.global_priv WHERE User = ''", **monitor) == [(0,)]


def test_a_killed_node_leaves_a_primary_component_of_two_and_comes_back(healthy_galera: GaleraLab) -> None:
    healthy_galera.kill("n1")
    assert row(healthy_galera, "n1").process is ProcessState.DOWN
    wait_until(
        lambda: all(row(healthy_galera, name).cluster_size == 2 for name in ("n2", "n3")),
        10,
        "n2 and n3 alone",
    )
    assert all(row(healthy_galera, name).synced for name in ("n2", "n3"))
    healthy_galera.join("n1")
    assert healthy_galera.agreed()
    assert row(healthy_galera, "n1").cluster_size == 3


def test_a_node_that_was_killed_rejoins_with_its_own_data(healthy_galera: GaleraLab) -> None:
    ask(healthy_galera.ports[0], "CREATE OR REPLACE TABLE kept (id INT PRIMARY KEY)")
    healthy_galera.kill("n2")
    ask(healthy_galera.ports[0], "INSERT INTO kept VALUES (1)")
    healthy_galera.join("n2")
    assert ask(healthy_galera.ports[1], "SELECT id FROM kept") == [(1,)]
    log = healthy_galera.node("n2").error_log.read_text(errors="replace")
    assert "Receiving IST" in log
    ask(healthy_galera.ports[0], "DROP TABLE kept")


def test_a_node_killed_before_it_stored_the_position_of_its_view_gets_all_data_anew(
    healthy_galera: GaleraLab,
) -> None:
    node = healthy_galera.node("n2")
    node.query("SET STATEMENT wsrep_on = OFF FOR UPDATE mysql.wsrep_cluster SET view_seqno = view_seqno + 1000")
    healthy_galera.kill("n2")
    healthy_galera.join("n2")
    assert healthy_galera.agreed()
    assert "rsync SST completed on joiner" in node.error_log.read_text(errors="replace")


def test_a_stopped_node_is_seen_as_stopped_and_continues(healthy_galera: GaleraLab) -> None:
    healthy_galera.stop("n3")
    started = time.monotonic()
    assert row(healthy_galera, "n3").process is ProcessState.STOPPED
    assert time.monotonic() - started < 10
    healthy_galera.cont("n3")
    assert row(healthy_galera, "n3").process is ProcessState.RUNNING
    healthy_galera.wait_synced()


def test_a_clean_shutdown_writes_the_position(healthy_galera: GaleraLab) -> None:
    healthy_galera.shutdown("n2")
    position = healthy_galera.node("n2").position()
    assert position is not None
    assert position[1] > 0
    healthy_galera.join("n2")


def test_after_losing_every_node_the_newest_begins(healthy_galera: GaleraLab) -> None:
    ask(healthy_galera.ports[0], "CREATE OR REPLACE TABLE newest (id INT PRIMARY KEY)")
    healthy_galera.kill("n1")
    ask(healthy_galera.ports[1], "INSERT INTO newest VALUES (7)")
    healthy_galera.kill("n2")
    healthy_galera.kill("n3")
    healthy_galera.join("n1")
    assert ask(healthy_galera.ports[0], "SELECT id FROM newest") == [(7,)]
    assert len([status for status in healthy_galera.status() if status.synced]) == 2
    healthy_galera.up()
    ask(healthy_galera.ports[0], "DROP TABLE newest")


def test_a_survivor_without_quorum_is_made_primary_again(healthy_galera: GaleraLab) -> None:
    healthy_galera.kill("n1")
    healthy_galera.kill("n2")
    healthy_galera.up()
    assert healthy_galera.agreed()


def test_the_nodes_offer_tls(healthy_galera: GaleraLab) -> None:
    context = ssl.create_default_context(cafile=str(healthy_galera.ca_file))
    ((_, cipher),) = ask(healthy_galera.ports[0], "SHOW STATUS LIKE 'Ssl_cipher'", ssl=context)
    assert cipher


def test_a_port_in_use_is_named(healthy_galera: GaleraLab) -> None:
    used = healthy_galera.ports[0]
    other = GaleraLab(healthy_galera.directory.parent / "other", used - 1, 1, galera_base=15570)
    with pytest.raises(SqlproxyError, match=rf"port {used} .* SQL port"):
        other.up()
    other.down(purge=True)


def test_a_running_lab_refuses_other_settings(healthy_galera: GaleraLab) -> None:
    settings = healthy_galera.settings
    other = GaleraLab(healthy_galera.directory, settings.base_port, fast=False, galera_base=settings.galera_base)
    with pytest.raises(ConfigError, match="other settings"):
        other.up()


def test_the_command_line_prints_status_as_json(healthy_galera: GaleraLab) -> None:
    result = CliRunner().invoke(lab_cli, ["status", "--json", "--dir", str(healthy_galera.directory)])
    assert result.exit_code == 0
    rows = json.loads(result.stdout)
    assert [(item["name"], item["state"], item["process"]) for item in rows] == [
        (name, "Synced", "running") for name in ("n1", "n2", "n3")
    ]


def test_the_command_line_kills_and_joins(healthy_galera: GaleraLab) -> None:
    directory = ["--dir", str(healthy_galera.directory)]
    assert CliRunner().invoke(lab_cli, ["kill", "n3", *directory]).exit_code == 0
    assert row(healthy_galera, "n3").process is ProcessState.DOWN
    result = CliRunner().invoke(lab_cli, ["join", "n3", *directory])
    assert result.exit_code == 0
    assert result.stdout.count("Synced") == 3


def test_the_command_line_answers_bad_usage_with_one_sentence_and_2(healthy_galera: GaleraLab) -> None:
    directory = ["--dir", str(healthy_galera.directory)]
    result = CliRunner().invoke(lab_cli, ["kill", "n9", *directory])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "no node n9" in result.stderr


def test_a_single_server_answers_with_ed25519_and_tls(mariadb: SingleServer) -> None:
    assert ask(mariadb.port, "SELECT @@wsrep_on") == [(0,)]
    loaded = "SELECT COUNT(*) FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'ed25519'"
    assert mariadb.query(loaded) == [(1,)]
    context = ssl.create_default_context(cafile=str(mariadb.ca_file))
    ((_, cipher),) = ask(mariadb.port, "SHOW STATUS LIKE 'Ssl_cipher'", ssl=context)
    assert cipher
