"""Writes docs/configuration.md from the typed models: `make docs`. A test holds the two equal."""

from __future__ import annotations

import pathlib
import typing
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from modules.architectures import registry
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
        parts.append(f"## `{name}`\n\n{_first_line(field.annotation)}\n")
        parts.append(_table(field.annotation, prefix=f"{name}."))
    parts.append(
        "## Options of the networks\n\nKeys of `model` beside those above, by `model.architecture`.\n"
    )
    for name in registry.names():
        architecture = registry.get(name)
        parts.append(f"### `{name}`\n\n{architecture.summary}\n")
        if architecture.options.model_fields:
            parts.append(_table(architecture.options, prefix="model."))
    return "\n".join(parts)


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _table(model: type[BaseModel], prefix: str) -> str:
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |", *_rows(model, prefix)]
    return "\n".join(rows) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            rows += _rows(field.annotation, f"{prefix}{name}.")
        else:
            # A list of sections: its own line, then one a key of its elements.
            element = _element(field.annotation)
            cells = (f"`{prefix}{name}`", _type(field.annotation), _default(field), field.description or "")
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
            if element:
                rows += _rows(element, f"{prefix}{name}[].")
    return rows


def _element(annotation: Any) -> type[BaseModel] | None:
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple and isinstance(arguments[0], type):
        return arguments[0] if issubclass(arguments[0], BaseModel) else None
    return None


def _type(annotation: Any) -> str:
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
