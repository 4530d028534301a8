"""Launching one node of a compiled pipeline: the one way in which both runners do it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher
from tfx.proto.orchestration import pipeline_pb2

from components.report import run as report_run
from pipeline import provenance


class NodeFailedError(Exception):
    """A node did not complete, although its launcher may have returned without an exception."""


@dataclass(frozen=True)
class NodeResult:
    """A node that completed.

    Attributes:
      node_id: name of the node.
      execution_id: of its execution in ML Metadata.
      cached: whether an earlier execution's outputs were taken.
      seconds: wall time of driver, executor and publisher.
    """

    node_id: str
    execution_id: int
    cached: bool
    seconds: float


def launch_node(
    ir: pipeline_pb2.Pipeline, node_id: str, connection: metadata_store_pb2.ConnectionConfig
) -> NodeResult:
    """Runs a node: resolves its inputs, looks for a cached result, executes, publishes.

    Args:
      ir: compiled pipeline, its run id already substituted.
      node_id: name of the node.
      connection: of ML Metadata.

    Raises:
      NodeFailedError: when the execution did not end as complete or cached. TFX's launcher only logs when
        inputs cannot be resolved, so the state is read back from ML Metadata.
      Exception: whatever the executor raises.
    """
    started = time.monotonic()
    # An executor cannot look into ML Metadata; the report wants to know what ran before it.
    os.environ[report_run.VARIABLE] = provenance.so_far(ir, connection).model_dump_json()
    (node,) = [one.pipeline_node for one in ir.nodes if one.pipeline_node.node_info.id == node_id]
    deployment = runner_utils.extract_local_deployment_config(ir)
    info = launcher.Launcher(
        pipeline_node=node,
        mlmd_connection=metadata.Metadata(connection),
        pipeline_info=ir.pipeline_info,
        pipeline_runtime_spec=ir.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
    ).launch()
    if info is None or info.execution_id is None:
        raise NodeFailedError(f"{node_id} was skipped: its inputs are not there.")
    with metadata.Metadata(connection) as handle:
        (execution,) = handle.store.get_executions_by_id([info.execution_id])
    states = metadata_store_pb2.Execution
    if execution.last_known_state not in (states.COMPLETE, states.CACHED):
        state = states.State.Name(execution.last_known_state)
        raise NodeFailedError(f"{node_id} ended as {state}: {_reason(execution)}")
    return NodeResult(
        node_id=node_id,
        execution_id=info.execution_id,
        cached=execution.last_known_state == states.CACHED,
        seconds=time.monotonic() - started,
    )


def _reason(execution: metadata_store_pb2.Execution) -> str:
    """The last line of the error that TFX stored, which is the message; the rest is its traceback."""
    stored = execution.custom_properties["__execution_result__"].string_value
    message = json.loads(stored).get("resultMessage", "") if stored else ""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else "its inputs could not be resolved."
