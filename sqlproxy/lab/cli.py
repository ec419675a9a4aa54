"""``sqlproxy lab``: a real local Galera cluster from the command line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sqlproxy.errors import ConfigError, SqlproxyError
from sqlproxy.lab.galera import GaleraLab
from sqlproxy.lab.node import NodeStatus

lab = typer.Typer(help="A real local Galera cluster for tests and trying things out.", no_args_is_help=True)

Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="Where the cluster lives.", envvar="SQLPROXY_LAB_DIR", show_default=False),
]
Name = Annotated[str, typer.Argument(help="A node's name: n1, n2, …", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@lab.command()
def up(
    directory: Directory = None,
    base_port: Annotated[int, typer.Option(help="SQL ports are the ones after it.")] = 33100,
    galera_base: Annotated[int | None, typer.Option(help="First Galera port; by default derived.")] = None,
    nodes: Annotated[int, typer.Option(help="How many nodes, 1 to 9.")] = 3,
    fast: Annotated[bool, typer.Option("--fast", help="Notice dead nodes after 1 s instead of 5 s.")] = False,
    tls: Annotated[bool, typer.Option(help="Offer TLS with a certificate of the lab's own.")] = True,
) -> None:
    """Start the cluster, or heal it: afterwards every node is synced."""
    with _spoken_errors():
        cluster = GaleraLab(directory, base_port, nodes, fast, galera_base=galera_base, tls=tls)
        cluster.up()
        _print(cluster.status())


@lab.command()
def down(
    directory: Directory = None,
    purge: Annotated[bool, typer.Option("--purge", help="Remove the data too.")] = False,
) -> None:
    """End every node; the next up continues with the same data."""
    with _spoken_errors():
        GaleraLab.open(directory).down(purge=purge)


@lab.command()
def kill(name: Name, directory: Directory = None) -> None:
    """End a node as a crash would (SIGKILL)."""
    with _spoken_errors():
        GaleraLab.open(directory).kill(name)


@lab.command()
def stop(name: Name, directory: Directory = None) -> None:
    """Freeze a node (SIGSTOP): it accepts connections and never answers."""
    with _spoken_errors():
        GaleraLab.open(directory).stop(name)


@lab.command()
def cont(name: Name, directory: Directory = None) -> None:
    """Let a frozen node go on (SIGCONT)."""
    with _spoken_errors():
        GaleraLab.open(directory).cont(name)


@lab.command()
def shutdown(name: Name, directory: Directory = None) -> None:
    """End a node cleanly (SIGTERM)."""
    with _spoken_errors():
        GaleraLab.open(directory).shutdown(name)


@lab.command()
def join(name: Name, directory: Directory = None) -> None:
    """Bring a node back and wait until it is synced."""
    with _spoken_errors():
        cluster = GaleraLab.open(directory)
        cluster.join(name)
        _print(cluster.status())


@lab.command()
def status(directory: Directory = None, as_json: AsJson = False) -> None:
    """Show every node: process, port and what it says of the cluster."""
    with _spoken_errors():
        rows = GaleraLab.open(directory).status()
        if as_json:
            typer.echo(json.dumps([asdict(row) for row in rows], indent=2))
        else:
            _print(rows)


@contextmanager
def _spoken_errors() -> Iterator[None]:
    """Say an error in one sentence: exit 2 for bad usage, 1 when something did not come up."""
    try:
        yield
    except ConfigError as error:
        typer.echo(f"sqlproxy lab: {error}", err=True)
        raise typer.Exit(2) from None
    except (SqlproxyError, PermissionError) as error:
        typer.echo(f"sqlproxy lab: {error}", err=True)
        raise typer.Exit(1) from None


def _print(rows: list[NodeStatus]) -> None:
    table = Table()
    for column in ("node", "process", "pid", "SQL port", "Galera port", "state", "component", "size"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            row.name,
            row.process,
            str(row.pid or ""),
            str(row.port),
            str(row.galera_port),
            row.state,
            row.cluster_status,
            str(row.cluster_size or ""),
        )
    Console().print(table)
