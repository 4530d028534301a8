"""The whole ingest, without TFX: list, inspect, divide, write; memory holds digests, never images.

Pass 1 (Beam) inspects every file once and leaves Examples in bundles. The splits are then assigned from the
digests. Pass 2 (Beam) copies the Examples into the splits' files. Files are taken in the order of a hash of
their path, so the classes are mixed within every split, and the result depends on nothing but the data.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import apache_beam as beam

from components.image_example_gen import bundles, files, source, split, steps
from components.image_example_gen.settings import IngestSettings
from components.image_example_gen.source import Listing, Refused, SourceFile
from modules.errors import InputError
from modules.features import SPLITS

#: Target size of a split's files together; readers read several files at once.
SHARD_BYTES = 128 << 20
_BUNDLE_BYTES = 32 << 20
_BUNDLE_FILES = 512

EXAMPLES_FILE = "manifest.jsonl"
QUARANTINE_FILE = "quarantine.jsonl"
SUMMARY_FILE = "summary.json"


@dataclass
class _Images:
    """Columns of what pass 1 accepted, in the order of the records."""

    files: list[SourceFile] = field(default_factory=list)
    outcomes: list[bundles.Accepted] = field(default_factory=list)
    bundle: list[int] = field(default_factory=list)


def ingest(
    root: str,
    settings: IngestSettings,
    examples: str,
    quarantine: str,
    scratch: str,
    make_pipeline: Callable[[], beam.Pipeline],
    processes: int = 1,
    ledger: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Ingests a data folder.

    Args:
      root: the data folder.
      settings: what to refuse and how to divide.
      examples: folder that receives `Split-<name>/` with TFRecord files, and the manifest.
      quarantine: folder that receives the list of what was left out, and the summary.
      scratch: folder for the bundles, as large as the data; on a distributed runner one that all workers
        share. The caller removes it.
      make_pipeline: a new Beam pipeline for each pass.
      processes: plain processes that inspect files, where the runner itself has one process only.
      ledger: SHA-256 to split of an earlier ingest.

    Returns:
      The summary, as written to `summary.json`.

    Raises:
      InputError: the folder cannot be used, too much of it is bad, or it is too small to be divided.
    """
    began = time.monotonic()
    listing = source.list_source(root, settings)
    planned = list(_plan_bundles(listing))
    for index, part in enumerate(planned):
        bundles.plan(scratch, index, [(file.path, source.shown(file.path), file.label) for file in part])
    place = bundles.Place(root, scratch, bundles.Bounds.of(settings))
    with make_pipeline() as pipeline:
        _ = (
            pipeline
            | "Bundles" >> beam.Create(range(len(planned)))
            | "Inspect" >> beam.ParDo(steps.InspectBundles(place, processes, len(listing.files)))
        )

    found, refused = _Images(), list(listing.refused)
    for index, part in enumerate(planned):
        for file, outcome in zip(part, bundles.read_outcomes(scratch, index), strict=True):
            if isinstance(outcome, bundles.Rejected):
                refused.append(Refused(file.path, outcome.reason, outcome.detail, file.size))
            else:
                found.files.append(file)
                found.outcomes.append(outcome)
                found.bundle.append(index)
    _check_bad(listing, refused, settings)
    splits = _divide(found, listing, settings, ledger)

    codes = [bytearray() for _ in planned]
    for bundle, name in zip(found.bundle, splits, strict=True):
        codes[bundle].append(steps.split_code(name))
    targets = [os.path.join(examples, f"Split-{name}") for name in SPLITS]
    sizes = [sum(file.size for file in part) for part in planned]
    with make_pipeline() as pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create(_plan_shards(codes, sizes))
            | "Write" >> beam.ParDo(steps.WriteShards(scratch, targets))
        )
    _write_manifest(found, splits, examples)
    return _write_quarantine(listing, refused, found, splits, quarantine, time.monotonic() - began)


def _plan_bundles(listing: Listing) -> Iterator[list[SourceFile]]:
    """Cuts the files into units of work, small enough for an even load at the end, large enough to pay."""
    most = min(_BUNDLE_FILES, max(8, math.ceil(len(listing.files) / 64)))
    part: list[SourceFile] = []
    size = 0
    for file in sorted(listing.files, key=source.hash_order):
        if part and (len(part) >= most or size + file.size > _BUNDLE_BYTES):
            yield part
            part, size = [], 0
        part.append(file)
        size += file.size
    if part:
        yield part


