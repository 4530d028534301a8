"""Temperature scaling: a smaller calibration error and not one other label, also when served."""

from __future__ import annotations

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from components.evaluator import figures
from components.evaluator.figures import Sums
from modules import calibration, classifier, export


def _clouds(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Three overlapping clouds of points in ten dimensions: no network can be sure of the label."""
    labels = rng.integers(0, 3, count)
    centres = 1.5 * np.eye(3, 10)
    return (centres[labels] + rng.normal(0, 1, (count, 10))).astype(np.float32), labels


@pytest.fixture(scope="module")
def over_trained() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Logits and labels by split of a network that knows its hundred training points by heart."""
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    points, labels = _clouds(rng, 100)
    network = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.01), loss=loss, metrics=["accuracy"])
    history = network.fit(points, labels, epochs=100, batch_size=100, verbose=0)
    assert history.history["accuracy"][-1] > 0.95
    return {
        split: (network.predict(points, verbose=0), labels)
        for split, (points, labels) in (("validation", _clouds(rng, 400)), ("test", _clouds(rng, 2000)))
    }


def test_an_over_trained_network_becomes_honest_and_changes_no_label(over_trained) -> None:
    temperature = calibration.fit_temperature(*over_trained["validation"])
    logits, labels = over_trained["test"]
    before, after = special.softmax(logits, axis=1), special.softmax(logits / temperature, axis=1)
    assert temperature > 1.5
    errors = [figures.calibration_error(Sums.of(one, labels, 2)) for one in (before, after)]
    assert errors[1] < errors[0] / 2, errors
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))


def test_the_temperature_has_the_least_cross_entropy(over_trained) -> None:
    logits, labels = over_trained["validation"]
    fitted = calibration.fit_temperature(logits, labels)
    losses = {
        temperature: -special.log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels].mean()
        for temperature in np.geomspace(0.5, 20, 400)
    }
    assert fitted == pytest.approx(min(losses, key=losses.get), rel=0.05)


def test_honest_logits_keep_a_temperature_of_one() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 4))
    labels = np.array([rng.choice(4, p=row) for row in special.softmax(logits, axis=1)])
    assert calibration.fit_temperature(logits, labels) == pytest.approx(1, abs=0.03)


def test_a_sigmoid_head_is_the_same_as_its_two_logits() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 5, (1000, 1))
    labels = (rng.random(1000) < special.expit(logits[:, 0] / 3)).astype(int)
    both = np.concatenate([np.zeros_like(logits), logits], axis=1)
    temperature = calibration.fit_temperature(logits, labels)
    assert temperature == pytest.approx(3, rel=0.15)
    assert temperature == pytest.approx(calibration.fit_temperature(both, labels))


def test_a_few_right_answers_do_not_make_it_certain() -> None:
    logits = np.array([[1.0, 0, 0]] * 10)
    temperature = calibration.fit_temperature(logits, np.zeros(10, int))
    # Ten of ten, after Laplace, is eleven in twelve.
    assert special.softmax(logits[0] / temperature)[0] == pytest.approx(11 / 12, abs=0.01)


class _Graph:
    """In the place of Transform's graph, which takes a pipeline to make: numbers in a string are pixels."""

    class_names = ("no", "yes", "perhaps")
    trackable = tf.Module()

    def pixels(self, encoded: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.strings.to_number(tf.strings.split(encoded, ",").to_tensor()), [-1, 3])

    def class_index(self, labels: tf.Tensor) -> tf.Tensor:
        return tf.zeros(tf.shape(labels), tf.int64)


def _served(directory: pathlib.Path, notes: export.Notes, images: list[str]) -> dict[str, np.ndarray]:
    """What an export of the identity answers."""
    network = keras.Sequential([keras.Input((3,)), keras.layers.Rescaling(1.0)])
    export.export(network, _Graph(), str(directory), notes)
    signature = tf.saved_model.load(str(directory)).signatures[export.SERVING]
    return {name: value.numpy() for name, value in signature(image_bytes=tf.constant(images)).items()}


def test_the_exported_model_divides_its_logits_and_abstains(tmp_path: pathlib.Path) -> None:
    images = ["0,4,1", "1,1.1,0.9"]
    plain = _served(tmp_path / "plain", export.Notes(), images)
    assert sorted(plain) == ["confidence", "label", "probabilities"]
    notes = export.Notes(temperature=2.0, abstain_below=0.5)
    careful = _served(tmp_path / "careful", notes, images)
    expected = classifier.probabilities(tf.constant([[0, 4, 1], [1, 1.1, 0.9]]) / 2).numpy()
    np.testing.assert_allclose(careful["probabilities"], expected, rtol=1e-6)
    assert plain["label"].tolist() == [b"yes", b"yes"]
    assert careful["label"].tolist() == [b"yes", b""]
    assert careful["abstained"].tolist() == [False, True]
    assert export.read_notes(str(tmp_path / "careful")) == notes
    assert (
        json.loads((tmp_path / "careful" / "assets.extra" / "imagemill.json").read_text())["temperature"]
        == 2.0
    )


def test_a_model_without_notes_is_read_as_a_plain_one(tmp_path: pathlib.Path) -> None:
    assert export.read_notes(str(tmp_path)) == export.Notes()
