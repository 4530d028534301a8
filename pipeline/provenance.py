"""What a run did so far, read from ML Metadata: the launcher tells it to the node that it starts."""

from __future__ import annotations

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.proto.orchestration import pipeline_pb2

from components.report.run import Node, Run

_STATES = {
    metadata_store_pb2.Execution.COMPLETE: "complete",
    metadata_store_pb2.Execution.CACHED: "cached",
}


def so_far(ir: pipeline_pb2.Pipeline, connection: metadata_store_pb2.ConnectionConfig) -> Run:
    """The nodes of a run that have ended, in the order in which they did.

    Args:
      ir: compiled pipeline, its run id already substituted.
      connection: of ML Metadata.
    """
    run_id = ir.runtime_spec.pipeline_run_id.field_value.string_value
    with metadata.Metadata(connection) as handle:
        context = handle.store.get_context_by_type_and_name(constants.PIPELINE_RUN_CONTEXT_TYPE_NAME, run_id)
        if context is None:
            return Run(run_id=run_id)
        ended = [
            execution
            for execution in handle.store.get_executions_by_context(context.id)
            if execution.last_known_state in _STATES
        ]
        nodes = [
            Node(
                node=_node_id(handle.store.get_contexts_by_execution(execution.id)),
                state=_STATES[execution.last_known_state],
                seconds=(execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000,
            )
            for execution in sorted(ended, key=lambda one: one.last_update_time_since_epoch)
        ]
    return Run(run_id=run_id, nodes=nodes)


def _node_id(contexts: list[metadata_store_pb2.Context]) -> str:
    (node,) = [one for one in contexts if one.type == constants.NODE_CONTEXT_TYPE_NAME]
    # TFX names it `<pipeline>.<node>`, and a node's name has no dot.
    return node.name.rpartition(".")[2]
