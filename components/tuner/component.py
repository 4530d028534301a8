"""The TFX component `Tuner` with our executor."""

from __future__ import annotations

from tfx.components import Tuner as TfxTuner
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec

from components.tuner.executor import Executor


class Tuner(TfxTuner):
    """Searches for the best settings; `tuner_results` holds `trials.json` beside what TFX writes."""

    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
