"""Reads, inspects and writes one bundle of files: the unit of work of the ingest, on any machine.

A bundle becomes a TFRecord file of the images that can be learned from, in the order given, and a JSON file
with one outcome a file. Both names depend on the bundle alone and appear whole, so a repeated attempt
(a retry, a distributed runner's speculation) replaces like by like.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from components.image_example_gen import figures, files, images, records
from components.image_example_gen.images import Bounds, ImageRefusedError

#: Grey pixels kept for measuring many images at once; an upper bound of memory, not of the bundle.
_HELD_PIXELS = 1 << 22


class Place(NamedTuple):
    """Where bundles are read from and written to, and within which bounds."""

    root: str
    target: str
    bounds: Bounds


class Accepted(NamedTuple):
    """Outcome of a file that became an Example; `thumbnail` is Latin-1 text, one character a byte."""

    sha256: str
    dhash: int
    format: str
    height: int
    width: int
    thumbnail: str


class Rejected(NamedTuple):
    """Outcome of a file that did not: `reason` is a key of `images.REASONS`."""

    reason: str
    detail: str


def plan(target: str, index: int, listed: Sequence[tuple[str, str, str]]) -> None:
    """Writes down the files of a bundle: (path relative to the root, path as text, class name) each.

    The plan lies with the bundle rather than travel through Beam, which pickles and compresses its elements
    and would keep all paths in its memory.
    """
    files.write(_plan_path(target, index), [json.dumps(listed).encode()])


def _plan_path(target: str, index: int) -> str:
    return f"{target}/bundle-{index:06d}.plan.json"


def record_path(target: str, index: int) -> str:
    return f"{target}/bundle-{index:06d}.tfrecord"


def _outcome_path(target: str, index: int) -> str:
    return f"{target}/bundle-{index:06d}.json"


def read_outcomes(target: str, index: int) -> list[Accepted | Rejected]:
    """The outcomes of a bundle, one a file, in the order of its files."""
    rows: list[list[Any]] = json.loads(files.read(_outcome_path(target, index)))
    return [Rejected(*row) if len(row) == 2 else Accepted(*row) for row in rows]


def run(
    index: int,
    place: Place,
    refuse: Mapping[int, str] | None = None,
    before: Callable[[int], None] | None = None,
) -> int:
    """Inspects a planned bundle and writes its two files.

    Args:
      index: which bundle.
      place: where it lies, and within which bounds its files are read.
      refuse: files (by position) not to touch, since they are known to crash the decoder, with the detail.
      before: called with each position before that file is read.

    Returns:
      The number of files.
    """
    listed: list[tuple[str, str, str]] = json.loads(files.read(_plan_path(place.target, index)))
    outcomes: list[Accepted | Rejected | None] = [None] * len(listed)
    framed: list[bytes] = []
    held: list[tuple[int, images.Decoded, str, int]] = []
    pixels = 0
    for position, (path, _, _) in enumerate(listed):
        if before is not None:
            before(position)
        try:
            if refuse and position in refuse:
                raise ImageRefusedError("corrupt", refuse[position])
            data = read_file(f"{place.root}/{path}", place.bounds.max_file_bytes)
            decoded = images.decode(data, place.bounds)
        except ImageRefusedError as refusal:
            outcomes[position] = Rejected(refusal.reason, refusal.detail)
            continue
        held.append((position, decoded, hashlib.sha256(data).hexdigest(), len(data)))
        pixels += decoded.grey.size
        if pixels > _HELD_PIXELS:
            _write(listed, held, framed, outcomes)
            pixels = 0
    _write(listed, held, framed, outcomes)
    files.write(record_path(place.target, index), framed)
    files.write(_outcome_path(place.target, index), [json.dumps(outcomes).encode()])
    return len(listed)


def _write(
    listed: Sequence[tuple[str, str, str]],
    held: list[tuple[int, images.Decoded, str, int]],
    framed: list[bytes],
    outcomes: list[Accepted | Rejected | None],
) -> None:
    measured = figures.measure([decoded.grey for _, decoded, _, _ in held])
    for (position, decoded, sha256, size), figure in zip(held, measured, strict=True):
        _, filename, label = listed[position]
        framed.append(records.frame(records.example(decoded, figure, label, filename, sha256, size)))
        outcomes[position] = Accepted(
            sha256,
            figure.dhash,
            decoded.format,
            decoded.height,
            decoded.width,
            figure.thumbnail.decode("latin-1"),
        )
    held.clear()


def read_file(path: str, max_bytes: int, most: int | None = None) -> bytes:
    """The bytes of a file that may have changed its nature since it was listed, or the first `most` of them.

    Raises:
      ImageRefusedError: it is gone, no regular file, not readable, or larger than `max_bytes`.
    """
    if files.is_remote(path):
        return files.read(path, most or max_bytes)
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageRefusedError("unreadable", "is no regular file")
            if status.st_size > max_bytes:
                raise ImageRefusedError(
                    "too-large", f"{status.st_size} bytes, data.max_file_bytes is {max_bytes}"
                )
            wanted = status.st_size if most is None else min(most, status.st_size)
            data = os.read(descriptor, wanted)
            while len(data) < wanted:
                more = os.read(descriptor, wanted - len(data))
                if not more:
                    break
                data += more
            return data
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ImageRefusedError("unreadable", error.strerror or str(error)) from None
