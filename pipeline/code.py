"""Digests of our own source, so that no result is ever taken for that of other code."""

from __future__ import annotations

import hashlib
import pathlib

_ROOT = pathlib.Path(__file__).parent.parent
#: Endings of what counts as source: a page of another look is another page.
_SOURCE = (".py", ".j2", ".css")


def code_version(*rooms: str) -> str:
    """Digest of the source of rooms, so that TFX's cache never gives out what other code computed.

    Args:
      rooms: folders relative to the root of the package, such as `modules`.
    """
    digest = hashlib.sha256()
    for path in sorted(path for room in rooms for path in (_ROOT / room).rglob("*")):
        if path.suffix in _SOURCE:
            digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def computing_code() -> str:
    """Digest of all code that nodes compute with; a package and the image that runs it must agree on it."""
    return code_version("components", "modules")
