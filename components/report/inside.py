"""Looks inside a network while it answers: outputs of its layers, what an answer looked at, its layers.

Layers are listened to while the model runs, so it does not matter whether it was made in Keras'
sequential, functional or subclass style.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class LayerRow:
    """A layer as it was used on the way from the image to the answer.

    Attributes:
      name, kind: its name, and the name of its class.
      shape: of its output, without the batch.
      parameters: numbers in it; 0 when it is used a second time.
      trainable: how many of them are trained.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    trainable: int


def leaves(model: keras.Model) -> list[keras.Layer]:
    """The layers of a model that hold no other layers."""
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if not list(layer._flatten_layers(include_self=False))
    ]


@contextlib.contextmanager
def listening(model: keras.Model) -> Iterator[list[tuple[keras.Layer, tf.Tensor]]]:
    """Gives the list that fills with (layer, output) in the order of execution while the model runs."""
    heard: list[tuple[keras.Layer, tf.Tensor]] = []

    def listen(layer: keras.Layer) -> None:
        call = layer.call

        @functools.wraps(call)
        def heard_call(*arguments: object, **named: object) -> tf.Tensor:
            output = call(*arguments, **named)
            heard.append((layer, output))
            return output

        layer.call = heard_call

    layers = leaves(model)
    for layer in layers:
        listen(layer)
    try:
        yield heard
    finally:
        for layer in layers:
            del layer.call  # the class' own shows again


def layer_table(model: keras.Model, pixels: np.ndarray) -> list[LayerRow]:
    """The layers in the order in which an image passes them.

    Args:
      pixels: uint8 (n, height, width, channels); one image is enough.
    """
    with listening(model) as heard:
        model(pixels[:1].astype(np.float32), training=False)
    rows, seen = [], set()
    for layer, output in heard:
        new = id(layer) not in seen
        seen.add(id(layer))
        shape = tuple(int(side) for side in output.shape[1:])
        parameters = sum(int(np.prod(weight.shape)) for weight in layer.weights) if new else 0
        trainable = sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights) if new else 0
        rows.append(LayerRow(layer.name, type(layer).__name__, shape, parameters, trainable))
    return rows


def blocks(rows: list[LayerRow], most: int = 24) -> list[tuple[str, str, str]]:
    """The rows of `plots.network.diagram`: layer by layer or, in a deep network, by size of the maps."""
    groups: list[list[LayerRow]] = []
    for row in rows:
        alike = (
            groups
            and len(row.shape) == len(groups[-1][-1].shape)
            and row.shape[:-1] == groups[-1][-1].shape[:-1]
        )
        if len(rows) > most and alike and len(row.shape) == 3:
            groups[-1].append(row)
        else:
            groups.append([row])
    return [_block(group) for group in groups]


def _block(group: list[LayerRow]) -> tuple[str, str, str]:
    counts: dict[str, int] = {}
    for row in group:
        counts[row.kind] = counts.get(row.kind, 0) + 1
    # What computes comes first, and the rest of a long list is left out.
    order = sorted(counts, key=lambda kind: (_kind(kind) != "convolution", -counts[kind]))
    words = [kind if counts[kind] == 1 else f"{kind} ×{counts[kind]}" for kind in order]
    text = ", ".join(words[:3]) + (", …" if len(words) > 3 else "")
    return _kind(order[0]), text, "×".join(str(side) for side in group[-1].shape)


def _kind(layer_class: str) -> str:
    lower = layer_class.lower()
    known = {"conv": "convolution", "pool": "pool", "dense": "dense", "norm": "norm", "drop": "drop"}
    if lower in ("rescaling", "inputlayer"):
        return "input"
    return next((kind for part, kind in known.items() if part in lower), "other")


def stages(model: keras.Model, image: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Output of the last convolution at each size of feature maps, for one image.

    Args:
      image: uint8 (height, width, channels).

    Returns:
      Name of the layer and float32 (height, width, filters), from the image on; empty without convolutions.
    """
    with listening(model) as heard:
        model(image[None].astype(np.float32), training=False)
    last: dict[tuple[int, int], tuple[str, np.ndarray]] = {}
    for layer, output in heard:
        if _kind(type(layer).__name__) == "convolution" and len(output.shape) == 4:
            values = tf.cast(output[0], tf.float32).numpy()
            last[values.shape[:2]] = (layer.name, values)
    return list(last.values())


def first_kernels(model: keras.Model, shape: tuple[int, int, int]) -> np.ndarray | None:
    """Weights of the first layer that has any, as images.

    Args:
      shape: (height, width, channels) of the model's input.

    Returns:
      float32 (height, width, channels, filters); None when that layer sees neither pixels nor patches.
    """
    with listening(model) as heard:
        model(np.zeros((1, *shape), np.float32), training=False)
    for layer, _ in heard:
        kernels = [weight.numpy() for weight in layer.weights if weight.name == "kernel"]
        if not kernels:
            continue
        (kernel,) = kernels[:1]
        if kernel.ndim == 4:
            return kernel.astype(np.float32)
        if kernel.ndim == 2 and kernel.shape[0] == np.prod(shape):
            return kernel.reshape(*shape, -1).astype(np.float32)
        return None
    return None


def grad_cam(model: keras.Model, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """Where in each image the evidence for a class lay.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", 2017, equations 1 and 2. The maps are those of the last convolutions, taken after
    everything that leaves their size as it is, such as a concatenation of branches or a shortcut.

    Args:
      model: from pixels to logits (n, units).
      pixels: uint8 (n, height, width, channels).
      classes: int (n,), the class asked about, an image each.

    Returns:
      float32 (n, height, width), 0 to 1; None when the network has no feature maps of more than one place.
    """
    with tf.GradientTape() as tape, listening(model) as heard:
        images = tf.constant(pixels, tf.float32)
        # A network without weights before the maps would leave nothing on the tape.
        tape.watch(images)
        logits = tf.cast(model(images, training=False), tf.float32)
        if logits.shape[-1] == 1:
            score = logits[:, 0] * tf.where(tf.constant(classes) == 1, 1.0, -1.0)
        else:
            score = tf.gather(logits, classes, batch_dims=1)
    maps = _last_maps(heard)
    if maps is None:
        return None
    weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
    evidence = tf.nn.relu(tf.reduce_sum(tf.cast(weights * maps, tf.float32), axis=-1, keepdims=True))
    evidence /= tf.maximum(tf.reduce_max(evidence, axis=(1, 2, 3), keepdims=True), 1e-9)
    return tf.image.resize(evidence, pixels.shape[1:3])[..., 0].numpy()


def _last_maps(heard: list[tuple[keras.Layer, tf.Tensor]]) -> tf.Tensor | None:
    """The feature maps that Grad-CAM looks at.

    Not those of a later, smaller pool: behind it the mean of a gradient over places says little, since a
    dense layer weighs each place by itself (measured: 54 of 100 errors on Fashion-MNIST had no evidence at
    all, against 1 of 100).
    """
    images = [(layer, output) for layer, output in heard if len(output.shape) == 4]
    convolved = [output for layer, output in images if _kind(type(layer).__name__) == "convolution"]
    if not convolved:
        return None
    size = convolved[-1].shape[1:3]
    last = [output for _, output in images if output.shape[1:3] == size][-1]
    return last if size[0] * size[1] > 1 else None
