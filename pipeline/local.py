"""The local runner: TFX's LocalDagRunner, one node after the other, each launched as a pod launches it."""

from __future__ import annotations

import difflib
import pathlib
from collections.abc import Callable

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from modules.errors import InputError
from pipeline.config import Config
from pipeline.graph import Paths, compile_pipeline, create_pipeline
from pipeline.launch import NodeResult, launch_node


class LocalRunner(LocalDagRunner):
    """Runs a compiled pipeline in this process.

    Unlike its base it stops at the first node that does not complete, also when that node's launcher
    only logs it, and it tells a listener what happens.
    """

    def __init__(
        self,
        run_id: str,
        connection: metadata_store_pb2.ConnectionConfig,
        on_start: Callable[[str], None] = lambda node_id: None,
        on_finish: Callable[[NodeResult], None] = lambda result: None,
    ):
        """Prepares a runner.

        Args:
          run_id: name of the run in ML Metadata.
          connection: of ML Metadata.
          on_start: called with a node's name before it runs.
          on_finish: called after it completed.
        """
        super().__init__()
        self._run_id = run_id
        self._connection = connection
        self._on_start = on_start
        self._on_finish = on_finish

    def run_with_ir(
        self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None
    ) -> list[NodeResult]:
        """Runs all nodes in topological order.

        Raises:
          NodeFailedError, or what an executor raised; later nodes then do not run.
        """
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        )
        results = []
        for node in pipeline.nodes:
            node_id = node.pipeline_node.node_info.id
            self._on_start(node_id)
            results.append(launch_node(pipeline, node_id, self._connection))
            self._on_finish(results[-1])
        return results


def keep_up_to(pipeline: pipeline_pb2.Pipeline, node_id: str) -> None:
    """Removes every node that a node does not need.

    Raises:
      InputError: when there is no such node.
    """
    nodes = {node.pipeline_node.node_info.id: node for node in pipeline.nodes}
    if node_id not in nodes:
        near = difflib.get_close_matches(node_id, nodes, n=1)
        hint = f"did you mean {near[0]}?" if near else f"this pipeline has {', '.join(nodes)}."
        raise InputError(f"--to {node_id}: there is no such node; {hint}")
    needed, new = set(), {node_id}
    while new:
        needed |= new
        new = {one for name in new for one in nodes[name].pipeline_node.upstream_nodes} - needed
    kept = [node for name, node in nodes.items() if name in needed]
    del pipeline.nodes[:]
    pipeline.nodes.extend(kept)


def connection_config(workdir: pathlib.Path) -> metadata_store_pb2.ConnectionConfig:
    """ML Metadata of a working directory: one SQLite file."""
    return metadata.sqlite_metadata_connection_config(str(workdir / "metadata.db"))


def compile_local(config: Config, workdir: pathlib.Path, enable_cache: bool = True) -> pipeline_pb2.Pipeline:
    """The pipeline of a configuration with everything below one working directory."""
    paths = Paths(pipeline_root=str(workdir / "artifacts"), serving=str(workdir / "serving"))
    pipeline = create_pipeline(config, paths, connection_config(workdir), enable_cache)
    return compile_pipeline(pipeline)
