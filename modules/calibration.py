"""Temperature scaling: confidences that can be believed, and not one answer changed.

One number, fitted on the validation split after training, divides the logits of the exported model (Guo,
Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017).
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from scipy import optimize, special

from modules import input_pipeline

# Beyond these every answer is a coin's or an oracle's; a fit that wants to go there has no data to.
_COLDEST, _HOTTEST = 0.05, 20.0
_BATCH = 64


def temperature_of(classifier: keras.Model, validation: input_pipeline.PixelStore) -> float:
    """The temperature that fits a trained classifier.

    Args:
      classifier: from pixels to logits (n, units).
      validation: images that it was not trained on.
    """

    # Not `predict`, for which all machines of a distributed training would have to come together again.
    @tf.function(reduce_retracing=True, autograph=False)
    def answer(pixels: tf.Tensor) -> tf.Tensor:
        return classifier(pixels, training=False)

    steps = input_pipeline.steps_per_epoch(validation, _BATCH)
    batches = input_pipeline.evaluation_batches(validation, steps)
    logits = np.concatenate([answer(pixels).numpy() for pixels, _ in batches])
    return fit_temperature(logits, validation.labels)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least cross-entropy.

    Labels are taken for right with probability (n + 1) / (n + 2), after Platt (Probabilistic Outputs for
    Support Vector Machines, 1999): without that, a small split whose images are all right would ask for
    boundless confidence.

    Args:
      logits: float (n, classes), or (n, 1) of a sigmoid head whose unit means the second class.
      labels: int (n,), class indices.

    Returns:
      Temperature, from 0.05 to 20. Above 1 the network was too sure, below 1 too careful.
    """
    logits = np.asarray(logits, np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    count, classes = logits.shape
    targets = np.full((count, classes), 1 / ((count + 2) * (classes - 1)))
    targets[np.arange(count), labels] = (count + 1) / (count + 2)
    # Cross-entropy is convex in the inverse temperature; both of its terms come down to two arrays.
    wanted = float((targets * logits).sum())

    def loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float(special.logsumexp(logits * inverse, axis=1).sum()) - inverse * wanted

    bounds = (np.log(_COLDEST), np.log(_HOTTEST))
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
