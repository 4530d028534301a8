"""The whole list as one Keras layer: groups, the switch for evaluation, and the random state."""

from __future__ import annotations

import itertools

import keras
import numpy as np
from keras import ops

# Each of these registers the layers of its kind.
from modules.augmentation import color, geometry, local, mixing, rand_augment  # noqa: F401
from modules.augmentation.layer import AugmentationLayer, Tensor, apply, augments, choose, make
from modules.augmentation.settings import Augmentations, OneOf, Sequence


@augments(Sequence)
class SequenceLayer(AugmentationLayer):
    """Its steps in their order."""

    def __init__(self, settings: Sequence):
        super().__init__(settings)
        self.steps = [make(step) for step in settings.steps]

    def call(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        for step in self.steps:
            images, labels = apply(step, images, labels)
        return images, labels


@augments(OneOf)
class OneOfLayer(AugmentationLayer):
    """One of its steps for each image. All are computed and one is kept: shapes stay static for compilers."""

    def __init__(self, settings: OneOf):
        super().__init__(settings)
        self.steps = [make(step) for step in settings.steps if step.probability > 0]

    def call(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        ends = list(itertools.accumulate(step.settings.probability for step in self.steps))
        drawn = self.uniform(images, 0.0, ends[-1])
        result = self.steps[-1](images, labels)
        for step, end in zip(reversed(self.steps[:-1]), reversed(ends[:-1]), strict=True):
            result = choose(drawn < end, step(images, labels), result)
        return result


class Augmenter(keras.layers.Layer):
    """Augments batches in training and passes them on unchanged otherwise.

    It works eagerly, in tf.data and in a compiled training step, for batches of any size. Its only variables
    are states of random generators: two augmenters of one seed, at one epoch, do the same.

    Args:
      steps: what to do, in this order.
      seed: of every random choice, with the number of the epoch.

    Example::

        augmenter = Augmenter(settings.augment, seed=0)
        augmenter.reset(epoch)
        images, labels = augmenter(images, labels, training=True)
    """

    def __init__(self, steps: Augmentations, seed: int):
        super().__init__(dtype="float32", autocast=False, trainable=False)
        self.built = True
        self.seed = seed
        self.steps = SequenceLayer(Sequence.model_construct(steps=steps))
        self.reset(0)

    def call(self, images: Tensor, labels: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        """Augments a batch.

        Args:
          images: (batch, height, width, channels), pixels of 0 to 255; height, width and channels are known.
          labels: float (batch, units) when the steps mix (`settings.needs_one_hot`), else anything.
          training: whether to do anything.

        Returns:
          float32 images of the same shape and range, and the labels: mixed float32, or the very ones given.
        """
        if not training:
            return images, labels
        return self.steps(ops.cast(images, "float32"), labels)

    def reset(self, epoch: int) -> None:
        """Sets the random state to the beginning of an epoch, so that a resumed training sees the same.

        Args:
          epoch: its number, from 0.
        """
        for number, state in enumerate(self.variables):
            (key,) = np.random.SeedSequence((self.seed, epoch, number)).generate_state(1)
            # The second word counts the draws; the first must fit a signed word of 32 bits.
            state.assign(np.array([key >> 1, 0], dtype=state.dtype))
