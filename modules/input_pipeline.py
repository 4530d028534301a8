"""From ingested Examples to training batches: decode once, keep uint8 pixels, gather shuffled batches.

    TFRecord files -> parse -> Transform's graph (parallel over batches) -> PixelStore
    PixelStore -> one permutation an epoch -> gather a batch -> prefetch -> model.fit

Decoded pixels are kept as uint8, a quarter of float32, in memory up to a budget and otherwise in a
file that the page cache serves. Batches are gathered by index: shuffling is uniform over the whole
split and depends on (seed, epoch) alone, so that a resumed training sees what an undisturbed one sees.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from modules import features, progress
from modules.errors import InputError
from modules.transform_graph import TransformGraph

_READ_BATCH = 64  # images decoded by one call: enough to hide the call, small enough for every core
# Of a group of training steps that are gathered at once; and batches that are kept ready.
_STEPS_TOGETHER = 16
_BYTES_TOGETHER = 1 << 20
_READY = 8


@dataclass(frozen=True)
class PixelStore:
    """A decoded split.

    Attributes:
      pixels: uint8 (n, height, width, channels), in memory or mapped from a file.
      labels: int32 (n,), class indices.
    """

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def load(
    file_patterns: list[str], graph: TransformGraph, memory_budget: int, overflow: pathlib.Path
) -> PixelStore:
    """Decodes a split.

    Args:
      file_patterns: glob patterns of its TFRecord files.
      graph: decodes, resizes and looks classes up.
      memory_budget: bytes of pixels that may be held in memory.
      overflow: file that takes the pixels when they are more; overwritten.

    Raises:
      ValueError: when a label is not in the vocabulary that the training split gave.
    """
    labels: list[np.ndarray] = []
    pixels = _GrowingArray(memory_budget, overflow)
    done = 0
    for batch, classes, names in _decoded_batches(file_patterns, graph):
        unknown = names[classes < 0]
        if len(unknown):
            raise ValueError(
                f"The label {unknown[0].decode('utf-8')!r} does not occur in the training split, which has "
                f"{', '.join(graph.class_names)}."
            )
        pixels.append(batch)
        labels.append(classes.astype(np.int32))
        done += len(classes)
        progress.emit("decoding", done)
    if not labels:
        raise ValueError(f"No examples in {file_patterns}.")
    return PixelStore(pixels.finish(), np.concatenate(labels))


def _decoded_batches(
    file_patterns: list[str], graph: TransformGraph
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    spec = {
        features.IMAGE: tf.io.FixedLenFeature([], tf.string),
        features.LABEL: tf.io.FixedLenFeature([], tf.string),
    }

    @tf.autograph.experimental.do_not_convert
    def decode(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        raw = tf.io.parse_example(serialized, spec)
        pixels = tf.cast(graph.pixels(raw[features.IMAGE]), tf.uint8)
        return pixels, graph.class_index(raw[features.LABEL]), raw[features.LABEL]

    files = sorted(name for pattern in file_patterns for name in tf.io.gfile.glob(pattern))
    dataset = (
        tf.data.TFRecordDataset(files, buffer_size=8 << 20)
        .batch(_READ_BATCH)
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )
    return dataset.as_numpy_iterator()


class _GrowingArray:
    """Rows appended in memory until a budget is reached, then in a file."""

    def __init__(self, memory_budget: int, overflow: pathlib.Path):
        self._memory_budget = memory_budget
        self._overflow = overflow
        self._array: np.ndarray | None = None
        self._file = None
        self._rows = 0

    def append(self, rows: np.ndarray) -> None:
        self._row_shape = rows.shape[1:]
        needed = self._rows + len(rows)
        if self._file is None and needed * rows[0].nbytes > self._memory_budget:
            self._overflow.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._overflow.open("wb")
            if self._array is not None:
                self._write(self._array[: self._rows])
                self._array = None
        if self._file is not None:
            self._write(rows)
        else:
            if self._array is None:
                self._array = np.empty((max(1024, needed), *self._row_shape), np.uint8)
            elif needed > len(self._array):
                # In place (realloc): a concatenation would hold everything twice.
                self._array.resize((max(needed, 3 * len(self._array) // 2), *self._row_shape), refcheck=False)
            self._array[self._rows : needed] = rows
        self._rows = needed

    def _write(self, rows: np.ndarray) -> None:
        try:
            self._file.write(rows.data)
        except OSError as error:
            raise InputError(
                f"Decoded images do not fit into {self._overflow.parent} ({error.strerror}): free space "
                "there, set TMPDIR to a larger disk, raise train.cache_memory_mb or lower data.image_size."
            ) from error

    def finish(self) -> np.ndarray:
        shape = (self._rows, *self._row_shape)
        if self._file is not None:
            self._file.close()
            mapped = np.memmap(self._overflow, np.uint8, "r", shape=shape)
            # The mapping keeps the content. Without a name nothing can damage it, and whoever is killed
            # leaves nothing behind.
            self._overflow.unlink()
            return mapped
        self._array.resize(shape, refcheck=False)
        return self._array


def steps_per_epoch(store: PixelStore, batch_size: int) -> int:
    """Batches that hold every image once; the last one may be smaller."""
    return -(-len(store) // batch_size)


def training_batches(
    store: PixelStore,
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
    class_weights: np.ndarray | None = None,
    part: tuple[int, int] = (0, 1),
    divisor: int = 1,
) -> tf.data.Dataset:
    """Endless shuffled batches, `steps_per_epoch` of them an epoch.

    Args:
      store: the training split.
      batch_size: images a batch, over all parts.
      seed: with the number of the epoch it gives the order.
      first_epoch: epoch to begin with.
      class_weights: float32 (classes,), weight of an image by its class.
      part: (index, count): the piece of every batch that this process gets.
      divisor: a last batch that does not divide by it loses the images too many, since devices that share a
        batch need equal parts; other images in every epoch.

    Returns:
      Dataset of (uint8 (batch, height, width, channels), int32 (batch,)), with weights float32 (batch,) as
      a third element where there are any.
    """
    # Several steps are gathered at once, where they are small: of a short step's wait, 0.24 ms, 0.1 are
    # the way of one batch into Python and back. The last batch of an epoch goes alone when it is smaller.
    whole, rest = divmod(len(store), batch_size)
    together = max(1, min(_STEPS_TOGETHER, _BYTES_TOGETHER // (batch_size * store.pixels[0].nbytes)))
    groups = -(-whole // together) + (rest > 0)
    index, count = part
    order: dict[int, np.ndarray] = {}

    def gather(group: np.int64) -> tuple[np.ndarray, np.ndarray]:
        epoch, number = divmod(int(group), groups)
        if epoch not in order:
            order.clear()
            order[epoch] = np.random.default_rng((seed, epoch)).permutation(len(store))
        first = number * together
        steps, size = (min(together, whole - first), batch_size) if first < whole else (1, rest)
        start = min(first, whole) * batch_size
        chosen = order[epoch][start : start + steps * size].reshape(steps, size)
        usable = size - size % divisor or size
        chosen = chosen[:, :usable][:, index::count]
        # Sorted reads go through a mapped file forwards; the order inside a batch does not matter.
        chosen = np.sort(chosen)
        return store.pixels[chosen], store.labels[chosen]

    batches = _gathered(tf.data.Dataset.counter(first_epoch * groups), gather, store, (None, None))
    batches = batches.flat_map(lambda *group: tf.data.Dataset.from_tensor_slices(group))
    if class_weights is not None:
        weights = tf.constant(class_weights)
        batches = batches.map(lambda pixels, labels: (pixels, labels, tf.gather(weights, labels)))
    return batches.prefetch(_READY)


def evaluation_batches(store: PixelStore, steps: int) -> tf.data.Dataset:
    """Every image once, in the order of the store, in so many batches of about equal size.

    Equal, since devices that share a batch must not find their part of the last one empty. Elements as in
    `training_batches`.
    """
    ends = np.linspace(0, len(store), steps + 1).astype(int)

    def gather(step: np.int64) -> tuple[np.ndarray, np.ndarray]:
        chosen = slice(ends[step], ends[step + 1])
        return store.pixels[chosen], store.labels[chosen]

    return _gathered(tf.data.Dataset.range(steps), gather, store, (None,)).prefetch(_READY)


def _gathered(
    numbers: tf.data.Dataset,
    gather: Callable[[np.int64], tuple[np.ndarray, np.ndarray]],
    store: PixelStore,
    outer: tuple[None, ...],
) -> tf.data.Dataset:
    """What `gather` gives for every number: pixels and labels with the outer dimensions named."""

    def both(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, labels = tf.numpy_function(gather, [number], (tf.uint8, tf.int32), stateful=False)
        pixels = tf.ensure_shape(pixels, (*outer, *store.pixels.shape[1:]))
        return pixels, tf.ensure_shape(labels, outer)

    return numbers.map(both)
