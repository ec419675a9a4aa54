"""Draws docs/images/failover.svg from a real run: a Galera lab, the proxy, a load, and the primary killed with -9.

    .venv/bin/python docs/images/failover.py          (root, with the packages `make test-deps` installs)

Two sessions read and two write through the proxy; one more writes straight to a node that survives, so that the pause
of the cluster itself can be told from what the proxy adds to it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pymysql

from sqlproxy.lab.galera import GaleraLab

BEFORE, AFTER = 4.0, 12.0  # seconds shown around the kill
BIN = 0.2  # seconds per bar
PORT, ADMIN = 4906, 4907
PACE = 0.005  # seconds between two statements of a session
READ = "SELECT id, text FROM failover WHERE id = 1"
WRITE = "INSERT INTO failover (text) VALUES ('x')"


@dataclass
class Lane:
    """One kind of client: what it runs, where, and when each statement succeeded or failed."""

    title: str
    color: str
    statement: str
    port: int
    sessions: int
    done: list[float] = field(default_factory=list)
    failed: list[tuple[float, str]] = field(default_factory=list)
    pause: float = 0.0  # the longest any one session went without an answer


def main() -> None:
    """Run it and write the picture beside this file."""
    directory = Path(tempfile.mkdtemp(prefix="sqlproxy-failover-"))
    directory.chmod(0o755)
    lab = GaleraLab(directory / "lab", base_port=24100)
    try:
        lab.up()
        lanes, killed = _run(directory, lab)
    finally:
        lab.down(purge=True)
    picture = Path(__file__).with_suffix(".svg")
    picture.write_text(draw(lanes, killed))
    for lane in lanes:
        print(f"{lane.title}: {len(lane.done)} statements, longest pause {lane.pause:.2f} s, errors {lane.failed}")
    print(picture)


def _run(directory: Path, lab: GaleraLab) -> tuple[list[Lane], float]:
    config = directory / "sqlproxy.toml"
    servers = "".join(f'[[servers]]\nname = "{n}"\naddress = "127.0.0.1:{lab.node(n).port}"\n' for n in lab.nodes)
    config.write_text(
        servers + '[monitor]\nuser = "monitor"\npassword = "monitor"\n'
        f'[[services]]\nname = "app"\nlisten = "127.0.0.1:{PORT}"\n[admin]\nlisten = "127.0.0.1:{ADMIN}"\n'
    )
    with subprocess.Popen([sys.executable, "-m", "sqlproxy", "serve", "-c", str(config)]) as proxy:
        try:
            primary = _wait_for_primary()
            survivor = next(node for name, node in lab.nodes.items() if name != primary)
            lanes = [
                Lane("reads through sqlproxy", "#2a7de1", READ, PORT, 2),
                Lane("writes through sqlproxy", "#d9480f", WRITE, PORT, 2),
                Lane("writes straight to a surviving node", "#868e96", WRITE, survivor.port, 1),
            ]
            return lanes, _load(lanes, lab, primary)
        finally:
            proxy.terminate()


def _wait_for_primary() -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            connection = _connect(PORT)
        except pymysql.MySQLError:
            time.sleep(0.1)
            continue
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE OR REPLACE TABLE failover (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(10))")
            cursor.execute(WRITE)
        with urllib.request.urlopen(f"http://127.0.0.1:{ADMIN}/metrics", timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith("sqlproxy_server_role") and 'role="primary"' in line and line.endswith(" 1.0"):
                    return line.split('server="')[1].split('"')[0]
    raise SystemExit("the proxy found no primary")


def _connect(port: int) -> pymysql.Connection:
    return pymysql.connect(
        host="127.0.0.1", port=port, user="app", password="app", database="app", autocommit=True, read_timeout=60
    )


def _load(lanes: list[Lane], lab: GaleraLab, primary: str) -> float:
    """The monotonic time of the kill."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=_session, args=(lane, stop), daemon=True)
        for lane in lanes
        for _ in range(lane.sessions)
    ]
    for thread in threads:
        thread.start()
    time.sleep(BEFORE + 2.0)  # the first statements open connections
    killed = time.monotonic()
    lab.kill(primary)
    time.sleep(AFTER)
    stop.set()
    for thread in threads:
        thread.join(60)
    return killed


def _session(lane: Lane, stop: threading.Event) -> None:
    connection, last = _connect(lane.port), time.monotonic()
    while not stop.wait(PACE):
        try:
            with connection.cursor() as cursor:
                cursor.execute(lane.statement)
        except pymysql.MySQLError as error:
            lane.failed.append((time.monotonic(), str(error)))
            connection = connection if connection.open else _connect(lane.port)
            continue
        now = time.monotonic()
        lane.done.append(now)
        lane.pause, last = max(lane.pause, now - last), now


# -- the picture

WIDTH, LANE_HEIGHT, LEFT, TOP, GAP = 900, 110, 70, 60, 46


def draw(lanes: list[Lane], killed: float) -> str:
    """The SVG: one lane of bars per kind of client, on a common clock that is 0 at the kill."""
    height = TOP + len(lanes) * (LANE_HEIGHT + GAP) + 30
    x0 = _x(0.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="16" font-weight="bold">Statements per second while the primary of a'
        " three-node Galera cluster is killed with -9</text>",
        f'<line x1="{x0}" x2="{x0}" y1="{TOP - 8}" y2="{height - 34}" stroke="#c92a2a" stroke-dasharray="4 3"/>',
        f'<text x="{x0 + 5}" y="{TOP - 14}" fill="#c92a2a">kill -9</text>',
    ]
    for index, lane in enumerate(lanes):
        parts += _lane(lane, killed, TOP + index * (LANE_HEIGHT + GAP) + 16)
    for second in range(-int(BEFORE), int(AFTER) + 1, 2):
        label = f"{second} s"
        parts.append(f'<text x="{_x(second)}" y="{height - 14}" text-anchor="middle" fill="#495057">{label}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _lane(lane: Lane, killed: float, top: float) -> list[str]:
    bins = [0] * round((BEFORE + AFTER) / BIN)
    for at in lane.done:
        number = int((at - killed + BEFORE) // BIN)
        if 0 <= number < len(bins):
            bins[number] += 1
    peak = max([*bins, 1])
    bottom = top + LANE_HEIGHT
    errors = f"{len(lane.failed)} error{'' if len(lane.failed) == 1 else 's'}" if lane.failed else "no error"
    label = f"{lane.title}: longest pause of a session {lane.pause:.2f} s, {errors}"
    parts = [
        f'<text x="{LEFT}" y="{top - 4}" fill="{lane.color}">{label}</text>',
        f'<text x="{LEFT - 8}" y="{top + 12}" text-anchor="end" fill="#495057">{round(peak / BIN)}/s</text>',
        f'<text x="{LEFT - 8}" y="{bottom}" text-anchor="end" fill="#495057">0</text>',
        f'<line x1="{LEFT}" x2="{_x(AFTER)}" y1="{bottom}" y2="{bottom}" stroke="#adb5bd"/>',
    ]
    width = _x(BIN) - _x(0.0)
    for number, count in enumerate(bins):
        bar = count / peak * (LANE_HEIGHT - 8)
        x = _x(number * BIN - BEFORE)
        parts.append(
            f'<rect x="{x:.1f}" y="{bottom - bar:.1f}" width="{width - 1:.1f}" height="{bar:.1f}" fill="{lane.color}"/>'
        )
    return parts


def _x(seconds: float) -> float:
    return LEFT + (seconds + BEFORE) / (BEFORE + AFTER) * (WIDTH - LEFT - 30)


if __name__ == "__main__":
    main()
