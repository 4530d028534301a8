"""The TFX executor: hands the ingest its folders and a Beam pipeline, and describes the artifacts."""

from __future__ import annotations

import os
from typing import Any

import apache_beam as beam
from absl import logging
from tfx import types
from tfx.components.example_gen import utils
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.beam_options import direct_options
from components.image_example_gen import driver, outcome, workers
from components.image_example_gen.data import Resolved
from components.image_example_gen.ingest import Targets, ingest
from components.image_example_gen.settings import IngestSettings
from modules.features import SPLITS


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor of `ImageExampleGen`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Ingests `input_base` into the artifacts `examples` and `quarantine`.

        Raises:
          InputError: the data folder cannot be used.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        quarantine = artifact_utils.get_single_instance(output_dict["quarantine"])
        ledger = exec_properties[driver.LEDGER]
        summary = ingest(
            Resolved(
                exec_properties[driver.ROOT],
                tuple(exec_properties[driver.PARTS].split(driver.PARTS_SEPARATOR)),
                exec_properties[utils.SPAN_PROPERTY_NAME],
                exec_properties[utils.VERSION_PROPERTY_NAME],
            ),
            IngestSettings.model_validate_json(exec_properties["settings"]),
            Targets(examples.uri, quarantine.uri, os.path.join(self._get_tmp_dir(), "bundles")),
            self._make_local_or_distributed_pipeline,
            self._processes(),
            outcome.read_ledger(ledger) if ledger else None,
        )
        # The driver wrote both among the custom properties, where TFX's ExampleGen has them; the artifact's
        # own properties of these names are what resolvers of spans look at.
        examples.span = exec_properties[utils.SPAN_PROPERTY_NAME]
        examples.version = exec_properties[utils.VERSION_PROPERTY_NAME]
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        logging.info("Ingested %s", summary)

    def _processes(self) -> int:
        """How many plain processes inspect files: none besides this one on a distributed runner.

        `direct_num_workers` counts where Beam would use it; in its in-memory mode, which has one worker by
        definition, every core of this machine works.
        """
        options = direct_options(self._beam_pipeline_args)
        if options is None:
            return 1
        if options.direct_running_mode == "in_memory" or options.direct_num_workers == 0:
            return workers.available_cores()
        return options.direct_num_workers

    def _make_local_or_distributed_pipeline(self) -> beam.Pipeline:
        if direct_options(self._beam_pipeline_args) is None:
            return self._make_beam_pipeline()
        # `workers` says why Beam's own local workers are not used. The last of two equal options counts.
        return beam.Pipeline(
            argv=[
                *self._beam_pipeline_args,
                "--runner=DirectRunner",
                "--direct_running_mode=in_memory",
                "--direct_num_workers=1",
            ]
        )
