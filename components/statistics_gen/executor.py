"""StatisticsGen's executor: the same statistics, gone through in this process where Beam would do no more.

TFDV is some 450 nested transforms a split, and Beam types, pickles and fuses them for three seconds before
the first image. What adds up the figures in the end are generators that can be called without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.components.statistics_gen import executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

# After tfx, which replaces a module that TFDV needs and tfx-bsl dropped.
import tensorflow_data_validation as tfdv  # isort: skip
from tensorflow_data_validation.statistics import stats_impl  # isort: skip

from components.beam_options import direct_options
from modules import progress
from modules.errors import InputError

#: A generator's call costs about a millisecond, whatever it is given; but photos are to fit into memory.
BATCH_EXAMPLES = 4096
BATCH_BYTES = 16 << 20


class Executor(executor.Executor):
    """Takes to Beam what Beam has several processes for."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Computes `FeatureStats.pb` of every split.

        Args:
          input_dict: `examples`, TFRecords of `tf.train.Example`, not compressed.
          output_dict: `statistics`.
          exec_properties: `stats_options_json`, whose schema names the features to read.

        Raises:
          InputError: Beam could not start its processes.
        """
        local = direct_options(self._beam_pipeline_args)
        mode = local and local.direct_running_mode
        if mode == "multi_processing" and " " in sys.executable:
            raise InputError(
                f"beam.options: direct_running_mode multi_processing does not work with {sys.executable}: "
                "Beam starts its workers through a shell, which ends at the space, and waits for ever. "
                "Install Imagemill at a path without spaces, or leave the option out."
            )
        if mode != "in_memory":
            super().Do(input_dict, output_dict, exec_properties)
            return
        examples = artifact_utils.get_single_instance(input_dict[standard_component_specs.EXAMPLES_KEY])
        statistics = artifact_utils.get_single_instance(output_dict[standard_component_specs.STATISTICS_KEY])
        statistics.split_names = examples.split_names
        statistics.span = examples.span
        options = tfdv.StatsOptions.from_json(
            exec_properties[standard_component_specs.STATS_OPTIONS_JSON_KEY]
        )
        done = 0
        for split in artifact_utils.decode_split_names(examples.split_names):
            generators = stats_impl.get_generators(options, in_memory=True)
            sums = [generator.create_accumulator() for generator in generators]
            for batch in batches(artifact_utils.get_split_uri([examples], split), options.schema):
                sums = [
                    generator.add_input(one, batch) for generator, one in zip(generators, sums, strict=True)
                ]
                done += batch.num_rows
                progress.emit("statistics", done)
            folder = artifact_utils.get_split_uri([statistics], split)
            io_utils.write_bytes_file(
                os.path.join(folder, executor.DEFAULT_FILE_NAME),
                stats_impl.extract_statistics_output(sums, generators).SerializeToString(),
            )


def batches(folder: str, schema: schema_pb2.Schema) -> Iterator[pa.RecordBatch]:
    """Reads all examples below a folder, no more at a time than memory holds.

    Args:
      folder: of TFRecords, not compressed.
      schema: names the features to parse.

    Yields:
      A column a feature, a row an example, each a list of values.
    """
    decoder = ExamplesToRecordBatchDecoder(schema.SerializeToString())
    files = sorted(tf.io.gfile.glob(io_utils.all_files_pattern(folder)))
    pending: list[bytes] = []
    size = 0
    for records in tf.data.TFRecordDataset(files, buffer_size=8 << 20).batch(32).as_numpy_iterator():
        pending.extend(records)
        size += sum(map(len, records))
        if size >= BATCH_BYTES or len(pending) >= BATCH_EXAMPLES:
            yield decoder.DecodeBatch(pending)
            pending, size = [], 0
    if pending:
        yield decoder.DecodeBatch(pending)
