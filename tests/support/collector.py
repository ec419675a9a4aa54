"""A collector of traces: OTLP over HTTP, decoded."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """One span as it came; ids in hexadecimal digits, ``events`` name to attributes."""

    name: str
    trace: str
    span: str
    parent: str
    seconds: float
    failed: bool
    service: str
    attributes: dict[str, Any]
    events: dict[str, dict[str, Any]]


class Collector:
    """Keeps the spans that it is sent; ``refusing`` answers 400 to all."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.refusing = False
        self.paths: set[str] = set()
        self._spans: list[Span] = []

    @property
    def spans(self) -> list[Span]:
        """All so far."""
        return list(self._spans)

    def statements(self, text: str) -> list[Span]:
        """The spans of statements with this digest."""
        return [span for span in self.spans if span.attributes.get("db.query.text") == text]

    def take(self, path: str, body: bytes) -> None:
        """One request."""
        self.paths.add(path)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = str(_plain(group.resource.attributes)["service.name"])
            for scope in group.scope_spans:
                self._spans += [_span(found, service) for found in scope.spans]


def _span(found: Any, service: str) -> Span:
    seconds = (found.end_time_unix_nano - found.start_time_unix_nano) / 1e9
    events = {event.name: _plain(event.attributes) for event in found.events}
    ids = found.trace_id.hex(), found.span_id.hex(), found.parent_span_id.hex()
    return Span(found.name, *ids, seconds, found.status.code == 2, service, _plain(found.attributes), events)


def _plain(attributes: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in attributes}


@contextmanager
def collecting(port: int) -> Iterator[Collector]:
    """A collector on a port of the loopback."""
    collector = Collector(port)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if not collector.refusing:
                collector.take(self.path, body)
            self.send_response(400 if collector.refusing else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
