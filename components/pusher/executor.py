"""Pusher's executor: a version appears whole or not at all, and an equal model is not pushed twice.

TFX's own executor copies file by file into the version directory. A run that is killed meanwhile leaves
a version without a model, which a server then tries to load. Here the copy is made beside, under a name
that servers ignore since it is no number, and renamed at the end.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import pathlib
import shutil
import time

from absl import logging
from tfx import types
from tfx.components.pusher import executor
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, proto_utils

_PARTIAL_SUFFIX = ".partial"


class Executor(executor.Executor):
    """Pusher with an atomic push on file systems that can rename directories.

    On object stores, which cannot, `saved_model.pb` is copied last, as TFX does.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, object],
    ) -> None:
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination)
        base = destination.filesystem.base_directory
        if "://" in base:
            super().Do(input_dict, output_dict, exec_properties)
            return
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        model = pathlib.Path(self.GetModelPath(input_dict))
        before = set(pathlib.Path(base).glob("*"))
        version = push(model, pathlib.Path(base))
        pushed.set_int_custom_property("is_new", int(version not in before))
        io_utils.copy_dir(str(model), pushed.uri)
        self._MarkPushed(pushed, pushed_destination=str(version), pushed_version=version.name)
        logging.info("Model %s is served as %s.", model, version)


def push(model: pathlib.Path, base: pathlib.Path) -> pathlib.Path:
    """Makes a SavedModel the newest version below `base`.

    Args:
      model: directory of the SavedModel.
      base: directory of the served model; holds a directory a version, named by seconds since 1970.

    Returns:
      The directory of the version: a new one, or the newest that was there when it holds this very model.
    """
    base.mkdir(parents=True, exist_ok=True)
    for left_over in base.glob(f"*{_PARTIAL_SUFFIX}"):
        shutil.rmtree(left_over)
    versions = sorted(int(entry.name) for entry in base.iterdir() if entry.name.isdecimal())
    if versions and _same_files(model, base / str(versions[-1])):
        return base / str(versions[-1])
    # Two pushes within a second must still be two versions, the later one greater.
    version = base / str(max(int(time.time()), versions[-1] + 1 if versions else 0))
    partial = version.with_name(version.name + _PARTIAL_SUFFIX)
    shutil.copytree(model, partial)
    _sync(partial)
    partial.rename(version)
    return version


def _same_files(left: pathlib.Path, right: pathlib.Path) -> bool:
    def files(directory: pathlib.Path) -> set[pathlib.Path]:
        return {path.relative_to(directory) for path in directory.rglob("*") if path.is_file()}

    return files(left) == files(right) and all(
        filecmp.cmp(left / name, right / name, shallow=False) for name in files(left)
    )


def _sync(directory: pathlib.Path) -> None:
    """Forces the copied bytes to disk: a rename may survive a power cut that file contents do not."""
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file, contextlib.suppress(OSError):
                os.fsync(file.fileno())
