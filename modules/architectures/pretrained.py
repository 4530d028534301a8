"""Backbones of `keras.applications` with their weights: downloaded by Keras, from a file, or random."""

from __future__ import annotations

import hashlib
import pathlib
import traceback
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING

from modules.errors import InputError

if TYPE_CHECKING:
    import keras

#: Endings of the weights files that can be read.
FORMATS = (".weights.h5", ".keras", ".h5")


def load_backbone(
    name: str, input_shape: tuple[int, int, int], weights: str, checksum: str | None = None
) -> keras.Model:
    """The backbone without its top.

    Args:
      name: of the function in `keras.applications`.
      input_shape: (height, width, 3).
      weights: `imagenet`, `none`, or the path of a file that ends in one of `FORMATS`.
      checksum: SHA-256 in hexadecimal that the file must have.

    Returns:
      Model from preprocessed images (batch, height, width, 3) to features (batch, height, width, channels).

    Raises:
      InputError: when the weights cannot be downloaded, or the file is missing, another, or does not fit.
      ValueError: when the backbone cannot take images of that size.
    """
    import keras

    create = getattr(keras.applications, name)
    if weights == "imagenet":
        return _download(create, name, input_shape)
    backbone = create(weights=None, include_top=False, input_shape=input_shape)
    if weights != "none":
        _read(backbone, name, pathlib.Path(weights), checksum)
    return backbone


def sha256(path: pathlib.Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(
    create: Callable[..., keras.Model], name: str, input_shape: tuple[int, int, int]
) -> keras.Model:
    try:
        return create(weights="imagenet", include_top=False, input_shape=input_shape)
    except Exception as error:  # Keras raises Exception itself where the network fails
        # Which file it is Keras alone knows, since some names depend on the size of the images.
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        fetching = next((frame.f_locals for frame in frames if frame.f_code.co_name == "get_file"), None)
        if fetching is None:
            raise
        reason = str(error).rpartition(" -- ")[2]  # without the address, which follows
        raise InputError(
            f"model.weights: the ImageNet weights of {name} cannot be downloaded: {reason}. Where there is a "
            f"network, fetch {fetching['fname']} from {fetching['origin']}, and put it at "
            f"{fetching.get('download_target', fetching['cache_dir'])} (KERAS_HOME moves ~/.keras); or give "
            "a file of your own as model.weights: PATH, or train from scratch with model.weights: none."
        ) from error


def _read(backbone: keras.Model, name: str, path: pathlib.Path, checksum: str | None) -> None:
    import keras

    if not path.is_file():
        raise InputError(
            f"model.weights: there is no file {path}. Give imagenet, none, or a file with the weights of "
            f"{name} without its top."
        )
    if checksum is not None and (found := sha256(path)) != checksum:
        raise InputError(
            f"model.weights_sha256: {path} is another file: its SHA-256 is {found}, expected {checksum}."
        )
    try:
        if path.suffix == ".keras":
            _copy(keras.saving.load_model(path, compile=False), backbone)
        else:
            backbone.load_weights(path)
    except (ValueError, TypeError, KeyError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"model.weights: {path} does not fit {name} without its top: {_first_line(error)}"
        ) from error
    _mend_normalization(backbone)


def _copy(source: keras.Model, backbone: keras.Model) -> None:
    """Takes the weights of a saved model that is the backbone, holds it, or begins with its layers."""
    import keras

    shapes = [weight.shape for weight in backbone.weights]
    models = [source, *(layer for layer in source._flatten_layers() if isinstance(layer, keras.Model))]
    for model in models:
        if [weight.shape for weight in model.weights[: len(shapes)]] == shapes:
            backbone.set_weights(model.get_weights()[: len(shapes)])
            return
    raise ValueError("it holds no such network")


def _mend_normalization(backbone: keras.Model) -> None:
    """Puts variances where the ImageNet weights of EfficientNet B0 to B7 hold deviations.

    Keras divides by the root once more in a layer of its own, but only for a file that it downloaded itself.
    """
    import keras
    import numpy as np

    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            if np.allclose(layer.adapt_variance, (0.229, 0.224, 0.225), atol=1e-4):
                layer.adapt_variance.assign(layer.adapt_variance**2)
            layer.finalize_state()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
