"""Fitting a classifier to decoded splits: phases, loss, optimizer, callbacks, figures of every epoch."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from modules import augmentation, callbacks, input_pipeline, losses, optimizers, resume
from modules.architectures import registry
from modules.augmentation.settings import needs_one_hot
from modules.devices import Placement
from modules.learner import Learner
from modules.settings import TrainerSettings
from modules.train_settings import TrainSettings

#: Gets the figures of the epochs so far, and the position of the one whose weights are kept.
StopAfter = Callable[[list[dict[str, float]], int], bool]


@dataclass(frozen=True)
class Fit:
    """What fitting gives besides the weights.

    Attributes:
      history: one entry an epoch: `epoch` (from 1), `loss`, `accuracy`, `val_loss`, `val_accuracy`,
        `learning_rate`, `seconds`, `images_per_second`, `input_wait` (share of the training time that steps
        waited for images), and `kept` for the epoch whose weights remain.
      facts: what was decided on the way: `devices`, `loss`, `batch_size`, `learning_rate`, `class_weights`,
        `resumed_at_epoch`.
    """

    history: list[dict[str, float]]
    facts: dict[str, object]


def fit(
    classifier: keras.Model,
    training: input_pipeline.PixelStore,
    validation: input_pipeline.PixelStore,
    settings: TrainerSettings,
    class_names: list[str],
    placement: Placement,
    directory: str,
    stop_after: StopAfter | None = None,
) -> Fit:
    """Trains a classifier in place.

    Args:
      classifier: from pixels to logits, made in the scope of `placement.strategy`.
      training, validation: decoded splits.
      settings: network, training, augmentation.
      class_names: names in the order of the class index.
      placement: where to train.
      directory: of the unfinished training, see `modules.resume`.
      stop_after: called after every epoch; training ends when it says so, in whatever phase.

    Raises:
      InputError: when loss, head, augmentation or class weights do not fit together.
      ValueError: when the loss stops being a finite number.
    """
    train = settings.train
    loss_name = losses.loss_name(train, classifier.output_shape[-1], needs_one_hot(settings.augment))
    weights = losses.class_weights(train, training.labels, class_names)
    batch_size = train.batch_size * placement.replicas
    steps = input_pipeline.steps_per_epoch(training, batch_size)
    phases = registry.get(settings.model.architecture).phases(settings.model.options, train.epochs)

    recorder = callbacks.Recorder(
        len(training), train.epochs, f"{directory}/history.csv" if placement.is_chief else None
    )
    kept = callbacks.KeptWeights(train)
    # Files are written by one process; the decisions, which follow from equal figures, are taken by all.
    watching = callbacks.watchers(train, directory if placement.is_chief else None)
    asking = callbacks.Asking(lambda: stop_after is not None and stop_after(recorder.epochs, kept.epoch))
    state = resume.State(directory, recorder, kept, placement.is_chief and train.resume)
    facts = {
        "devices": placement.name,
        "loss": loss_name,
        "batch_size": batch_size,
        "learning_rate": train.learning_rate * placement.replicas,
        "class_weights": None if weights is None else dict(zip(class_names, weights.tolist(), strict=True)),
        "resumed_at_epoch": None if state.resumed_epoch is None else state.resumed_epoch + 1,
    }
    logging.info("Training: %s", facts)

    with placement.strategy.scope():
        augmenter = augmentation.build(settings.augment, train.seed) if settings.augment else None
        learner = Learner(classifier, losses.encoder(loss_name, classifier.output_shape[-1]), augmenter)
    # Evaluation needs no gradients, so larger batches are faster and cost no memory to speak of.
    # Every machine evaluates the whole split: that costs less than sharing it out.
    evaluation_steps = input_pipeline.steps_per_epoch(validation, max(256, batch_size))
    evaluation = input_pipeline.evaluation_batches(validation, evaluation_steps).repeat()
    ends = list(itertools.accumulate(phase.epochs for phase in phases))
    for number, (phase, end) in enumerate(zip(phases, ends, strict=True)):
        phase.prepare(classifier.get_layer(settings.model.architecture))
        if number < state.resumed_phase:
            continue
        rate = (phase.learning_rate or train.learning_rate) * placement.replicas
        with placement.strategy.scope():
            loss, metrics = losses.loss_and_metrics(loss_name, train)
            optimizer = optimizers.optimizer(train, rate, steps, phase.epochs)
            learner.compile(optimizer, loss=loss, metrics=metrics, jit_compile=train.xla)
            # Before `fit`, which would otherwise trace the training step twice: seconds for a deep network.
            learner.optimizer.build(learner.trainable_variables)
        averaging = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if train.ema is not None else []
        state.phase, state.others = number, [*averaging, *watching]
        first = max(end - phase.epochs, state.resumed_epoch or 0)
        learner.fit(
            _training_data(training, settings.train, placement, first, weights),
            initial_epoch=first,
            epochs=end,
            steps_per_epoch=steps,
            validation_data=_distributed(evaluation, placement),
            validation_steps=evaluation_steps,
            callbacks=[
                *averaging,
                callbacks.EpochSeeds(train.seed),
                recorder,
                kept,
                *watching,
                asking,
                state,
            ],
            shuffle=False,  # the batches come shuffled
            verbose=0,
        )
        _refuse_nan(recorder.epochs, train.learning_rate)
        if asking.stopped:
            break
    last = kept.epoch + 1
    for epoch in recorder.epochs:
        epoch["kept"] = epoch["epoch"] == last
    return Fit(recorder.epochs, facts)


def _training_data(
    store: input_pipeline.PixelStore,
    settings: TrainSettings,
    placement: Placement,
    first_epoch: int,
    weights: np.ndarray | None,
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Batches for all replicas; where there are several machines, each gathers its own part alone."""
    batches = input_pipeline.training_batches(
        store,
        settings.batch_size * placement.replicas,
        settings.seed,
        first_epoch,
        weights,
        part=(placement.worker, placement.workers),
        divisor=placement.replicas,
    )
    return _distributed(batches, placement)


def _distributed(
    batches: tf.data.Dataset, placement: Placement
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Batches as `fit` wants them: each machine its own, and each split among the machine's replicas."""
    if placement.workers > 1:
        return placement.strategy.distribute_datasets_from_function(lambda context: batches)
    return batches


def _refuse_nan(history: list[dict[str, float]], learning_rate: float) -> None:
    if not np.isfinite(history[-1]["loss"]):
        raise ValueError(
            f"Training diverged: the loss is {history[-1]['loss']} in epoch {history[-1]['epoch']}. "
            f"Lower train.learning_rate (now {learning_rate:g}), set train.clip_norm, or check "
            "transform.scaling."
        )
