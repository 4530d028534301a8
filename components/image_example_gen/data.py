"""Finds the data that a path means: a folder, an archive, or the latest spans of a path with `{SPAN}`.

As in TFX's ExampleGen, `{SPAN}` and `{VERSION}` stand for whole numbers, `{SPAN:4}` for four digits; the
greatest version of each span counts. Here they name folders, such as `/data/span-{SPAN}/v{VERSION}`.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from components.image_example_gen import archive, files, source
from components.image_example_gen.settings import IngestSettings
from components.image_example_gen.source import Listing
from components.image_example_gen.walk import shown
from modules.errors import InputError

_SPEC = re.compile(r"\{(SPAN|VERSION)(?::(\d+))?\}")


class Resolved(NamedTuple):
    """What a path means: data folders `parts` below `root`, the latest span and its version, else 0."""

    root: str
    parts: tuple[str, ...]
    span: int
    version: int


def resolve(path: str, window: int, newest: int = -1) -> Resolved:
    """Resolves `{SPAN}` and `{VERSION}` against what lies on disk now.

    Args:
      path: the data path.
      window: how many of the latest spans count.
      newest: the newest span that counts; -1 for the latest there is.

    Raises:
      InputError: the path uses the marks wrongly, or nothing on disk matches it.
    """
    path = path.rstrip("/") or path
    names = [match[1] for match in _SPEC.finditer(path)]
    if not names:
        if "{" in path and re.search(r"\{(span|version)", path, re.IGNORECASE):
            raise InputError(
                f"{path}: write the marks as {{SPAN}} and {{VERSION}}, or {{SPAN:4}} for four digits"
            )
        if newest >= 0:
            raise InputError(
                f"span {newest} is asked for, but {shown(path)} holds no {{SPAN}}; mend data.path"
            )
        return Resolved(path, ("",), 0, 0)
    if names.count("SPAN") != 1 or names.count("VERSION") > 1:
        raise InputError(f"{path}: {{SPAN}} must stand once in data.path, and {{VERSION}} at most once")
    components = path.split("/")
    first = next(index for index, one in enumerate(components) if _SPEC.search(one))
    root = "/".join(components[:first]) or ("/" if path.startswith("/") else ".")
    found = _matches(root, components[first:])
    if not found:
        raise InputError(f"{shown(path)}: no folder matches it below {shown(root)}; check data.path")
    latest: dict[int, tuple[int, str]] = {}
    for span, version, part in found:
        latest[span] = max(latest.get(span, (version, part)), (version, part))
    if newest >= 0:
        if newest not in latest:
            there = ", ".join(str(span) for span in sorted(latest)[-5:])
            raise InputError(f"{shown(path)}: there is no span {newest}; the latest are {there}")
        latest = {span: value for span, value in latest.items() if span <= newest}
    spans = sorted(latest)[-window:]
    return Resolved(root, tuple(latest[span][1] for span in spans), spans[-1], max(latest[spans[-1]][0], 0))


def list_data(data: Resolved, settings: IngestSettings, scratch: str) -> Listing:
    """Lists what a path means; an archive is unpacked into `scratch`, which the caller removes.

    Raises:
      InputError: it cannot be used, as `source.list_source` and `archive.unpack` say.
    """
    if not archive.is_archive(data.root):
        return source.list_source(data.root, settings, data.parts)
    if files.is_remote(data.root) or files.is_remote(scratch):
        raise InputError(
            f"{shown(data.root)}: an archive must lie on this machine; unpack it, or copy it here"
        )
    folder, refused = archive.unpack(data.root, os.path.join(scratch, "unpacked"), settings.max_file_bytes)
    listing = source.list_source(folder, settings, name=data.root)
    listing.refused = sorted([*listing.refused, *refused])
    return listing


def check(path: str, settings: IngestSettings) -> None:
    """Tells a mistake in the data path before anything runs; an archive is not opened for that.

    Raises:
      InputError: nothing can be ingested from there.
    """
    fingerprint(resolve(path, settings.spans), settings)


def fingerprint(data: Resolved, settings: IngestSettings) -> str:
    """A digest that changes when the data do; an archive is known by its name, size and time.

    Raises:
      InputError: the data cannot be used, as far as can be told without unpacking.
    """
    if not archive.is_archive(data.root):
        return source.fingerprint(source.list_source(data.root, settings, data.parts))
    try:
        status = os.stat(data.root)
    except OSError as error:
        raise InputError(f"{shown(data.root)}: cannot be read ({error.strerror}); mend data.path") from None
    return f"{os.path.basename(data.root)} {status.st_size} {status.st_mtime_ns}"


def _matches(root: str, components: list[str]) -> list[tuple[int, int, str]]:
    """(span, version or -1, folder relative to root) of every folder that matches the components."""
    found: list[tuple[dict[str, int], str]] = [({}, "")]
    for component in components:
        if not component:
            continue
        pattern = re.compile(_regex(component))
        deeper = []
        for numbers, folder in found:
            for name in _folders(root, folder):
                match = pattern.fullmatch(name)
                if match:
                    read = {key: int(value) for key, value in match.groupdict().items()}
                    deeper.append((numbers | read, f"{folder}/{name}" if folder else name))
        found = deeper
    return [(numbers["SPAN"], numbers.get("VERSION", -1), folder) for numbers, folder in found]


def _regex(component: str) -> str:
    result, end = "", 0
    for match in _SPEC.finditer(component):
        digits = rf"\d{{{match[2]}}}" if match[2] else r"\d+"
        result += re.escape(component[end : match.start()]) + f"(?P<{match[1]}>{digits})"
        end = match.end()
    return result + re.escape(component[end:])


def _folders(root: str, folder: str) -> list[str]:
    place = f"{root}/{folder}" if folder else root
    if files.is_remote(root):
        from apache_beam.io.filesystems import FileSystems

        (match,) = FileSystems.match([f"{place.rstrip('/')}/**"])
        below = (one.path[len(place.rstrip("/")) + 1 :] for one in match.metadata_list)
        return sorted({path.partition("/")[0] for path in below if "/" in path})
    try:
        with os.scandir(place) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []
