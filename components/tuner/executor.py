"""TFX's executor of Tuner in a folder that outlives an attempt, with the record of the search."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.components.tuner import executor
from tfx.types import artifact_utils, standard_component_specs

from modules.tuning import record


class Executor(executor.Executor):
    """Executor of `Tuner`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Searches, and writes the best values and the record."""
        results = artifact_utils.get_single_uri(output_dict[standard_component_specs.TUNER_RESULTS_KEY])
        # ROOT/Tuner/tuner_results/EXECUTION: beside the artifacts, since each attempt gets new ones.
        directory = os.path.dirname(os.path.dirname(results))
        tuner = executor.search(
            input_dict, exec_properties, f"{directory}/unfinished", print_tuning_summary=False
        )
        executor.write_best_hyperparameters(tuner, output_dict)
        with tf.io.gfile.GFile(f"{results}/{record.FILE}", "w") as file:
            file.write(tuner.record().model_dump_json(indent=1))
        tuner.forget()
