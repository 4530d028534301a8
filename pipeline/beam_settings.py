"""Typed settings of the Beam engine that reads the data: this machine, Flink, or Dataflow."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from modules.base_settings import Settings

#: What this machine uses unless told otherwise. Without a mode Beam guesses one.
_DIRECT = {"direct_running_mode": "in_memory", "direct_num_workers": 1}


class BeamSettings(Settings):
    """The engine of the stages that read all data, ingest and statistics; the others run in their node."""

    runner: Literal["DirectRunner", "FlinkRunner", "PortableRunner", "SparkRunner", "DataflowRunner"] = Field(
        "DirectRunner",
        description="`DirectRunner`: this machine, or the node's pod. `FlinkRunner` and `SparkRunner` start "
        "a job server, which needs Java; `PortableRunner` asks one that runs. `DataflowRunner` is Google's.",
    )
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Options of Beam and of the runner, passed through as they are, such as "
        "`direct_num_workers: 4` with `direct_running_mode: multi_processing`, or `flink_master: host:8081`.",
    )

    @field_validator("options")
    @classmethod
    def _are_names(cls, options: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
        for name in options:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"{name!r} is no name of an option; leave the dashes out")
            if name == "runner":
                raise ValueError("the runner has a key of its own: beam.runner")
        return options

    def arguments(self) -> list[str]:
        """The command line of Beam: a flag for True, nothing for False."""
        given = (_DIRECT if self.runner == "DirectRunner" else {}) | self.options
        arguments = [f"--runner={self.runner}"]
        if self.runner == "DirectRunner":
            # Without an image, which this runner has no use for, TFX packs its whole self for workers
            # elsewhere: a second or more a node, every run.
            arguments.append("--sdk_container_image=unused")
        if given.get("direct_running_mode") != "in_memory":
            # Workers in processes of their own must import tfx first: it stands in for a module that TFDV
            # needs and that tfx-bsl no longer has.
            arguments.append("--beam_plugin=tfx")
        for name, value in given.items():
            if value is True:
                arguments.append(f"--{name}")
            elif value is not False:
                arguments.append(f"--{name}={value}")
        return arguments
