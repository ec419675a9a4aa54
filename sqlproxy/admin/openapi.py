"""The route table as data, and the OpenAPI document made from it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlproxy import __version__

_PARAMETER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the route table.

    ``handler`` names the method that serves it; ``public`` needs no credentials; ``query`` and ``body`` map names to
    descriptions; ``probe`` also answers OPTIONS, which HAProxy's httpchk sends.
    """

    method: str
    path: str
    handler: str
    summary: str
    public: bool = False
    probe: bool = False
    media: str = "application/json"
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str] = field(default_factory=dict)


def document(routes: Sequence[Route]) -> dict[str, object]:
    """The OpenAPI 3.1 document of a route table."""
    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "sqlproxy admin", "version": __version__},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "schemas": {"Error": _error_schema()},
        },
    }


def _error_schema() -> dict[str, object]:
    text = {"type": "string"}
    return {"type": "object", "properties": {"error": text, "hint": text}, "required": ["error", "hint"]}


def _operation(route: Route) -> dict[str, object]:
    error = {"schema": {"$ref": "#/components/schemas/Error"}}
    operation: dict[str, object] = {
        "operationId": f"{route.method.lower()}_{route.handler}",
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": {
            "200": {"description": "done", "content": {route.media: {}}},
            "default": {"description": "refused", "content": {"application/json": error}},
        },
        "security": [] if route.public else [{"basic": []}, {"bearer": []}],
    }
    if route.method in ("POST", "PUT"):
        operation["requestBody"] = {"content": {"application/json": {"schema": _body_schema(route)}}}
    return operation


def _parameters(route: Route) -> list[dict[str, object]]:
    names = _PARAMETER.findall(route.path)
    text = {"type": "string"}
    path = [{"name": name, "in": "path", "required": True, "schema": text} for name in names]
    query = [
        {"name": name, "in": "query", "description": description, "schema": text}
        for name, description in route.query.items()
    ]
    return [*path, *query]


def _body_schema(route: Route) -> dict[str, object]:
    return {"type": "object", "properties": {key: {"description": text} for key, text in route.body.items()}}
