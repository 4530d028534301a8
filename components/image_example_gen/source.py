"""Lists the images of a data folder: class folders, or ready splits of class folders.

The rules, which `imagemill check` shows as well:

- `<class>/<image>`: every folder in the data folder is a class; a file at any depth below it belongs to it.
- `train|validation|test/<class>/<image>`: ready splits, when `train` is there, holds folders, and every
  folder beside it is named like a split (`val`, `valid`, `eval` mean validation; case does not matter).
- Ignored: names that begin with a dot, `Thumbs.db`, `desktop.ini`, `Icon\\r`, `__MACOSX`, `@eaDir`, and files
  beside the class folders (a README, a label list).
- Refused, and listed with the reason: what is no regular file (FIFO, socket, device), folders that may not be
  read, links that lead out of the data folder (unless allowed), nowhere or in a circle.
- Every other file counts as an image; its content tells whether it is one.
- A class is named by its folder in Unicode's composed form (NFC), renamed by `class_names` when listed there.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from components.image_example_gen.settings import IngestSettings
from components.image_example_gen.walk import Refused, Walk, shown, walk
from modules.errors import InputError
from modules.features import SPLITS, TEST, TRAIN, VALIDATION

SPLIT_FOLDERS = {
    "train": TRAIN,
    "validation": VALIDATION,
    "val": VALIDATION,
    "valid": VALIDATION,
    "eval": VALIDATION,
    "test": TEST,
}


class SourceFile(NamedTuple):
    """A file that counts as an image.

    `path` is relative to the root, `/` between parts, undecodable bytes as surrogate escapes;
    `split` is None where the division is ours to make.
    """

    path: str
    label: str
    split: str | None
    size: int
    mtime_ns: int


@dataclass
class Listing:
    """What lies in a data folder. `files` are sorted by path, so no order of the disk shows through."""

    root: str
    name: str
    files: list[SourceFile] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    empty_classes: list[str] = field(default_factory=list)
    ready: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """The class names found, sorted."""
        return sorted({file.label for file in self.files})


def list_source(
    root: str, settings: IngestSettings, parts: Sequence[str] = ("",), name: str | None = None
) -> Listing:
    """Lists a data folder without opening a file.

    Args:
      root: the folder that paths are relative to.
      settings: links, class names, vocabulary.
      parts: folders below root that are data folders each (the spans of a window), or "" for root itself.
      name: what the user knows the folder by, for messages.

    Raises:
      InputError: the folder is missing, no folder, empty, without class folders, has one class only, mixes
        spellings of one split or class, has a class name that is no UTF-8, or departs from `classes`.
    """
    listing = Listing(root, shown(name or root))
    steps = walk(root, settings.follow_symlinks)
    ready_parts = []
    for part in parts:
        folders = steps.folders(part)
        ready = _ready_splits(steps, folders, listing)
        ready_parts.append(tuple(split for split in SPLITS if split in ready))
        if ready:
            for split, folder in ready.items():
                _list_classes(listing, steps, steps.folders(folder), split, settings)
        else:
            _list_classes(listing, steps, folders, None, settings)
    if len(set(ready_parts)) > 1:
        raise InputError(f"{listing.name}: some spans hold ready splits and some not; arrange them alike")
    listing.ready = ready_parts[0]
    listing.files.sort()
    listing.refused = sorted(steps.refused)
    listing.ignored = steps.ignored
    _check_classes(listing, settings)
    return listing


def fingerprint(listing: Listing) -> str:
    """A digest that changes when a file is added, removed, renamed, resized or rewritten."""
    digest = hashlib.sha256()
    for file in listing.files:
        digest.update(os.fsencode(f"{file.path}\0{file.size}\0{file.mtime_ns}\n"))
    for refused in listing.refused:
        digest.update(os.fsencode(f"{refused.path}\0{refused.reason}\n"))
    return digest.hexdigest()


def hash_order(file: SourceFile) -> bytes:
    """Sort key for an order in which the classes are mixed and the folder's layout does not show."""
    return hashlib.blake2b(os.fsencode(file.path), digest_size=16).digest()


def _ready_splits(steps: Walk, folders: list[str], listing: Listing) -> dict[str, str]:
    names = {folder: SPLIT_FOLDERS.get(folder.rpartition("/")[2].casefold()) for folder in folders}
    if TRAIN not in names.values() or None in names.values():
        return {}
    ready: dict[str, str] = {}
    for folder, split in names.items():
        assert split is not None  # checked above
        if split in ready:
            raise InputError(
                f"{listing.name}: the folders {ready[split]!r} and {folder!r} both mean {split}; "
                "merge or rename one"
            )
        ready[split] = folder
    # Folders called `train` and `test` that hold images directly are two classes, odd as they are. Looking
    # must leave no trace: the folder is walked again.
    ignored, refused = steps.ignored.copy(), list(steps.refused)
    holds_folders = bool(steps.folders(ready[TRAIN]))
    steps.ignored, steps.refused = ignored, refused
    return ready if holds_folders else {}


def _list_classes(
    listing: Listing, steps: Walk, folders: list[str], split: str | None, settings: IngestSettings
) -> None:
    spelled: dict[str, str] = {}
    for folder in folders:
        name = folder.rpartition("/")[2]
        place = f"{listing.name}/{shown(folder)}"
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError(f"{place}: a class folder's name must be UTF-8; rename the folder") from None
        composed = unicodedata.normalize("NFC", name)
        if composed in spelled:
            raise InputError(
                f"{place}: another folder beside it has the same name in another Unicode form; merge the two"
            )
        spelled[composed] = name
        label = settings.class_names.get(composed, settings.class_names.get(name, composed))
        before = len(listing.files)
        listing.files.extend(SourceFile(path, label, split, *rest) for path, *rest in steps.files(folder))
        if len(listing.files) == before:
            listing.empty_classes.append(folder)


def _check_classes(listing: Listing, settings: IngestSettings) -> None:
    name, classes = listing.name, listing.classes
    if not classes:
        found = "its class folders hold no files" if listing.empty_classes else "it has no class folders"
        raise InputError(f"{name}: {found}; put the images into one folder a class, such as {name}/cat/1.jpg")
    if len(classes) == 1:
        raise InputError(
            f"{name}: only one class, {classes[0]!r}, has files; a classifier needs two class folders or more"
        )
    if listing.ready and not any(file.split == TRAIN for file in listing.files):
        raise InputError(f"{name}: the train folder holds no images; put them into {name}/train/<class>/")
    if settings.classes is not None:
        new = sorted(set(classes) - set(settings.classes))
        gone = sorted(set(settings.classes) - set(classes))
        if new or gone:
            raise InputError(
                f"{name}: the classes differ from data.classes:"
                + (f" new {new}" if new else "")
                + (f" missing {gone}" if gone else "")
                + "; mend the folder, map it with data.class_names, or change data.classes"
            )
