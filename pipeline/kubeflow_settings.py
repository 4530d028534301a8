"""Typed settings of the runner on Kubeflow: where a cluster keeps things, and what each pod gets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from modules.base_settings import Settings

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)]
Cpu = Annotated[str, Field(pattern=r"^\d+(\.\d+)?m?$")]
Memory = Annotated[str, Field(pattern=r"^\d+(\.\d+)?([KMGTP]i?)?$")]
MountPath = Annotated[str, Field(pattern=r"^/[^:]*$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Volume(Settings):
    """A PersistentVolumeClaim that every pod mounts; pods run on several machines, so ReadWriteMany."""

    claim: Name = Field(description="Name of the claim, in the namespace that the pods run in.")
    path: MountPath = Field(description="Where it is mounted.")
    sub_path: str = Field("", description="Folder of the volume to mount; the whole volume when empty.")


class SecretVariable(Settings):
    """An environment variable of every pod, taken from a Secret."""

    variable: Variable = Field(description="Name of the environment variable.")
    secret: Name = Field(description="Name of the Secret.")
    key: str = Field(min_length=1, description="Key in the Secret.")


class SecretFolder(Settings):
    """A Secret mounted as a folder in every pod, such as the key file of a service account."""

    secret: Name = Field(description="Name of the Secret.")
    path: MountPath = Field(description="Where it is mounted.")


class Toleration(Settings):
    """A taint that pods put up with."""

    key: str | None = Field(None, description="Key of the taint; every key when absent.")
    operator: Literal["Equal", "Exists"] = Field("Exists", description="How `value` is compared.")
    value: str | None = Field(None, description="Value of the taint, with `operator: Equal`.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; every effect when absent."
    )

    @model_validator(mode="after")
    def _value_fits_the_operator(self) -> Toleration:
        if (self.operator == "Equal") != (self.value is not None):
            raise ValueError("`value` belongs to `operator: Equal`, and to that only")
        return self


class PodSettings(Settings):
    """What a pod gets."""

    cpu: Cpu = Field("1", description="CPU requested. There is no limit: idle CPU costs nobody anything.")
    memory: Memory = Field("4Gi", description="Memory, requested and limit.")
    gpus: int = Field(0, ge=0, description="GPUs.")
    gpu_type: str = Field(
        "nvidia.com/gpu", min_length=1, description="Resource name of the GPUs in the cluster."
    )
    shared_memory: Memory = Field("1Gi", description="Size of /dev/shm, which counts as memory of the pod.")
    scratch: Memory = Field(
        "20Gi", description="Size of the local folder for temporary files, such as decoded images."
    )
    retries: int = Field(2, ge=0, le=20, description="How often a failed or evicted pod is tried again.")
    timeout_seconds: int = Field(
        86_400, ge=60, description="A pod that runs longer than this is ended, and tried again."
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict, description="Labels of the machines that the pod may run on."
    )
    tolerations: tuple[Toleration, ...] = Field((), description="Taints that the pod puts up with.")


class KubeflowSettings(Settings):
    """The runner on Kubeflow Pipelines; a local run ignores this section."""

    pipeline_root: str = Field(
        "/mnt/artifacts",
        min_length=1,
        description="Where artifacts go: a folder of a volume, or a gs:// address.",
    )
    serving: str = Field(
        "/mnt/models",
        min_length=1,
        description="Where models are pushed, a folder a model: what the model servers mount.",
    )
    volumes: tuple[Volume, ...] = Field(
        (
            Volume(claim="imagemill-artifacts", path="/mnt/artifacts"),
            Volume(claim="imagemill-models", path="/mnt/models"),
            Volume(claim="imagemill-data", path="/mnt/data"),
        ),
        description="Volumes of every pod.",
    )
    metadata_secret: Name = Field(
        "imagemill-metadata",
        description="Secret whose key `connection` holds the connection of ML Metadata as JSON.",
    )
    notify_secret: Name = Field(
        "imagemill-notify",
        description="Secret whose key `url` is posted to, as JSON, when a run ends; it need not exist.",
    )
    secret_variables: tuple[SecretVariable, ...] = Field(
        (), description="Further environment variables from Secrets."
    )
    secret_folders: tuple[SecretFolder, ...] = Field((), description="Secrets mounted as folders.")
    image_pull_secrets: tuple[Name, ...] = Field((), description="Secrets for the image's registry.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When the image is pulled."
    )
    user: int = Field(
        10001, ge=1, description="User and group that pods run as; must be able to write to the volumes."
    )
    pod: PodSettings = Field(default_factory=PodSettings, description="What every pod gets.")
    nodes: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="What single nodes get instead, by the node's name, such as `Trainer: {gpus: 1}`.",
    )

    @model_validator(mode="after")
    def _nodes_are_pods(self) -> KubeflowSettings:
        for name in self.nodes:
            try:
                self.pod_of(name)
            except ValidationError as error:
                faults = [
                    f"nodes.{name}.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
                ]
                raise ValueError("; ".join(faults)) from None
        return self

    def pod_of(self, node_id: str) -> PodSettings:
        """What the pod of a node gets."""
        return PodSettings.model_validate(self.pod.model_dump() | self.nodes.get(node_id, {}))
