"""What models answer about every image of a split, and what the ingest knew of it: arrays, and one file.

Each model is asked once for each image, in batches, through the signature that is served. Metrics, slices,
tests and the report all read these arrays.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import tensorflow as tf

from modules import export, features, progress

# Fits deep networks at 224x224 into little memory, and costs small ones nothing to speak of.
_BATCH = 32

_FEATURES = {
    features.LABEL: tf.io.FixedLenFeature([], tf.string),
    features.FILENAME: tf.io.FixedLenFeature([], tf.string),
    features.SHA256: tf.io.FixedLenFeature([], tf.string),
    features.BRIGHTNESS: tf.io.FixedLenFeature([], tf.float32),
    features.CONTRAST: tf.io.FixedLenFeature([], tf.float32),
    features.SHARPNESS: tf.io.FixedLenFeature([], tf.float32),
    features.WIDTH: tf.io.FixedLenFeature([], tf.int64),
    features.HEIGHT: tf.io.FixedLenFeature([], tf.int64),
}


@dataclass(frozen=True)
class Answers:
    """A split with the answers of one or two models, a row an image, in the order of the split.

    Attributes:
      filename: unicode (n,), relative to the data folder.
      sha256: unicode (n,), of the file.
      label: int64 (n,), index into `classes`.
      probabilities: float32 (n, c), of the candidate.
      classes: unicode (c,).
      brightness, contrast, sharpness: float32 (n,), as in `modules.features`.
      width, height: int64 (n,), pixels.
      source: unicode (n,), the folder below the class folder, else the class folder itself.
      baseline_probabilities: float32 (n, c) of the model in production, when it knows the same classes.
    """

    filename: np.ndarray
    sha256: np.ndarray
    label: np.ndarray
    probabilities: np.ndarray
    classes: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    sharpness: np.ndarray
    width: np.ndarray
    height: np.ndarray
    source: np.ndarray
    baseline_probabilities: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    def with_baseline(self, probabilities: np.ndarray) -> Answers:
        """The same with the baseline's answers, float32 (n, c)."""
        return replace(self, baseline_probabilities=probabilities)

    def save(self, path: str) -> None:
        """Writes the arrays as a compressed .npz file, locally or on an object store."""
        buffer = io.BytesIO()
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez_compressed(buffer, **{name: array for name, array in arrays.items() if array is not None})
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(buffer.getvalue())

    @classmethod
    def load(cls, path: str) -> Answers:
        """Reads what `save` wrote."""
        with tf.io.gfile.GFile(path, "rb") as file, np.load(io.BytesIO(file.read())) as arrays:
            return cls(**arrays)


class ServedModel:
    """An exported model, asked as the server asks it.

    Attributes:
      classes: class names in the order of its probabilities.
      temperature: that it divides its logits by.
    """

    def __init__(self, directory: str):
        """Loads the model.

        Args:
          directory: of the SavedModel.

        Raises:
          OSError, ValueError, KeyError, tf.errors.OpError: when it is not there or damaged.
        """
        # Its first sign of life: `tf.saved_model.load` says of a missing directory what nobody understands.
        if not tf.io.gfile.exists(f"{directory}/saved_model.pb"):
            raise FileNotFoundError(f"there is no SavedModel in {directory}")
        self._model = tf.saved_model.load(directory)
        self._signature = self._model.signatures[export.SERVING_EXAMPLES]
        with tf.io.gfile.GFile(f"{directory}/assets/class_names", "rb") as file:
            self.classes = file.read().decode("utf-8").splitlines()
        self.temperature = export.read_notes(directory).temperature

    def probabilities(self, examples: np.ndarray) -> np.ndarray:
        """Probabilities float32 (n, classes) of serialized Examples, bytes (n,).

        Raises:
          ValueError: when they are no numbers.
        """
        answer = self._signature(examples=tf.constant(examples))["probabilities"].numpy()
        if not np.isfinite(answer).all():
            raise ValueError("the model answers with probabilities that are no numbers")
        return answer


def ask(model: ServedModel, files: list[str], stage: str) -> np.ndarray:
    """Probabilities float32 (n, classes) for all Examples of TFRecord files.

    Args:
      model: whom to ask.
      files: TFRecord files.
      stage: what progress is reported as.
    """
    parts, done = [], 0
    for batch in _batches(files):
        parts.append(model.probabilities(batch))
        done += len(batch)
        progress.emit(stage, done)
    return np.concatenate(parts)


def answers(model: ServedModel, files: list[str]) -> Answers:
    """The candidate's answers with what the Examples say.

    Raises:
      ValueError: for no Examples at all, or a label that the model does not know.
    """
    rows: list[dict[str, np.ndarray]] = []
    for batch in _batches(files):
        parsed = {name: value.numpy() for name, value in tf.io.parse_example(batch, _FEATURES).items()}
        rows.append(parsed)
    if not rows:
        raise ValueError(f"No examples in {files}.")
    columns = {name: np.concatenate([row[name] for row in rows]) for name in _FEATURES}
    text = {
        name: np.array([value.decode("utf-8") for value in columns[name]])
        for name in (features.LABEL, features.FILENAME, features.SHA256)
    }
    index = {name: position for position, name in enumerate(model.classes)}
    unknown = sorted(set(text[features.LABEL].tolist()) - set(index))
    if unknown:
        raise ValueError(f"The label {unknown[0]!r} is none of the model's classes: {', '.join(index)}.")
    return Answers(
        filename=text[features.FILENAME],
        sha256=text[features.SHA256],
        label=np.array([index[name] for name in text[features.LABEL]], np.int64),
        probabilities=ask(model, files, "evaluating"),
        classes=np.array(model.classes),
        brightness=columns[features.BRIGHTNESS],
        contrast=columns[features.CONTRAST],
        sharpness=columns[features.SHARPNESS],
        width=columns[features.WIDTH],
        height=columns[features.HEIGHT],
        source=np.array([source_folder(name) for name in text[features.FILENAME]]),
    )


def source_folder(filename: str) -> str:
    """Where below the class folder an image lies; the class folder itself when it lies directly in it.

    >>> source_folder("cat/kitchen camera/1.jpg"), source_folder("test/cat/1.jpg")
    ('kitchen camera', 'cat')
    """
    *folders, _ = filename.split("/")
    if len(folders) > 1 and folders[0].lower() in _SPLIT_FOLDERS:
        folders = folders[1:]
    return "/".join(folders[1:] or folders)


# As the ingest names ready splits in any spelling.
_SPLIT_FOLDERS = ("train", "validation", "val", "valid", "eval", "test")


def _batches(files: list[str]) -> Iterator[np.ndarray]:
    dataset = tf.data.TFRecordDataset(sorted(files), buffer_size=8 << 20).batch(_BATCH)
    return dataset.prefetch(2).as_numpy_iterator()
