"""Looks at data before anything runs: what `imagemill check` shows, in seconds, without TensorFlow.

Files are looked at in an order that the folder's layout does not influence. Until the time is up they are
read and decoded whole; of the others only the header is read, and the report says how many those are, so
that a large folder of photos is not taken for a checked one. The ingest decodes every one.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

from components.image_example_gen import data, duplicates, headers, images, source, split
from components.image_example_gen.bundles import read_file
from components.image_example_gen.images import Bounds, ImageRefusedError
from components.image_example_gen.settings import IngestSettings
from components.image_example_gen.source import Listing, SourceFile
from components.image_example_gen.walk import Refused, shown
from components.image_example_gen.workers import available_cores
from modules.features import SPLITS, TRAIN

Progress = Callable[[int, int], None]

#: Enough of a file for its header, unless a camera put a large thumbnail before it.
_HEADER_BYTES = 1 << 16
_PART = 32


@dataclass(frozen=True)
class DataReport:
    """What lies in a data folder.

    Attributes:
      path: the folder, archive, or path with `{SPAN}`.
      span: the latest span, 0 without `{SPAN}`.
      ready_splits: the splits that lie ready as folders; empty when the ingest divides the images.
      classes: class names, sorted.
      counts: images by split and class: those not known to be bad, divided as planned.
      files: files that count as images, good and bad.
      decoded: how many of them were read and decoded whole; the others were judged by their headers.
      bad: files that cannot be learned from, with path, reason, detail and size.
      duplicates: images with equal bytes beyond the first of each, among those read whole.
      clashes: images under another label, or in another ready split, as well: path, other path, reason.
      formats, sizes: images by format, and by `WIDTHxHEIGHT` as stored in the file.
      side_histogram: images by their shorter side, in steps that double: (from, below, images).
      ignored: things passed over by rule, by kind.
      empty_classes: class folders without files.
      bytes: size of all files.
      seconds: time this took.
    """

    path: str
    span: int
    ready_splits: list[str]
    classes: list[str]
    counts: dict[str, dict[str, int]]
    files: int
    decoded: int
    bad: list[Refused] = field(default_factory=list)
    duplicates: int = 0
    clashes: list[tuple[str, str, str]] = field(default_factory=list)
    formats: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    side_histogram: list[tuple[int, int, int]] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    empty_classes: list[str] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0.0

    @property
    def reasons(self) -> dict[str, int]:
        """Bad files by reason."""
        return dict(Counter(one.reason for one in self.bad).most_common())

    @property
    def complete(self) -> bool:
        """Whether every file was decoded."""
        return self.decoded == self.files

    def to_json(self) -> dict[str, Any]:
        """The report as an object that `json.dumps` takes."""
        bad = [one._asdict() | {"path": shown(one.path)} for one in self.bad]
        return asdict(self) | {"bad": bad, "reasons": self.reasons, "complete": self.complete}


def inspect_folder(
    path: str,
    settings: IngestSettings,
    progress: Progress | None = None,
    seconds: float = 6.0,
) -> DataReport:
    """Inspects a data folder, an archive, or the latest spans of a path with `{SPAN}`.

    Args:
      path: as `data.path`.
      settings: bounds, split, classes.
      progress: called now and then with (files looked at, files in all).
      seconds: time for decoding; headers are read whatever it takes (10,000 files: about a second).

    Raises:
      InputError: the data cannot be used.
    """
    began = time.monotonic()
    resolved = data.resolve(path, settings.spans)
    with tempfile.TemporaryDirectory(prefix="imagemill-") as scratch:
        listing = data.list_data(resolved, settings, scratch)
        looks = _look_at_all(listing, Bounds.of(settings), began + seconds, progress)
    good = [(file, look) for file, look in zip(listing.files, looks, strict=True) if look.refused is None]
    refused = [
        Refused(file.path, look.refused.reason, look.refused.detail, file.size)
        for file, look in zip(listing.files, looks, strict=True)
        if look.refused is not None
    ]
    sizes = Counter((look.width, look.height) for _, look in good)
    hashed = [(file, look.digest) for file, look in good if look.digest]
    return DataReport(
        path=shown(path),
        span=resolved.span,
        ready_splits=list(listing.ready),
        classes=listing.classes,
        counts=_counts([file for file, _ in good], listing.ready, settings),
        files=len(listing.files) + len(listing.refused),
        decoded=sum(look.whole for look in looks) + len(listing.refused),
        bad=sorted([*listing.refused, *refused]),
        duplicates=len(hashed) - len({digest for _, digest in hashed}),
        clashes=_clashes(hashed, bool(listing.ready)),
        formats=dict(Counter(look.format for _, look in good).most_common()),
        sizes={f"{width}x{height}": count for (width, height), count in sizes.most_common()},
        side_histogram=_histogram(sizes),
        ignored=dict(sorted(listing.ignored.items())),
        empty_classes=[shown(folder) for folder in listing.empty_classes],
        bytes=sum(file.size for file in listing.files),
        seconds=round(time.monotonic() - began, 3),
    )


class _Look(NamedTuple):
    """What one file turned out to be; `digest` is empty where it was not read whole."""

    whole: bool
    refused: ImageRefusedError | None = None
    format: str = ""
    width: int = 0
    height: int = 0
    digest: str = ""


def _look_at_all(listing: Listing, bounds: Bounds, deadline: float, progress: Progress | None) -> list[_Look]:
    total = len(listing.files)
    order = sorted(range(total), key=lambda index: source.hash_order(listing.files[index]))
    looks: list[_Look] = [_Look(False)] * total

    def look(index: int) -> _Look:
        file = listing.files[index]
        place = os.path.join(listing.root, file.path)
        return (
            _look_whole(place, bounds)
            if time.monotonic() < deadline
            else _look_at_header(place, file, bounds)
        )

    # Threads: reading waits, and Pillow decodes without holding the interpreter's lock. A few files at a
    # time, for handing over costs more than a small file.
    parts = [order[at : at + _PART] for at in range(0, total, _PART)]
    done = 0
    with ThreadPoolExecutor(max_workers=available_cores()) as pool:
        for part, seen in zip(parts, pool.map(lambda part: [look(one) for one in part], parts), strict=True):
            for index, one in zip(part, seen, strict=True):
                looks[index] = one
            done += len(part)
            if progress is not None:
                progress(done, total)
    return looks


def _look_whole(place: str, bounds: Bounds) -> _Look:
    try:
        encoded = read_file(place, bounds.max_file_bytes)
        name, header = images.check_header(encoded, bounds)
        images.decode(encoded, bounds)
    except ImageRefusedError as refusal:
        return _Look(True, refusal)
    return _Look(True, None, name, header.width, header.height, sha256(encoded).hexdigest())


def _look_at_header(place: str, file: SourceFile, bounds: Bounds) -> _Look:
    try:
        if file.size > bounds.max_file_bytes:
            detail = f"{file.size} bytes, data.max_file_bytes is {bounds.max_file_bytes}"
            raise ImageRefusedError("too-large", detail)
        start = read_file(place, bounds.max_file_bytes, most=_HEADER_BYTES)
        name, header = images.check_header(start, bounds)
    except ImageRefusedError as refusal:
        # What looks cut off may only be the part that was not read.
        if refusal.reason == "truncated" and file.size > _HEADER_BYTES:
            return _Look(False, None, headers.kind(start) or "")
        return _Look(False, refusal)
    return _Look(False, None, name, header.width, header.height)


def _clashes(hashed: list[tuple[SourceFile, str]], ready: bool) -> list[tuple[str, str, str]]:
    digests = [digest for _, digest in hashed]
    found = [
        (clash, "duplicate-with-other-label")
        for clash in duplicates.label_clashes(digests, [file.label for file, _ in hashed])
    ]
    if ready:
        found += [
            (clash, "duplicate-in-other-split")
            for clash in duplicates.split_clashes(digests, [file.split or TRAIN for file, _ in hashed])
        ]
    return [
        (shown(hashed[clash.index][0].path), shown(hashed[clash.other][0].path), reason)
        for clash, reason in found
    ]


def _counts(
    files: list[SourceFile], ready: tuple[str, ...], settings: IngestSettings
) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {name: defaultdict(int) for name in SPLITS}
    to_divide: Counter[str] = Counter()
    for file in files:
        if not ready or (file.split == TRAIN and len(ready) < len(SPLITS)):
            to_divide[file.label] += 1
        else:
            counts[file.split or TRAIN][file.label] += 1
    for label, planned in split.planned_counts(to_divide, settings.split, ready).items():
        for name, count in planned.items():
            counts[name][label] += count
    return {name: dict(sorted(by_label.items())) for name, by_label in counts.items()}


def _histogram(sizes: Counter[tuple[int, int]]) -> list[tuple[int, int, int]]:
    steps: Counter[int] = Counter()
    for (width, height), count in sizes.items():
        if width:
            steps[min(width, height).bit_length() - 1] += count
    return [(1 << step, 2 << step, steps[step]) for step in sorted(steps)]
