"""What the report is made of: the artifacts of a run, each read when it is first asked for.

Made from the URIs of the artifacts, so a notebook can have it as well as the component.
"""

from __future__ import annotations

import functools
import io
import json
import math
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.evaluator.verdict import ANSWERS, VERDICT, Verdict
from components.image_example_gen.outcome import DUPLICATES, MANIFEST, QUARANTINE, SUMMARY
from components.report import inside, suspects
from components.report.images import ExampleReader, Images
from components.report.settings import ReportSettings
from modules import augmentation, features
from modules import classifier as classifiers
from modules.architectures.chain import layer_chain
from modules.settings import TrainerSettings
from modules.transform_graph import TransformGraph
from modules.tuning import record
from modules.tuning.record import Search


@dataclass(frozen=True)
class Uris:
    """Where the artifacts lie: directories or URIs, named as the outputs of their nodes."""

    examples: str
    quarantine: str
    transform_graph: str
    model_run: str
    evaluation: str
    tuner_results: str | None = None


@dataclass(frozen=True)
class TestAnswers:
    """What was said of the test split, as the Evaluator stored it.

    Attributes:
      filenames: paths relative to the data folder.
      labels: int64 (n,), class indices.
      probabilities: float32 (n, classes).
      classes: names.
    """

    filenames: list[str]
    labels: np.ndarray
    probabilities: np.ndarray
    classes: list[str]

    @functools.cached_property
    def answers(self) -> np.ndarray:
        """The likeliest class of each image, int64 (n,)."""
        return self.probabilities.argmax(axis=1)

    @functools.cached_property
    def confusion(self) -> np.ndarray:
        """Images by label and answer, int (classes, classes)."""
        counts = np.zeros((len(self.classes), len(self.classes)), np.int64)
        np.add.at(counts, (self.labels, self.answers), 1)
        return counts

    def confident_errors(self, most: int) -> np.ndarray:
        """Positions of wrong answers, the most confident first."""
        confidence = self.probabilities.max(axis=1)
        wrong = np.flatnonzero(self.answers != self.labels)
        return wrong[np.argsort(-confidence[wrong], kind="stable")][:most]


@dataclass(frozen=True)
class SuspectLabels:
    """Suspect labels, and how much was looked at.

    Attributes:
      found: the most suspect first.
      looked_at: images by split.
      seconds: time it took.
      all_of: splits that were looked at whole.
    """

    found: list[suspects.Suspect]
    looked_at: dict[str, int]
    seconds: float
    all_of: frozenset[str] = field(default_factory=frozenset)


