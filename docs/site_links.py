"""For the site (mkdocs.yml): links out of docs/, to sources and examples, become the names of these files.

The pages are read in the repository as well, where such links lead to the files themselves; a site has none to lead to.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs for each page."""
    folder = posixpath.dirname(page.file.src_uri)

    def named(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        if "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        return f"{text} (`{path.removeprefix('../')}`)" if path.startswith("..") else match[0]

    return _LINK.sub(named, markdown)
