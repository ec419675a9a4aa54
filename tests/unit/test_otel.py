"""Spans made of traces, and a collector that fails, without one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from sqlproxy import otel
from sqlproxy.config import TracingConfig
from sqlproxy.otel import Exporter, endpoint_of
from sqlproxy.session.stats import ServiceStats
from sqlproxy.session.trace import Parent, Step, Trace


class Inner:
    """In place of the SDK's exporter; ``gate`` holds it."""

    result: SpanExportResult | Exception = SpanExportResult.SUCCESS

    def __init__(self, endpoint: str, timeout: float) -> None:
        self.endpoint = endpoint
        self.spans: list[ReadableSpan] = []
        self.gate = threading.Event()
        self.gate.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.gate.wait(30)
        if isinstance(self.result, Exception):
            raise self.result
        self.spans += spans
        return self.result

    def shutdown(self) -> None:
        return


@pytest.fixture
def stats() -> ServiceStats:
    return ServiceStats()


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch, stats: ServiceStats) -> Iterator[Exporter]:
    monkeypatch.setattr(otel, "OTLPSpanExporter", Inner)
    level = logging.getLogger("opentelemetry").level
    yield Exporter(TracingConfig(endpoint="http://127.0.0.1:1", service_name="proxy"), lambda name: stats)
    logging.getLogger("opentelemetry").setLevel(level)


def inner_of(exporter: Exporter) -> Inner:
    inner = exporter._sender._inner
    assert isinstance(inner, Inner)
    return inner


def trace(code: int = 0, parent: Parent | None = None) -> Trace:
    made = Trace(parent, 1_000, code=code, ended=9_000, operation="SELECT")
    made.attributes = {"db.query.text": "SELECT ?", "sqlproxy.service": "app"}
    made.steps = [Step("connect", 2_000, 3_000, {"sqlproxy.target": "n1"}, code=1045)]
    made.events = [("run again", 4_000, {"sqlproxy.reason": "gone"})]
    return made


async def test_a_statement_and_its_steps_are_spans(exporter: Exporter, stats: ServiceStats) -> None:
    exporter.export("app", trace(code=1062, parent=Parent(0xABC, 0xDEF, True)))
    await exporter.stop()
    step, span = inner_of(exporter).spans
    assert span.context is not None
    assert span.parent is not None
    assert step.parent is not None
    assert (span.name, span.context.trace_id, span.parent.span_id) == ("SELECT", 0xABC, 0xDEF)
    assert (span.start_time, span.end_time, span.status.is_ok) == (1_000, 9_000, False)
    assert (step.name, step.parent.span_id, step.status.description) == ("connect", span.context.span_id, "error 1045")
    assert [(event.name, event.timestamp) for event in span.events] == [("run again", 4_000)]
    assert span.resource.attributes["service.name"] == "proxy"
    assert (stats.spans, stats.spans_dropped, stats.spans_failed) == (2, 0, 0)


async def test_without_a_parent_a_trace_begins(exporter: Exporter) -> None:
    exporter.export("app", trace())
    exporter.export("app", trace())
    await exporter.stop()
    roots = [span for span in inner_of(exporter).spans if span.parent is None]
    assert len({span.context.trace_id for span in roots if span.context}) == 2
    assert all(span.status.is_unset for span in roots)


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, OSError("refused")], ids=str)
async def test_what_is_not_taken_is_counted_and_said_once(
    exporter: Exporter,
    stats: ServiceStats,
    caplog: pytest.LogCaptureFixture,
    result: SpanExportResult | Exception,
) -> None:
    inner_of(exporter).result = result
    sender = exporter._sender
    exporter.export("app", trace())
    assert exporter._processor.force_flush()
    exporter.export("app", trace())
    await exporter.stop()
    assert (stats.spans_failed, sender.seen) == (4, 4)
    assert [record.message for record in caplog.records if record.levelno >= logging.INFO] == [
        "tracing: http://127.0.0.1:1/v1/traces does not take spans; what it does not take is lost"
    ]


async def test_more_than_may_wait_are_dropped(
    exporter: Exporter, stats: ServiceStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otel, "QUEUE", 5)
    gate = inner_of(exporter).gate
    gate.clear()
    for _ in range(4):
        exporter.export("app", trace())
    assert (stats.spans, stats.spans_dropped) == (8, 4)
    gate.set()
    await exporter.stop()
    assert len(inner_of(exporter).spans) == 4


async def test_a_collector_that_hangs_does_not_hold_up_the_end(
    exporter: Exporter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otel, "_END", 0.01)
    gate = inner_of(exporter).gate
    gate.clear()
    exporter.export("app", trace())
    await exporter.stop()
    assert "the last spans were not taken" in caplog.text
    gate.set()


def test_the_path_is_added_where_there_is_none() -> None:
    assert endpoint_of("http://c:4318") == endpoint_of("http://c:4318/") == "http://c:4318/v1/traces"
    assert endpoint_of("https://c/otlp/v1/traces") == "https://c/otlp/v1/traces"
