"""Walks a data folder: on this machine with `os.scandir`, in an object store through Beam's file systems.

Both say the same two things: which folders lie directly in a folder, and which files lie below one. What is
passed over and what is refused is noted on the way. Links are followed within the root; one that leads out of
it, nowhere or in a circle is refused, as is what is no regular file.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from components.image_example_gen import files
from modules.errors import InputError

SYSTEM_NAMES = frozenset({"Thumbs.db", "desktop.ini", "Icon\r", "__MACOSX", "@eaDir"})
HIDDEN = "hidden and system files"
BESIDE = "beside the class folders"


class Found(NamedTuple):
    """A file: path relative to the root with `/` between parts, bytes, nanoseconds of its last change."""

    path: str
    size: int
    mtime_ns: int


class Refused(NamedTuple):
    """Something left out. `reason` is a key of `images.REASONS`, `detail` a sentence for a person."""

    path: str
    reason: str
    detail: str
    size: int


class Walk(Protocol):
    """A way to look into a root. Paths are relative to it; "" is the root itself."""

    ignored: Counter[str]
    refused: list[Refused]

    def folders(self, folder: str) -> list[str]:
        """Paths of the folders directly in a folder, sorted.

        Raises:
          InputError: `folder` is missing, cannot be read, or is none.
        """

    def files(self, folder: str) -> Iterator[Found]:
        """Every file below a folder, at any depth."""


def shown(path: str) -> str:
    """A path as text that any terminal, JSON file or tf.Example takes: undecodable bytes become `\\xNN`."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    return path


def walk(root: str, follow: bool) -> Walk:
    """The walk that fits a root. `follow`: whether links may lead out of it."""
    return _RemoteWalk(root) if files.is_remote(root) else _LocalWalk(root, follow)


def _passed_over(name: str) -> bool:
    return name[0] == "." or name in SYSTEM_NAMES


class _LocalWalk:
    def __init__(self, root: str, follow: bool) -> None:
        self.ignored: Counter[str] = Counter()
        self.refused: list[Refused] = []
        self._root = root
        self._real_root = os.path.realpath(root)
        self._follow = follow

    def folders(self, folder: str) -> list[str]:
        place = os.path.join(self._root, folder) if folder else self._root
        try:
            kind = os.stat(place).st_mode
        except FileNotFoundError:
            raise InputError(
                f"{shown(place)}: no such folder; give the folder of images as data.path"
            ) from None
        except OSError as error:
            raise InputError(f"{shown(place)}: cannot be read ({error.strerror}); mend data.path") from None
        if not stat.S_ISDIR(kind):
            raise InputError(f"{shown(place)}: is no folder; data.path must be a folder of class folders")
        try:
            os.scandir(place).close()
        except OSError as error:
            raise InputError(
                f"{shown(place)}: cannot be read ({error.strerror}); check its permissions"
            ) from None
        found = []
        for entry, path in self._entries(folder):
            kind_of_entry = self._kind(entry, path)
            if kind_of_entry == "folder":
                found.append(path)
            elif kind_of_entry == "file":
                self.ignored[BESIDE] += 1
        return sorted(found)

    def files(self, folder: str) -> Iterator[Found]:
        waiting = [folder]  # no recursion, so no depth overflows the stack
        seen: set[tuple[int, int]] = set()
        while waiting:
            for entry, path in self._entries(waiting.pop()):
                try:
                    # The common case first: a plain file costs one stat and no further checks.
                    if entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        yield Found(path, status.st_size, status.st_mtime_ns)
                        continue
                    kind = self._kind(entry, path)
                    if kind is None:
                        continue
                    status = entry.stat()
                    if kind == "file":
                        yield Found(path, status.st_size, status.st_mtime_ns)
                        continue
                    identity = (status.st_dev, status.st_ino)
                    circle = entry.is_symlink() and self._holds(identity, path)
                except OSError as error:
                    self._refuse(path, "unreadable", error.strerror or str(error))
                    continue
                if circle:
                    self._refuse(path, "unreadable", "is a link back to a folder that holds it")
                elif identity in seen:
                    self._refuse(path, "unreadable", "is a link to a folder that was read already")
                else:
                    seen.add(identity)
                    waiting.append(path)

    def _entries(self, folder: str) -> Iterator[tuple[os.DirEntry[str], str]]:
        prefix = folder + "/" if folder else ""
        try:
            with os.scandir(os.path.join(self._root, folder)) as entries:
                for entry in entries:
                    if _passed_over(entry.name):
                        self.ignored[HIDDEN] += 1
                    else:
                        yield entry, prefix + entry.name
        except OSError as error:
            self._refuse(folder, "unreadable", error.strerror or str(error))

    def _kind(self, entry: os.DirEntry[str], path: str) -> str | None:
        """`file`, `folder`, or None when the entry is refused."""
        try:
            if entry.is_symlink():
                target = os.path.realpath(entry.path, strict=True)
                inside = target == self._real_root or target.startswith(self._real_root + os.sep)
                if not inside and not self._follow:
                    self._refuse(path, "outside-root", f"is a link to {shown(target)}")
                    return None
            if entry.is_dir():
                return "folder"
            if entry.is_file():
                return "file"
        except PermissionError as error:
            self._refuse(path, "unreadable", error.strerror or "is not permitted")
        except OSError as error:  # a dangling link, or a circle of links
            self._refuse(path, "unreadable", f"is a link that leads nowhere ({error.strerror})")
        else:
            self._refuse(path, "unreadable", "is neither a file nor a folder")
        return None

    def _holds(self, identity: tuple[int, int], path: str) -> bool:
        """Whether a folder, known by device and inode, is among those above a path."""
        while path:
            path = path.rpartition("/")[0]
            status = os.stat(os.path.join(self._root, path))
            if (status.st_dev, status.st_ino) == identity:
                return True
        return False

    def _refuse(self, path: str, reason: str, detail: str) -> None:
        self.refused.append(Refused(path, reason, detail, 0))


class _RemoteWalk:
    """An object store knows no folders, only names with slashes; one listing answers everything."""

    def __init__(self, root: str) -> None:
        from apache_beam.io.filesystems import FileSystems  # two seconds that local folders do not need

        self.ignored: Counter[str] = Counter()
        self.refused: list[Refused] = []
        self._root = root.rstrip("/")
        (match,) = FileSystems.match([f"{self._root}/**"])
        self._found = []
        for one in match.metadata_list:
            path = one.path[len(self._root) + 1 :]
            if not path or path.endswith("/"):
                continue  # the placeholder that consoles make for an empty folder
            if any(_passed_over(part) for part in path.split("/")):
                self.ignored[HIDDEN] += 1
                continue
            seconds = one.last_updated_in_seconds or 0
            self._found.append(Found(path, one.size_in_bytes, int(seconds * 1_000_000_000)))

    def folders(self, folder: str) -> list[str]:
        prefix = folder + "/" if folder else ""
        below = [one.path[len(prefix) :] for one in self._found if one.path.startswith(prefix)]
        if not below:
            raise InputError(
                f"{self._root}/{folder}: holds no objects; give the folder of images as data.path"
            )
        beside = sum("/" not in path for path in below)
        if beside:
            self.ignored[BESIDE] += beside
        return sorted({prefix + path.partition("/")[0] for path in below if "/" in path})

    def files(self, folder: str) -> Iterator[Found]:
        return (one for one in self._found if one.path.startswith(folder + "/"))
