"""The life of versions: found on disk, loaded, warmed up, served, and let go when a newer one stands.

A version directory is looked at once its `saved_model.pb` is there, which careful copiers write last. A
version that fails to load, because it is broken or still being copied, leaves the one before it serving; it
is tried again when its files change, and a few times besides. A version is let go only when its
successor serves, and its session closes when its last request is answered.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

from serving.loader import Servable
from serving.model_config import ModelConfig
from serving.request_log import LoggingOptions
from serving.status import StatusCode, StatusError, fail

log = logging.getLogger(__name__)

Event = dict[str, Any]
MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_MAX_VERSION = 2**63 - 1


class State(IntEnum):
    """As in `ModelVersionStatus.State`."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass
class Version:
    """One version of a model, from the moment it is chosen to be served."""

    number: int
    path: Path
    state: State = State.START
    code: StatusCode = StatusCode.OK
    message: str = ""
    servable: Servable | None = None
    leases: int = 0
    attempts: int = 0
    retry_at: float = 0.0
    fingerprint: int = 0


@dataclass
class Model:
    """One configured model and its versions, past ones included, by number."""

    config: ModelConfig
    versions: dict[int, Version] = field(default_factory=dict)
    tried: bool = False  # whether a first version was loaded or failed
    removed: bool = False  # no longer configured; its versions are let go and remembered

    def available(self) -> list[int]:
        """Versions that serve, lowest first."""
        return sorted(n for n, version in self.versions.items() if version.state is State.AVAILABLE)


@dataclass(frozen=True)
class LifeCycleOptions:
    """When to look and how often to try.

    Attributes:
      poll_seconds: between looks at the folders; 0 looks once at the start, below 0 never.
      max_load_retries: tries after the first, of a version whose files do not change.
      retry_seconds: between such tries.
      allow_labels_for_unavailable: accept labels of versions that do not serve.
    """

    poll_seconds: float = 1.0
    max_load_retries: int = 5
    retry_seconds: float = 60.0
    allow_labels_for_unavailable: bool = False


