"""The package for Kubeflow: what a cluster would be told, down to the last field."""

from __future__ import annotations

import hashlib
import pathlib
from typing import Any

import kfp.components
import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from modules.errors import InputError
from pipeline import config, kubeflow, node_parameters, node_worker
from pipeline.graph import Paths, compile_pipeline, create_pipeline

IMAGE = "registry.example/imagemill@sha256:0123"

CONFIG = """
data: {{path: {data}, image_size: [16, 16]}}
model: {{architecture: mnist_cnn}}
train: {{epochs: 3}}
push: {{model_name: Colours_1}}
kubeflow:
  secret_folders: [{{secret: gcs-key, path: /secrets/gcs}}]
  secret_variables: [{{variable: TOKEN, secret: token, key: value}}]
  image_pull_secrets: [registry]
  nodes:
    Trainer:
      memory: 16Gi
      gpus: 2
      shared_memory: 8Gi
      retries: 4
      timeout_seconds: 3600
      node_selector: {{pool: gpu}}
      tolerations: [{{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}}]
"""


def _load(folder: pathlib.Path, *overrides: str, data: str = "/mnt/data/colours") -> config.Config:
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(data=data), encoding="utf-8")
    return config.load(path, overrides)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> kubeflow.Package:
    return kubeflow.compile_package(_load(tmp_path_factory.mktemp("package")), IMAGE)


@pytest.fixture(scope="module")
def ir(package: kubeflow.Package) -> Any:
    """The pipeline that the nodes get, out of the arguments of one of them."""
    arguments = list(package.executors["exec-trainer"]["container"]["args"])
    return node_worker.decode(arguments[arguments.index("--pipeline") + 1])


def _nodes(package: kubeflow.Package) -> dict[str, pipeline_spec_pb2.PipelineTaskSpec]:
    (group,) = [one for one in package.pipeline.components.values() if one.HasField("dag")]
    return dict(group.dag.tasks)


def test_both_documents_parse_strictly(package: kubeflow.Package, tmp_path: pathlib.Path) -> None:
    pipeline, platform = yaml.safe_load_all(package.text())
    json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec(), ignore_unknown_fields=False)
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec(), ignore_unknown_fields=False)
    assert package.pipeline.schema_version == "2.1.0"
    assert package.pipeline.pipeline_info.name == "imagemill-colours-1"
    assert list(package.platform.platforms) == ["kubernetes"]
    for executor in package.executors:
        kubeflow.pod_config(package, executor)  # strict as well
    pipeline["unheardOf"] = 1
    path = tmp_path / "package.yaml"
    path.write_text(yaml.safe_dump_all([pipeline, platform]), encoding="utf-8")
    with pytest.raises(InputError, match="unheardOf"):
        kubeflow.read_package(path)


