"""`DriftGate`: stops the run when the data no longer look like those of the last run that passed.

A comparison with the last run alone would let the second run on bad data pass, so what is compared with is
an artifact that only this gate publishes. Its result differs from run to run, hence nothing takes it as an
input: Transform waits for the gate, and keeps its cache.
"""

from __future__ import annotations

from typing import ClassVar

from tfx.dsl.components.base import base_component
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import ExampleStatistics

from components.artifacts import PassedStatistics
from components.drift_gate.executor import Executor
from components.drift_gate.settings import DriftSettings


class DriftGateSpec(ComponentSpec):
    """Inputs, outputs and parameters of `DriftGate`."""

    PARAMETERS: ClassVar = {
        "settings": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str, optional=True),
    }
    INPUTS: ClassVar = {
        "statistics": ChannelParameter(type=ExampleStatistics),
        "reference": ChannelParameter(type=PassedStatistics, optional=True),
    }
    OUTPUTS: ClassVar = {"passed": ChannelParameter(type=PassedStatistics)}


class DriftGate(base_component.BaseComponent):
    """Compares the statistics of the training split with a reference."""

    SPEC_CLASS = DriftGateSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(
        self, statistics: BaseChannel, reference: BaseChannel, settings: DriftSettings, code: str = ""
    ):
        """Makes the component.

        Args:
          statistics: of StatisticsGen.
          reference: the latest `PassedStatistics`, or nothing before the first run.
          settings: the limits.
          code: changes with the code of this gate; it only takes part in the cache key.
        """
        super().__init__(
            DriftGateSpec(
                statistics=statistics,
                reference=reference,
                settings=settings.model_dump_json(),
                code=code,
                passed=Channel(type=PassedStatistics),
            )
        )
