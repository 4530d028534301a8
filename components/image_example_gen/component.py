"""The TFX component: what it takes, what it gives, which driver and executor it has."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import Quarantine
from components.image_example_gen import driver, executor


class ImageExampleGenSpec(ComponentSpec):
    """No inputs; the keys of the parameters are those of `executor.Executor`."""

    INPUTS: ClassVar[dict[str, ChannelParameter]] = {}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "quarantine": ChannelParameter(type=Quarantine),
    }
    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        "input_base": ExecutionParameter(type=str),
        "settings": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str, optional=True),
        "span": ExecutionParameter(type=int, optional=True),
    }


class ImageExampleGen(base_beam_component.BaseBeamComponent):
    """Ingests a folder of images into tf.Examples.

    Outputs:
      examples: `standard_artifacts.Examples` with the splits of `modules.features.SPLITS`; one Example an
        image, features as in `modules.features`. `manifest.jsonl` beside the splits lists every image.
      quarantine: `components.artifacts.Quarantine`, what was left out and a summary.

    Args:
      input_base: the data folder (`source` has its rules), or a runtime parameter that names it.
      settings: `IngestSettings` as JSON.
      code: anything that changes when the code of the ingest does; it only takes part in the cache key.
      span: the newest span to read where `input_base` holds `{SPAN}`; -1 for the latest there is.
    """

    SPEC_CLASS = ImageExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self, input_base: str | RuntimeParameter, settings: str, code: str = "", span: int = -1
    ) -> None:
        super().__init__(
            spec=ImageExampleGenSpec(
                input_base=input_base,
                settings=settings,
                code=code,
                span=span,
                examples=types.Channel(type=standard_artifacts.Examples),
                quarantine=types.Channel(type=Quarantine),
            )
        )
