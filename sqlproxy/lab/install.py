"""What a lab needs from the machine: packages, a user to run as, a data directory with accounts, options."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from sqlproxy.errors import SqlproxyError

SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin"
_PROVIDERS = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")
_PLUGIN_DIRECTORIES = ("/usr/lib/mysql/plugin", "/usr/lib64/mysql/plugin", "/usr/lib64/mariadb/plugin")
_LOG_FILE_SIZE = "32M"

# The system tables hold nothing of ours and no anonymous user: '%' accounts would lose to ''@localhost.
ACCOUNTS_SQL = """\
FLUSH PRIVILEGES;
CREATE DATABASE app;
CREATE DATABASE sbtest;
CREATE USER app@'%' IDENTIFIED BY 'app';
GRANT ALL ON app.* TO app@'%';
GRANT ALL ON sbtest.* TO app@'%';
CREATE USER monitor@'%' IDENTIFIED BY 'monitor';
GRANT PROCESS, BINLOG MONITOR, SLAVE MONITOR ON *.* TO monitor@'%';
GRANT SELECT ON mysql.* TO monitor@'%';
"""


def server_program(name: str = "mariadbd") -> str:
    """Path of a MariaDB server program."""
    return _program(name, "mariadb-server")


def galera_provider() -> str:
    """Path of the Galera library; also checks what a state transfer by rsync runs."""
    _program("rsync", "rsync")
    _program("ss", "iproute2")
    found = next((path for path in _PROVIDERS if Path(path).exists()), None)
    if found is None:
        raise _missing("libgalera_smm.so", "galera-4")
    return found


def has_plugin(name: str) -> bool:
    """Whether the server package brought a plugin library."""
    return any(Path(directory, f"{name}.so").exists() for directory in _PLUGIN_DIRECTORIES)


def default_directory(kind: str) -> Path:
    """``SQLPROXY_LAB_DIR``, else a place the servers may enter: root's home is closed to the mysql user."""
    if chosen := os.environ.get("SQLPROXY_LAB_DIR"):
        return Path(chosen)
    return (Path("/var/lib/sqlproxy-lab") if os.geteuid() == 0 else Path.home() / ".cache/sqlproxy/lab") / kind


def server_user() -> pwd.struct_passwd | None:
    """As root the servers run as mysql: an rsync daemon started by root drops to nobody and cannot write."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("mysql")
    except KeyError:
        raise _missing("the user mysql", "mariadb-server") from None


def make_directory(directory: Path) -> None:
    """Create a directory that the servers' user owns and can reach."""
    directory.mkdir(parents=True, exist_ok=True)
    user = server_user()
    if user is None:
        return
    os.chown(directory, user.pw_uid, user.pw_gid)
    for parent in directory.parents:
        status = parent.stat()
        if status.st_uid != user.pw_uid and not status.st_mode & 0o001:
            raise SqlproxyError(f"user mysql may not enter {parent}: choose a lab directory outside it")


def make_log(path: Path) -> None:
    """Start an empty log file that the servers' user may write."""
    path.write_text("")
    if user := server_user():
        os.chown(path, user.pw_uid, user.pw_gid)


def install_data(data: Path) -> None:
    """Make a data directory with system tables, our accounts and empty databases ``app`` and ``sbtest``."""
    program = server_program("mariadb-install-db")
    accounts = data.with_suffix(".sql")
    accounts.write_text(ACCOUNTS_SQL)
    user = server_user()
    command = [program, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
    command += ["--skip-test-db", f"--innodb-log-file-size={_LOG_FILE_SIZE}", f"--extra-file={accounts}"]
    command += [f"--user={user.pw_name}"] if user else []
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    accounts.unlink()
    if result.returncode:
        raise SqlproxyError(f"{program} failed: {_cause(result.stdout + result.stderr) or result.returncode}")


def _cause(output: str) -> str:
    """The first error in what a server wrote: "Aborting" and advice come after it. Without one the last line."""
    lines = output.strip().splitlines()
    return next((line for line in lines if "[ERROR]" in line), lines[-1] if lines else "")


def copy_data(source: Path, target: Path) -> None:
    """Copy a data directory of a server that is down, owners included."""
    shutil.copytree(source, target, symlinks=True)
    user = server_user()
    if user is None:
        return
    for path in (target, *target.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)


def server_options(directory: Path, port: int, *, tls: bool) -> dict[str, str]:
    """Options of a lean server on loopback, its files in ``directory``; durability stays at the defaults."""
    options = {
        "datadir": f"{directory}/data",
        "socket": f"{directory}/mysqld.sock",
        "tmpdir": f"{directory}/tmp",  # its own: a server that starts removes every temporary table it finds there
        "pid-file": f"{directory}/mysqld.pid",
        "log-error": f"{directory}/error.log",
        "bind-address": "127.0.0.1",
        "port": str(port),
        "skip-name-resolve": "ON",
        "innodb-buffer-pool-size": "64M",
        "innodb-log-file-size": _LOG_FILE_SIZE,
        "key-buffer-size": "1M",
        "aria-pagecache-buffer-size": "8M",
        "max-connections": "500",
    }
    if user := server_user():
        options["user"] = user.pw_name
    if has_plugin("auth_ed25519"):
        options["plugin-load-add"] = "auth_ed25519"
    if tls:
        options |= {f"ssl-{part}": f"{directory.parent}/tls/{part}.pem" for part in ("ca", "cert", "key")}
    return options


def write_options(path: Path, options: Mapping[str, str]) -> None:
    """Write an option file. State transfers stay plain on loopback: with TLS on, rsync would want stunnel."""
    lines = [f'{key} = "{value}"' for key, value in options.items()]
    path.write_text("\n".join(["[mysqld]", *lines, "", "[sst]", "ssl-mode = DISABLED", ""]))


def refuse_used_port(port: int, purpose: str) -> None:
    """Raise SqlproxyError if somebody listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SqlproxyError(f"port {port} on 127.0.0.1, {purpose}, cannot be used: {error.strerror}") from error


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path=SEARCH_PATH)
    if found is None:
        raise _missing(name, package)
    return found


def _missing(what: str, package: str) -> SqlproxyError:
    return SqlproxyError(
        f"{what} (package {package}) is missing: apt-get install -y mariadb-server galera-4 rsync iproute2"
    )


def remove_directory(directory: Path) -> None:
    """Remove a directory that the lab made, if it exists."""
    shutil.rmtree(directory, ignore_errors=True)


def remove_parts(directory: Path, parts: Iterable[Path]) -> None:
    """Remove the files and directories a lab made in ``directory``, and it too unless it holds anything else."""
    for part in parts:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()