class VersionManager:
    """Keeps the configured models' versions as their policies ask, in a thread of its own.

    Args:
      load: loads and warms up one version; its `StatusError` is the version's end.
      options: timing.
      on_event: told of every version that serves, fails or goes, from the manager's thread.
    """

    def __init__(
        self,
        load: Callable[[str, int, Path], Servable],
        options: LifeCycleOptions,
        on_event: Callable[[Event], None],
    ):
        self._load = load
        self._options = options
        self._on_event = on_event
        self._models: dict[str, Model] = {}
        self._lock = threading.Lock()  # guards the models and their versions
        self._polling = threading.Lock()  # one look at the folders at a time
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="versions", daemon=True)

    def start(self, configs: tuple[ModelConfig, ...]) -> None:
        """Takes on the first models; raises `StatusError` for labels as `reload` does."""
        self._adopt(configs)

    def begin(self) -> None:
        """Begins to look for versions and to load them."""
        self._thread.start()

    def reload(self, configs: tuple[ModelConfig, ...]) -> None:
        """Takes on a new configuration, and returns when the models new in it serve.

        Raises `StatusError` and changes nothing: FAILED_PRECONDITION for a label of a version that does not
        serve; or UNKNOWN, when the configuration is taken on but a new model cannot be loaded.
        """
        known = {name for name, model in self.models().items() if not model.removed}
        self._adopt(configs)
        self.poll()
        new = [model for model in self.models().values() if model.config.name not in known]
        waiting = [model.config.name for model in new if not model.removed and not model.available()]
        if waiting:
            names = ", ".join(f"{{name: {name} version: 0}}" for name in waiting)
            fail(StatusCode.UNKNOWN, f"Some models did not become available: {{{names}, }}")

    def _adopt(self, configs: tuple[ModelConfig, ...]) -> None:
        with self._lock:
            for config in configs:
                self._check_labels(config)
            names = {config.name for config in configs}
            for name, model in self._models.items():
                model.removed = name not in names
            for config in configs:
                self._models.setdefault(config.name, Model(config)).config = config

    def _check_labels(self, config: ModelConfig) -> None:
        """A label moves only to a version that serves; a new one may be allowed to come before it."""
        model = self._models.get(config.name)
        available = model.available() if model else []
        current = model.config.labels if model and not model.removed else {}
        for label, number in config.labels.items():
            is_moved = current.get(label, number) != number
            ahead = self._options.allow_labels_for_unavailable and not is_moved
            if number not in available and not ahead:
                fail(
                    StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {number} of model {config.name}, "
                    "which is not currently available for inference",
                )

    def close(self) -> None:
        """Stops looking, and closes every version whose requests are answered."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            models = list(self._models.values())
        for model in models:
            for version in list(model.versions.values()):
                self._retire(model, version)

    def _run(self) -> None:
        self.poll()
        while self._options.poll_seconds > 0 and not self._stop.wait(self._options.poll_seconds):
            self.poll()

    def poll(self) -> None:
        """One look at every model's folder, and what follows from it; returns when that is done."""
        with self._polling:
            with self._lock:
                models = list(self._models.values())
            for model in models:
                if self._stop.is_set():
                    return
                try:
                    self._look(model)
                except OSError as error:  # a folder out of reach for a while takes no model out of service
                    log.error("model %s: its folder cannot be read: %s", model.config.name, error)

    def _look(self, model: Model) -> None:
        found = {} if model.removed else find_versions(model.config.base_path)
        aspired = model.config.policy.choose(list(found))
        for number in aspired:
            version = model.versions.get(number)
            if version is None or version.state is State.END:
                if self._stop.is_set():
                    return
                self._bring_up(model, number, found[number])
        serving = model.available()
        if any(number in aspired for number in serving) or not aspired:
            for number in serving:
                if number not in aspired:
                    self._retire(model, model.versions[number])

    def _bring_up(self, model: Model, number: int, path: Path) -> None:
        mark = fingerprint(path)
        with self._lock:
            version = model.versions.setdefault(number, Version(number, path))
            if version.fingerprint != mark:
                version.attempts = 0
            elif version.attempts > self._options.max_load_retries or time.monotonic() < version.retry_at:
                return
            version.fingerprint, version.state = mark, State.LOADING
            version.attempts += 1
        name = model.config.name
        try:
            servable = self._load(name, number, path)
        except Exception as error:
            if not isinstance(error, StatusError):
                log.exception("model %s version %d: loading failed", name, number)
                error = StatusError(StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
            with self._lock:
                version.state, version.code, version.message = State.END, error.code, error.message
                version.retry_at = time.monotonic() + self._options.retry_seconds
                model.tried = True
            line = " ".join(error.message.split())
            log.error("model %s version %d cannot be served: %s", name, number, line)
            self._on_event({"event": "load_failed", "model": name, "version": number, "error": line})
            return
        with self._lock:
            version.servable, version.state = servable, State.AVAILABLE
            version.code, version.message, version.attempts = StatusCode.OK, "", 0
            model.tried = True
        self._on_event({"event": "loaded", "model": name, "version": number})

    def _retire(self, model: Model, version: Version) -> None:
        with self._lock:
            if version.state is not State.AVAILABLE:
                return
            version.state = State.UNLOADING
            idle = version.leases == 0
        if idle:
            self._unload(model.config.name, version)

    def _unload(self, name: str, version: Version) -> None:
        with self._lock:
            servable, version.servable = version.servable, None
            version.state = State.END
            version.fingerprint = 0  # should it be wanted again, it is loaded again
        if servable is not None:
            servable.close()
            self._on_event({"event": "unloaded", "model": name, "version": version.number})

    @contextmanager
    def lease(self, spec: Any) -> Iterator[Servable]:
        """The servable that a `ModelSpec` asks for, kept alive while its request is answered.

        Raises `StatusError`: INVALID_ARGUMENT without a name, NOT_FOUND when it is not served, UNAVAILABLE
        while the server loads the model for the first time.
        """
        with self._lock:
            model, version = self._find(spec)
            version.leases += 1
            servable = version.servable
        assert servable is not None
        try:
            yield servable
        finally:
            with self._lock:
                version.leases -= 1
                last = version.leases == 0 and version.state is State.UNLOADING
            if last:
                self._unload(model.config.name, version)

    def version_of(self, spec: Any) -> int | None:
        """The version number that a `ModelSpec` asks for, by itself or by its label; None for the latest."""
        match spec.WhichOneof("version_choice"):
            case "version":
                return spec.version.value
            case "version_label":
                model = self._models.get(spec.name)
                labels = model.config.labels if model and not model.removed else {}
                if spec.version_label not in labels:
                    label = spec.version_label
                    fail(StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
                return labels[spec.version_label]
        return None

    def _find(self, spec: Any) -> tuple[Model, Version]:
        if not spec.name:
            fail(StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        model = self._models.get(spec.name)
        number = self.version_of(spec)
        if model is not None:
            available = model.available()
            if number is None and available:
                return model, model.versions[available[-1]]
            if number in available:
                return model, model.versions[number]
            if not model.tried and not model.removed and _has_versions(model.config.base_path):
                # The real server does not listen before its first models are loaded.
                fail(StatusCode.UNAVAILABLE, f"model {spec.name} is being loaded")
        asked = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
        return fail(StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")

    def statuses(self, name: str, number: int | None = None) -> list[Version]:
        """The versions of a model that this server has met, newest first, or just the given one."""
        with self._lock:
            model = self._models.get(name)
            versions = dict(model.versions) if model else {}
        if number is not None:
            return [versions[number]] if number in versions else []
        return [versions[key] for key in sorted(versions, reverse=True)]

    def models(self) -> dict[str, Model]:
        with self._lock:
            return dict(self._models)

    def is_configured(self, name: str) -> bool:
        return name in self._models

    def logging_of(self, name: str) -> LoggingOptions | None:
        model = self._models.get(name)
        return model.config.logging if model else None

    def is_ready(self) -> bool:
        """Whether every configured model serves a version."""
        with self._lock:
            models = [model for model in self._models.values() if not model.removed]
            return bool(models) and all(model.available() for model in models)


def find_versions(base_path: Path) -> dict[int, Path]:
    """Version folders that hold a SavedModel, by their number. Names that are no number are passed over.

    Raises `OSError` when the folder cannot be read.
    """
    found: dict[int, Path] = {}
    for child in base_path.iterdir():
        is_number = child.name.isascii() and child.name.isdigit() and int(child.name) <= _MAX_VERSION
        if is_number and any((child / name).is_file() for name in MODEL_FILES):
            found[int(child.name)] = child
    return found


def _has_versions(base_path: Path) -> bool:
    try:
        return bool(find_versions(base_path))
    except OSError:
        return False


def fingerprint(path: Path) -> int:
    """Changes whenever a file under the folder comes, goes, grows or is written anew."""
    marks = []
    for file in path.rglob("*"):
        try:
            stat = file.stat()
        except OSError:
            continue
        marks.append((str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns))
    return hash(tuple(sorted(marks))) or 1
