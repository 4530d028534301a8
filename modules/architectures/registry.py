"""Networks by name: a file in this folder registers its networks, and nothing else has to change.

A network is a function of its options, the input shape and the head::

    @register("mnist_cnn", options=Options)
    def mnist_cnn(options: Options, input_shape: tuple[int, int, int], head: list) -> "keras.Model":

`input_shape` is (height, width, channels); the input is float, already scaled (with `raw_pixels`, 0 to 255).
`head` is the list of layers that ends the network: it turns features of shape (batch, n) into logits of shape
(batch, units). The options inherit from `NetworkOptions`, which the registry itself applies to what the
function returns. `phases` divides the training, where freshly made layers must not spoil others.

Importing this folder must not import Keras, since the configuration is checked against the registered
names and options in a tenth of a second: a network's file imports Keras inside its functions.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pathlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field

from modules.base_settings import Settings

if TYPE_CHECKING:
    import keras


class NetworkOptions(Settings):
    """What every network takes; the options of a network inherit from it."""

    kernel_initializer: (
        Literal[
            "glorot_normal",
            "glorot_uniform",
            "he_normal",
            "he_uniform",
            "lecun_normal",
            "lecun_uniform",
            "orthogonal",
            "random_normal",
            "random_uniform",
            "truncated_normal",
            "variance_scaling",
        ]
        | None
    ) = Field(
        None,
        description=(
            "Initial kernels of every layer but the head, by Keras' name of the initializer; "
            "without it the network's own."
        ),
    )
    l1: float | None = Field(
        None,
        ge=0,
        description="L1 penalty on the kernels of every layer but the head; without it the network's own.",
    )
    l2: float | None = Field(
        None,
        ge=0,
        description=(
            "L2 penalty on the kernels of every layer but the head; without it the network's own, 0 for none."
        ),
    )

    def resolve(self, folder: pathlib.Path) -> Self:
        """The same options with paths made absolute; `folder` is that of the configuration file."""
        return self


@dataclass(frozen=True)
class Phase:
    """A stretch of training: from which epoch on, at which rate, and with which layers frozen.

    Attributes:
      epochs: how many epochs it takes.
      learning_rate: in place of `train.learning_rate`; None for that itself.
      prepare: called with the network before the phase; sets which layers train. Keras looks at that
        when a model is compiled, so the trainer compiles after it.
    """

    epochs: int
    learning_rate: float | None = None
    prepare: Callable[[keras.Model], None] = lambda network: None


def _one_phase(options: NetworkOptions, epochs: int) -> list[Phase]:
    return [Phase(epochs)]


@dataclass(frozen=True)
class Architecture:
    """A registered network.

    Attributes:
      options: class of its options.
      summary: the first line of its docstring.
      raw_pixels: whether it takes pixels of 0 to 255 and scales them itself.
      phases: from options and the number of epochs to the phases of training, whose epochs add up to it.
    """

    name: str
    options: type[NetworkOptions]
    function: Callable[..., keras.Model]
    summary: str
    raw_pixels: bool
    phases: Callable[..., list[Phase]]

    def build(
        self, options: NetworkOptions, input_shape: tuple[int, int, int], head: list[keras.Layer]
    ) -> keras.Model:
        """The network with its head: a model of the network's name, from (batch, *input_shape) to logits."""
        network = self.function(options, input_shape, head)
        _apply(options, network, head)
        return network


_registered: dict[str, Architecture] = {}


def register(
    name: str,
    options: type[NetworkOptions] = NetworkOptions,
    raw_pixels: bool = False,
    phases: Callable[..., list[Phase]] = _one_phase,
) -> Callable:
    """Decorator that makes a network known by `name`; see `Architecture` for the arguments."""

    def decorate(function: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
        if name in _registered:
            raise ValueError(
                f"Two networks are registered as {name!r}: {_registered[name].function} and {function}"
            )
        summary = (function.__doc__ or "").strip().splitlines()[0]
        _registered[name] = Architecture(name, options, function, summary, raw_pixels, phases)
        return function

    return decorate


def _apply(options: NetworkOptions, network: keras.Model, head: list[keras.Layer]) -> None:
    """Gives the kernels of a fresh network the initial values and penalties of the options.

    After the fact, so that no network has to hand them to each of its layers. A model within the network,
    such as a pretrained backbone, is left alone.
    """
    import keras

    for layer in network.layers:
        if layer in head or not hasattr(layer, "kernel"):
            continue
        if options.kernel_initializer is not None:
            # A new one for each layer: an initializer gives equal values whenever it is asked.
            layer.kernel_initializer = keras.initializers.get(options.kernel_initializer)
            layer.kernel.assign(layer.kernel_initializer(layer.kernel.shape, layer.kernel.dtype))
        if options.l1 is not None or options.l2 is not None:
            own = layer.kernel_regularizer
            l1 = getattr(own, "l1", 0.0) if options.l1 is None else options.l1
            l2 = getattr(own, "l2", 0.0) if options.l2 is None else options.l2
            # On the layer for its configuration, on the kernel for the loss.
            layer.kernel_regularizer = layer.kernel.regularizer = keras.regularizers.L1L2(l1, l2)


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
