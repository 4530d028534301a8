"""`run_fn` of TFX Trainer: from ingested Examples and Transform's graph to a SavedModel.

    decode both splits -> build the classifier -> fit (or go on) -> keep the best epoch -> export -> record

Beside the model, the record of the run is written to the `model_run` artifact: `history.json` and
`history.csv` (every metric of every epoch), `settings.json`, `training.json` (what was decided on the way),
`classes.json`, `summary.txt`, the Keras model itself, and what checkpoints and TensorBoard wrote.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import tempfile
from typing import NamedTuple

import keras
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from modules import calibration, devices, export, fitting, input_pipeline, resume, worker
from modules import classifier as classifiers
from modules.settings import TrainerSettings
from modules.transform_graph import TransformGraph
from modules.tuning.spaces import resolve


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports; called by TFX Trainer.

    Args:
      fn_args: uses `train_files`, `eval_files` (the validation split), `transform_graph_path`,
        `serving_model_dir`, `model_run_dir`, and of `custom_config` `settings`, the JSON of
        `TrainerSettings`, and `code`, the digest of this room; and `hyperparameters`, what tuning found,
        by key of the configuration.
    """
    settings = TrainerSettings.model_validate_json(fn_args.custom_config["settings"])
    if fn_args.hyperparameters is not None:
        settings = resolve(settings, fn_args.hyperparameters["values"])
    trainer_dir = os.path.dirname(os.path.dirname(fn_args.model_run_dir))  # ROOT/Trainer/model_run/EXECUTION
    with contextlib.ExitStack() as stack:
        if settings.train.devices == "workers" and devices.is_first_worker():
            # Before this process joins the others: whoever joins first waits for the rest.
            stack.enter_context(worker.orders(trainer_dir, fn_args))
        _train(fn_args, settings, f"{trainer_dir}/unfinished")


def _train(fn_args: FnArgs, settings: TrainerSettings, all_unfinished: str) -> None:
    placement = devices.place(settings.train.devices)
    graph = TransformGraph(fn_args.transform_graph_path)
    # Beside the artifacts, since each attempt gets a new one and all have to find it.
    unfinished = resume.folder(
        all_unfinished,
        settings.model_dump_json(),
        *fn_args.train_files,
        *fn_args.eval_files,
        fn_args.transform_graph_path,
        fn_args.custom_config["code"],
        placement.name,
    )
    splits = decode(fn_args, graph, settings.train.cache_memory_mb)
    classifier, fit = learn(settings, graph, splits, placement, unfinished)
    if not placement.is_chief:
        return
    classifiers.compute_in_float32(classifier)
    temperature = (
        calibration.temperature_of(classifier, splits.validation) if settings.serve.calibrate else 1.0
    )
    notes = export.Notes(temperature, settings.serve.abstain_below)
    export.export(classifier, graph, fn_args.serving_model_dir, notes)
    _write_record(fn_args.model_run_dir, settings, graph.class_names, classifier, fit, unfinished)
    tf.io.gfile.rmtree(unfinished)


class Splits(NamedTuple):
    """What is trained on, decoded."""

    training: input_pipeline.PixelStore
    validation: input_pipeline.PixelStore


def decode(fn_args: FnArgs, graph: TransformGraph, cache_memory_mb: int) -> Splits:
    """Decodes the splits of `fn_args`, in memory as far as that many MiB go."""
    with tempfile.TemporaryDirectory(prefix="imagemill-pixels-") as scratch:
        budget = cache_memory_mb << 20
        training = input_pipeline.load(fn_args.train_files, graph, budget, pathlib.Path(scratch, "train"))
        left = max(0, budget - training.pixels.nbytes)
        validation = input_pipeline.load(fn_args.eval_files, graph, left, pathlib.Path(scratch, "validation"))
    return Splits(training, validation)


def learn(
    settings: TrainerSettings,
    graph: TransformGraph,
    splits: Splits,
    placement: devices.Placement,
    directory: str,
    stop_after: fitting.StopAfter | None = None,
) -> tuple[keras.Model, fitting.Fit]:
    """Builds the classifier and fits it: what a training and a trial of tuning have in common.

    Args:
      directory: of the unfinished training, see `modules.resume`.
      stop_after: see `fitting.fit`.
    """
    keras.utils.set_random_seed(settings.train.seed)
    with placement.strategy.scope(), classifiers.computing_in(settings.train.precision):
        classifier = classifiers.build_classifier(
            settings.model, settings.pixels, len(graph.class_names), *graph.scaling(settings.scaling)
        )
    fit = fitting.fit(
        classifier, *splits, settings, graph.class_names, placement, directory, stop_after=stop_after
    )
    return classifier, fit


def _write_record(
    directory: str,
    settings: TrainerSettings,
    class_names: list[str],
    classifier: keras.Model,
    fit: fitting.Fit,
    unfinished: str,
) -> None:
    summary = io.StringIO()
    classifier.summary(print_fn=lambda line: summary.write(line + "\n"), expand_nested=True, line_length=100)
    tf.io.gfile.makedirs(directory)
    # The Keras model itself, for whoever looks inside the network later; what is served is the export.
    classifier.save(f"{directory}/classifier.keras")
    for name, text in {
        "history.json": json.dumps(fit.history, indent=1),
        "settings.json": settings.model_dump_json(indent=1),
        "training.json": json.dumps(fit.facts, indent=1, ensure_ascii=False),
        "classes.json": json.dumps(class_names, ensure_ascii=False),
        "summary.txt": summary.getvalue(),
    }.items():
        with tf.io.gfile.GFile(f"{directory}/{name}", "w") as file:
            file.write(text)
    for name in ("history.csv", "checkpoints", "tensorboard"):
        if tf.io.gfile.exists(f"{unfinished}/{name}"):
            tf.io.gfile.rename(f"{unfinished}/{name}", f"{directory}/{name}", overwrite=True)