class Sources:
    """The artifacts of one run."""

    def __init__(self, uris: Uris, settings: ReportSettings | None = None):
        """Reads nothing yet.

        Args:
          uris: where the artifacts lie.
          settings: how much to look at.
        """
        self.uris = uris
        self.report_settings = settings or ReportSettings()

    @functools.cached_property
    def ingest(self) -> dict[str, Any]:
        """`summary.json` of the ingest."""
        return json.loads(_read(self.uris.quarantine, SUMMARY))

    @functools.cached_property
    def quarantined(self) -> list[dict[str, Any]]:
        """Files that the ingest left out: `path`, `reason`, `detail`, `size`."""
        return _lines(self.uris.quarantine, QUARANTINE)

    @functools.cached_property
    def clashes(self) -> list[dict[str, Any]]:
        """Equal or nearly equal images: `path`, `other`, `reason`, `distance`, `action`."""
        return _lines(self.uris.quarantine, DUPLICATES)

    @functools.cached_property
    def manifest(self) -> bytes:
        """The list of all images, a JSON object a line."""
        return _read(self.uris.examples, MANIFEST)

    @functools.cached_property
    def history(self) -> list[dict[str, Any]]:
        """An entry an epoch, as `modules.training` writes it."""
        return json.loads(_read(self.uris.model_run, "history.json"))

    @functools.cached_property
    def settings(self) -> TrainerSettings:
        """What the model was trained with."""
        return TrainerSettings.model_validate_json(_read(self.uris.model_run, "settings.json"))

    @functools.cached_property
    def graph(self) -> TransformGraph:
        """Decode and resize, class names, scaling."""
        return TransformGraph(self.uris.transform_graph)

    @functools.cached_property
    def scaling(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale and offset that the network was trained with."""
        return self.graph.scaling(self.settings.scaling)

    @functools.cached_property
    def search(self) -> Search | None:
        """The search for the settings, where there was one."""
        return None if self.uris.tuner_results is None else record.read(self.uris.tuner_results)

    @functools.cached_property
    def classes(self) -> list[str]:
        """Class names in the order of the class index."""
        return self.graph.class_names

    @functools.cached_property
    def verdict(self) -> Verdict:
        """What the Evaluator found."""
        return Verdict.model_validate_json(_read(self.uris.evaluation, VERDICT))

    @functools.cached_property
    def test(self) -> TestAnswers:
        """The answers on the test split."""
        with np.load(io.BytesIO(_read(self.uris.evaluation, ANSWERS)), allow_pickle=False) as stored:
            return TestAnswers(
                filenames=[str(name) for name in stored["filename"]],
                labels=stored["label"].astype(np.int64),
                probabilities=stored["probabilities"],
                classes=[str(name) for name in stored["classes"]],
            )

    @functools.cached_property
    def classifier(self) -> keras.Model:
        """The trained model, from pixels to logits."""
        layer_chain()  # makes the class of the subclass style known to Keras
        with tempfile.TemporaryDirectory() as scratch:
            local = os.path.join(scratch, "classifier.keras")
            tf.io.gfile.copy(f"{self.uris.model_run}/classifier.keras", local)
            return keras.saving.load_model(local, compile=False)

    @functools.cached_property
    def reader(self) -> ExampleReader:
        """Reads the images back."""
        return ExampleReader(self.uris.examples, self.graph)

    @functools.cached_property
    def first_images(self) -> Images:
        """The first images of the training split: at most 500, and few megabytes of them."""
        height, width = self.settings.pixels.image_size
        budget = (64 << 20) // (height * width * self.settings.pixels.channels)
        return self.reader.first(features.TRAIN, max(8, min(500, budget)))

    def samples(self, classes: Iterable[str], each: int) -> dict[str, Images]:
        """Images of the training split by class."""
        return self.reader.samples(features.TRAIN, each, list(classes))

    @functools.cached_property
    def augmented(self) -> np.ndarray | None:
        """A few training images as they are and as training sees them; None without augmentation.

        Returns:
          uint8 (images, 1 + versions, height, width, channels).
        """
        if not self.settings.augment:
            return None
        chosen = slice(0, 6)
        images = self.first_images.pixels[chosen].astype(np.float32)
        labels = np.eye(len(self.classes), dtype=np.float32)[self.first_images.labels[chosen]]
        augmenter = augmentation.build(self.settings.augment, self.settings.train.seed)
        versions = [images, *(augmenter(images, labels, training=True)[0] for _ in range(5))]
        return np.stack([np.rint(version).clip(0, 255).astype(np.uint8) for version in versions], axis=1)

    @functools.cached_property
    def sample_image(self) -> np.ndarray:
        """The image that feature maps are shown for, uint8 (height, width, channels)."""
        return self.first_images.pixels[0]

    @functools.cached_property
    def layers(self) -> list[inside.LayerRow]:
        """The layers of the classifier, in order of execution."""
        return inside.layer_table(self.classifier, self.sample_image[None])

    @functools.cached_property
    def kernels(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Kernels of the first layer after and before training; None where they are no images.

        The untrained ones are made anew: the trainer seeds every generator before it builds the network, so
        equal seed and settings give equal weights.
        """
        shape = self.sample_image.shape
        trained = inside.first_kernels(self.classifier, shape)
        if trained is None:
            return None
        keras.utils.set_random_seed(self.settings.train.seed)
        untrained = classifiers.build_classifier(
            self.settings.model, self.settings.pixels, len(self.classes), *self.scaling
        )
        return trained, inside.first_kernels(untrained, shape)

    def grad_cam(self, pixels: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
        """As `inside.grad_cam`, of this classifier."""
        return inside.grad_cam(self.classifier, pixels, classes)

    @functools.cached_property
    def confident_errors(self) -> tuple[np.ndarray, np.ndarray]:
        """The most confident wrong answers.

        Returns:
          Positions in `test`, and pixels uint8 (n, height, width, channels).
        """
        chosen = self.test.confident_errors(12)
        names = [self.test.filenames[index] for index in chosen]
        pixels = self.reader.named(features.TEST, names)
        kept = np.array([index for index, name in zip(chosen, names, strict=True) if name in pixels], int)
        if not len(kept):
            return kept, np.zeros((0, *self.sample_image.shape), np.uint8)
        return kept, np.stack([pixels[self.test.filenames[index]] for index in kept])

    @functools.cached_property
    def suspects(self) -> SuspectLabels:
        """Labels that are probably wrong, in all three splits as far as time allows."""
        began = time.monotonic()
        answer = functools.partial(_probabilities, self.classifier)
        most, left = self.report_settings.suspect_images, self.report_settings.suspect_seconds
        names, labels = list(self.test.filenames), [self.test.labels]
        probabilities, splits = [self.test.probabilities], [features.TEST] * len(self.test.filenames)
        whole = {features.TEST}
        counts = self.ingest["examples"]
        sizes = {split: sum(counts[split].values()) for split in (features.VALIDATION, features.TRAIN)}
        for split, size in sizes.items():
            if most <= 0:
                break
            seen = self.reader.answers(split, answer, most, left - (time.monotonic() - began))
            names += seen.filenames
            labels.append(seen.labels)
            probabilities.append(seen.probabilities)
            splits += [split] * len(seen.filenames)
            most -= len(seen.filenames)
            if len(seen.filenames) == size:
                whole.add(split)
        found = suspects.find(
            names, splits, np.concatenate(labels), np.concatenate(probabilities), self.classes
        )
        looked_at = {split: splits.count(split) for split in features.SPLITS}
        return SuspectLabels(found, looked_at, time.monotonic() - began, frozenset(whole))

    def thumbnails(self, wanted: Iterable[tuple[str, str]]) -> dict[str, np.ndarray]:
        """Pixels of images given as (split, filename)."""
        by_split: dict[str, list[str]] = {}
        for split, filename in wanted:
            by_split.setdefault(split, []).append(filename)
        found: dict[str, np.ndarray] = {}
        for split, filenames in by_split.items():
            found |= self.reader.named(split, filenames)
        return found

    @functools.cached_property
    def parameters(self) -> tuple[int, int]:
        """Parameters of the classifier, and how many of them are trained."""
        total = sum(math.prod(weight.shape) for weight in self.classifier.weights)
        return total, sum(math.prod(weight.shape) for weight in self.classifier.trainable_weights)


def _probabilities(classifier: keras.Model, pixels: tf.Tensor) -> tf.Tensor:
    return classifiers.probabilities(classifier(pixels, training=False))


def _read(directory: str, name: str) -> bytes:
    with tf.io.gfile.GFile(f"{directory}/{name}", "rb") as file:
        return file.read()


def _lines(directory: str, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _read(directory, name).splitlines()]
