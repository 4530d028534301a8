"""The TFX component `Report`: what it takes and what it gives."""

from __future__ import annotations

from typing import ClassVar

from tfx.dsl.components.base import base_component
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import BaseChannel, Channel, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import artifacts
from components.report.executor import Executor
from components.report.settings import ReportSettings


class ReportSpec(ComponentSpec):
    """Inputs, outputs and parameters of `Report`."""

    PARAMETERS: ClassVar = {
        "settings": ExecutionParameter(type=str),
        "config": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str, optional=True),
    }
    INPUTS: ClassVar = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "quarantine": ChannelParameter(type=artifacts.Quarantine),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "tuner_results": ChannelParameter(type=standard_artifacts.TunerResults, optional=True),
    }
    OUTPUTS: ClassVar = {"report": ChannelParameter(type=artifacts.Report)}


class Report(base_component.BaseComponent):
    """Writes the report of a run, whether its model was blessed or not.

    A part of the page that cannot be made says why; it does not fail the node.
    """

    SPEC_CLASS = ReportSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: BaseChannel,
        quarantine: BaseChannel,
        transform_graph: BaseChannel,
        model: BaseChannel,
        model_run: BaseChannel,
        evaluation: BaseChannel,
        settings: ReportSettings,
        config: str = "{}",
        code: str = "",
        tuner_results: BaseChannel | None = None,
    ):
        """Makes the component.

        Args:
          examples, quarantine: of the ingest.
          transform_graph: of Transform.
          model, model_run: of the trainer.
          evaluation: of the Evaluator.
          settings: how much to look at.
          config: the whole configuration as JSON, which the report shows.
          code: digest of the code, which the report shows; it takes part in the cache key.
          tuner_results: of the tuner, where there is one.
        """
        super().__init__(
            ReportSpec(
                examples=examples,
                quarantine=quarantine,
                transform_graph=transform_graph,
                model=model,
                model_run=model_run,
                evaluation=evaluation,
                tuner_results=tuner_results,
                settings=settings.model_dump_json(),
                config=config,
                code=code,
                report=Channel(type=artifacts.Report),
            )
        )
