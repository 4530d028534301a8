"""`transfer`: a pretrained backbone of `keras.applications` with a small network on it.

It takes pixels of 0 to 255: the backbone's own preprocessing is part of the network, so `transform.scaling`
does not apply. Training has two phases, as in Keras' guide "Transfer learning & fine-tuning": first the
backbone is frozen and only what stands on it learns; then the last layers of the backbone, or all, learn at a
lower rate, while batch norm keeps the statistics that it came with (Yosinski et al., "How transferable are
features in deep neural networks?", 2014). Without weights there is nothing to keep, and one phase trains all.
"""

from __future__ import annotations

import difflib
import pathlib
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from modules.architectures.backbones import BACKBONES, preprocess
from modules.architectures.pretrained import FORMATS, load_backbone, sha256
from modules.architectures.registry import NetworkOptions, Phase, register

if TYPE_CHECKING:
    import keras

_NO_FILE = ("imagenet", "none")


class Options(NetworkOptions):
    backbone: str = Field(
        "VGG16",
        description="Name in `keras.applications`, such as `VGG16`, `ResNet50V2` or `EfficientNetV2B0`.",
    )
    weights: str = Field(
        "imagenet",
        description=(
            "`imagenet`: downloaded once by Keras into `~/.keras/models` (`KERAS_HOME` moves `~/.keras`), "
            "checksum verified where Keras knows it (all but `MobileNet` and `MobileNetV2`). Or a file: "
            "`.weights.h5` or `.h5` with the weights of the backbone without its top, or a saved model "
            "`.keras` that is or holds the backbone. `none`: random, and all trained in one phase."
        ),
    )
    weights_sha256: Annotated[str, StringConstraints(to_lower=True, pattern="^[0-9a-fA-F]{64}$")] | None = (
        Field(None, description="SHA-256 that the weights file must have.")
    )
    pooling: Literal["average", "max"] = Field("average", description="Global pooling of the features.")
    dense_units: int = Field(50, ge=1, description="Units of the dense layer between features and head.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the head; 0 for none.")
    frozen_epochs: int = Field(
        5, ge=0, description="Of `train.epochs`, those of the first phase, with the whole backbone frozen."
    )
    fine_tune_layers: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        "all",
        description=(
            "Layers of the backbone, counted from its end as Keras lists them, that the second phase trains; "
            "0 for no second phase."
        ),
    )
    fine_tune_learning_rate: float = Field(
        1e-5, gt=0, description="Learning rate of the second phase, in place of `train.learning_rate`."
    )

    @field_validator("backbone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in BACKBONES:
            folded = {known.lower(): known for known in BACKBONES}
            near = difflib.get_close_matches(name.lower(), folded, n=1)
            hint = f"did you mean {folded[near[0]]}?" if near else f"known are {', '.join(BACKBONES)}"
            raise ValueError(f"keras.applications has no such network; {hint}")
        return name

    @field_validator("weights")
    @classmethod
    def _is_a_format(cls, weights: str) -> str:
        if weights not in _NO_FILE and not weights.endswith(FORMATS):
            raise ValueError(f"expected imagenet, none, or a file that ends in {', '.join(FORMATS)}")
        if "://" in weights:
            raise ValueError("expected a file on this machine, not an address")
        return weights

    @model_validator(mode="after")
    def _checksum_has_a_file(self) -> Self:
        if self.weights_sha256 and self.weights in _NO_FILE:
            raise ValueError("weights_sha256 goes with a file in weights; Keras verifies its own downloads")
        return self

    def resolve(self, folder: pathlib.Path) -> Self:
        """Makes the weights file absolute and notes its SHA-256, if it is here.

        The checksum makes another file under the same name other settings, so that a cached training run
        of the old one is not taken for it.
        """
        if self.weights in _NO_FILE:
            return self
        path = (folder / pathlib.Path(self.weights).expanduser()).absolute()
        changes = {"weights": str(path)}
        if self.weights_sha256 is None and path.is_file():
            changes["weights_sha256"] = sha256(path)
        return self.model_copy(update=changes)


def phases(options: Options, epochs: int) -> list[Phase]:
    """The frozen phase and the fine-tuning phase, as far as the epochs go."""
    if options.weights == "none":
        return [Phase(epochs)]
    frozen = epochs if options.fine_tune_layers == 0 else min(options.frozen_epochs, epochs)

    def freeze(network: keras.Model) -> None:
        _backbone(network).trainable = False

    def unfreeze(network: keras.Model) -> None:
        import keras

        backbone = _backbone(network)
        backbone.trainable = True
        count = len(backbone.layers) if options.fine_tune_layers == "all" else options.fine_tune_layers
        for number, layer in enumerate(reversed(backbone.layers)):
            # A batch norm that is not trainable uses its moving statistics in training as well.
            layer.trainable = number < count and not isinstance(layer, keras.layers.BatchNormalization)

    both = [
        Phase(frozen, prepare=freeze),
        Phase(epochs - frozen, options.fine_tune_learning_rate, prepare=unfreeze),
    ]
    return [phase for phase in both if phase.epochs]


def _backbone(network: keras.Model) -> keras.Model:
    import keras

    return next(layer for layer in network.layers if isinstance(layer, keras.Model))


@register("transfer", options=Options, raw_pixels=True, phases=phases)
def transfer(options: Options, input_shape: tuple[int, int, int], head: list[keras.Layer]) -> keras.Model:
    """A pretrained backbone of `keras.applications`, global average pool, dense 50.

    Raises:
      InputError: when the weights cannot be had, or do not fit the backbone.
    """
    import keras
    from keras import layers

    height, width, channels = input_shape
    backbone = load_backbone(options.backbone, (height, width, 3), options.weights, options.weights_sha256)
    inputs = keras.Input(input_shape)
    x = layers.Concatenate(name="gray_to_rgb")([inputs] * 3) if channels == 1 else inputs
    x = backbone(preprocess(x, options.backbone))
    pool = layers.GlobalAveragePooling2D if options.pooling == "average" else layers.GlobalMaxPooling2D
    x = pool()(x)
    x = layers.Dense(options.dense_units, activation="relu")(x)
    for layer in [layers.Dropout(options.dropout), *head]:
        x = layer(x)
    return keras.Model(inputs, x, name="transfer")
