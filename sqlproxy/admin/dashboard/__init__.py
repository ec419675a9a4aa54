"""The dashboard: a static page, its parts and what a browser may do with them.

The page works offline: everything it needs is in this package. The charts are drawn by uPlot (vendor/, MIT licence).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

PAGE = "index.html"
_MEDIA = {"html": "text/html", "css": "text/css", "js": "text/javascript"}

# Nothing but files of this origin runs; uPlot and the page set styles by script only, which this allows.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page."""

    media: str
    body: bytes


def assets() -> dict[str, Asset]:
    """Every file a browser may ask for, by its name."""
    found = {}
    package = resources.files(__package__)
    for folder in (package, package.joinpath("vendor")):
        for file in folder.iterdir():
            media = _MEDIA.get(file.name.rpartition(".")[2])
            if media is not None:
                found[file.name] = Asset(media, file.read_bytes())
    return found
