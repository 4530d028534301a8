"""Unpacks a `.zip` or `.tar` of class folders into a folder, and never writes outside it.

Only plain files are taken. Links, devices, and names that lead out (absolute, with `..`) are refused and
listed; files above the size limit are not unpacked; what a member claims of its size is not believed.
"""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, NamedTuple, cast

from components.image_example_gen.walk import Refused, shown
from modules.errors import InputError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_CHUNK = 1 << 20


class Unpacked(NamedTuple):
    """Where the data folder lies now, and what was left in the archive."""

    folder: str
    refused: list[Refused]


class _Member(NamedTuple):
    name: str
    plain: bool
    size: int
    open: Callable[[], IO[bytes]]


def is_archive(path: str) -> bool:
    """Whether a path names an archive, by its suffix."""
    return path.lower().endswith(SUFFIXES)


def unpack(path: str, target: str, max_file_bytes: int) -> Unpacked:
    """Unpacks an archive.

    Args:
      path: the archive, on this machine.
      target: a folder, made if missing; nothing is written outside it.
      max_file_bytes: larger members are refused.

    Raises:
      InputError: it is missing, damaged, encrypted, or larger than the free space.
    """
    refused: list[Refused] = []
    os.makedirs(target, exist_ok=True)
    try:
        members = _zip_members(path) if path.lower().endswith(".zip") else _tar_members(path)
        for member in members:
            reason = _unpack_member(member, target, max_file_bytes)
            if reason:
                refused.append(Refused(member.name, *reason, member.size))
    except FileNotFoundError:
        raise InputError(f"{shown(path)}: no such archive; mend data.path") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        first_line = str(error).partition("\n")[0]
        raise InputError(f"{shown(path)}: is damaged or no archive ({first_line}); make it anew") from None
    except RuntimeError as error:  # zipfile's word for a password that is asked for
        raise InputError(f"{shown(path)}: cannot be unpacked ({error}); make it without a password") from None
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be unpacked ({error.strerror or error})") from None
    inside = [entry for entry in os.scandir(target) if not entry.name.startswith((".", "__MACOSX"))]
    # An archive of one folder is as often made of the folder itself as of its contents.
    if (
        len(inside) == 1
        and inside[0].is_dir()
        and any(entry.is_dir() for entry in os.scandir(inside[0].path))
    ):
        return Unpacked(inside[0].path, refused)
    return Unpacked(target, refused)


def _zip_members(path: str) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            plain = not mode or stat.S_IFMT(mode) in (0, stat.S_IFREG)
            if not info.is_dir():
                yield _Member(info.filename, plain, info.file_size, partial(archive.open, info))


def _tar_members(path: str) -> Iterator[_Member]:
    with tarfile.open(path, "r:*") as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # or it would keep every header
            if not info.isdir():
                # A plain file always has contents; others are never opened.
                contents = cast(Callable[[], IO[bytes]], partial(archive.extractfile, info))
                yield _Member(info.name, info.isreg(), info.size, contents)
        # tarfile takes a damaged header for the end and says nothing; the real end is a block of zeros.
        assert archive.fileobj is not None  # open for reading
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends early")


def _unpack_member(member: _Member, target: str, max_file_bytes: int) -> tuple[str, str] | None:
    """Writes one file; returns reason and detail where it is refused."""
    parts = [part for part in member.name.replace("\\", "/").split("/") if part not in ("", ".")]
    if member.name.startswith(("/", "\\")) or ".." in parts or not parts or ":" in parts[0]:
        return "outside-root", "its name leads out of the archive"
    if not member.plain:
        return "unreadable", "is a link or a device, not a file"
    if member.size > max_file_bytes:
        return "too-large", f"{member.size} bytes, data.max_file_bytes is {max_file_bytes}"
    place = os.path.join(target, *parts)
    if member.size > shutil.disk_usage(target).free:
        raise OSError(None, f"needs more space than {shown(target)} has")
    try:
        os.makedirs(os.path.dirname(place), exist_ok=True)
        # Exclusive: a second member of the same name never overwrites, and no link is ever written through.
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except (OSError, ValueError) as error:
        return "unreadable", f"its name cannot be used ({getattr(error, 'strerror', None) or error})"
    with open(descriptor, "wb") as written, member.open() as stream:
        left = member.size
        while chunk := stream.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            written.write(chunk)
    if left:
        os.unlink(place)
        return "corrupt", "is not as large as the archive says"
    return None
