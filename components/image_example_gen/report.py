"""Looks at a data folder before anything runs: what `imagemill check` shows, in seconds, without TensorFlow.

Every file's header is read. Then files are decoded, in an order that the folder's layout does not influence,
until the time is up; the report says how many were decoded, so that a large folder of photos is not taken
for a checked one. Bad pixels behind a good header are found by the ingest at the latest.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from components.image_example_gen import images, source, split
from components.image_example_gen.bundles import read_file
from components.image_example_gen.images import Bounds, ImageRefusedError
from components.image_example_gen.settings import IngestSettings
from components.image_example_gen.source import Refused, SourceFile
from modules.features import SPLITS, TRAIN

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DataReport:
    """What lies in a data folder.

    Attributes:
      path: the folder.
      ready_splits: the splits that lie ready as folders; empty when the ingest divides the images.
      classes: class names, sorted.
      counts: images by split and class, as far as known: headers that can be read, divided as planned.
      files: files that count as images, good and bad.
      decoded: how many of them were decoded whole; the others were judged by their headers.
      bad: files that cannot be learned from, with path, reason, detail and size.
      formats, sizes: images by format, and by `WIDTHxHEIGHT` as stored in the file.
      side_histogram: images by their shorter side, in steps that double: (from, below, images).
      ignored: things passed over by rule, by kind.
      empty_classes: class folders without files.
      bytes: size of all files.
      seconds: time this took.
    """

    path: str
    ready_splits: list[str]
    classes: list[str]
    counts: dict[str, dict[str, int]]
    files: int
    decoded: int
    bad: list[Refused] = field(default_factory=list)
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
        bad = [one._asdict() | {"path": source.shown(one.path)} for one in self.bad]
        return asdict(self) | {"bad": bad, "reasons": self.reasons, "complete": self.complete}


def inspect_folder(
    path: str,
    settings: IngestSettings,
    progress: Progress | None = None,
    seconds: float = 6.0,
) -> DataReport:
    """Inspects a data folder.

    Args:
      path: the folder, as for `source.list_source`.
      settings: bounds and split.
      progress: called now and then with (files looked at, files in all).
      seconds: time for decoding; headers are read whatever it takes (10,000 files: about one second).

    Raises:
      InputError: the folder cannot be used.
    """
    began = time.monotonic()
    listing = source.list_source(path, settings)
    bounds = Bounds.of(settings)
    refused: dict[int, ImageRefusedError] = {}
    formats: Counter[str] = Counter()
    sizes: Counter[tuple[int, int]] = Counter()
    total = len(listing.files)

    def judge(index: int, whole: bool) -> tuple[int, bool, ImageRefusedError | tuple[str, int, int]]:
        file = listing.files[index]
        try:
            data = read_file(os.path.join(path, file.path), bounds.max_file_bytes)
            name, header = images.check_header(data, bounds)
            if whole:
                images.decode(data, bounds)
        except ImageRefusedError as error:
            return index, whole, error
        return index, whole, (name, header.width, header.height)

    decoded = 0
    order = sorted(range(total), key=lambda index: source.hash_order(listing.files[index]))
    with ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) + 1)) as pool:
        deadline = began + seconds
        for done, (index, whole, outcome) in enumerate(
            pool.map(lambda index: judge(index, time.monotonic() < deadline), order), start=1
        ):
            decoded += whole
            if isinstance(outcome, ImageRefusedError):
                refused[index] = outcome
            else:
                formats[outcome[0]] += 1
                sizes[outcome[1:]] += 1
            if progress is not None and (done % 100 == 0 or done == total):
                progress(done, total)

    bad = sorted(
        [*listing.refused]
        + [
            Refused(listing.files[index].path, error.reason, error.detail, listing.files[index].size)
            for index, error in refused.items()
        ]
    )
    good = [file for index, file in enumerate(listing.files) if index not in refused]
    return DataReport(
        path=source.shown(path),
        ready_splits=list(listing.ready),
        classes=listing.classes,
        counts=_counts(good, listing.ready, settings),
        files=total + len(listing.refused),
        decoded=decoded + len(listing.refused),
        bad=bad,
        formats=dict(formats.most_common()),
        sizes={f"{width}x{height}": count for (width, height), count in sizes.most_common()},
        side_histogram=_histogram(sizes),
        ignored=dict(sorted(listing.ignored.items())),
        empty_classes=[source.shown(folder) for folder in listing.empty_classes],
        bytes=sum(file.size for file in listing.files),
        seconds=round(time.monotonic() - began, 3),
    )


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
        steps[min(width, height).bit_length() - 1] += count
    return [(1 << step, 2 << step, steps[step]) for step in sorted(steps)]
