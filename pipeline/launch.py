"""Launching one node of a compiled pipeline: the one way in which both runners do it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.io import fileio
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, outputs_utils
from tfx.orchestration.portable.mlmd import context_lib, execution_lib
from tfx.proto.orchestration import pipeline_pb2

from components.report import run as report_run
from pipeline import metadata, provenance


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

    May be called again for the same run when an earlier attempt failed or was killed at any moment: what that
    attempt finished is kept, and what it left half done is removed.

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
    handle = metadata.Metadata(connection)
    execution_id = _finished_by_earlier_attempt(ir, node, handle)
    if execution_id is None:
        execution_id = _launch(ir, node, handle)
    if execution_id is None:
        raise NodeFailedError(f"{node_id} was skipped: its inputs are not there.")
    with handle:
        (execution,) = handle.store.get_executions_by_id([execution_id])
    states = metadata_store_pb2.Execution
    if execution.last_known_state not in (states.COMPLETE, states.CACHED):
        state = states.State.Name(execution.last_known_state)
        raise NodeFailedError(f"{node_id} ended as {state}: {reason(execution)}")
    return NodeResult(
        node_id=node_id,
        execution_id=execution_id,
        cached=execution.last_known_state == states.CACHED,
        seconds=time.monotonic() - started,
    )


def _launch(
    ir: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode, handle: metadata.Metadata
) -> int | None:
    """Number of the execution, or None when the node was skipped."""
    node_id = node.node_info.id
    deployment = runner_utils.extract_local_deployment_config(ir)
    info = launcher.Launcher(
        pipeline_node=node,
        mlmd_connection=handle,
        pipeline_info=ir.pipeline_info,
        pipeline_runtime_spec=ir.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
    ).launch()
    return info.execution_id if info else None


def _finished_by_earlier_attempt(
    ir: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode, handle: metadata.Metadata
) -> int | None:
    """Looks for what earlier attempts of this node in this run left.

    Returns:
      The execution that completed, when one did and only its pod did not live to tell. TFX would give a
      Resolver a second one, and what follows would see the inputs twice. None otherwise; then the files of
      the attempts are gone, since TFX gives their folders to the next one as they are.
    """
    with handle:
        contexts = context_lib.prepare_contexts(handle, node.contexts)
        attempts = execution_lib.get_executions_associated_with_all_contexts(handle, contexts)
    for attempt in attempts:
        if execution_lib.is_execution_successful(attempt):
            return attempt.id
    resolver = outputs_utils.OutputsResolver(node, ir.pipeline_info, ir.runtime_spec)
    for attempt in attempts:
        outputs = resolver.generate_output_artifacts(attempt.id)
        left = [artifact.uri for artifacts in outputs.values() for artifact in artifacts]
        for folder in [*left, os.path.dirname(resolver.get_executor_output_uri(attempt.id))]:
            if fileio.isdir(folder):
                fileio.rmtree(folder)
    return None


def reason(execution: metadata_store_pb2.Execution) -> str:
    """The last line of the error that TFX stored, which is the message; the rest is its traceback."""
    stored = execution.custom_properties["__execution_result__"].string_value
    message = json.loads(stored).get("resultMessage", "") if stored else ""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else "its inputs could not be resolved."
