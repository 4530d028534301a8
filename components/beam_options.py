"""What Beam's command line says of this machine."""

from __future__ import annotations

from collections.abc import Sequence

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

_LOCAL_RUNNERS = frozenset({"DirectRunner", "BundleBasedDirectRunner", "FnApiRunner"})


def direct_options(arguments: Sequence[str]) -> DirectOptions | None:
    """The options of Beam's runner for one machine; None where another runner computes.

    Args:
      arguments: Beam's command line, such as `--runner=FlinkRunner`.
    """
    options = PipelineOptions(list(arguments))
    runner = options.view_as(StandardOptions).runner or "DirectRunner"
    return options.view_as(DirectOptions) if runner.rpartition(".")[2] in _LOCAL_RUNNERS else None
