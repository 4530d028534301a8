"""`imagemill preview`: a contact sheet of images as they are and as the training sees them."""

from __future__ import annotations

import logging
import os
import pathlib
import tempfile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from components.image_example_gen import data, files, images
from components.image_example_gen.source import SourceFile, hash_order
from modules.errors import InputError
from modules.features import TRAIN
from pipeline.config import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".jpg", ".jpeg", ".pdf", ".svg")
_CELL = 1.5  # inches
_DOTS_PER_INCH = 120
_LONGEST_LABEL = 20  # letters over a picture
_LEAST_SHARE = 0.005  # of a class in a label


class Sample(NamedTuple):
    """An image of the data folder: its path there, its class, and its bytes as the ingest stores them."""

    path: str
    label: str
    encoded: bytes


def preview(config: Config, out: pathlib.Path, count: int = 8, variants: int = 7, seed: int = 0) -> int:
    """Draws a row an image: the original as it is resized for the network, then what the augmentation makes.

    Args:
      config: names the data, the size, the resize and the augmentation.
      out: file to write; its ending says the format, one of `FORMATS`.
      count: images, evenly over the classes.
      variants: augmented versions of each.
      seed: another one draws other amounts.

    Returns:
      How many images it shows, fewer than `count` where the data have fewer.

    Raises:
      InputError: for nothing to show, or a file that cannot be written.
    """
    if not config.augment:
        raise InputError("Nothing to show: list augmentations under `augment`, such as [horizontal_flip].")
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"--out {out}: the name must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")
    if not config.data.path:
        raise InputError("No data: give --data DIR, or data.path in the configuration.")
    samples = choose(config, count)
    figure = _draw(samples, *_augment(config, samples, variants, seed))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=_DOTS_PER_INCH)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written ({error.strerror}).") from error
    return len(samples)


def choose(config: Config, count: int) -> list[Sample]:
    """Images of the training split that can be learned from, in turn from every class.

    Raises:
      InputError: when there are none.
    """
    settings = config.data.ingest
    bounds = images.Bounds.of(settings)
    with tempfile.TemporaryDirectory(prefix="imagemill-preview-") as scratch:  # archives are unpacked there
        listing = data.list_data(data.resolve(config.data.path, settings.spans), settings, scratch)
        of_class: dict[str, list[SourceFile]] = {name: [] for name in _evenly(listing.classes, count)}
        for file in sorted(listing.files, key=hash_order):
            if file.split in (TRAIN, None) and file.label in of_class:
                of_class[file.label].append(file)
        queues = {name: iter(found) for name, found in of_class.items()}
        samples: list[Sample] = []
        while queues and len(samples) < count:
            for name in list(queues):
                sample = _next_good(queues[name], listing.root, bounds)
                if sample is None:
                    del queues[name]
                elif len(samples) < count:
                    samples.append(sample)
    if not samples:
        raise InputError(f"{config.data.path}: no image can be read; `imagemill check` says why.")
    return sorted(samples, key=lambda sample: sample.label)


def _evenly(names: list[str], count: int) -> list[str]:
    """All names, or as many as are wanted, spread over the list."""
    if len(names) <= count:
        return names
    return [names[number * len(names) // count] for number in range(count)]


def _next_good(queue, root: str, bounds: images.Bounds) -> Sample | None:
    for file in queue:
        try:
            encoded = files.read(os.path.join(root, file.path), bounds.max_file_bytes)
            return Sample(file.path, file.label, images.decode(encoded, bounds).encoded)
        except (OSError, images.ImageRefusedError):
            continue  # the ingest would leave it out too
    return None


def _augment(
    config: Config, samples: list[Sample], variants: int, seed: int
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The originals and their variants.

    Returns:
      uint8 (1 + variants, images, height, width, channels), labels float32 (1 + variants, images, classes),
      the names of the classes.
    """
    # TensorFlow takes seconds to import.
    import tensorflow as tf

    from modules import augmentation, pixels

    tf.get_logger().setLevel(logging.ERROR)  # AutoGraph tells which functions it runs as they are
    decoded = pixels.decode_batch(
        tf.constant([sample.encoded for sample in samples]),
        config.data.pixels,
        config.transform,
        config.data.background,
    )
    classes = sorted({sample.label for sample in samples})
    one_hot = tf.one_hot([classes.index(sample.label) for sample in samples], len(classes))
    augmenter = augmentation.build(config.augment, seed)
    drawn = [(tf.cast(decoded, tf.float32), one_hot)]
    drawn += [augmenter(*drawn[0], training=True) for _ in range(variants)]
    shown = np.stack([np.rint(pictures).astype(np.uint8) for pictures, _ in drawn])
    return shown, np.stack([labels for _, labels in drawn]), classes


def _draw(samples: list[Sample], shown: np.ndarray, labels: np.ndarray, classes: list[str]) -> Figure:
    from matplotlib.figure import Figure

    columns, rows, height, width = shown.shape[:4]
    aspect = min(2.0, max(0.5, height / width))
    figure = Figure((columns * _CELL, rows * (_CELL * aspect + 0.3) + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for row, sample in enumerate(samples):
        for column, axes in enumerate(grid[row]):
            picture = shown[column, row]
            axes.imshow(
                picture[..., 0] if picture.shape[-1] == 1 else picture,
                cmap="gray",
                vmin=0,
                vmax=255,
                interpolation="nearest",
            )
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            if column == 0:
                axes.set_title(_short(sample.label), fontsize=8, fontweight="bold", pad=3)
                axes.set_xlabel(_short(os.path.basename(sample.path)), fontsize=6, color="0.4", labelpad=2)
            elif np.abs(labels[column, row] - labels[0, row]).max() >= _LEAST_SHARE:
                axes.set_title(_mixture(labels[column, row], classes), fontsize=6, pad=3)
    return figure


def _short(text: str) -> str:
    # A dollar sign would begin a formula.
    text = text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"
    return text.replace("$", r"\$")


def _mixture(label: np.ndarray, classes: list[str]) -> str:
    """Such as `62% cat, 38% dog`, a line each."""
    parts = sorted(zip(label, classes, strict=True), reverse=True)
    return "\n".join(f"{share:.0%} {_short(name)}" for share, name in parts if share >= _LEAST_SHARE)
