"""The admin side over HTTP: dashboard, REST, metrics and health. The only module that knows aiohttp.

Every error is ``{"error": sentence, "hint": what to do}``. Access rules are in `access`, the routes in `routes`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Iterable
from typing import Any, TypeVar

from aiohttp import web

from sqlproxy.admin import allowing, commands, dashboard, digests, view
from sqlproxy.admin.access import Guard
from sqlproxy.admin.clustercheck import clustercheck
from sqlproxy.admin.commands import CommandError
from sqlproxy.admin.http_client import FULL, HEAD_SECONDS, MAX_CLIENTS, TLS_RECORD, HttpClient
from sqlproxy.admin.live import LiveFeed, TooManyWatchers, event
from sqlproxy.admin.metrics import CONTENT_TYPE, Metrics
from sqlproxy.admin.openapi import Route, document
from sqlproxy.admin.ports import Port, begins_with
from sqlproxy.admin.routes import ROUTES
from sqlproxy.admin.view import Runtime
from sqlproxy.config import AdminConfig
from sqlproxy.errors import SqlproxyError
from sqlproxy.pace import Pace, Shared

MAX_BODY = 1 << 20
BODY_SECONDS = 10.0
OVERHEAD = 0.0005  # seconds that a request costs before and after what it asks for
EVENT_STREAM = "text/event-stream"

log = logging.getLogger("sqlproxy.admin")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
T = TypeVar("T")

_HEADERS = {
    "Server": "sqlproxy",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_CHALLENGE = 'Basic realm="sqlproxy", charset="UTF-8"'


class AdminServer:
    """Serves a runtime at ``config.listen``; raises ValueError when that is switched off (None)."""

    def __init__(self, runtime: Runtime, config: AdminConfig, tls: ssl.SSLContext | None = None) -> None:
        if config.listen is None:
            raise ValueError("the admin side is switched off")
        self._port = Port(config.listen, MAX_CLIENTS, self._serve, FULL)
        self._guard = Guard(config)
        self._handlers = _Handlers(runtime, self._guard)
        self._pace = runtime.pace
        self._runner: web.AppRunner | None = None
        self.configure(config, tls)

    @property
    def url(self) -> str:
        """Where it listens: ``http://host:port`` (the real port once started) or ``unix:/path``."""
        address = self._port.address
        if address.path:
            return f"unix:{address.path}"
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"{'https' if self._tls_only else 'http'}://{host}:{self._port.port}"

    def configure(self, config: AdminConfig, tls: ssl.SSLContext | None = None) -> None:
        """Other credentials and certificates from now on; the address stays."""
        self._guard.configure(config)
        self._tls = tls
        self._tls_only = config.tls.mode == "required" and not self._port.address.path

    async def start(self) -> None:
        """Listen. Raises SqlproxyError, naming the address, when that is not possible."""
        runner = web.AppRunner(self.application(), access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        self._runner = runner
        try:
            self._port.open()
        except SqlproxyError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close the port and end the requests under way."""
        await self._port.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        await self._port.end_clients()
        self._handlers.metrics_registry.close()

    @property
    def listening(self) -> socket.socket | None:
        """The socket, for whoever takes over; None while it is not started."""
        return self._port.listening

    async def _serve(self, sock: socket.socket) -> None:
        """One client, plain or inside TLS as it begins, until it is gone. It has to ask for something before long."""
        runner = self._runner
        if runner is None or runner.server is None:
            sock.close()
            return
        async with asyncio.timeout(HEAD_SECONDS):
            encrypted = self._tls is not None and await begins_with(sock, TLS_RECORD)
        client = HttpClient(runner.server, encrypted or not self._tls_only)
        await client.take(sock, self._tls if encrypted else None)

    def application(self) -> web.Application:
        """The aiohttp application, without a socket."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._answer])
        app.cleanup_ctx.append(self._handlers.feeding)
        for route in ROUTES:
            handler = self._guarded(route)
            app.router.add_route(route.method, route.path, handler)
            if route.method == "GET" and route.media != EVENT_STREAM:
                app.router.add_route("HEAD", route.path, handler)
            if route.probe:
                app.router.add_route("OPTIONS", route.path, handler)
        return app

    def _guarded(self, route: Route) -> Handler:
        handler: Callable[[web.Request, str], Awaitable[web.StreamResponse]] = getattr(self._handlers, route.handler)

        async def serve(request: web.Request) -> web.StreamResponse:
            if isinstance(request.protocol, HttpClient) and not request.protocol.allowed:
                raise CommandError(403, "this port speaks HTTPS only", "ask https://… instead")
            if not route.probe:
                self._pace.spent(OVERHEAD)
                await self._pace.turn()
            who = self._guard.identify(request.headers)
            if not route.public:
                self._check(request, who)
            peer = request.remote or "the unix socket"
            return await handler(request, f"{who} from {peer}" if who else "")

        return serve

    def _check(self, request: web.Request, who: str | None) -> None:
        if who is None:
            raise CommandError(401, "user and password, or a token, are needed", "see [admin] in the configuration")
        refusal = self._guard.refuse(request.method, request.headers)
        if refusal is not None:
            raise CommandError(refusal.status, refusal.error, refusal.hint)

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn every error into its JSON form; nothing else of it reaches the client."""
        if isinstance(request.protocol, HttpClient):
            request.protocol.asked.set()
        try:
            response = await handler(request)
        except CommandError as error:
            response = _error(error.status, str(error), error.hint)
        except web.HTTPException as error:
            response = _http_error(request, error)
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            response = _error(500, "the proxy failed to answer", "its log says why")
        if response.status == 401:
            response.headers["WWW-Authenticate"] = _CHALLENGE
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def _json(data: object, status: int = 200) -> web.Response:
    body = json.dumps(data, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")
    return web.Response(body=body, status=status, content_type="application/json")


async def _rendered(pace: Pace, items: Iterable[T], row: Callable[[T], object]) -> bytes:
    """The JSON of a list that may be long, built in slices."""

    def line(item: T) -> bytes:
        return json.dumps(row(item), ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")

    parts = [b", ".join(lines) async for lines in pace.slices(items, line)]
    return b"[" + b", ".join(parts) + b"]"


def _error(status: int, error: str, hint: str) -> web.Response:
    return _json({"error": error, "hint": hint}, status)


def _http_error(request: web.Request, error: web.HTTPException) -> web.Response:
    if error.status == 404:
        return _error(404, f"there is nothing at {request.path}", "GET /openapi.json lists what there is")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        response = _error(405, f"{request.method} is not possible at {request.path}", f"possible are {allowed}")
        response.headers["Allow"] = allowed
        return response
    if error.status == 413:
        return _error(413, f"the body is longer than {MAX_BODY} bytes", "send a shorter one")
    return _error(error.status, error.reason.lower(), "")


async def _body(request: web.Request) -> dict[str, Any]:
    """The JSON object a request carries; an empty body is an empty object."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            data = await request.read()
    except TimeoutError:
        raise CommandError(408, f"the body did not come within {BODY_SECONDS:g} s", "send it at once") from None
    except web.RequestPayloadError:
        raise CommandError(400, "the body is not what its headers say", "send a Content-Length that holds") from None
    if not data.strip():
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise CommandError(400, "the body is not JSON", 'send an object such as {"state": "drain"}') from None
    if not isinstance(value, dict):
        raise CommandError(400, "the body is not a JSON object", 'send an object such as {"state": "drain"}')
    return value


class _Handlers:
    """One method per route, named in the route table; ``who`` asks is empty for a stranger at a public route."""

    def __init__(self, runtime: Runtime, guard: Guard) -> None:
        self._runtime = runtime
        self._guard = guard
        self._assets = dashboard.assets()
        self._feed = LiveFeed(runtime)
        self._shared = Shared()
        self.metrics_registry = Metrics(runtime)

    async def feeding(self, app: web.Application) -> AsyncIterator[None]:
        """Keep the dashboard's feed running as long as the application."""
        task = asyncio.get_running_loop().create_task(self._feed.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def dashboard(self, request: web.Request, who: str) -> web.Response:
        return self._asset(dashboard.PAGE)

    async def asset(self, request: web.Request, who: str) -> web.Response:
        return self._asset(request.match_info["file"])

    def _asset(self, name: str) -> web.Response:
        if name not in self._assets:
            raise CommandError(404, f"the dashboard has no file {name!r}", "GET / is its page")
        asset = self._assets[name]
        headers = {"Content-Security-Policy": dashboard.POLICY}
        return web.Response(body=asset.body, content_type=asset.media, charset="utf-8", headers=headers)

    async def stream(self, request: web.Request, who: str) -> web.StreamResponse:
        response = web.StreamResponse(headers=_HEADERS | {"X-Accel-Buffering": "no"})
        response.content_type = EVENT_STREAM
        try:
            watcher = self._feed.watch()
        except TooManyWatchers:
            raise CommandError(503, "too many dashboards are open", "close one, or poll GET /v1/servers") from None
        try:
            await response.prepare(request)
            await response.write(self._feed.opening(who))
            seen = 0
            while True:
                await response.write(await watcher.next())
                news = view.events(self._runtime, seen)
                if news:
                    seen = self._runtime.publisher.events[-1].number
                    await response.write(event("events", news))
        except ConnectionResetError:
            return response
        finally:
            self._feed.leave(watcher)

    async def openapi(self, request: web.Request, who: str) -> web.Response:
        return _json(document(ROUTES))

    async def health(self, request: web.Request, who: str) -> web.Response:
        return _json({"status": "alive"})

    async def ready(self, request: web.Request, who: str) -> web.Response:
        role = request.query.get("role", "primary")
        if role not in ("primary", "replica"):
            raise CommandError(400, f"{role!r} is not a role", "the roles are primary and replica")
        good, reason = view.ready(self._runtime, role)
        body = {"status": "ready" if good else "unready"}
        trusted = who and self._guard.refuse(request.method, request.headers) is None
        return _json(body | ({"reason": reason} if trusted else {}), 200 if good else 503)

    async def clustercheck(self, request: web.Request, who: str) -> web.Response:
        name = request.match_info["name"]
        try:
            status, text = clustercheck(self._runtime, name, request.query)
        except KeyError:
            raise CommandError(404, f"there is no server named {name!r}", "") from None
        response = web.Response(body=text.encode(), status=status, content_type="text/plain")
        response.headers["Connection"] = "close"
        response.force_close()
        return response

    async def metrics(self, request: web.Request, who: str) -> web.Response:
        with self._runtime.pace.work():
            text = self.metrics_registry.text()
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def _listing(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, bytes]]) -> web.Response:
        """What is rendered once for all who ask meanwhile."""
        return web.Response(body=await self._shared.get(key, make), content_type="application/json")

    async def servers(self, request: web.Request, who: str) -> web.Response:
        return _json(view.servers(self._runtime))

    async def server(self, request: web.Request, who: str) -> web.Response:
        return _json(commands.server(self._runtime, request.match_info["name"]))

    async def set_state(self, request: web.Request, who: str) -> web.Response:
        name, body = request.match_info["name"], await _body(request)
        return _json(commands.set_state(self._runtime, name, body.get("state"), who))

    async def services(self, request: web.Request, who: str) -> web.Response:
        return _json(view.services(self._runtime))

    async def digests(self, request: web.Request, who: str) -> web.Response:
        order, limit, by = (request.query.get(key, "") for key in ("order", "limit", "by"))

        async def render() -> bytes:
            pace = self._runtime.pace
            figures = await self._runtime.digests()
            with pace.work():
                chosen = digests.select(figures, order, limit, by)
            return await _rendered(pace, chosen, digests.row)

        return await self._listing((order, limit, by), render)

    async def clear_digests(self, request: web.Request, who: str) -> web.Response:
        return _json(await commands.clear_digests(self._runtime, who))

    async def sessions(self, request: web.Request, who: str) -> web.Response:
        async def render() -> bytes:
            return await _rendered(self._runtime.pace, await self._runtime.sessions(), dict)

        return await self._listing("sessions", render)

    async def pools(self, request: web.Request, who: str) -> web.Response:
        return _json(view.pools(self._runtime))

    async def kill(self, request: web.Request, who: str) -> web.Response:
        return _json(await commands.kill(self._runtime, request.match_info["id"], who))

    async def monitor(self, request: web.Request, who: str) -> web.Response:
        return _json(view.monitor(self._runtime))

    async def rules(self, request: web.Request, who: str) -> web.Response:
        return _json(view.rules(self._runtime))

    async def allow_list(self, request: web.Request, who: str) -> web.Response:
        service, state = (request.query.get(key, "") for key in ("service", "state"))

        async def render() -> bytes:
            return await _rendered(self._runtime.pace, await allowing.rows(self._runtime, service, state), dict)

        return await self._listing((service, state), render)

    async def allow(self, request: web.Request, who: str) -> web.Response:
        return _json(await allowing.allow(self._runtime, await _body(request), who))

    async def accounts(self, request: web.Request, who: str) -> web.Response:
        return _json(view.accounts(self._runtime))

    async def events(self, request: web.Request, who: str) -> web.Response:
        after = request.query.get("after", "0")
        if not re.fullmatch(r"[0-9]{1,18}", after):
            raise CommandError(400, f"after: {after!r} is not the number of an event", "GET /v1/events?after=17")
        return _json(view.events(self._runtime, int(after)))

    async def config(self, request: web.Request, who: str) -> web.Response:
        return _json(view.config(self._runtime))

    async def explain(self, request: web.Request, who: str) -> web.Response:
        query = request.query
        return _json(commands.explain(self._runtime, query.get("sql", ""), query.get("in_transaction", "")))

    async def switchover(self, request: web.Request, who: str) -> web.Response:
        body = await _body(request)
        return _json(await commands.switchover(self._runtime, body.get("server"), who))

    async def reload(self, request: web.Request, who: str) -> web.Response:
        await _body(request)
        return _json(await commands.reload(self._runtime, who))

    async def notify(self, request: web.Request, who: str) -> web.Response:
        return _json(commands.notify(self._runtime, await _body(request), who))
