"""The TFX component `StatisticsGen` with our executor."""

from __future__ import annotations

from tfx.components import StatisticsGen as TfxStatisticsGen
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

from components.statistics_gen.executor import Executor


class StatisticsGen(TfxStatisticsGen):
    """Statistics of every split; the parameters are those of TFX."""

    EXECUTOR_SPEC = BeamExecutorSpec(Executor)
