"""The whole way on a tiny folder: artifacts, cache, blessing, and the served answer."""

from __future__ import annotations

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration.portable import runtime_parameter_utils

from modules import features
from pipeline import config, launch, local
from serving.client import Classifier
from serving.local import LocalServer
from tests.conftest import COLOURS, Project

NODES = [
    "ImageExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "DataGate",
    "PreviousData",
    "DriftGate",
    "Transform",
    "Trainer",
    "Baseline",
    "InfraValidator",
    "Evaluator",
    "Pusher",
    "Report",
]


def test_the_first_run_pushes_a_model(project: Project) -> None:
    result = project.first
    assert result["examples"] == {"train": 54, "validation": 18, "test": 18}
    assert result["classes"] == sorted(COLOURS)
    assert result["quarantined"] == 1
    assert result["blessed"] is True
    assert result["baseline_metrics"] is None
    assert result["metrics"]["accuracy"] >= 0.5
    assert sorted(result["nodes"]) == sorted(NODES)
    assert not any(node["cached"] for node in result["nodes"].values())
    assert project.versions()[0] == result["pushed_version"]
    pushed = pathlib.Path(result["pushed_path"])
    assert (pushed / "saved_model.pb").exists()
    assert (pushed / "assets.extra" / "tf_serving_warmup_requests").exists()


def test_every_node_left_its_artifacts_in_ml_metadata(project: Project) -> None:
    store = metadata_store.MetadataStore(local.connection_config(project.workdir))
    types = {artifact.type for artifact in store.get_artifacts()}
    assert types >= {
        "Examples",
        "Quarantine",
        "ExampleStatistics",
        "Schema",
        "ExampleAnomalies",
        "TransformGraph",
        "Model",
        "ModelRun",
        "ModelEvaluation",
        "ModelBlessing",
        "InfraBlessing",
        "PushedModel",
    }
    states = {execution.last_known_state for execution in store.get_executions()}
    assert states <= {metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED}


def test_the_trainer_leaves_a_record(project: Project) -> None:
    record = pathlib.Path(project.first["nodes"]["Trainer"]["outputs"]["model_run"])
    history = json.loads((record / "history.json").read_text())
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3]
    assert [epoch["kept"] for epoch in history].count(True) == 1
    assert all(epoch["images_per_second"] > 0 for epoch in history)
    assert json.loads((record / "classes.json").read_text()) == sorted(COLOURS)


def test_an_equal_run_is_served_from_the_cache_and_pushes_nothing_new(project: Project) -> None:
    before = project.versions()
    second, third = project.run(), project.run()
    # What depends on earlier runs runs again. The model in production is not compared with itself.
    always = {"PreviousData", "DriftGate", "Baseline", "Pusher"}
    for result in (second, third):
        assert {name for name, node in result["nodes"].items() if not node["cached"]} <= always
        assert result["metrics"] == project.first["metrics"]
        assert result["verdict"] == project.first["verdict"]
    assert second["exit_code"] == third["exit_code"] == 0
    assert project.versions() == before
    assert third["pushed_version"] == project.first["pushed_version"]
    assert project.first["is_new_version"] is True
    assert third["is_new_version"] is False


def test_a_worse_model_is_not_blessed_and_the_served_version_stays(project: Project) -> None:
    before = project.versions()
    result = project.run("train.epochs=1", "train.learning_rate=1e-7", "evaluate.min_accuracy=0")
    assert result["exit_code"] == 3
    assert result["blessed"] is False
    assert result["pushed_version"] is None
    assert "is significantly lower than" in result["not_blessed_because"][0]
    assert result["verdict"].startswith("Not blessed: accuracy ")
    assert result["baseline_metrics"]["accuracy"] > result["metrics"]["accuracy"]
    assert project.versions() == before
    # Data and Transform do not depend on the training settings.
    assert result["nodes"]["Transform"]["cached"] is True