def test_the_sdk_loads_it(package: kubeflow.Package, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "package.yaml"
    path.write_text(package.text(), encoding="utf-8")
    for loaded in (
        kfp.components.load_component_from_text(package.text()),
        kfp.components.load_component_from_file(str(path)),
    ):
        assert set(loaded.component_spec.inputs) == {
            "data_path",
            "span",
            "epochs",
            "learning_rate",
            "pipeline_root",
            "image",
        }


def test_the_order_is_that_of_the_compiled_pipeline(package: kubeflow.Package, ir: Any) -> None:
    tasks = _nodes(package)
    names = {task: spec.task_info.name for task, spec in tasks.items()}
    found = {names[task]: {names[one] for one in spec.dependent_tasks} for task, spec in tasks.items()}
    wanted = {node.pipeline_node.node_info.id: set(node.pipeline_node.upstream_nodes) for node in ir.nodes}
    assert found == wanted
    # What comes at the end comes after all of them, however they went.
    finish = package.pipeline.root.dag.tasks["finish"]
    assert finish.trigger_policy.strategy == finish.TriggerPolicy.ALL_UPSTREAM_TASKS_COMPLETED


def test_every_executor_is_a_container_with_short_arguments(package: kubeflow.Package) -> None:
    executors = package.executors
    assert len(executors) == len(_nodes(package)) + 1
    for executor in executors.values():
        assert executor.keys() == {"container"}
        container = executor["container"]
        assert container["command"] == ["python", "-m", "pipeline.node"]
        assert container["image"] == "{{$.inputs.parameters['pipelinechannel--image']}}"
        assert max(len(one.encode()) for one in container["args"]) < 64 << 10
        # The id of the run must reach the pod as a parameter, not inside another text.
        assert "{{$.inputs.parameters['run_id']}}" in container["args"]


def test_every_input_leads_to_one_outside(package: kubeflow.Package) -> None:
    """kfp 2.16 compiles an image from a parameter, outside the exit handler, to a reference to nothing."""

    def check(dag: pipeline_spec_pb2.DagSpec, outer: set[str]) -> None:
        for task in dag.tasks.values():
            for given in task.inputs.parameters.values():
                if given.WhichOneof("kind") == "component_input_parameter":
                    assert given.component_input_parameter in outer
            component = package.pipeline.components[task.component_ref.name]
            if component.HasField("dag"):
                check(component.dag, set(component.input_definitions.parameters))

    root = package.pipeline.root
    check(root.dag, set(root.input_definitions.parameters))


def test_kubeflow_neither_caches_nor_gives_up_at_once(package: kubeflow.Package) -> None:
    tasks = {**_nodes(package), "finish": package.pipeline.root.dag.tasks["finish"]}
    for name, task in tasks.items():
        assert task.caching_options.enable_cache is False
        assert task.retry_policy.max_retry_count == (4 if name == "trainer" else 2)


def test_every_pod_has_resources_and_is_no_root(package: kubeflow.Package) -> None:
    for name, executor in package.executors.items():
        resources = executor["container"]["resources"]
        assert resources["resourceCpuRequest"]
        assert resources["resourceMemoryRequest"] == resources["resourceMemoryLimit"]
        pod = kubeflow.pod_config(package, name)
        context = pod.security_context
        assert (context.run_as_user, context.run_as_group) == (10001, 10001)
        assert context.run_as_non_root is True
        assert pod.active_deadline_seconds > 0
        assert pod.pod_metadata.labels["app.kubernetes.io/part-of"] == "imagemill"
        shared = {one.mount_path: (one.medium, one.size_limit) for one in pod.empty_dir_mounts}
        assert shared["/dev/shm"] == ("Memory", "8Gi" if name == "exec-trainer" else "1Gi")
        assert executor["container"]["env"] == [{"name": "TMPDIR", "value": "/scratch"}]
        assert "/scratch" in shared
        secrets = {one.key_to_env[0].env_var: (one.secret_name, one.optional) for one in pod.secret_as_env}
        assert secrets.pop("IMAGEMILL_METADATA") == ("imagemill-metadata", False)
        assert secrets.pop("TOKEN") == ("token", False)
        notify = {"IMAGEMILL_NOTIFY_URL": ("imagemill-notify", True)} if name == "exec-finish" else {}
        assert secrets == notify
        assert [one.mount_path for one in pod.secret_as_volume] == ["/secrets/gcs"]
        assert [one.secret_name for one in pod.image_pull_secret] == ["registry"]
        mounts = {one.mount_path: one.constant for one in pod.pvc_mount}
        assert mounts["/mnt/models"] == "imagemill-models"


def test_one_node_gets_what_it_is_given(package: kubeflow.Package) -> None:
    trainer = package.executors["exec-trainer"]["container"]["resources"]
    assert trainer["resourceMemoryLimit"] == "16Gi"
    assert trainer["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert trainer["accelerator"]["resourceCount"] == "2"
    pod = kubeflow.pod_config(package, "exec-trainer")
    assert pod.active_deadline_seconds == 3600
    assert dict(pod.node_selector.labels) == {"pool": "gpu"}
    (toleration,) = pod.tolerations
    assert (toleration.key, toleration.operator, toleration.effect) == (
        "nvidia.com/gpu",
        "Exists",
        "NoSchedule",
    )
    assert "accelerator" not in package.executors["exec-transform"]["container"]["resources"]


def test_metrics_and_page_are_artifacts(package: kubeflow.Package) -> None:
    kinds = {
        name: {
            key: one.artifact_type.schema_title for key, one in component.output_definitions.artifacts.items()
        }
        for name, component in package.pipeline.components.items()
    }
    assert kinds["comp-evaluator"] == {"metrics": "system.Metrics"}
    assert kinds["comp-finish"] == {"report": "system.HTML"}


def test_parameters_have_the_values_of_the_configuration(
    package: kubeflow.Package, tmp_path: pathlib.Path
) -> None:
    def defaults(one: kubeflow.Package) -> dict[str, Any]:
        definitions = one.pipeline.root.input_definitions.parameters
        return {
            key: json_format.MessageToDict(value.default_value)
            for key, value in definitions.items()
            if value.HasField("default_value")
        }

    wanted = {
        "data_path": "/mnt/data/colours",
        "span": -1,
        "epochs": 3,
        "learning_rate": 0.001,
        "pipeline_root": "/mnt/artifacts",
        "image": IMAGE,
    }
    assert defaults(package) == wanted
    # Without data every run must name them.
    del wanted["data_path"]
    assert defaults(kubeflow.compile_package(_load(tmp_path, data="null"), IMAGE)) == wanted


def test_a_parameter_gives_the_very_pipeline_that_the_setting_gives(ir: Any, tmp_path: pathlib.Path) -> None:
    """So that both find each other's results in the cache."""
    given = {
        "data_path": "/elsewhere",
        "span": "-1",
        "epochs": "7",
        "learning_rate": "1",  # Kubeflow's rendering of 1.0
        "pipeline_root": "/root",
    }
    changed = type(ir).FromString(ir.SerializeToString())
    node_parameters.substitute(changed, node_parameters.parse(given), "run")
    loaded = _load(tmp_path, "train.epochs=7", "train.learning_rate=1.0", "data.path=/elsewhere")
    paths = Paths(pipeline_root="/root", serving="/mnt/models")
    compiled = compile_pipeline(create_pipeline(loaded, paths))
    node_parameters.substitute(compiled, node_parameters.parse(given), "run")
    assert changed == compiled
    assert b'\\"epochs\\":7' in changed.SerializeToString()
    assert b'\\"learning_rate\\":1.0' in changed.SerializeToString()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ('kubeflow.nodes={"Traner": {"gpus": 1}}', "no node 'Traner'; did you mean Trainer"),
        ('kubeflow.nodes={"Trainer": {"gpu": 1}}', "nodes.Trainer.gpu: Extra inputs are not permitted"),
        ("kubeflow.pod.memory=lots", "kubeflow.pod.memory"),
        ("kubeflow.metadata_secret=My_Secret", "kubeflow.metadata_secret"),
        # Names that cannot be compressed.
        (
            f"data.classes={[hashlib.sha512(str(n).encode()).hexdigest() for n in range(2000)]}",
            "KiB that one argument may hold",
        ),
    ],
)
def test_what_could_never_run_is_refused(override: str, message: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match=message):
        kubeflow.compile_package(_load(tmp_path, override), IMAGE)
