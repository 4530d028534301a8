"""The TFX driver: tells the cache what the data are, and the executor what was divided before.

TFX computes its cache key from the exec-properties after the driver ran. So what goes in depends on the data
alone: their fingerprint (relative paths, sizes, times of modification), the spans, and the ledger: the
earlier ingest whose division is kept. When the very data were ingested before, the ledger of that time goes
in again, and the key is the same.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_metadata.proto import metadata_store_pb2
from tfx.components.example_gen import driver as example_gen_driver
from tfx.components.example_gen import utils
from tfx.dsl.components.base import base_driver as component_driver
from tfx.dsl.io import fileio
from tfx.orchestration import data_types_utils, metadata
from tfx.orchestration.portable import base_driver, data_types
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.proto.orchestration import driver_output_pb2

from components.image_example_gen import data as data_source
from components.image_example_gen import outcome
from components.image_example_gen.settings import IngestSettings

#: Exec-properties that the driver adds: the resolved data, and the `examples` folder whose division is kept.
ROOT, PARTS, LEDGER = "resolved_root", "resolved_parts", "ledger"
PARTS_SEPARATOR = "\n"


class _Earlier(NamedTuple):
    """An earlier ingest of this pipeline: what it read and how, the ledger it used, its examples."""

    fingerprint: str
    ledger: str
    examples: str
    settings: str
    code: str
    span: int


class Driver(component_driver.BaseDriver, base_driver.BaseDriver):
    """Driver of `ImageExampleGen`.

    Components accept drivers of TFX's older base class only, launchers call the newer one's `run`.
    """

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        component_driver.BaseDriver.__init__(self, metadata_handle)
        base_driver.BaseDriver.__init__(self, metadata_handle)

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Resolves and lists the data; reports fingerprint, span and version as TFX's ExampleGen does.

        Raises:
          InputError: the data folder cannot be used.
        """
        given: dict[str, Any] = execution_info.exec_properties
        settings = IngestSettings.model_validate_json(given["settings"])
        newest = given.get("span")
        data = data_source.resolve(given["input_base"], settings.spans, -1 if newest is None else newest)
        earlier = self._earlier_ingests(execution_info)
        # Without the cache the files are read anew, so they then go by what they are.
        cached = execution_info.pipeline_node.execution_options.caching_options.enable_cache
        fingerprint = self._known_span(given, settings, data, earlier) if cached else None
        fingerprint = fingerprint or data_source.fingerprint(data, settings)
        added = {
            utils.FINGERPRINT_PROPERTY_NAME: fingerprint,
            utils.SPAN_PROPERTY_NAME: data.span,
            utils.VERSION_PROPERTY_NAME: data.version,
            ROOT: data.root,
            PARTS: PARTS_SEPARATOR.join(data.parts),
            LEDGER: self._ledger(given, fingerprint, settings, earlier),
        }
        result = driver_output_pb2.DriverOutput()
        for key, value in (given | added).items():
            if value is not None:
                data_types_utils.set_metadata_value(result.exec_properties[key], value)
        examples = copy.deepcopy(execution_info.output_dict["examples"][0].mlmd_artifact)
        example_gen_driver.update_output_artifact(added, examples)
        examples.custom_properties[LEDGER].string_value = added[LEDGER]
        result.output_artifacts["examples"].artifacts.append(examples)
        return result

    @staticmethod
    def _known_span(
        given: Mapping[str, Any],
        settings: IngestSettings,
        data: data_source.Resolved,
        earlier: list[_Earlier],
    ) -> str | None:
        """The fingerprint that the span had when it was ingested, where it shall count as unchanged."""
        if not settings.new_spans_only or data.parts == ("",):
            return None
        current = (data.span, given["settings"], given.get("code") or "")
        return next(
            (one.fingerprint for one in earlier if (one.span, one.settings, one.code) == current), None
        )

    @staticmethod
    def _ledger(
        given: Mapping[str, Any], fingerprint: str, settings: IngestSettings, earlier: list[_Earlier]
    ) -> str:
        """The `examples` folder whose division is kept, or "" where there is none to keep."""
        current = (fingerprint, given["settings"], given.get("code") or "")
        for one in earlier:
            if (one.fingerprint, one.settings, one.code) == current:
                return one.ledger
        for one in earlier:
            before = IngestSettings.model_validate_json(one.settings)
            same = before.split == settings.split and before.group_pattern == settings.group_pattern
            if same and fileio.exists(os.path.join(one.examples, outcome.MANIFEST)):
                return one.examples
        return ""

    def _earlier_ingests(self, execution_info: data_types.ExecutionInfo) -> list[_Earlier]:
        """Successful ingests of this node of this pipeline, newest first."""
        node = execution_info.pipeline_node
        # The context that the compiler gives a node over all runs of its pipeline.
        name = next(
            one.name.field_value.string_value for one in node.contexts.contexts if one.type.name == "node"
        )
        with self._mlmd_connection as handle:
            context = handle.store.get_context_by_type_and_name("node", name)
            if context is None:
                return []
            executions = [
                one
                for one in handle.store.get_executions_by_context(context.id)
                if one.last_known_state == metadata_store_pb2.Execution.COMPLETE
            ]
            earlier = []
            for execution in execution_lib.sort_executions_newest_to_oldest(executions):
                outputs = execution_lib.get_output_artifacts(handle, execution.id)
                properties = execution.custom_properties
                for examples in outputs.get("examples", []):
                    earlier.append(
                        _Earlier(
                            examples.get_string_custom_property(utils.FINGERPRINT_PROPERTY_NAME),
                            examples.get_string_custom_property(LEDGER),
                            examples.uri,
                            properties["settings"].string_value,
                            properties["code"].string_value,
                            examples.get_int_custom_property(utils.SPAN_PROPERTY_NAME),
                        )
                    )
        return earlier
