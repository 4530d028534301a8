"""Networks by name: a file in this folder registers its networks, and nothing else has to change.

A network is a function of its options, the input shape and the head::

    @register("mnist_cnn", options=Options)
    def mnist_cnn(options: Options, input_shape: tuple[int, int, int], head: list) -> "keras.Model":

`input_shape` is (height, width, channels); the input is float, already scaled. `head` is the list of
layers that ends the network: it turns features of shape (batch, n) into logits of shape (batch, units).

Importing this folder must not import Keras, since the configuration is checked against the registered
names and options in a tenth of a second: a network's file imports Keras inside its functions.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modules.base_settings import Settings

if TYPE_CHECKING:
    import keras


class NoOptions(Settings):
    """For networks without options."""


@dataclass(frozen=True)
class Architecture:
    """A registered network."""

    name: str
    options: type[Settings]
    build: Callable[..., keras.Model]
    #: The first line of the network's docstring.
    summary: str


_registered: dict[str, Architecture] = {}


def register(name: str, options: type[Settings] = NoOptions) -> Callable:
    """Decorator that makes a network known by `name`."""

    def decorate(build: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
        if name in _registered:
            raise ValueError(
                f"Two networks are registered as {name!r}: {_registered[name].build} and {build}"
            )
        summary = (build.__doc__ or "").strip().splitlines()[0]
        _registered[name] = Architecture(name, options, build, summary)
        return build

    return decorate


@functools.cache
def _load() -> dict[str, Architecture]:
    package = importlib.import_module("modules.architectures")
    for module in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
        importlib.import_module(f"modules.architectures.{module}")
    return dict(sorted(_registered.items()))


def names() -> list[str]:
    """Names of all networks, sorted."""
    return list(_load())


def get(name: str) -> Architecture:
    """The network of that name.

    Raises:
      ValueError: when there is none, with the nearest names.
    """
    known = _load()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        raise ValueError(f"no network is called {name!r}; {hint}")
    return known[name]
