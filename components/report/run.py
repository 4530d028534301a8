"""What is known of the run that a report belongs to; whoever launches nodes says it in the environment.

An executor sees its own artifacts only; which nodes ran before it and how long they took stands in ML
Metadata, which the launcher can read.
"""

from __future__ import annotations

import json
import os
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

#: Holds `Run` as JSON.
VARIABLE = "IMAGEMILL_RUN"


class Node(BaseModel):
    """A node that ended before the report began.

    Attributes:
      node: its name.
      state: how it ended.
      seconds: wall time.
    """

    model_config = ConfigDict(frozen=True)

    node: str
    state: Literal["complete", "cached"]
    seconds: float


class Run(BaseModel):
    """A run, as far as it went.

    Attributes:
      run_id: its name; empty when it is not known.
      nodes: in the order in which they ended.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str = ""
    nodes: list[Node] = []


def from_environment() -> Run:
    """What the launcher said; an empty run when it said nothing."""
    try:
        return Run.model_validate(json.loads(os.environ.get(VARIABLE, "{}")))
    except (ValueError, ValidationError):
        return Run()