def test_a_model_below_the_floor_is_not_blessed(project: Project) -> None:
    result = project.run(
        "evaluate.min_accuracy=1.0",
        "evaluate.margin=0.99",
        "train.epochs=1",
        "train.learning_rate=1e-7",
    )
    assert result["exit_code"] == 3
    assert "below evaluate.min_accuracy 1" in result["not_blessed_because"][0]


def test_served_answers_are_those_of_the_trained_model(project: Project) -> None:
    """No train/serve skew: files over gRPC against the Keras model on the pixels it was trained with."""
    outputs = {name: node["outputs"] for name, node in project.first["nodes"].items()}
    classifier = keras.saving.load_model(f"{outputs['Trainer']['model_run']}/classifier.keras")
    files = sorted(path for path in project.data.glob("*/*.*") if path.name != "broken.jpg")

    from modules import export
    from modules.transform_graph import TransformGraph

    graph = TransformGraph(outputs["Transform"]["transform_graph"])
    pixels = tf.function(graph.pixels)(tf.constant([path.read_bytes() for path in files]))
    # What is served is calibrated; the temperature stands beside it.
    temperature = export.read_notes(project.first["pushed_path"]).temperature
    expected = tf.nn.softmax(classifier(pixels, training=False) / temperature).numpy()

    base = project.workdir / "serving" / "colours"
    with LocalServer(base, "colours") as server, Classifier(server.address, "colours") as client:
        served = list(client.classify_many(files))
    assert [one.label for one in served] == [graph.class_names[index] for index in expected.argmax(-1)]
    np.testing.assert_allclose([one.probabilities for one in served], expected, atol=1e-5)


def test_both_signatures_answer_the_same(project: Project) -> None:
    model = tf.saved_model.load(project.first["pushed_path"])
    examples = pathlib.Path(project.first["nodes"]["ImageExampleGen"]["outputs"]["examples"])
    shards = sorted(str(path) for path in (examples / "Split-test").iterdir())
    records = list(tf.data.TFRecordDataset(shards).as_numpy_iterator())
    images = [
        tf.train.Example.FromString(record).features.feature[features.IMAGE].bytes_list.value[0]
        for record in records
    ]
    by_example = model.signatures["serving_examples"](examples=tf.constant(records))
    by_image = model.signatures["serving_default"](image_bytes=tf.constant(images))
    np.testing.assert_array_equal(by_example["probabilities"], by_image["probabilities"])
    np.testing.assert_array_equal(by_example["label"], by_image["label"])
    np.testing.assert_allclose(tf.reduce_sum(by_image["probabilities"], axis=-1), 1, atol=1e-6)


def test_a_class_that_only_the_test_split_has_stops_at_the_gate(make_project, tmp_path: pathlib.Path) -> None:
    project = make_project()
    data = tmp_path / "ready"
    (data / "train").mkdir(parents=True)
    for name in ("cherry", "leaf"):
        (project.data / name).rename(data / "train" / name)
    (data / "test").mkdir()
    for name in ("cherry", "leaf"):
        (data / "test" / name).mkdir()
        for path in sorted((data / "train" / name).iterdir())[:6]:
            path.rename(data / "test" / name / path.name)
    (project.data / "sea" / "broken.jpg").unlink()
    (project.data / "sea").rename(data / "test" / "sea")
    result = project.run(f"data.path={data}")
    assert result["exit_code"] == 2
    assert result["failed_node"] == "DataGate"
    assert "test: class 'sea' does not occur in the training split" in result["error"]


def test_inputs_that_cannot_be_resolved_fail_the_node(make_project) -> None:
    project = make_project()
    project.workdir.mkdir()
    ir = local.compile_local(config.load(project.config), project.workdir)
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: "nothing-ran-before"}
    )
    with pytest.raises(launch.NodeFailedError, match="Transform"):
        launch.launch_node(ir, "Transform", local.connection_config(project.workdir))


def test_a_size_that_the_network_cannot_take_is_bad_input(make_project) -> None:
    result = make_project().run("data.image_size=[8, 8]")
    assert result["exit_code"] == 2
    assert "mnist_cnn cannot be built for images of 8x8x3 (data.image_size" in result["error"]
