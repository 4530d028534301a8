"""TFX InfraValidator with the executor of this package."""

from __future__ import annotations

from tfx.components import InfraValidator as _InfraValidator
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec

from components.infra_validator.executor import Executor


class InfraValidator(_InfraValidator):
    """Serves the model in a process on this machine, whatever platform `serving_spec` names."""

    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
