"""TLS on both legs: what is demanded is had or refused in words, and nothing is said where TLS is demanded in vain."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sqlproxy.errors import ServerError
from sqlproxy.lab.certificates import make_certificates
from sqlproxy.lab.single import SingleServer
from sqlproxy.wire.constants import CLIENT_SSL
from sqlproxy.wire.handshake import Greeting, new_scramble
from tests.support.mysqlclient import connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.quiet import assert_no_internal_error
from tests.support.rawclient import BASE, RawClient, logged_in, raw, refusal

STATIC_ACCOUNTS = '[accounts]\nsource = "static"\nusers = [{ name = "app", password = "app" }]'
CIPHER = "SHOW SESSION STATUS LIKE 'Ssl_cipher'"
TO_SERVER = "SQLPROXY_SERVERS__0__TLS__"


@contextmanager
def proxied(directory: Path, port: int, service: str = "", extra: str = "", **tls: str) -> Iterator[Proxy]:
    """A proxy; ``tls`` are the settings towards the server."""
    env = {f"{TO_SERVER}{key.upper()}": value for key, value in tls.items()}
    with running_proxy(directory, {"n1": port}, service=service, extra=extra, env=env) as proxy:
        yield proxy
        assert_no_internal_error(proxy)


def verifying(directory: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(directory / "tls/ca.pem"))


def own_certificate(directory: Path, mode: str) -> str:
    make_certificates(directory / "tls")
    files = f'cert = "{directory}/tls/cert.pem", key = "{directory}/tls/key.pem"'
    return f'tls = {{ mode = "{mode}", {files} }}'


def test_clients_choose_tls_where_it_is_preferred(mariadb: SingleServer, lab_directory: Path, tmp_path: Path) -> None:
    directory = lab_directory / "preferred"
    service = own_certificate(directory, "preferred")
    with proxied(tmp_path, mariadb.port, service) as proxy:
        with logged_in(proxy.port) as client:
            assert client.value("SELECT 'plain'") == b"plain"
        with raw(proxy.port) as client:
            client.start_tls(verifying(directory))
            client.log_in()
            assert client.value("SELECT REPEAT('x', 100000)") == b"x" * 100_000
        with connected(proxy.port, ssl=verifying(directory)) as connection:
            assert rows(connection, "SELECT 1") == [(1,)]
        with raw(proxy.port) as client, pytest.raises(ssl.SSLCertVerificationError):
            client.start_tls(ssl.create_default_context())


def test_clients_without_tls_are_refused_where_it_is_required(mariadb: SingleServer, tmp_path: Path) -> None:
    with proxied(tmp_path, mariadb.port, 'tls = { mode = "required" }') as proxy:
        code, _, text = refusal(proxy.port)
        assert code == 3159
        assert text == "Connections using insecure transport are prohibited: this service requires TLS"
        assert refusal(proxy.port, "nobody", "x") == refusal(proxy.port)
        with raw(proxy.port) as client:
            client.start_tls()
            client.log_in()
            assert client.value("SELECT 1") == b"1"


def test_tls_is_not_offered_where_it_is_disabled(mariadb: SingleServer, tmp_path: Path) -> None:
    with proxied(tmp_path, mariadb.port, 'tls = { mode = "disabled" }') as proxy:
        with raw(proxy.port) as client:
            assert not client.greeting.capabilities & CLIENT_SSL
            client.log_in()
        with raw(proxy.port) as client:
            client.send((BASE | CLIENT_SSL).to_bytes(4, "little") + b"\0" * 28, 1)
            assert b"asks for TLS, which this service does not offer" in client.read()


@pytest.mark.parametrize("mode", ["required", "verify_ca", "verify_identity"])
def test_tls_towards_the_server_is_used_when_demanded(mariadb: SingleServer, tmp_path: Path, mode: str) -> None:
    ca = {} if mode == "required" else {"ca": str(mariadb.ca_file)}
    mariadb.query("CREATE OR REPLACE USER tlsonly@'%' IDENTIFIED BY 'pw' REQUIRE SSL")
    with proxied(tmp_path, mariadb.port, mode=mode, **ca) as proxy:
        with logged_in(proxy.port) as client:
            assert client.rows(CIPHER)[0][1] not in (b"", None)
            assert client.value("SELECT REPEAT('x', 1000000)") == b"x" * 1_000_000
        with raw(proxy.port) as client:
            client.start_tls()
            client.log_in("tlsonly", "pw")
            assert client.value("SELECT CURRENT_USER()") == b"tlsonly@%"


def test_tls_towards_the_server_can_be_left_out(mariadb: SingleServer, tmp_path: Path) -> None:
    with proxied(tmp_path, mariadb.port, mode="disabled") as proxy, logged_in(proxy.port) as client:
        assert client.rows(CIPHER)[0][1] == b""


def test_a_server_signed_by_somebody_else_is_not_spoken_to(
    mariadb: SingleServer, lab_directory: Path, tmp_path: Path
) -> None:
    stranger = lab_directory / "stranger"
    make_certificates(stranger / "tls")
    reason = why_unready(tmp_path, mariadb.port, mode="verify_ca", ca=str(stranger / "tls/ca.pem"))
    assert "certificate verify failed" in reason.lower().replace("_", " ")


def test_a_server_of_another_name_is_not_spoken_to(mariadb: SingleServer, tmp_path: Path) -> None:
    """127.0.0.2 is the same server, but not in its certificate."""
    mariadb_elsewhere = {f"{TO_SERVER}MODE": "verify_identity", f"{TO_SERVER}CA": str(mariadb.ca_file)}
    with forwarded("127.0.0.2", mariadb.port) as port:
        env = {**mariadb_elsewhere, "SQLPROXY_SERVERS__0__ADDRESS": f"127.0.0.2:{port}"}
        reason = why(tmp_path, port, env)
        assert "127.0.0.2" in reason
        assert "verify failed" in reason.lower().replace("_", " ")


# -- client certificates

CERTIFIED = {
    "any": "X509",
    "subject": "SUBJECT '/CN=localhost'",
    "issuer": "ISSUER '/CN=sqlproxy lab CA' AND SUBJECT '/CN=localhost'",
    "other": "SUBJECT '/CN=somebody else'",
    "foreign": "ISSUER '/CN=another CA'",
    "cipher": "CIPHER 'TLS_AES_256_GCM_SHA384'",
    "weak": "CIPHER 'RC4-MD5'",
}


def showing(directory: Path | None) -> ssl.SSLContext:
    """A client's context, with the certificate in a directory or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if directory is not None:
        context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context


