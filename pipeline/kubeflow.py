"""From a configuration to one package for Kubeflow Pipelines: a container a node of TFX's compiled pipeline.

TFX's own runner for Kubeflow knows neither resolvers nor drivers, so its output does not run on open-source
Kubeflow. Here every node becomes a container that runs `pipeline.node`, which launches it just as a local run
does; Kubeflow sees plain containers, their order, and what Kubernetes shall give them.
"""

import difflib
import pathlib
import re
import tempfile
from dataclasses import dataclass
from typing import Any

import yaml
from google.protobuf import json_format
from kfp import compiler, dsl, kubernetes
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.proto.orchestration import pipeline_pb2

from modules.errors import InputError
from pipeline import metadata, notify
from pipeline.code import computing_code
from pipeline.config import Config
from pipeline.graph import Paths, compile_pipeline, create_pipeline
from pipeline.kubeflow_settings import KubeflowSettings, PodSettings
from pipeline.node_parameters import LATEST_SPAN
from pipeline.node_worker import FINISH, encode

#: The node whose metrics Kubeflow shows.
METRICS_NODE = "Evaluator"

# The kernel bounds one argument of a process by 128 KiB, and Kubeflow puts it into a larger one.
_MOST_ARGUMENT_BYTES = 64 << 10

_SCRATCH = "/scratch"


@dataclass(frozen=True)
class Package:
    """A package of Kubeflow Pipelines.

    Attributes:
      pipeline: the first document, `PipelineSpec`: components, containers, order, parameters.
      platform: the second, `PlatformSpec`: what Kubernetes adds to the pods.
    """

    pipeline: pipeline_spec_pb2.PipelineSpec
    platform: pipeline_spec_pb2.PlatformSpec

    def text(self) -> str:
        """The package as `imagemill compile` writes it."""
        documents = [json_format.MessageToDict(one) for one in (self.pipeline, self.platform)]
        return yaml.safe_dump_all(documents, sort_keys=True, width=110)

    @property
    def name(self) -> str:
        return self.pipeline.pipeline_info.name

    @property
    def executors(self) -> dict[str, Any]:
        """The containers, by the name of their executor."""
        return json_format.MessageToDict(self.pipeline.deployment_spec)["executors"]


def compile_package(config: Config, image: str, enable_cache: bool = True) -> Package:
    """The package of a configuration.

    Args:
      config: validated configuration; its section `kubeflow` says where the cluster keeps things. With
        `data.path` unset the parameter `data_path` must be given with every run.
      image: reference of the container image, default of the parameter `image`.
      enable_cache: whether a node with equal inputs and settings takes its earlier outputs.

    Raises:
      InputError: for what could never run: an unknown node, a pipeline too large for an argument.
    """
    settings = config.kubeflow
    # Any path will do where the parameter has no default: it is replaced when the run begins.
    with_data = config if config.data.path else _with_data(config, "/")
    paths = Paths(pipeline_root=settings.pipeline_root, serving=settings.serving)
    ir = compile_pipeline(create_pipeline(with_data, paths, enable_cache=enable_cache))
    names = [node.pipeline_node.node_info.id for node in ir.nodes]
    _check_nodes(settings, names)
    blob = encode(ir)
    if len(blob) > _MOST_ARGUMENT_BYTES:
        raise InputError(
            f"The compiled pipeline takes {len(blob) >> 10} KiB, more than the "
            f"{_MOST_ARGUMENT_BYTES >> 10} KiB that one argument may hold: shorten "
            "gate.schema_file, data.class_names or data.classes."
        )
    pipeline = _pipeline(config, ir, blob)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "package.yaml")
        compiler.Compiler().compile(
            pipeline, str(path), pipeline_parameters=_defaults(config, image), type_check=True
        )
        package = read_package(path)
    # kfp 2.16 names the parameter as it is called inside the exit handler, which the task outside cannot see.
    outside = package.pipeline.root.dag.tasks["finish"].inputs.parameters["pipelinechannel--image"]
    outside.component_input_parameter = "image"
    return package


def read_package(path: pathlib.Path) -> Package:
    """Reads a package, strictly: an unknown field is an error.

    Raises:
      InputError: the file is no package of Kubeflow Pipelines.
    """
    try:
        pipeline, platform = yaml.safe_load_all(path.read_text(encoding="utf-8"))
        return Package(
            json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec()),
            json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec()),
        )
    except (OSError, ValueError, yaml.YAMLError, json_format.ParseError) as error:
        raise InputError(f"{path} is no package that `imagemill compile` wrote: {error}") from error


def write_package(package: Package, path: pathlib.Path) -> None:
    """Writes a package to a file.

    Raises:
      InputError: it cannot be written there.
    """
    try:
        path.write_text(package.text(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}.") from None


def pod_config(package: Package, executor: str) -> kubernetes_executor_config_pb2.KubernetesExecutorConfig:
    """What the package asks Kubernetes to add to the pods of an executor."""
    fields = package.platform.platforms["kubernetes"].deployment_spec.executors[executor]
    return json_format.ParseDict(
        json_format.MessageToDict(fields), kubernetes_executor_config_pb2.KubernetesExecutorConfig()
    )


def _with_data(config: Config, path: str) -> Config:
    return config.model_copy(update={"data": config.data.model_copy(update={"path": path})})


def _check_nodes(settings: KubeflowSettings, names: list[str]) -> None:
    for name in settings.nodes:
        if name not in [*names, FINISH]:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join([*names, FINISH])}."
            raise InputError(f"kubeflow.nodes: the pipeline has no node {name!r}; {hint}")


def _defaults(config: Config, image: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "span": LATEST_SPAN,
        "epochs": config.train.epochs,
        "learning_rate": config.train.learning_rate,
        "pipeline_root": config.kubeflow.pipeline_root,
        "image": image,
    }
    if config.data.path:
        defaults["data_path"] = config.data.path
    return defaults


