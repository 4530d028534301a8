"""`run_fn` of TFX Trainer: from ingested Examples and Transform's graph to a SavedModel.

    decode both splits -> build the classifier -> fit -> keep the best epoch -> export -> write the record

Beside the model, the record of the run is written to the `model_run` artifact: `history.json` (every
metric of every epoch), `settings.json`, `classes.json`, `summary.txt` and the Keras model itself.
"""

from __future__ import annotations

import io
import json
import pathlib
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from modules import calibration, export, input_pipeline, progress
from modules import classifier as classifiers
from modules.settings import TrainerSettings, TrainSettings
from modules.transform_graph import TransformGraph


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports; called by TFX Trainer.

    Args:
      fn_args: uses `train_files`, `eval_files` (the validation split), `transform_graph_path`,
        `serving_model_dir`, `model_run_dir`, and `custom_config["settings"]`, the JSON of
        `TrainerSettings`.
    """
    settings = TrainerSettings.model_validate_json(fn_args.custom_config["settings"])
    graph = TransformGraph(fn_args.transform_graph_path)
    keras.utils.set_random_seed(settings.train.seed)

    with tempfile.TemporaryDirectory(prefix="imagemill-pixels-") as scratch:
        budget = settings.train.cache_memory_mb << 20
        training = input_pipeline.load(fn_args.train_files, graph, budget, pathlib.Path(scratch, "train"))
        left = max(0, budget - training.pixels.nbytes)
        validation = input_pipeline.load(fn_args.eval_files, graph, left, pathlib.Path(scratch, "validation"))
        classifier = classifiers.build_classifier(
            settings.model, settings.pixels, len(graph.class_names), graph.scale, graph.offset
        )
        history = fit(classifier, training, validation, settings.train)
        temperature = calibration.temperature_of(classifier, validation) if settings.serve.calibrate else 1.0

    notes = export.Notes(temperature, settings.serve.abstain_below)
    export.export(classifier, graph, fn_args.serving_model_dir, notes)
    _write_record(fn_args.model_run_dir, settings, graph.class_names, classifier, history)


def fit(
    classifier: keras.Model,
    training: input_pipeline.PixelStore,
    validation: input_pipeline.PixelStore,
    settings: TrainSettings,
) -> list[dict[str, float]]:
    """Compiles and trains a classifier in place.

    Returns:
      One entry an epoch: `epoch` (from 1), `loss`, `accuracy`, `val_loss`, `val_accuracy`,
      `learning_rate`, `seconds`, `images_per_second`, and `kept` for the epoch whose weights remain.

    Raises:
      ValueError: when the loss stops being a finite number.
    """
    loss, metrics = classifiers.loss_and_metrics(classifier.output_shape[-1])
    classifier.compile(optimizer(settings), loss=loss, metrics=metrics, jit_compile=False)
    # Before `fit`, which would otherwise trace the training step twice: seconds for a deep network.
    classifier.optimizer.build(classifier.trainable_variables)
    recorder = _Recorder(len(training), settings.epochs)
    callbacks: list[keras.callbacks.Callback] = [recorder, keras.callbacks.TerminateOnNaN()]
    best = _KeepBest()
    if settings.keep_best:
        callbacks.append(best)
    classifier.fit(
        input_pipeline.training_batches(training, settings.batch_size, settings.seed),
        epochs=settings.epochs,
        steps_per_epoch=input_pipeline.steps_per_epoch(training, settings.batch_size),
        # Evaluation needs no gradients, so larger batches are faster and cost no memory to speak of.
        validation_data=input_pipeline.evaluation_batches(validation, max(256, settings.batch_size)),
        callbacks=callbacks,
        shuffle=False,  # the batches come shuffled
        verbose=0,
    )
    if not np.isfinite(recorder.epochs[-1]["loss"]):
        raise ValueError(
            f"Training diverged: the loss is {recorder.epochs[-1]['loss']} in epoch {len(recorder.epochs)}. "
            f"Lower train.learning_rate (now {settings.learning_rate:g}) or check transform.scaling."
        )
    kept = best.epoch if settings.keep_best else len(recorder.epochs) - 1
    for number, epoch in enumerate(recorder.epochs):
        epoch["kept"] = number == kept
    return recorder.epochs


def optimizer(settings: TrainSettings) -> keras.optimizers.Optimizer:
    """The configured optimizer."""
    configuration = {"learning_rate": settings.learning_rate}
    return keras.optimizers.get({"class_name": settings.optimizer, "config": configuration})


class _KeepBest(keras.callbacks.Callback):
    """Puts the weights of the epoch with the best validation accuracy back when training ends.

    Small validation splits often tie; the lower validation loss then decides.
    """

    def __init__(self) -> None:
        super().__init__()
        self._best = (-np.inf, -np.inf)
        self._weights: list[np.ndarray] | None = None
        self.epoch = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figures = (logs["val_accuracy"], -logs["val_loss"])
        if figures > self._best:
            self._best, self.epoch = figures, epoch
            self._weights = self.model.get_weights()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self._weights is not None:
            self.model.set_weights(self._weights)


class _Recorder(keras.callbacks.Callback):
    """Keeps the figures of every epoch and reports progress."""

    def __init__(self, images: int, epochs: int):
        super().__init__()
        self._images = images
        self._epochs = epochs
        self.epochs: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._train_seconds = time.perf_counter() - self._started
        done = self._epoch * self.params["steps"] + batch + 1
        last = self.epochs[-1] if self.epochs else {}
        figures = {key: last[key] for key in ("val_accuracy",) if key in last}
        progress.emit(
            "training",
            done,
            self._epochs * self.params["steps"],
            epoch=self._epoch + 1,
            epochs=self._epochs,
            **figures,
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.epochs.append(
            {
                "epoch": epoch + 1,
                **{name: float(value) for name, value in logs.items()},
                "learning_rate": float(self.model.optimizer.learning_rate),
                "seconds": time.perf_counter() - self._started,
                "images_per_second": self._images / self._train_seconds,
            }
        )


def _write_record(
    directory: str,
    settings: TrainerSettings,
    class_names: list[str],
    classifier: keras.Model,
    history: list[dict[str, float]],
) -> None:
    summary = io.StringIO()
    classifier.summary(print_fn=lambda line: summary.write(line + "\n"), expand_nested=True, line_length=100)
    tf.io.gfile.makedirs(directory)
    # The Keras model itself, for whoever looks inside the network later; what is served is the export.
    classifier.save(f"{directory}/classifier.keras")
    for name, text in {
        "history.json": json.dumps(history, indent=1),
        "settings.json": settings.model_dump_json(indent=1),
        "classes.json": json.dumps(class_names, ensure_ascii=False),
        "summary.txt": summary.getvalue(),
    }.items():
        with tf.io.gfile.GFile(f"{directory}/{name}", "w") as file:
            file.write(text)
