"""`imagemill promote` and `rollback`: which version a label means, in a model config file that servers read.

TensorFlow Serving and this project's own server read the file again every while
(`--model_config_file_poll_wait_seconds`), and move a label that is in use only to a version that they have
loaded. So a version is served under a label of its own first, `canary`, and then becomes `stable`; the one
before stays loaded as `previous`, and `rollback` returns to it within one reading of the file. Only labelled
versions are served.
"""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf import text_format

from modules.errors import InputError
from serving import protos
from serving.client import Classifier, ServingError

STABLE, CANARY, PREVIOUS = "stable", "canary", "previous"


class Moved(NamedTuple):
    """What became of a model's labels.

    Attributes:
      model: its name.
      before, after: all labels with their versions.
      announced: a version that servers must load first; the label moves when the same is asked again.
    """

    model: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    announced: int | None = None


def promote(file: pathlib.Path, model: str | None, version: int | None, label: str = STABLE) -> Moved:
    """Moves a label to a version; `stable` by default to the canary's, remembering where it was.

    Args:
      file: the model config file; it is replaced, whole.
      model: its name; None for the only one.
      version: None for the one labelled `canary`.
      label: what is moved.

    Raises:
      InputError: the file, the model or the version is not there.
    """
    message = _read(file)
    config = _model(file, message, model)
    labels = dict(config.version_labels)
    if version is None:
        if label == CANARY or CANARY not in labels:
            raise InputError(f"{file}: say which VERSION of {config.name} {label} shall mean")
        version = labels[CANARY]
    known = _on_disk(config.base_path)
    if known is not None and version not in known:
        raise InputError(f"{config.base_path}: no version {version}; there are {', '.join(map(str, known))}")
    served = {*labels.values(), *config.model_version_policy.specific.versions}
    if label in labels and version not in served:
        return _write(file, message, config, labels, announced=version)
    after = {**labels, label: version}
    if label == STABLE and labels.get(label, version) != version:
        after[PREVIOUS] = labels[label]
    return _write(file, message, config, after)


def rollback(file: pathlib.Path, model: str | None) -> Moved:
    """Moves `stable` back to the version before; a second time, forth again.

    Raises:
      InputError: the file or the model is not there, or nothing was promoted.
    """
    message = _read(file)
    config = _model(file, message, model)
    labels = dict(config.version_labels)
    if not {STABLE, PREVIOUS} <= labels.keys():
        raise InputError(
            f"{file}: nothing was promoted, so there is no version of {config.name} to return to"
        )
    after = {**labels, STABLE: labels[PREVIOUS], PREVIOUS: labels[STABLE]}
    return _write(file, message, config, after)


def keep_config(base_path: pathlib.Path, model: str) -> pathlib.Path:
    """The model config file of a pushed model, `<model>.config` beside its folder; written when missing.

    Raises:
      OSError: it cannot be written.
    """
    file = base_path.with_name(f"{base_path.name}.config")
    if not file.exists():
        message = protos.model_server_config.ModelServerConfig()
        message.model_config_list.config.add(
            name=model, base_path=str(base_path.resolve()), model_platform="tensorflow"
        )
        _replace(file, message)
    return file


def wait(moved: Moved, label: str, server: str, timeout: float) -> None:
    """Returns when a server has done what was asked: loaded what is announced, or moved the label.

    Raises:
      InputError: it did not within `timeout` seconds.
    """
    end = time.monotonic() + timeout
    version = moved.announced or moved.after[label]
    with Classifier(server, moved.model, version_label=None if moved.announced else label) as classifier:
        while True:
            try:
                found = classifier.served_versions()
                problem = f"{server} serves {', '.join(map(str, found)) or 'no version'} there"
            except ServingError as error:
                found, problem = (), str(error)
            if version in found:
                return
            if time.monotonic() >= end:
                raise InputError(
                    f"The file asks for version {version}, but after {timeout:g} s {problem}. See that the "
                    "server reads this file: --model_config_file, --model_config_file_poll_wait_seconds"
                )
            time.sleep(0.2)


def _read(file: pathlib.Path) -> Any:
    message = protos.model_server_config.ModelServerConfig()
    try:
        return text_format.Parse(file.read_text(encoding="utf-8"), message)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, text_format.ParseError) as error:
        raise InputError(f"{file}: this is no model config file: {error}") from None


def _model(file: pathlib.Path, message: Any, name: str | None) -> Any:
    configs = message.model_config_list.config
    names = [config.name for config in configs]
    if name is None and len(names) != 1:
        raise InputError(f"{file} lists {', '.join(names) or 'no model'}: choose one with --model_name")
    if name is not None and name not in names:
        raise InputError(f"{file} lists no model {name!r}; it lists {', '.join(names)}")
    return configs[names.index(name) if name else 0]


def _on_disk(base_path: str) -> list[int] | None:
    """Versions in the folder; None where it is out of reach, as a cluster's volume is."""
    folder = pathlib.Path(base_path)
    if not folder.is_dir():
        return None
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def _write(
    file: pathlib.Path, message: Any, config: Any, labels: dict[str, int], announced: int | None = None
) -> Moved:
    before = dict(config.version_labels)
    config.version_labels.clear()
    config.version_labels.update(labels)
    served = {*labels.values()} | ({announced} if announced else set())
    config.model_version_policy.specific.versions[:] = sorted(served)
    _replace(file, message)
    return Moved(config.name, before, labels, announced)


def _replace(file: pathlib.Path, message: Any) -> None:
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(text_format.MessageToString(message, as_utf8=True), encoding="utf-8")
    partial.replace(file)
