"""Writes docs/configuration.md from the typed models: `make docs`. A test holds the two equal."""

from __future__ import annotations

import pathlib
import typing
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from modules.architectures import registry
from modules.augmentation import settings
from modules.augmentation.steps import Step
from pipeline.config import Config

TARGET = pathlib.Path(__file__).with_name("configuration.md")

_INTRODUCTION = """\
# Configuration

One YAML file describes an experiment; `configs/` has examples. Every key has a default, an unknown key is
refused, and `--set section.key=value` replaces a value for one run. Paths are relative to the file.

This page is generated from the typed models by `make docs`.
"""


def text() -> str:
    """The page."""
    parts = [_INTRODUCTION]
    for name, field in Config.model_fields.items():
        if name == "augment":
            parts.append(_augmentations())
            continue
        section = _section(field.annotation)
        parts.append(f"## `{name}`\n\n{_first_line(section)}\n")
        parts.append(_table(section, prefix=f"{name}."))
    parts.append(
        "## Options of the networks\n\nKeys of `model` beside those above. These go with every network:\n"
    )
    parts.append(_table(registry.NetworkOptions, prefix="model."))
    for name in registry.names():
        architecture = registry.get(name)
        parts.append(f"### `{name}`\n\n{architecture.summary}\n")
        own = set(architecture.options.model_fields) - set(registry.NetworkOptions.model_fields)
        if own:
            parts.append(_table(architecture.options, prefix="model.", only=own))
    return "\n".join(parts)


def _augmentations() -> str:
    parts = [
        "## `augment`\n",
        "What happens to the images of the training split at random, in this order: a list of names, or of",
        "`name: {option: value}`. The groups `one_of` and `sequence` take a list as `steps`.",
        "`imagemill preview` draws what a list does. Off in validation, evaluation and serving.\n",
    ]
    for name, summary, options in settings.describe():
        parts += [f"### `{name}`\n", f"{summary}\n", _table(options, prefix="")]
    return "\n".join(parts)


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _table(model: type[BaseModel], prefix: str, only: set[str] | None = None) -> str:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |", *_rows(model, prefix, only)]
    return "\n".join(rows) + "\n"


def _rows(model: type[BaseModel], prefix: str, only: set[str] | None = None) -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        if only is not None and name not in only:
            continue
        section = _section(field.annotation)
        if section is not None:
            rows += _rows(section, f"{prefix}{name}.")
        else:
            # A list of sections: its own line, then one a key of its elements.
            element = _element(field.annotation)
            cells = (f"`{prefix}{name}`", _type(field.annotation), _default(field), field.description or "")
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
            if element:
                rows += _rows(element, f"{prefix}{name}[].")
    return rows


def _section(annotation: Any) -> type[BaseModel] | None:
    """The settings class of a section, also of one that may be left out."""
    if typing.get_origin(annotation) is dict:
        return None
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel) and candidate is not Step:
            return candidate
    return None


def _element(annotation: Any) -> type[BaseModel] | None:
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple and isinstance(arguments[0], type):
        return arguments[0] if issubclass(arguments[0], BaseModel) else None
    return None


def _type(annotation: Any) -> str:
    if annotation is Step:
        return "augmentation"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if annotation is Any:
        return "anything"
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin in (list, tuple):
        inner = [_type(argument) for argument in arguments if argument is not Ellipsis]
        return f"list of {inner[0]}" if origin is list or Ellipsis in arguments else f"[{', '.join(inner)}]"
    if origin is dict:
        return f"{_type(arguments[0])}: {_type(arguments[1])}"
    if arguments:
        return " or ".join(_type(argument) for argument in arguments)
    return {type(None): "none", str: "text", int: "integer", float: "number", bool: "yes/no"}.get(
        annotation, getattr(annotation, "__name__", str(annotation))
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(needed)"
    value = field.get_default(call_default_factory=True)
    if value is None or value == "":
        return ""
    if isinstance(value, tuple):
        value = [
            one.model_dump(exclude_defaults=True) if isinstance(one, BaseModel) else one for one in value
        ]
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
