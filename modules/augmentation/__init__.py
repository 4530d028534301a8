"""Augmentation: an ordered list in the configuration becomes one Keras layer in the training step.

`steps` and `settings` say what can be asked for and import pydantic alone; the layers import Keras, so they
are imported when `build` is called. A new augmentation is a settings class in `steps` and a layer for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modules.augmentation.augmenter import Augmenter
    from modules.augmentation.settings import Augmentations


def build(steps: Augmentations, seed: int) -> Augmenter:
    """The layer that augments a batch, `augmenter(images, labels, training=True)`.

    Args:
      steps: what to do, in this order.
      seed: with the number of the epoch (`Augmenter.reset`) it gives every random choice.
    """
    from modules.augmentation.augmenter import Augmenter

    return Augmenter(steps, seed)
