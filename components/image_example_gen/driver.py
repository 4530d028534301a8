"""The TFX driver: puts a fingerprint of the data into the execution, so that the cache sees changed files."""

from __future__ import annotations

import copy

from tfx.components.example_gen import driver as example_gen_driver
from tfx.components.example_gen import utils
from tfx.dsl.components.base import base_driver as component_driver
from tfx.orchestration import data_types_utils, metadata
from tfx.orchestration.portable import base_driver, data_types
from tfx.proto.orchestration import driver_output_pb2

from components.image_example_gen import source
from components.image_example_gen.settings import IngestSettings


class Driver(component_driver.BaseDriver, base_driver.BaseDriver):
    """Driver of `ImageExampleGen`.

    TFX computes its cache key from the exec-properties after the driver ran. What goes in here depends on
    the data alone: relative paths, sizes and times of modification.

    Components accept drivers of TFX's older base class only, launchers call the newer one's `run`.
    """

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        component_driver.BaseDriver.__init__(self, metadata_handle)
        base_driver.BaseDriver.__init__(self, metadata_handle)

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Lists the data folder and reports its fingerprint, span and version, as TFX's ExampleGen does.

        Raises:
          InputError: the data folder cannot be used.
        """
        properties = execution_info.exec_properties
        settings = IngestSettings.model_validate_json(properties["settings"])
        listing = source.list_source(properties["input_base"], settings)
        resolved = {
            utils.FINGERPRINT_PROPERTY_NAME: source.fingerprint(listing),
            utils.SPAN_PROPERTY_NAME: 0,
            utils.VERSION_PROPERTY_NAME: 0,
        }
        result = driver_output_pb2.DriverOutput()
        for key, value in (properties | resolved).items():
            if value is not None:
                data_types_utils.set_metadata_value(result.exec_properties[key], value)
        examples = copy.deepcopy(execution_info.output_dict["examples"][0].mlmd_artifact)
        example_gen_driver.update_output_artifact(resolved, examples)
        result.output_artifacts["examples"].artifacts.append(examples)
        return result
