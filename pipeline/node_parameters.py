"""What people change from run to run without compiling again, and where it stands in a compiled pipeline."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pydantic_core
from pydantic import Field, ValidationError

from modules.base_settings import Settings
from modules.errors import InputError
from modules.train_settings import TrainSettings

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

#: Value of `span` that means the latest there is.
LATEST_SPAN = -1


class NodeParameters(Settings):
    """The parameters of one run, equal for all of its nodes.

    Kubeflow hands them over as text (a 1.0 as "1"), so they are parsed by the types declared here.
    """

    data_path: str = Field(
        min_length=1, description="Folder of images as pods see it, or a gs:// address; may hold {SPAN}."
    )
    span: int = Field(
        LATEST_SPAN,
        ge=LATEST_SPAN,
        description="The newest span to read where data_path holds {SPAN}; -1: the latest there is.",
    )
    epochs: int = Field(ge=1, description="Passes over the training split.")
    learning_rate: float = Field(gt=0, description="Learning rate.")
    pipeline_root: str = Field(min_length=1, description="Folder or gs:// address of the artifacts.")


def parse(given: dict[str, str]) -> NodeParameters:
    """Parameters from the texts of a command line.

    Raises:
      InputError: one is missing, unknown, or not of its type.
    """
    try:
        return NodeParameters.model_validate(given)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            + (f" (received {fault['input']!r})" if fault["type"] != "missing" else "")
            for fault in error.errors()
        ]
        raise InputError("; ".join(faults)) from None


def substitute(ir: pipeline_pb2.Pipeline, parameters: NodeParameters, run_id: str) -> None:
    """Puts the parameters of a run into a compiled pipeline, in place.

    The result is the very pipeline that a configuration with these values compiles to, so that a run with a
    parameter and a run with a setting of the same value find each other's results in the cache.
    """
    from tfx.dsl.compiler import constants
    from tfx.orchestration.portable import runtime_parameter_utils

    for node in ir.nodes:
        values = node.pipeline_node.parameters.parameters
        if "input_base" in values:
            values["input_base"].field_value.string_value = parameters.data_path
        if "span" in values:
            values["span"].field_value.int_value = parameters.span
        if "custom_config" in values:
            text = values["custom_config"].field_value.string_value
            values["custom_config"].field_value.string_value = _with_training(text, parameters)
        if "config" in values:  # of the report, which shows it
            config = json.loads(values["config"].field_value.string_value)
            config["data"]["path"] = parameters.data_path
            config["train"] |= _training(parameters)
            values["config"].field_value.string_value = pydantic_core.to_json(config).decode()
    runtime_parameter_utils.substitute_runtime_parameter(
        ir,
        {
            constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id,
            constants.PIPELINE_ROOT_PARAMETER_NAME: parameters.pipeline_root,
        },
    )


def _training(parameters: NodeParameters) -> dict[str, float]:
    return {"epochs": parameters.epochs, "learning_rate": parameters.learning_rate}


def _with_training(custom_config: str, parameters: NodeParameters) -> str:
    """The `custom_config` of a node, with the parameters where its settings have a section `train`."""
    config: Any = json.loads(custom_config)
    if not isinstance(config, dict) or "settings" not in config:
        return custom_config
    settings = json.loads(config["settings"])
    if "train" not in settings:
        return custom_config
    settings["train"] |= _training(parameters)
    # Settings may exclude each other, so the section is checked as a whole.
    TrainSettings.model_validate(settings["train"])
    # As pydantic and TFX write them, to the byte: the text is part of the cache key.
    return json.dumps(config | {"settings": pydantic_core.to_json(settings).decode()}, sort_keys=True)
