"""The one configuration: typed sections composed, read from YAML, and refused with a helpful line."""

from __future__ import annotations

import difflib
import functools
import pathlib
import re
import typing
from collections.abc import Iterable
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from components.data_gate.settings import GateSettings
from components.drift_gate.settings import DriftSettings
from components.evaluator.settings import EvaluateSettings
from components.image_example_gen.settings import IngestSettings
from components.report.settings import ReportSettings
from modules.architectures import registry
from modules.augmentation.settings import Augmentations, check, needs_one_hot
from modules.base_settings import Settings
from modules.errors import InputError
from modules.settings import ModelSettings, PixelSettings, ServeSettings, TransformSettings
from modules.train_settings import TrainSettings
from modules.tuning.settings import TuneSettings
from pipeline import search
from pipeline.beam_settings import BeamSettings
from pipeline.kubeflow_settings import KubeflowSettings


class DataSettings(IngestSettings, PixelSettings):
    """Where the images are, how they are split, and what size they get."""

    path: str | None = Field(
        None,
        description=(
            "Folder of class folders (`<class>/<image>`) or of ready splits "
            "(`train|validation|test/<class>/<image>`), relative to this file. `--data` replaces it."
        ),
    )

    @property
    def ingest(self) -> IngestSettings:
        """The part that `ImageExampleGen` reads."""
        return IngestSettings(**{name: getattr(self, name) for name in IngestSettings.model_fields})

    @property
    def pixels(self) -> PixelSettings:
        """The part that Transform and the trainer read."""
        return PixelSettings(image_size=self.image_size, channels=self.channels)


class PushSettings(Settings):
    """Where a blessed model goes."""

    model_name: str = Field(
        "classifier",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        description="Name under which the model is served; also names the line of models compared.",
    )


class Config(Settings):
    """Everything that a run depends on."""

    data: DataSettings = Field(default_factory=DataSettings)
    gate: GateSettings = Field(default_factory=GateSettings)
    drift: DriftSettings = Field(default_factory=DriftSettings)
    transform: TransformSettings = Field(default_factory=TransformSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    train: TrainSettings = Field(default_factory=TrainSettings)
    augment: Augmentations = Field(
        (), description="Random changes of the training images, in this order; none by default."
    )
    tune: TuneSettings | None = None
    serve: ServeSettings = Field(default_factory=ServeSettings)
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings)
    push: PushSettings = Field(default_factory=PushSettings)
    report: ReportSettings = Field(default_factory=ReportSettings)
    beam: BeamSettings = Field(default_factory=BeamSettings)
    kubeflow: KubeflowSettings = Field(default_factory=KubeflowSettings)

    @model_validator(mode="after")
    def _sections_fit_together(self) -> Config:
        check(self.augment, self.data.channels)
        if self.train.loss == "sparse_categorical_crossentropy" and needs_one_hot(self.augment):
            raise ValueError(
                "train.loss: sparse_categorical_crossentropy takes no mixed labels, which mix_up and cut_mix "
                "make; use categorical_crossentropy or auto"
            )
        return self


def load(path: pathlib.Path, overrides: Iterable[str] = (), data: pathlib.Path | str | None = None) -> Config:
    """Reads a configuration file.

    Args:
      path: YAML file.
      overrides: `section.key=value`, the value in YAML; applied in order.
      data: replaces `data.path`; relative to the working directory, unlike the path in the file.

    Raises:
      InputError: for a missing or malformed file, an unknown key, a value that does not fit.
    """
    tree = _read_yaml(path)
    for override in overrides:
        _override(tree, override)
    if data is not None:
        tree.setdefault("data", {})["path"] = _absolute(str(data), pathlib.Path.cwd())
    folder = path.resolve().parent
    parse = functools.partial(_parse, source=str(path))
    tree = search.take(tree, path, parse)
    config = parse(tree)
    # Paths in the file are relative to the file, so that a project folder can be moved and called from
    # anywhere; from here on every path is absolute.
    changes: dict[str, Any] = {}
    if config.data.path:
        changes["data"] = config.data.model_copy(update={"path": _absolute(config.data.path, folder)})
    if config.gate.schema_file:
        schema = _absolute(config.gate.schema_file, folder)
        read_schema(pathlib.Path(schema))
        changes["gate"] = config.gate.model_copy(update={"schema_file": schema})
    changes["model"] = config.model.resolve(folder)
    if config.tune is not None:
        spaces = search.check(tree, config, path, parse)
        changes["tune"] = config.tune.model_copy(update={"spaces": spaces})
    return config.model_copy(update=changes)


def read_schema(path: pathlib.Path) -> Any:
    """Reads a schema in text format.

    Raises:
      InputError: when there is none, naming line and column where it is malformed.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), schema_pb2.Schema())
    except FileNotFoundError:
        raise InputError(f"gate.schema_file: there is no file {path}.") from None
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise InputError(f"gate.schema_file: {path} is no schema in text format: {error}.") from error


def _absolute(path: str, folder: pathlib.Path) -> str:
    return path if "://" in path else str((folder / pathlib.Path(path).expanduser()).absolute())


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read_yaml(path: pathlib.Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"There is no configuration file {path}. See configs/ for examples.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a configuration: {error}.") from error
    try:
        tree = yaml.load(text, _StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{path}{where}: not valid YAML: {getattr(error, 'problem', error)}.") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(
            f"{path}: a configuration is a mapping of sections; received a {type(tree).__name__}."
        )
    return tree


def _override(tree: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not re.fullmatch(r"\w+(\.\w+)*", key):
        raise InputError(f"--set {override}: expected section.key=value, such as train.epochs=5.")
    *sections, last = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise InputError(f"--set {override}: {section!r} is a value, not a section.")
    try:
        tree[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {override}: the value is not valid YAML.") from error
    if isinstance(tree[last], str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", tree[last]):
        tree[last] = float(tree[last])  # YAML 1.1 reads 1e-3 as text; everybody means the number.


def _parse(tree: dict[str, Any], source: str) -> Config:
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        faults = [f"{source}: {_explain(fault, tree)}" for fault in error.errors()]
        raise InputError("\n".join(faults)) from None


def _explain(error: dict[str, Any], tree: dict[str, Any]) -> str:
    """One line for one fault: the key, what was wrong, what was received, what to do."""
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        known = _keys(location[:-1])
        if location[0] == "model":
            known += registry.get(tree["model"]["architecture"]).options.model_fields
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        return f"{key}: unknown key; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    received = error.get("input")
    shown = "" if isinstance(received, dict | BaseModel) else f" (received {received!r})"
    return f"{key or 'configuration'}: {message}{shown}"


def _keys(location: list[str]) -> list[str]:
    """Known keys of the section at that place in the configuration."""
    section: Any = Config
    for part in location:
        field = section.model_fields.get(part)
        # A section that may be left out is a union with none.
        kinds = (field.annotation, *typing.get_args(field.annotation)) if field else ()
        section = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
        if section is None:
            return []
    return list(section.model_fields)
