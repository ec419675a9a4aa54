"""LOAD DATA LOCAL INFILE: the client's file on its way to the server that asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlproxy.session.backend import Backend
from sqlproxy.wire.framing import UploadReader

if TYPE_CHECKING:
    from sqlproxy.session.session import Session


def begin(session: Session, backend: Backend) -> None:
    """The server asks for a file; its beginning may have come already."""
    session.uploading = UploadReader()
    session.log.forbid("it has loaded a local file")
    rest = session.client.take_rest()
    if rest:
        upload(session, backend, rest)


def upload(session: Session, backend: Backend | None, chunk: bytes) -> None:
    """Bytes of the file a server asked for; what follows its end is the client's next command."""
    reader = session.uploading
    if backend is None or reader is None:
        return
    end = reader.feed(chunk)
    backend.write(chunk if end < 0 else chunk[:end])
    if end >= 0:
        session.uploading = None
        backend.tracker.resume_upload()
        if end < len(chunk):
            session.client.put_back(chunk[end:])
