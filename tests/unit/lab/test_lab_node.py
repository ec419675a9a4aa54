"""What a node that is down says of its position, and the options it runs with."""

from pathlib import Path

import pytest

from sqlproxy.errors import SqlproxyError
from sqlproxy.lab import install
from sqlproxy.lab.node import GaleraNode
from sqlproxy.lab.process import ProcessState

UUID = "a4a575d8-e590-11f1-b701-f76f2960707d"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GaleraNode:
    monkeypatch.setattr(install, "galera_provider", lambda: "/provider.so")
    node = GaleraNode("n2", tmp_path / "n2", 33102, 4580)
    node.data.mkdir(parents=True)
    return node


def save_state(node: GaleraNode, uuid: str, seqno: int) -> None:
    text = f"# GALERA saved state\nversion: 2.1\nuuid:    {uuid}\nseqno:   {seqno}\nsafe_to_bootstrap: 0\n"
    (node.data / "grastate.dat").write_text(text)


def test_a_clean_shutdown_left_the_position(node: GaleraNode) -> None:
    save_state(node, UUID, 17)
    assert node.position() == (UUID, 17)


def test_a_transfer_cut_short_left_no_position(node: GaleraNode) -> None:
    save_state(node, "00000000-0000-0000-0000-000000000000", -1)
    assert node.position() is None


def test_a_new_node_has_no_position(node: GaleraNode) -> None:
    assert node.position() is None


def test_a_node_that_is_down_has_a_status_without_asking(node: GaleraNode) -> None:
    status = node.status()
    assert (status.process, status.pid, status.state, status.cluster_size) == (ProcessState.DOWN, None, "", 0)
    assert not status.synced


def test_every_port_is_derived_from_the_nodes_own(node: GaleraNode) -> None:
    options = node.options(fast=False, tls=False)
    assert options["port"] == "33102"
    assert options["wsrep-node-incoming-address"] == "127.0.0.1:33102"
    assert "base_port=4580;gmcast.listen_addr=tcp://127.0.0.1:4580;" in options["wsrep-provider-options"]
    assert "ist.recv_addr=127.0.0.1:4581" in options["wsrep-provider-options"]
    assert options["wsrep-sst-receive-address"] == "127.0.0.1:4582"


def test_only_a_fast_lab_changes_the_failure_detector(node: GaleraNode) -> None:
    assert "evs." not in node.options(fast=False, tls=False)["wsrep-provider-options"]
    assert "evs.suspect_timeout=PT1S" in node.options(fast=True, tls=False)["wsrep-provider-options"]


def test_durability_stays_at_the_servers_defaults(node: GaleraNode) -> None:
    options = node.options(fast=True, tls=True)
    assert not {"innodb-flush-log-at-trx-commit", "sync-binlog", "innodb-doublewrite"} & options.keys()


def test_the_last_words_are_the_error_lines(node: GaleraNode) -> None:
    node.error_log.write_text("[Note] starting\n[ERROR] no space\n[ERROR] Aborting\n[Note] bye\n")
    assert node.last_words() == "[ERROR] no space / [ERROR] Aborting"
    node.error_log.write_text("[Note] starting\n")
    assert node.last_words() == "[Note] starting"


def test_a_server_that_is_down_fails_with_its_last_words(node: GaleraNode) -> None:
    node.error_log.write_text("[ERROR] no space\n")
    with pytest.raises(SqlproxyError, match=r"n2 did not come up: \[ERROR\] no space"):
        node.wait_until(lambda: False, 1.0, "synced")
