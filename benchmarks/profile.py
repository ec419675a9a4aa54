"""``make profile``: where the proxy's time goes under point selects, as a flame graph.

python -m benchmarks.profile [--seconds N] [--load text|binary|connect] [--output FILE.svg]

Records with py-spy (of the extra ``dev``), native frames of the compiled core included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import loads, targets
from benchmarks.run import stub_servers
from sqlproxy.lab.install import remove_directory

_RATE = 400  # samples a second
_STATEMENTS = {"text": loads.POINT, "binary": loads.POINT_PREPARED, "connect": loads.POINT}


def main() -> None:
    """Parse, record, say where the picture is."""
    parser = argparse.ArgumentParser(prog="benchmarks.profile", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--load", choices=tuple(_STATEMENTS), default="text")
    parser.add_argument("--output", type=Path, default=Path("build/profile.svg"), metavar="FILE")
    arguments = parser.parse_args()
    recorder = find_recorder()
    directory = Path(tempfile.mkdtemp(prefix="sqlproxy-profile-"))
    try:
        record(recorder, directory, arguments.load, arguments.seconds, arguments.output)
    finally:
        remove_directory(directory)
    print(f"written: {arguments.output}")


def find_recorder() -> Path:
    """Where py-spy is. Raises SystemExit when it is not."""
    path = Path(sys.executable).parent / "py-spy"
    if not path.exists():
        raise SystemExit("py-spy is missing: make dev")
    return path


def record(recorder: Path, directory: Path, load: str, seconds: int, output: Path) -> None:
    """Put load on a proxy and draw where it was. Raises SystemExit when that is not possible."""
    loads.build(directory)
    output.parent.mkdir(parents=True, exist_ok=True)
    with stub_servers(directory) as ports:
        target = targets.sqlproxy("sqlproxy", directory, ports)
        try:
            command = [str(directory / "client"), str(target.port), load, "8", str(seconds + 3.0), _STATEMENTS[load]]
            with subprocess.Popen(targets.pinned(targets.LOAD_CORES, command), stdout=subprocess.PIPE) as client:
                _record(recorder, target.pids()[0], seconds, output)
                client.wait()
            if client.returncode:
                raise SystemExit("the load failed")
        finally:
            target.stop()


def _record(recorder: Path, pid: int, seconds: int, output: Path) -> None:
    command = [str(recorder), "record", "--native", "--pid", str(pid), "--duration", str(seconds)]
    command += ["--rate", str(_RATE), "--output", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"py-spy cannot record (as another user than root it needs CAP_SYS_PTRACE): {result.stderr}")


if __name__ == "__main__":
    main()
