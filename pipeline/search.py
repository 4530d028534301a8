"""Search spaces in the configuration: taken out of the tree, held against the typed models, put back."""

from __future__ import annotations

import copy
import pathlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from modules.errors import InputError
from modules.settings import ModelSettings
from modules.tuning import record
from modules.tuning.spaces import KINDS, Space, get_at, is_space, set_at

if TYPE_CHECKING:
    from pipeline.config import Config

#: From a tree to a configuration; raises InputError.
Parse = Callable[[dict[str, Any]], "Config"]

# What changes nothing of what is learned, or is set up once for all trials.
_FIXED = ("devices", "cache_memory_mb", "resume", "checkpoint", "tensorboard")


def take(tree: dict[str, Any], path: pathlib.Path, parse: Parse) -> dict[str, Any]:
    """Replaces the search spaces of a configuration by their defaults.

    Args:
      tree: as read from YAML; not changed.
      path: of the configuration file, to which paths are relative.
      parse: validates a tree.

    Returns:
      A tree of plain values, with the spaces as `tune.spaces`; with `tune.use`, without `tune`.

    Raises:
      InputError: for a space that makes no sense, or where none may be.
    """
    tree = copy.deepcopy(tree)
    tune = tree.get("tune")
    try:
        written = dict(_spaces(tree, ""))
        if isinstance(tune, dict):
            written |= tune.pop("spaces", None) or {}
        spaces = {key: _space(key, raw) for key, raw in written.items()}
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(tune, dict):
        if not spaces:
            return tree
        raise InputError(
            f"{path}: {', '.join(spaces)}: a search space without a section tune, which says how to search; "
            "add one."
        )
    defaults = _declared(tree, spaces, parse)
    for key, space in spaces.items():
        default = space.default if space.has_default else defaults.get(key, space.middle())
        spaces[key] = space.model_copy(update={"default": default})
        _place(tree, key, default)
    for name in ("use", "warm_start_from"):
        if isinstance(tune.get(name), str):
            tune[name] = str((path.resolve().parent / pathlib.Path(tune[name]).expanduser()).absolute())
    if tune.get("use") is not None:
        parse(tree)  # the rest of the section may be wrong all the same
        for key, value in record.read(tune["use"]).best.values.items():
            try:
                _place(tree, key, value)
            except (KeyError, IndexError, TypeError):
                raise InputError(
                    f"{path}: tune.use: the earlier search tuned {key}, which is not here."
                ) from None
        del tree["tune"]
        return tree
    if not spaces:
        raise InputError(
            f"{path}: tune: there is nothing to tune; give a key of model, train, augment or "
            "transform.scaling as a search space, such as train.learning_rate: {float: [1e-4, 1e-2], "
            "log: true}."
        )
    tune["spaces"] = {key: space.model_dump(mode="json") for key, space in spaces.items()}
    return tree


def _spaces(tree: Any, way: str) -> Iterator[tuple[str, Any]]:
    """Search spaces below a place of the tree, by dotted key."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, value in items:
        key = f"{way}.{name}" if way else str(name)
        if key == "tune":
            continue
        if is_space(value):
            yield key, value
        elif _is_malformed(value, key):
            raise ValueError(
                f"{key}: a search space is {{float: [lowest, highest]}}, {{int: [lowest, highest]}} or "
                f"{{choice: [one, another]}}, with log, step and default; received {value}."
            )
        else:
            yield from _spaces(value, key)


def _is_malformed(value: Any, key: str) -> bool:
    # A class may be called `int`.
    return isinstance(value, dict) and any(one in value for one in KINDS) and key != "train.class_weights"


def _space(key: str, raw: Any) -> Space:
    section, _, rest = key.partition(".")
    if section not in ("model", "train", "augment") and key != "transform.scaling":
        raise ValueError(f"{key}: only keys of model, train, augment and transform.scaling can be tuned.")
    if section == "train" and rest.split(".")[0] in _FIXED:
        raise ValueError(f"{key}: it changes nothing of what is learned, so it cannot be tuned.")
    try:
        space = Space.model_validate(raw)
    except ValidationError as error:
        reasons = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        raise ValueError(f"{key}: {reasons} (received {raw})") from None
    if any(next(_spaces([value], ""), None) for value in space.values):
        raise ValueError(f"{key}: a search space within a choice is not supported.")
    return space


def _place(tree: Any, key: str, value: Any) -> None:
    """Sets a key, and makes the sections on the way to it."""
    *way, _ = key.split(".")
    here = tree
    for step in way:
        if isinstance(here, dict) and here.get(step) is None:
            here[step] = {}
        here = get_at(here, step)
    set_at(tree, key, value)


def _declared(tree: dict[str, Any], spaces: dict[str, Space], parse: Parse) -> dict[str, Any]:
    """The models' own defaults of keys, where they lie in the spaces."""
    without = copy.deepcopy(tree)
    without.pop("tune", None)
    for key, space in spaces.items():
        parent, _, last = key.rpartition(".")
        if last.isdecimal():
            _place(without, key, space.middle())  # an element of a list has no default
            continue
        try:
            get_at(without, parent).pop(last, None)
        except (KeyError, IndexError, TypeError):
            continue  # a section that is not there
    try:
        config = parse(without)
    except InputError:
        return {}  # told later, with the keys in place
    dumped = config.model_dump(mode="json")
    dumped["model"] |= config.model.options.model_dump(mode="json")
    found = {}
    for key, space in spaces.items():
        try:
            value = get_at(dumped, key)
        except (KeyError, IndexError, TypeError):
            continue
        if space.contains(value):
            found[key] = value
    return found


def check(tree: dict[str, Any], config: Config, path: pathlib.Path, parse: Parse) -> dict[str, Space]:
    """Holds every end and every choice against the typed models, the other keys at their defaults.

    Args:
      tree: from `take`.
      config: parsed from it.
      path: as for `take`.
      parse: validates a tree.

    Returns:
      The spaces with paths made absolute.

    Raises:
      InputError: for a value that the models refuse.
    """
    tune = config.tune
    if config.train.devices == "workers":
        raise InputError(
            f"{path}: tune: trials cannot be spread with train.devices: workers; see docs/tuning.md."
        )
    if tune.epochs is not None and tune.epochs > config.train.epochs:
        raise InputError(
            f"{path}: tune.epochs: {tune.epochs} is more than the training has, train.epochs: "
            f"{config.train.epochs}."
        )
    if tune.warm_start_from is not None:
        record.read(tune.warm_start_from)
    resolved = {}
    for key, space in tune.spaces.items():
        values = []
        for value in space.values:
            tried = copy.deepcopy(tree)
            _place(tried, key, value)
            try:
                model = parse(tried).model.resolve(path.resolve().parent)
            except InputError as error:
                raise InputError(f"{error} [the search space of {key} holds {value!r}]") from None
            option = key.removeprefix("model.")
            values.append((model.model_extra or {}).get(option, value) if key != option else value)
        default = values[space.values.index(space.default)] if space.kind == "choice" else space.default
        resolved[key] = space.model_copy(update={"values": tuple(values), "default": default})
    return resolved


def networks(config: Config) -> Iterator[tuple[str, ModelSettings]]:
    """Every network that a search may begin with, with what to say before its error."""
    yield "", config.model
    for key, space in config.tune.spaces.items() if config.tune else ():
        if not key.startswith("model."):
            continue
        for value in space.values:
            if value != space.default:
                tree = {"model": config.model.model_dump(mode="json")}
                set_at(tree, key, value)
                yield (
                    f"{key}: the search space holds {value!r}: ",
                    ModelSettings.model_validate(tree["model"]),
                )
