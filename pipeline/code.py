"""Digests of our own source, so that no result is ever taken for that of other code."""

from __future__ import annotations

import hashlib
import pathlib

_ROOT = pathlib.Path(__file__).parent.parent


def code_version(room: str) -> str:
    """Digest of a room's source, so that TFX's cache never gives out what other code computed.

    Args:
      room: folder relative to the root of the package, such as `modules`.
    """
    folder = _ROOT / room
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def computing_code() -> str:
    """Digest of all code that nodes compute with; a package and the image that runs it must agree on it."""
    return hashlib.sha256((code_version("components") + code_version("modules")).encode()).hexdigest()[:16]
