"""Reads images back from ingested Examples: samples of every class, named ones, or all with their answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from modules import features
from modules.transform_graph import TransformGraph

_BATCH = 64


@dataclass(frozen=True)
class Images:
    """Decoded images.

    Attributes:
      pixels: uint8 (n, height, width, channels), as the network gets them.
      labels: int64 (n,), class indices.
      filenames: paths relative to the data folder.
    """

    pixels: np.ndarray
    labels: np.ndarray
    filenames: list[str]


@dataclass(frozen=True)
class Answers:
    """What a network says of images.

    Attributes:
      filenames: paths relative to the data folder.
      labels: int64 (n,), class indices.
      probabilities: float32 (n, classes).
      complete: whether these are all that were asked for; otherwise time was up.
    """

    filenames: list[str]
    labels: np.ndarray
    probabilities: np.ndarray
    complete: bool


class ExampleReader:
    """Reads the splits of an `examples` artifact.

    Records lie in an order that neither class nor name influences, so the first ones are a fair sample.
    """

    def __init__(self, uri: str, graph: TransformGraph):
        """Prepares a reader.

        Args:
          uri: of the ingest's `examples` artifact.
          graph: decodes and resizes.
        """
        self._uri = uri
        self._graph = graph

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        def decode(encoded: tf.Tensor) -> tf.Tensor:
            return tf.cast(graph.pixels(encoded), tf.uint8)

        self._decode = decode
        self._index = {name: index for index, name in enumerate(graph.class_names)}

    def samples(self, split: str, each: int, classes: Collection[str]) -> dict[str, Images]:
        """The first images of every class.

        Args:
          split: where from.
          each: images a class; fewer where it has fewer.
          classes: the classes wanted.
        """
        chosen: dict[str, list[tuple[str, bytes]]] = {name: [] for name in classes}
        missing = set(classes)
        for encoded, labels, filenames in self._records(split):
            for image, label, filename in zip(encoded, labels, filenames, strict=True):
                if label in missing:
                    chosen[label].append((filename, image))
                    if len(chosen[label]) == each:
                        missing.remove(label)
            if not missing:
                break
        return {name: self._images(found, [name] * len(found)) for name, found in chosen.items() if found}

    def first(self, split: str, count: int) -> Images:
        """The first images of a split."""
        found: list[tuple[str, bytes]] = []
        names: list[str] = []
        for encoded, labels, filenames in self._records(split):
            found += zip(filenames, encoded, strict=True)
            names += labels
            if len(found) >= count:
                break
        return self._images(found[:count], names[:count])

    def named(self, split: str, filenames: Collection[str]) -> dict[str, np.ndarray]:
        """Pixels uint8 (height, width, channels) of the images of those names that the split has."""
        wanted, found, names = set(filenames), [], []
        for encoded, labels, read in self._records(split):
            for image, label, filename in zip(encoded, labels, read, strict=True):
                if filename in wanted:
                    found.append((filename, image))
                    names.append(label)
            if len(found) == len(wanted):
                break
        images = self._images(found, names)
        return dict(zip(images.filenames, images.pixels, strict=True))

    def answers(
        self, split: str, answer: Callable[[tf.Tensor], tf.Tensor], most: int, seconds: float
    ) -> Answers:
        """What a network says of the first images of a split.

        Args:
          split: where from.
          answer: from pixels float32 (n, height, width, channels) to probabilities (n, classes).
          most: images at most.
          seconds: time at most; looked at between batches.
        """
        spec = _spec(features.IMAGE, features.LABEL, features.FILENAME)
        whole = tf.function(answer, reduce_retracing=True, autograph=False)

        @tf.autograph.experimental.do_not_convert
        def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
            raw = tf.io.parse_example(serialized, spec)
            pixels = self._graph.pixels(raw[features.IMAGE])
            return pixels, self._graph.class_index(raw[features.LABEL]), raw[features.FILENAME]

        dataset = self._dataset(split).take(most).batch(_BATCH).map(parse, tf.data.AUTOTUNE)
        deadline, complete = time.monotonic() + seconds, True
        names: list[str] = []
        labels: list[np.ndarray] = []
        probabilities: list[np.ndarray] = []
        for pixels, classes, filenames in dataset.prefetch(tf.data.AUTOTUNE):
            if time.monotonic() > deadline:
                complete = False
                break
            probabilities.append(whole(pixels).numpy())
            labels.append(classes.numpy())
            names += [name.decode("utf-8") for name in filenames.numpy()]
        if not names:
            return Answers([], np.zeros(0, np.int64), np.zeros((0, len(self._index)), np.float32), complete)
        return Answers(names, np.concatenate(labels), np.concatenate(probabilities), complete)

    def _dataset(self, split: str) -> tf.data.TFRecordDataset:
        files = sorted(tf.io.gfile.glob(f"{self._uri}/Split-{split}/*"))
        return tf.data.TFRecordDataset(files, buffer_size=8 << 20)

    def _records(self, split: str) -> Iterator[tuple[list[bytes], list[str], list[str]]]:
        """Encoded images, labels and names, some at a time."""
        spec = _spec(features.IMAGE, features.LABEL, features.FILENAME)
        dataset = self._dataset(split).batch(_BATCH).map(lambda batch: tf.io.parse_example(batch, spec))
        for raw in dataset.prefetch(2).as_numpy_iterator():
            yield (
                list(raw[features.IMAGE]),
                [label.decode("utf-8") for label in raw[features.LABEL]],
                [name.decode("utf-8") for name in raw[features.FILENAME]],
            )

    def _images(self, found: list[tuple[str, bytes]], labels: list[str]) -> Images:
        encoded = [image for _, image in found]
        parts = [
            self._decode(tf.constant(encoded[at : at + _BATCH], tf.string)).numpy()
            for at in range(0, max(1, len(encoded)), _BATCH)
        ]
        return Images(
            np.concatenate(parts),
            np.array([self._index[label] for label in labels], np.int64),
            [filename for filename, _ in found],
        )


def _spec(*names: str) -> dict[str, tf.io.FixedLenFeature]:
    return {name: tf.io.FixedLenFeature([], tf.string) for name in names}