def admitted(port: int, user: str, context: ssl.SSLContext) -> tuple[int, str]:
    """Who the server takes the client for, or how it refuses."""
    with raw(port) as client:
        client.start_tls(context)
        try:
            client.log_in(user, "pw")
        except ServerError as error:
            return error.code, error.message
        return 0, str(client.value("SELECT CURRENT_USER()"))


@pytest.fixture(scope="module")
def certified(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that asks clients for certificates of the server's authority, and shows the server one."""
    for user, demand in CERTIFIED.items():
        mariadb.query(f"CREATE OR REPLACE USER cert_{user}@'%' IDENTIFIED BY 'pw' REQUIRE {demand}")
    files = mariadb.ca_file.parent
    service = f'tls = {{ ca = "{mariadb.ca_file}", cert = "{files}/cert.pem", key = "{files}/key.pem" }}'
    shown = {"cert": f"{files}/cert.pem", "key": f"{files}/key.pem"}
    with proxied(tmp_path_factory.mktemp("certified"), mariadb.port, service, **shown) as proxy:
        yield proxy


@pytest.mark.parametrize("shown", [True, False], ids=["certificate", "none"])
@pytest.mark.parametrize("user", CERTIFIED)
def test_a_client_certificate_is_judged_as_by_the_server(
    mariadb: SingleServer, certified: Proxy, user: str, shown: bool
) -> None:
    context = showing(mariadb.ca_file.parent if shown else None)
    found = [admitted(port, f"cert_{user}", context) for port in (mariadb.port, certified.port)]
    assert found[0] == found[1]
    assert (found[1][0] == 0) == (user == "cipher" or (shown and user in ("any", "subject", "issuer")))


def test_the_log_says_what_a_certificate_lacks(mariadb: SingleServer, certified: Proxy) -> None:
    admitted(certified.port, "cert_other", showing(mariadb.ca_file.parent))
    wanted = "the account demands the subject /CN=somebody else, and the client's certificate has /CN=localhost"
    assert wanted in certified.log


def test_a_certificate_of_a_stranger_ends_the_handshake(certified: Proxy, lab_directory: Path) -> None:
    stranger = lab_directory / "strange-client"
    make_certificates(stranger / "tls")
    with pytest.raises((OSError, EOFError)):  # TLS 1.3 says so only after the client believes to be through
        admitted(certified.port, "cert_any", showing(stranger / "tls"))


def test_without_a_ca_nobody_is_asked_for_a_certificate(mariadb: SingleServer, tmp_path: Path) -> None:
    mariadb.query("CREATE OR REPLACE USER cert_any@'%' IDENTIFIED BY 'pw' REQUIRE X509")
    with proxied(tmp_path, mariadb.port) as proxy:
        assert admitted(proxy.port, "cert_any", showing(mariadb.ca_file.parent))[0] == 1045
        assert "without ca in [services.tls] clients are not asked for one" in proxy.log


def test_a_server_that_refuses_the_proxys_certificate_has_the_last_word(mariadb: SingleServer, tmp_path: Path) -> None:
    mariadb.query("CREATE OR REPLACE USER cert_any@'%' IDENTIFIED BY 'pw' REQUIRE X509")
    service = f'tls = {{ ca = "{mariadb.ca_file}" , cert = "{mariadb.ca_file.parent}/cert.pem"'
    service += f', key = "{mariadb.ca_file.parent}/key.pem" }}'
    with proxied(tmp_path, mariadb.port, service) as proxy:
        code, text = admitted(proxy.port, "cert_any", showing(mariadb.ca_file.parent))
        assert (code, text) == (1045, "Access denied for user 'cert_any'@'127.0.0.1' (using password: YES)")


def why_unready(directory: Path, port: int, **tls: str) -> str:
    return why(directory, port, {f"{TO_SERVER}{key.upper()}": value for key, value in tls.items()})


def why(directory: Path, port: int, env: Mapping[str, str]) -> str:
    """The reason the proxy gives for not using its only server."""
    with running_proxy(directory, {"n1": port}, extra=STATIC_ACCOUNTS, env=env) as proxy:
        with pytest.raises(ServerError, match="No server has been reached yet"):
            RawClient(proxy.port)
        assert_no_internal_error(proxy)
        return str(proxy.servers()["n1"]["reason"])


@contextmanager
def serving(handle: Callable[[socket.socket], None], host: str = "127.0.0.1") -> Iterator[int]:
    """Answer connections to a port of ``host``, each in a thread; the port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            handle(self.request)

    with socketserver.ThreadingTCPServer((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def forwarded(host: str, port: int) -> Iterator[int]:
    """A port of ``host`` that leads to a port of 127.0.0.1."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def handle(client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            back = threading.Thread(target=pump, args=(server, client))
            back.start()
            pump(client, server)
            back.join()

    with serving(handle, host) as number:
        yield number


@pytest.mark.parametrize("mode", ["required", "verify_ca", "verify_identity"])
def test_nothing_is_said_to_a_server_without_tls_where_tls_is_demanded(tmp_path: Path, mode: str) -> None:
    heard: list[bytes] = []

    def greet(client: socket.socket) -> None:
        payload = Greeting(b"8.4.0", 1, new_scramble(), BASE, auth_plugin="mysql_clear_password").encode()
        client.sendall(len(payload).to_bytes(3, "little") + b"\0" + payload)
        with suppress(OSError):
            heard.append(client.recv(1000))

    with serving(greet) as port:
        assert "TLS" in why_unready(tmp_path, port, mode=mode)
        assert set(heard) <= {b"", b"\1\0\0\1\1"}  # at most COM_QUIT
