"""Which models are served: from the command line's one model, or from a model config file.

The file is the text form of `ModelServerConfig`, as TensorFlow Serving reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serving import protos, request_log
from serving.errors import StartError
from serving.request_log import LoggingOptions


@dataclass(frozen=True)
class VersionPolicy:
    """Which of the versions on disk are served: the latest few, all, or these.

    Attributes:
      latest: serve this many of the highest versions, unless one of the others is given.
      everything: serve all.
      specific: serve just these.
    """

    latest: int = 1
    everything: bool = False
    specific: tuple[int, ...] = ()

    def choose(self, versions: list[int]) -> list[int]:
        """Of the versions on disk those to serve, highest first."""
        ordered = sorted(versions, reverse=True)
        if self.everything:
            return ordered
        if self.specific:
            return [version for version in ordered if version in self.specific]
        return ordered[: self.latest]


@dataclass(frozen=True)
class ModelConfig:
    """One model: name, folder of the versions, policy, labels of versions, request log."""

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)
    logging: LoggingOptions | None = None


def read_config_file(path: Path) -> tuple[ModelConfig, ...]:
    """Reads a model config file; raises `StartError` naming the file and what is wrong in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"--model_config_file {path}: cannot be read: {error}") from None
    message = protos.model_server_config.ModelServerConfig()
    try:
        text_format.Parse(text, message)
        return from_message(message)
    except (text_format.ParseError, ValueError) as error:
        raise StartError(f"--model_config_file {path}: {error}") from None


def from_message(message: Any) -> tuple[ModelConfig, ...]:
    """The models of a `ModelServerConfig`; raises `ValueError` for one that cannot be served."""
    if message.WhichOneof("config") == "custom_model_config":
        raise ValueError("custom_model_config is not supported; use model_config_list")
    configs = tuple(_from_model(model) for model in message.model_config_list.config)
    names = [config.name for config in configs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Illegal to list model {name} multiple times in config list")
    return configs


def _from_model(model: Any) -> ModelConfig:
    if not model.name:
        raise ValueError("a model without name; every config needs one")
    if not model.base_path:
        raise ValueError(f"model {model.name!r} has no base_path")
    if model.model_platform not in ("", "tensorflow"):
        raise ValueError(
            f"model {model.name!r}: no platform but tensorflow. Received: {model.model_platform!r}"
        )
    chosen = model.model_version_policy
    match chosen.WhichOneof("policy_choice"):
        case "all":
            policy = VersionPolicy(everything=True)
        case "specific":
            policy = VersionPolicy(specific=tuple(chosen.specific.versions))
            if not policy.specific:
                raise ValueError(f"model {model.name!r}: the specific version policy names no version")
        case _:
            policy = VersionPolicy(latest=chosen.latest.num_versions or 1)
    try:
        logging = request_log.from_message(model.logging_config)
    except ValueError as error:
        raise ValueError(f"model {model.name!r}: {error}") from None
    return ModelConfig(model.name, Path(model.base_path), policy, dict(model.version_labels), logging)
