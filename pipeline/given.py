"""What a person names on the command line, as images: files, folders, patterns, and standard input."""

from __future__ import annotations

import glob
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from components.image_example_gen.walk import shown, walk
from modules.errors import InputError

STDIN = "-"
_IMAGE_MARKS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF87a", b"GIF89a", b"RIFF")


class Given(NamedTuple):
    """An image as the client takes it, and what messages call it."""

    name: str
    image: str | bytes


def images(arguments: Iterable[str], stdin: BinaryIO | None = None) -> Iterator[Given]:
    """The images that arguments stand for, in their order; those of a folder or pattern by name.

    Args:
      arguments: files, folders (searched at any depth, hidden and system files left out), patterns such as
        `photos/**/*.jpg`, and `-` for standard input: an image, or a path a line.
      stdin: in the place of standard input.

    Raises:
      InputError: a pattern matches nothing, or a folder has no files.
    """
    for argument in arguments:
        if argument == STDIN:
            yield from _from_stdin(stdin or sys.stdin.buffer)
        elif pathlib.Path(argument).is_dir():
            yield from _in_folder(argument)
        elif glob.has_magic(argument) and not pathlib.Path(argument).exists():
            yield from _matching(argument)
        else:  # whether the file is there, the client tells as of any other fault of an image
            yield _path(argument)


def _in_folder(folder: str) -> Iterator[Given]:
    found = sorted(file.path for file in walk(folder, follow=True).files(""))
    if not found:
        raise InputError(f"{folder}: no files in this folder")
    for path in found:
        yield _path(str(pathlib.Path(folder, path)))


def _matching(pattern: str) -> Iterator[Given]:
    found = sorted(path for path in glob.iglob(pattern, recursive=True) if not pathlib.Path(path).is_dir())
    if not found:
        raise InputError(f"{pattern}: no file matches this pattern")
    for path in found:
        yield _path(path)


def _from_stdin(stdin: BinaryIO) -> Iterator[Given]:
    start = stdin.peek(16)[:16]  # type: ignore[attr-defined]  # both are buffered readers
    # A bitmap begins with two letters that a path may begin with, too; its size follows, with zeros in it.
    if start.startswith(_IMAGE_MARKS) or (start.startswith(b"BM") and b"\0" in start):
        yield Given(STDIN, stdin.read())
        return
    for line in stdin:
        if path := line.rstrip(b"\r\n").decode(errors="surrogateescape"):
            yield _path(path)


def _path(path: str) -> Given:
    return Given(shown(path), path)
