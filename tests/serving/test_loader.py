"""Models load and run as in TensorFlow Serving: in a session, with what that accepts and what it does not."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from serving import classify, protos
from serving.batching import BatchLimits, Call
from serving.loader import Servable, SessionOptions, load
from serving.status import StatusCode, StatusError
from tests.serving.samples import COLOURS, encoded


@pytest.fixture(scope="module")
def loaded(saved_model: Path) -> Servable:
    return load("tiny", 7, saved_model, SessionOptions(batching=BatchLimits()))


def strings(*values: bytes) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def test_a_session_gives_what_the_exported_model_gives(loaded: Servable, saved_model: Path):
    images = [encoded(pixels) for pixels in COLOURS.values()]
    (probabilities,) = loaded.run("serving_default", [strings(*images)], ("probabilities",), Call())
    expected = tf.saved_model.load(str(saved_model)).signatures["serving_default"](tf.constant(images))
    np.testing.assert_allclose(probabilities, expected["probabilities"].numpy(), atol=1e-6)


def test_what_fails_in_tensorflow_serving_fails_here(tmp_path: Path):
    """`tf.saved_model.save` of a module that holds a Keras 3 model loads in Python, but not in a session."""
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    module = tf.Module()
    module.network = network
    signature = tf.function(
        lambda x: {"y": network(x)}, input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")]
    )
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": signature})
    with pytest.raises(StatusError, match="Could not find variable"):
        load("bad", 1, tmp_path, SessionOptions()).run(
            "serving_default", [np.ones((1, 2), np.float32)], ("y",), Call()
        )


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "saved_model.pb").write_bytes(b"\x00" * 100),
        lambda path: (path / "saved_model.pb").unlink(),
        lambda path: (path / "variables" / "variables.index").unlink(),
    ],
    ids=["no-model", "missing", "no-variables"],
)
def test_a_damaged_model_is_a_status(saved_model: Path, tmp_path: Path, damage: Callable[[Path], object]):
    path = tmp_path / "model"
    shutil.copytree(saved_model, path)
    damage(path)
    with pytest.raises(StatusError) as caught:
        load("damaged", 1, path, SessionOptions())
    assert caught.value.code is StatusCode.INVALID_ARGUMENT
    assert str(path) in caught.value.message


def test_tags_that_a_model_does_not_have_are_refused(saved_model: Path):
    with pytest.raises(StatusError, match="gpu"):
        load("tiny", 7, saved_model, SessionOptions(tags=("serve", "gpu")))


@pytest.fixture(scope="module")
def version_one(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    """A model in TensorFlow 1's form: signatures with method names that share their input tensor."""
    path = tmp_path_factory.mktemp("v1") / "model"
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        serialized = v1.placeholder(tf.string, [None], "examples")
        x = v1.io.parse_example(serialized, {"x": v1.io.FixedLenFeature([1], tf.float32)})["x"]
        y = x * v1.get_variable("factor", initializer=0.5) + 2.0
        names = tf.tile(tf.constant([["half", "whole"]]), [tf.shape(y)[0], 1])
        session.run(v1.global_variables_initializer())
        build = v1.saved_model.signature_def_utils
        signatures = {
            "classify": build.classification_signature_def(serialized, names, tf.concat([y, x], 1)),
            "regress": build.regression_signature_def(serialized, y),
        }
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()
    return load("half", 1, path, SessionOptions(batching=BatchLimits()))


def examples(target: Any, *values: float) -> None:
    for value in values:
        target.example_list.examples.add().features.feature["x"].float_list.value.append(value)


def test_multi_inference_over_a_shared_input(version_one: Servable):
    request = protos.inference.MultiInferenceRequest()
    for method in ("classify", "regress"):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "half", method
    examples(request.input, 2.0, 8.0)
    first, second = classify.multi_inference(version_one, request, Call(), check_method=True).results
    scores = [[entry.score for entry in row.classes] for row in first.classification_result.classifications]
    assert scores == [[3.0, 2.0], [6.0, 8.0]]
    assert [entry.value for entry in second.regression_result.regressions] == [3.0, 6.0]


def test_method_names_are_looked_at_on_demand(version_one: Servable, loaded: Servable):
    request = protos.classification.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "half", "classify"
    examples(request.input, 2.0)
    answer = classify.classify(version_one, request, Call(), check_method=True)
    assert [entry.label for entry in answer.result.classifications[0].classes] == ["half", "whole"]
    with pytest.raises(StatusError, match="method_name to be tensorflow/serving/classify"):
        classify.classify(loaded, request, Call(), check_method=True)


def test_a_run_that_takes_too_long_is_stopped(saved_model: Path):
    servable = load("tiny", 7, saved_model, SessionOptions(run_timeout_ms=1))
    image = encoded(np.zeros((3000, 3000, 3), np.uint8))
    with pytest.raises(StatusError) as caught:
        servable.run("serving_default", [strings(*[image] * 8)], ("label",), Call())
    assert caught.value.code is StatusCode.DEADLINE_EXCEEDED
