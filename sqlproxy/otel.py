"""Traces to a collector, by OpenTelemetry's SDK over OTLP/HTTP. The only module that knows it; the extra ``otel``.

Spans are made when a statement has ended, and sent by a thread of the SDK. A collector that cannot be reached costs
counters and a line in the log: what it does not take is lost, never waited for.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace.status import Status, StatusCode

from sqlproxy import __version__
from sqlproxy.config import TracingConfig
from sqlproxy.session.stats import ServiceStats
from sqlproxy.session.trace import Parent, Trace

log = logging.getLogger("sqlproxy.tracing")

QUEUE: Final = 4096  # spans that wait to be sent
_BATCH: Final = 512
_DELAY: Final = 1000  # milliseconds that spans are gathered
_TIMEOUT: Final = 5.0  # seconds for a batch, with all repetitions
_END: Final = 2.0  # seconds that a shutdown waits for the last ones
_PATH: Final = "/v1/traces"


class Exporter:
    """Sends what is traced. ``stats_of`` gives the counters of a service by its name."""

    def __init__(self, config: TracingConfig, stats_of: Callable[[str], ServiceStats]) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what it says of failures is said here, once
        self._stats_of = stats_of
        self._sender = _Sender(endpoint_of(config.endpoint), stats_of)
        self._processor = BatchSpanProcessor(
            self._sender, max_queue_size=QUEUE, schedule_delay_millis=_DELAY, max_export_batch_size=_BATCH
        )
        resource = Resource.create({"service.name": config.service_name, "service.version": __version__})
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("sqlproxy", __version__)
        self._made = 0

    def export(self, service: str, trace: Trace) -> None:
        """Queue the spans of a statement that has ended."""
        stats, count = self._stats_of(service), 1 + len(trace.steps)
        stats.spans += count
        if self._made - self._sender.seen + count > QUEUE:
            stats.spans_dropped += count
            return
        self._made += count
        attributes = {**trace.attributes}
        span = self._tracer.start_span(
            trace.operation, _context(trace.parent), SpanKind.CLIENT, attributes, start_time=trace.begun
        )
        inside = set_span_in_context(span, Context())
        for step in trace.steps:
            part = self._tracer.start_span(step.name, inside, SpanKind.INTERNAL, step.attributes, start_time=step.begun)
            if step.code:
                part.set_status(Status(StatusCode.ERROR, f"error {step.code}"))
            part.set_attribute("sqlproxy.service", service)
            part.end(step.ended)
        for name, when, given in trace.events:
            span.add_event(name, given, when)
        if trace.code:
            span.set_status(Status(StatusCode.ERROR, f"error {trace.code}"))
        span.end(trace.ended)

    async def stop(self) -> None:
        """Send what is left, for a moment."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=end, name="end of tracing", daemon=True).start()
        try:
            async with asyncio.timeout(_END):
                await done.wait()
        except TimeoutError:
            log.warning("tracing: the last spans were not taken within %gs", _END)


def endpoint_of(url: str) -> str:
    """Where spans go: with OTLP's path, unless the URL has one."""
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + _PATH


def _context(parent: Parent | None) -> Context:
    if parent is None:
        return Context()
    there = SpanContext(parent.trace, parent.span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(there), Context())


class _Sender(SpanExporter):
    """The SDK's exporter, watched; everything here runs in the SDK's thread."""

    def __init__(self, endpoint: str, stats_of: Callable[[str], ServiceStats]) -> None:
        self._endpoint = endpoint
        self._stats_of = stats_of
        self._inner = OTLPSpanExporter(endpoint=endpoint, timeout=_TIMEOUT)
        self._failing = False
        self.seen = 0  # spans, sent or lost

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; one that is not taken is counted."""
        try:
            result = self._inner.export(spans)
        except Exception as error:  # whatever the transport raises, tracing goes on
            log.debug("tracing: %s", error)
            result = SpanExportResult.FAILURE
        failed = result is not SpanExportResult.SUCCESS
        if failed:
            for span in spans:
                self._stats_of(str((span.attributes or {}).get("sqlproxy.service", ""))).spans_failed += 1
        if failed != self._failing:
            self._failing = failed
            if failed:
                log.warning("tracing: %s does not take spans; what it does not take is lost", self._endpoint)
            else:
                log.info("tracing: %s takes spans again", self._endpoint)
        self.seen += len(spans)
        return result

    def shutdown(self) -> None:
        """Send no more."""
        self._inner.shutdown()  # type: ignore[no-untyped-call]
