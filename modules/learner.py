"""The training step around a classifier: labels encoded, images augmented, the wait for input timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class Learner(keras.Model):
    """What `fit` trains; the classifier inside is what is kept.

    Batches are (pixels uint8 (n, height, width, channels), class indices int32 (n,)) and optionally
    weights float32 (n,).
    """

    def __init__(
        self,
        classifier: keras.Model,
        encode: Callable[[tf.Tensor], tf.Tensor],
        augmenter: Callable[..., tuple[tf.Tensor, tf.Tensor]] | None = None,
    ):
        """Wraps a classifier.

        Args:
          classifier: from pixels to logits.
          encode: from class indices to the labels that the loss takes.
          augmenter: from (images, labels) to the same, changed at random; for training alone.
        """
        super().__init__(name="learner")
        self.classifier = classifier
        self.augmenter = augmenter
        self._encode = encode
        self._waits: list[tf.Tensor] = []
        self.built = True

    def call(self, pixels: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.classifier(pixels, training=training)

    def prepare(self, pixels: tf.Tensor, classes: tf.Tensor, *weights: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """A batch as the training step takes it: labels encoded, images augmented."""
        labels = self._encode(classes)
        if self.augmenter is not None:
            pixels, labels = self.augmenter(tf.cast(pixels, tf.float32), labels, training=True)
        return pixels, labels, *weights

    def prepare_evaluation(self, pixels: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The same for evaluation, which changes no image."""
        return pixels, self._encode(classes)

    def input_wait(self) -> float:
        """Seconds that training steps have waited for their batch since the last call."""
        seconds = float(np.sum([wait.numpy() for wait in self._waits]))
        self._waits.clear()
        return seconds

    # Keras' own functions would do, but for two things: they do not say how long a step waits for its
    # input, and under MultiWorkerMirroredStrategy they fail (keras-team/keras issue 20585): the results of
    # a step are averaged over an axis that they lack, and the first batch is reduced outside a replica.

    def make_train_function(self, force: bool = False) -> Callable[[Any], dict[str, tf.Tensor]]:
        if self.train_function is None or force:
            timed = self._from_iterator(self.prepare, self.train_step)

            def train(iterator: Any) -> dict[str, tf.Tensor]:
                results, wait = timed(iterator)
                self._waits.append(wait)
                return results

            self.train_function = train
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable[[Any], dict[str, tf.Tensor]]:
        if self.test_function is None or force:
            timed = self._from_iterator(self.prepare_evaluation, self.test_step)

            def test(iterator: Any) -> dict[str, tf.Tensor]:
                try:
                    return timed(iterator)[0]
                except tf.errors.OutOfRangeError:
                    raise StopIteration from None

            self.test_function = test
        return self.test_function

    def _from_iterator(
        self,
        prepare: Callable[..., tuple[tf.Tensor, ...]],
        step: Callable[[Any], dict[str, tf.Tensor]],
    ) -> Callable[[Any], Any]:
        strategy = self.distribute_strategy

        @tf.autograph.experimental.do_not_convert
        def on_batch(batch: Any) -> dict[str, tf.Tensor]:
            results = strategy.run(step, args=(batch,))
            # Metrics are read from their variables at the end of an epoch; any replica will do meanwhile.
            return {name: strategy.experimental_local_results(value)[0] for name, value in results.items()}

        compiled = tf.function(on_batch, jit_compile=bool(self.jit_compile), reduce_retracing=True)

        @tf.function(reduce_retracing=True)
        @tf.autograph.experimental.do_not_convert
        def from_iterator(iterator: Any) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            asked = tf.timestamp()
            with tf.control_dependencies([asked]):
                batch = iterator.get_next()
            parts = [part for value in batch for part in strategy.experimental_local_results(value)]
            with tf.control_dependencies(parts):
                received = tf.timestamp()
            # Outside of what XLA compiles: it lacks some random numbers that augmentations draw.
            return compiled(strategy.run(prepare, args=batch)), received - asked

        return from_iterator

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Builds loss and metrics in the strategy's scope, before the first step asks for their variables."""
        if self._distribute_strategy is None:
            return
        shape = (1, *self.classifier.input_shape[1:])
        batch = (np.zeros(shape, np.uint8), self._encode(tf.zeros(1, tf.int32)))
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=batch)
