"""Reads and writes whole files, on this machine without any library, elsewhere (`gs://`) through Beam."""

from __future__ import annotations

import os
from collections.abc import Iterable


def is_remote(path: str) -> bool:
    """Whether a path names an object store rather than this machine's file system."""
    return "://" in path


def read(path: str, max_bytes: int | None = None) -> bytes:
    """The bytes of a file, or at most the first `max_bytes` + 1 of them."""
    limit = -1 if max_bytes is None else max_bytes + 1
    if is_remote(path):
        from apache_beam.io.filesystems import FileSystems  # two seconds that local files do not need

        with FileSystems.open(path, mime_type="application/octet-stream") as stream:
            return stream.read(limit)
    with open(path, "rb") as stream:
        return stream.read(limit)


def write(path: str, parts: Iterable[bytes]) -> None:
    """Writes a file that appears whole or not at all; it replaces an older one."""
    if is_remote(path):
        from apache_beam.io.filesystems import FileSystems

        # An object appears when its upload is closed.
        with FileSystems.create(path, mime_type="application/octet-stream") as stream:
            for part in parts:
                stream.write(part)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # Two attempts at one bundle may run at once on a distributed runner.
    partial = f"{path}.{os.getpid()}.partial"
    with open(partial, "wb") as stream:
        stream.writelines(parts)
    os.replace(partial, path)
