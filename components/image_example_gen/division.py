"""Decides what becomes of every inspected image: its split, or the quarantine; by the settings' policies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from components.image_example_gen import duplicates, split
from components.image_example_gen.bundles import Accepted
from components.image_example_gen.duplicates import Clash
from components.image_example_gen.settings import IngestSettings, Policy
from components.image_example_gen.source import Listing, SourceFile
from components.image_example_gen.walk import Refused, shown
from modules.errors import InputError
from modules.features import SPLITS

OTHER_LABEL = "duplicate-with-other-label"
OTHER_SPLIT = "duplicate-in-other-split"
NEAR = "near-duplicate-in-other-split"


@dataclass(slots=True)
class Image:
    """An image that can be learned from, and the split it goes to: None when it is left out after all."""

    file: SourceFile
    found: Accepted
    bundle: int
    split: str | None = None


@dataclass
class Divided:
    """What came of the division.

    Attributes:
      images: with their splits.
      refused: what was left out, for whatever reason.
      listed: clashes that were found, and what was done: rows for `duplicates.jsonl`.
    """

    images: list[Image]
    refused: list[Refused]
    listed: list[dict[str, object]] = field(default_factory=list)


def divide(
    images: list[Image],
    listing: Listing,
    refused: Sequence[Refused],
    settings: IngestSettings,
    ledger: Mapping[str, str] | None,
) -> Divided:
    """Assigns splits in place, and leaves out what the policies drop.

    Raises:
      InputError: too many files are bad, a class or split would be empty, or a policy says `fail`.
    """
    divided = Divided(images, list(refused))
    policies = settings.duplicates
    kept = _apply(
        divided,
        images,
        duplicates.label_clashes(_digests(images), [image.file.label for image in images]),
        OTHER_LABEL,
        policies.other_label,
        listing.name,
        lambda image, other: f"stands under {other.file.label!r} as well: {shown(other.file.path)}",
    )
    _check_bad(divided.refused, listing, settings)
    _check_classes(kept, listing)
    if listing.ready:
        kept = _apply(
            divided,
            kept,
            duplicates.split_clashes(_digests(kept), [image.file.split or "" for image in kept]),
            OTHER_SPLIT,
            policies.other_split,
            listing.name,
            lambda image, other: f"stands in {other.file.split} as well: {shown(other.file.path)}",
        )
    group = grouping(settings.group_pattern)
    items = [
        split.Item(image.found.sha256, image.file.label, group(image.file.path), image.file.split)
        for image in kept
    ]
    for image, name in zip(kept, split.assign(items, settings.split, listing.ready, ledger), strict=True):
        image.split = name
    _apply(
        divided,
        kept,
        duplicates.near_clashes(
            [image.found.dhash for image in kept],
            [image.found.thumbnail.encode("latin-1") for image in kept],
            [image.split or "" for image in kept],
            policies.near_distance,
        ),
        NEAR,
        policies.near,
        listing.name,
        lambda image, other: f"resembles {shown(other.file.path)} in {other.split}",
    )
    _check_splits(divided.images, listing)
    return divided


def grouping(pattern: str | None) -> Callable[[str], str | None]:
    """A function from a path to the name of its group, or None where it has none."""
    if pattern is None:
        return lambda path: None
    compiled = re.compile(pattern)

    def group(path: str) -> str | None:
        match = compiled.search(path)
        if match is None:
            return None
        return match[1] if compiled.groups and match[1] is not None else match[0]

    return group


def _digests(images: Sequence[Image]) -> list[str]:
    return [image.found.sha256 for image in images]


def _apply(
    divided: Divided,
    images: list[Image],
    clashes: Sequence[Clash],
    reason: str,
    policy: Policy,
    name: str,
    detail: Callable[[Image, Image], str],
) -> list[Image]:
    """Lists clashes, and drops or fails by policy; returns the images that stay."""
    if not clashes:
        return images
    if policy == "fail":
        first = images[clashes[0].index]
        raise InputError(
            f"{name}: {len(clashes)} images are a {reason}, such as {shown(first.file.path)}: it "
            f"{detail(first, images[clashes[0].other])}; remove them, or set the policy in data.duplicates "
            "to drop or warn"
        )
    dropped = set()
    for clash in clashes:
        image, other = images[clash.index], images[clash.other]
        text = detail(image, other)
        divided.listed.append(
            {
                "path": shown(image.file.path),
                "other": shown(other.file.path),
                "reason": reason,
                "distance": clash.distance,
                "action": policy,
            }
        )
        if policy == "drop":
            dropped.add(clash.index)
            divided.refused.append(Refused(image.file.path, reason, text, image.file.size))
    for index in dropped:
        images[index].split = None
    return [image for index, image in enumerate(images) if index not in dropped]


def _check_bad(refused: list[Refused], listing: Listing, settings: IngestSettings) -> None:
    total = len(listing.files) + len(listing.refused)
    if len(refused) > settings.max_bad_fraction * total:
        reasons = Counter(one.reason for one in refused)
        example = min(refused)
        raise InputError(
            f"{listing.name}: {len(refused)} of {total} files cannot be learned from ("
            + ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
            + f"), such as {shown(example.path)}: {example.detail}; mend or remove them (`imagemill check` "
            f"lists them), or raise data.max_bad_fraction, now {settings.max_bad_fraction:g}"
        )


def _check_classes(images: list[Image], listing: Listing) -> None:
    lost = sorted(set(listing.classes) - {image.file.label for image in images})
    if lost:
        raise InputError(
            f"{listing.name}: no file of class {lost[0]!r} can be learned from; mend the class folder "
            "(`imagemill check` lists its files) or remove it"
        )


def _check_splits(images: list[Image], listing: Listing) -> None:
    filled = Counter(image.split for image in images)
    empty = [name for name in SPLITS if not filled[name]]
    if empty:
        raise InputError(
            f"{listing.name}: its {sum(filled.values()) - filled[None]} images leave the {empty[0]} split "
            "empty; add images, or change data.split, data.group_pattern or data.duplicates"
        )
