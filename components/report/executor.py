"""Writes the report: the page, and beside it all suspect labels for a script to read."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.report import page, run
from components.report.context import Context
from components.report.settings import ReportSettings
from components.report.sources import Sources, Uris

#: The files of the artifact.
PAGE = "report.html"
SUSPECTS = "suspects.jsonl"


class Executor(base_executor.BaseExecutor):
    """Executor of `Report`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Makes the page from the artifacts and from what the launcher says of the run."""
        inputs = {name: artifact_utils.get_single_instance(found) for name, found in input_dict.items()}
        names = [field.name for field in dataclasses.fields(Uris)]
        uris = Uris(**{name: inputs[name].uri for name in names if name in inputs})
        sources = Sources(uris, ReportSettings.model_validate_json(exec_properties["settings"]))
        context = Context(
            sources,
            run.from_environment(),
            json.loads(exec_properties["config"]),
            exec_properties.get("code") or "",
            [
                ("model", f"{inputs['model'].uri} (artifact {inputs['model'].id})"),
                ("images", f"{uris.examples} (artifact {inputs['examples'].id})"),
            ],
        )
        target = artifact_utils.get_single_uri(output_dict["report"])
        _write(f"{target}/{PAGE}", page.make(context))
        try:
            rows = [json.dumps(dataclasses.asdict(one), ensure_ascii=False) for one in sources.suspects.found]
        except Exception:
            # The page has the reason already.
            logging.exception("No suspect labels could be listed.")
        else:
            _write(f"{target}/{SUSPECTS}", "".join(f"{row}\n" for row in rows))


def _write(path: str, text: str) -> None:
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)
