"""Writes what the ingest found besides the Examples: manifest, quarantine, summary; reads the ledger."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from components.image_example_gen import files, split
from components.image_example_gen.division import Divided, Image
from components.image_example_gen.source import Listing
from components.image_example_gen.walk import shown

#: Beside the splits of `examples`: one object an image, sorted by path.
MANIFEST = "manifest.jsonl"
#: In `quarantine`: one object a file left out, one a clash of images, and the figures.
QUARANTINE = "quarantine.jsonl"
DUPLICATES = "duplicates.jsonl"
SUMMARY = "summary.json"

_encode = json.JSONEncoder(ensure_ascii=False).encode


def write(
    listing: Listing, divided: Divided, examples: str, quarantine: str, finish: Callable[[], float]
) -> dict[str, object]:
    """Writes the four files; returns the summary.

    Args:
      listing: what lay in the data folder.
      divided: what came of it.
      examples, quarantine: folders of the artifacts.
      finish: waits for what else is still written, and returns the seconds that the ingest took.
    """
    taken = sorted((image for image in divided.images if image.split), key=lambda image: image.file.path)
    labels = [image.file.label for image in taken]
    left_out = (one._asdict() | {"path": shown(one.path)} for one in sorted(divided.refused))
    files.write(os.path.join(examples, MANIFEST), map(_manifest_line, taken))
    files.write(os.path.join(quarantine, QUARANTINE), _lines(left_out))
    files.write(os.path.join(quarantine, DUPLICATES), _lines(divided.listed))
    summary: dict[str, object] = {
        "classes": sorted(set(labels)),
        "examples": split.counts_by_split([image.split or "" for image in taken], labels),
        "files": len(listing.files) + len(listing.refused),
        "quarantined": _count(one.reason for one in divided.refused),
        "clashes": _count(f"{row['reason']}: {row['action']}" for row in divided.listed),
        "ignored": dict(sorted(listing.ignored.items())),
        "empty_classes": [shown(folder) for folder in listing.empty_classes],
        "duplicates": len(labels) - len({image.found.sha256 for image in taken}),
        "formats": _count(image.found.format for image in taken),
        "bytes": sum(image.file.size for image in taken),
        "seconds": round(finish(), 3),
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    files.write(os.path.join(quarantine, SUMMARY), [text.encode()])
    return summary


def read_ledger(examples: str) -> dict[str, str]:
    """SHA-256 to split of an earlier ingest, from the folder of its `examples`."""
    rows = map(json.loads, files.read(os.path.join(examples, MANIFEST)).splitlines())
    return {row["sha256"]: row["split"] for row in rows}


def _manifest_line(image: Image) -> bytes:
    # By hand: the encoder takes as long for these rows as the whole division.
    found = image.found
    return (
        f'{{"path": {_encode(shown(image.file.path))}, "class": {_encode(image.file.label)}, '
        f'"split": "{image.split}", "sha256": "{found.sha256}", "dhash": "{found.dhash:016x}", '
        f'"format": "{found.format}", "height": {found.height}, "width": {found.width}, '
        f'"size": {image.file.size}}}\n'
    ).encode()


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _lines(rows: Iterable[dict[str, object]]) -> Iterator[bytes]:
    for row in rows:
        yield _encode(row).encode() + b"\n"