def _pipeline(config: Config, ir: pipeline_pb2.Pipeline, blob: str) -> Any:
    settings = config.kubeflow
    name = re.sub(r"[^a-z0-9]+", "-", f"imagemill-{config.push.model_name}".lower()).strip("-")

    @dsl.pipeline(name=name, description=f"From images to the served classifier {config.push.model_name}.")
    def imagemill(
        data_path: str, span: int, epochs: int, learning_rate: float, pipeline_root: str, image: str
    ):
        given = {
            "run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            "data_path": data_path,
            "span": span,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "pipeline_root": pipeline_root,
        }
        finish = _finish_component(blob)(**given)
        _equip(finish, settings, FINISH, image)
        with dsl.ExitHandler(finish, name="nodes"):
            tasks: dict[str, dsl.PipelineTask] = {}
            for one in ir.nodes:
                node = one.pipeline_node
                node_id = node.node_info.id
                component = _metrics_component if node_id == METRICS_NODE else _node_component
                task = component(node_id, blob)(**given)
                _equip(task, settings, node_id, image)
                tasks[node_id] = task.after(*[tasks[upstream] for upstream in node.upstream_nodes])

    return imagemill


# Kubeflow reads the inputs of a component off the signature of a function, so each kind has one of its own.
def _node_component(node_id: str, blob: str) -> Any:
    def node(run_id: str, data_path: str, span: int, epochs: int, learning_rate: float, pipeline_root: str):
        return _container(
            node_id, blob, run_id=run_id, data_path=data_path, span=span, epochs=epochs,
            learning_rate=learning_rate, pipeline_root=pipeline_root,
        )  # fmt: skip

    return _component(node, node_id)


def _metrics_component(node_id: str, blob: str) -> Any:
    def node(
        run_id: str, data_path: str, span: int, epochs: int, learning_rate: float, pipeline_root: str,
        metrics: dsl.Output[dsl.Metrics],
    ):  # fmt: skip
        return _container(
            node_id, blob, run_id=run_id, data_path=data_path, span=span, epochs=epochs,
            learning_rate=learning_rate, pipeline_root=pipeline_root, metrics=metrics.path,
            executor_input=dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER,
        )  # fmt: skip

    return _component(node, node_id)


def _finish_component(blob: str) -> Any:
    def node(
        run_id: str, data_path: str, span: int, epochs: int, learning_rate: float, pipeline_root: str,
        status: dsl.PipelineTaskFinalStatus, report: dsl.Output[dsl.HTML],
    ):  # fmt: skip
        return _container(
            FINISH, blob, run_id=run_id, data_path=data_path, span=span, epochs=epochs,
            learning_rate=learning_rate, pipeline_root=pipeline_root, status=status, report=report.path,
        )  # fmt: skip

    return _component(node, FINISH)


def _component(function: Any, node_id: str) -> Any:
    function.__name__ = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node_id).lower()
    return dsl.container_component(function)


def _container(node_id: str, blob: str, **given: Any) -> dsl.ContainerSpec:
    arguments = ["--node", node_id, "--pipeline", blob, "--code", computing_code()]
    for name, value in given.items():
        arguments += [f"--{name}", value]
    # The image is the parameter of that name, see `_equip`.
    return dsl.ContainerSpec(image="imagemill", command=["python", "-m", "pipeline.node"], args=arguments)


def _equip(task: dsl.PipelineTask, settings: KubeflowSettings, node_id: str, image: Any) -> None:
    """Says what Kubernetes shall give the pod of a task."""
    pod = settings.pod_of(node_id)
    task.set_display_name(node_id)
    task.set_container_image(image)
    # TFX has a cache of its own, which knows code, data and settings; Kubeflow's knows arguments.
    task.set_caching_options(False)
    if pod.retries:
        task.set_retry(pod.retries, backoff_duration="30s", backoff_factor=2, backoff_max_duration="600s")
    _give_resources(task, pod)
    task.set_env_variable("TMPDIR", _SCRATCH)
    kubernetes.set_timeout(task, pod.timeout_seconds)
    kubernetes.set_security_context(
        task, run_as_user=settings.user, run_as_group=settings.user, run_as_non_root=True
    )
    kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", "Memory", pod.shared_memory)
    kubernetes.empty_dir_mount(task, "scratch", _SCRATCH, size_limit=pod.scratch)
    for volume in settings.volumes:
        kubernetes.mount_pvc(task, volume.claim, volume.path, volume.sub_path)
    kubernetes.use_secret_as_env(task, settings.metadata_secret, {"connection": metadata.VARIABLE})
    if node_id == FINISH:
        kubernetes.use_secret_as_env(task, settings.notify_secret, {"url": notify.VARIABLE}, optional=True)
    for secret in settings.secret_variables:
        kubernetes.use_secret_as_env(task, secret.secret, {secret.key: secret.variable})
    for folder in settings.secret_folders:
        kubernetes.use_secret_as_volume(task, folder.secret, folder.path)
    if settings.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(settings.image_pull_secrets))
    kubernetes.set_image_pull_policy(task, settings.image_pull_policy)
    # Network policies find the pods by these.
    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "imagemill")
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", "node")


def _give_resources(task: dsl.PipelineTask, pod: PodSettings) -> None:
    task.set_cpu_request(pod.cpu)
    task.set_memory_request(pod.memory)
    task.set_memory_limit(pod.memory)
    if pod.gpus:
        # A constant: from a parameter, and inside an exit handler, Kubeflow compiles it to a broken package.
        task.set_accelerator_type(pod.gpu_type)
        task.set_accelerator_limit(pod.gpus)
    for label, value in pod.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in pod.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
