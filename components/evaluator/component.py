"""`Evaluator`: TFX's, with the validator's measurements as a further input and a policy of its own."""

from __future__ import annotations

from typing import ClassVar

from tfx.dsl.components.base import base_beam_component
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import Examples, InfraBlessing, Model, ModelBlessing, ModelEvaluation

from components.evaluator.executor import Executor
from components.evaluator.settings import EvaluateSettings


class EvaluatorSpec(ComponentSpec):
    """Inputs, outputs and parameters of `Evaluator`."""

    PARAMETERS: ClassVar = {
        "settings": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str, optional=True),
    }
    INPUTS: ClassVar = {
        "examples": ChannelParameter(type=Examples),
        "model": ChannelParameter(type=Model),
        "infra_blessing": ChannelParameter(type=InfraBlessing),
        "baseline_model": ChannelParameter(type=Model, optional=True),
    }
    OUTPUTS: ClassVar = {
        "evaluation": ChannelParameter(type=ModelEvaluation),
        "blessing": ChannelParameter(type=ModelBlessing),
    }


class Evaluator(base_beam_component.BaseBeamComponent):
    """Compares a model with the one in production on the test split, and blesses it or says why not.

    Outputs:
      evaluation: `standard_artifacts.ModelEvaluation`; `components.evaluator.verdict` says what lies in it.
      blessing: `standard_artifacts.ModelBlessing`, as TFX's own Evaluator leaves it.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: BaseChannel,
        model: BaseChannel,
        baseline_model: BaseChannel,
        infra_blessing: BaseChannel,
        settings: EvaluateSettings,
        code: str = "",
    ):
        """Makes the component.

        Args:
          examples: of the ingest; the test split is read.
          model: the candidate.
          baseline_model: the latest blessed model, or nothing before the first.
          infra_blessing: of our InfraValidator, which measures size and latency.
          settings: the policy.
          code: changes with the code of this component; it only takes part in the cache key.
        """
        super().__init__(
            spec=EvaluatorSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                infra_blessing=infra_blessing,
                settings=settings.model_dump_json(),
                code=code,
                evaluation=Channel(type=ModelEvaluation),
                blessing=Channel(type=ModelBlessing),
            )
        )