def _plan_shards(codes: list[bytearray], sizes: list[int]) -> list[steps.Shard]:
    """Groups consecutive bundles into at least two shards of about equal size."""
    total = min(len(codes), max(2, math.ceil(sum(sizes) / SHARD_BYTES)))
    shards = [steps.Shard(index, total, []) for index in range(total)]
    reached, whole = 0, max(1, sum(sizes))
    for index, size in enumerate(sizes):
        # By the middle of the bundle, so that one large bundle does not drag its neighbours along.
        shard = min(total - 1, (reached + size // 2) * total // whole)
        shards[shard].codes.append((index, bytes(codes[index])))
        reached += size
    return shards


def _check_bad(listing: Listing, refused: list[Refused], settings: IngestSettings) -> None:
    total = len(listing.files) + len(listing.refused)
    if refused and len(refused) > settings.max_bad_fraction * total:
        reasons = Counter(one.reason for one in refused)
        example = refused[0]
        raise InputError(
            f"{source.shown(listing.root)}: {len(refused)} of {total} files cannot be learned from ("
            + ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
            + f"), such as {source.shown(example.path)}: {example.detail}; mend or remove them (`imagemill "
            f"check` lists them), or raise data.max_bad_fraction, now {settings.max_bad_fraction:g}"
        )


def _divide(
    found: _Images, listing: Listing, settings: IngestSettings, ledger: Mapping[str, str] | None
) -> list[str]:
    lost = sorted(set(listing.classes) - {file.label for file in found.files})
    if lost:
        raise InputError(
            f"{source.shown(listing.root)}: no file of class {lost[0]!r} is a readable image; "
            "mend the class folder or remove it"
        )
    group = _grouping(settings)
    items = [
        split.Item(outcome.sha256, file.label, group(file.path), file.split)
        for file, outcome in zip(found.files, found.outcomes, strict=True)
    ]
    splits = split.assign(items, settings.split, listing.ready, ledger)
    empty = [name for name in SPLITS if name not in splits]
    if empty:
        raise InputError(
            f"{source.shown(listing.root)}: its {len(items)} images leave the {empty[0]} split empty; "
            "add images, or change data.split or data.group_pattern"
        )
    return splits


def _grouping(settings: IngestSettings) -> Callable[[str], str | None]:
    if settings.group_pattern is None:
        return lambda path: None
    pattern = re.compile(settings.group_pattern)

    def group(path: str) -> str | None:
        match = pattern.search(path)
        if match is None:
            return None
        return match.group(1) if pattern.groups and match.group(1) is not None else match.group()

    return group


def _write_manifest(found: _Images, splits: list[str], examples: str) -> None:
    rows = sorted(zip(found.files, found.outcomes, splits, strict=True), key=lambda row: row[0].path)
    files.write(
        os.path.join(examples, EXAMPLES_FILE),
        (
            _json_line(
                {
                    "path": source.shown(file.path),
                    "class": file.label,
                    "split": name,
                    "sha256": outcome.sha256,
                    "dhash": f"{outcome.dhash:016x}",
                    "format": outcome.format,
                    "height": outcome.height,
                    "width": outcome.width,
                    "size": file.size,
                }
            )
            for file, outcome, name in rows
        ),
    )


def _write_quarantine(
    listing: Listing,
    refused: list[Refused],
    found: _Images,
    splits: list[str],
    quarantine: str,
    seconds: float,
) -> dict[str, object]:
    labels = [file.label for file in found.files]
    formats = Counter(outcome.format for outcome in found.outcomes)
    summary: dict[str, object] = {
        "classes": sorted(set(labels)),
        "examples": split.counts_by_split(splits, labels),
        "files": len(listing.files) + len(listing.refused),
        "quarantined": dict(sorted(Counter(one.reason for one in refused).items())),
        "ignored": dict(sorted(listing.ignored.items())),
        "empty_classes": [source.shown(folder) for folder in listing.empty_classes],
        "duplicates": len(labels) - len({outcome.sha256 for outcome in found.outcomes}),
        "formats": dict(sorted(formats.items())),
        "bytes": sum(file.size for file in found.files),
        "seconds": round(seconds, 3),
    }
    files.write(
        os.path.join(quarantine, QUARANTINE_FILE),
        (
            _json_line(
                {
                    "path": source.shown(one.path),
                    "reason": one.reason,
                    "detail": one.detail,
                    "size": one.size,
                }
            )
            for one in sorted(refused)
        ),
    )
    files.write(
        os.path.join(quarantine, SUMMARY_FILE), [json.dumps(summary, indent=1, ensure_ascii=False).encode()]
    )
    return summary


_encode = json.JSONEncoder(ensure_ascii=False).encode


def _json_line(row: dict[str, object]) -> bytes:
    return _encode(row).encode() + b"\n"
