"""What a run leaves for Kubeflow's UI and for later: metrics, a page, a record.

Kubeflow hands a container the description of its outputs (`ExecutorInput`) and reads back a file of JSON
(`ExecutorOutput`) with what each artifact is about.
"""

from __future__ import annotations

import html
import json
import logging
import pathlib
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.io import fileio
from tfx.orchestration.portable.mlmd import context_lib, execution_lib
from tfx.proto.orchestration import pipeline_pb2

from components.evaluator import verdict as verdicts
from pipeline import metadata, notify
from pipeline.launch import NodeResult

_STATES = metadata_store_pb2.Execution


def write_metrics(
    path: str,
    executor_input: dict[str, Any],
    result: NodeResult,
    connection: metadata_store_pb2.ConnectionConfig,
) -> None:
    """Describes the artifact `metrics` by the metrics of the candidate and of the model in production.

    Args:
      path: file of the artifact, which holds them too.
      executor_input: Kubeflow's description of the outputs.
      result: of the Evaluator.
      connection: of ML Metadata.
    """
    from pipeline import lineage

    verdict = verdicts.load(lineage.Lineage(connection, [result]).outputs(result.node_id)["evaluation"].uri)
    shown = {name: metric.value for name, metric in verdict.metrics.items() if metric.value is not None}
    shown |= {
        f"{name} in production": metric.baseline
        for name, metric in verdict.metrics.items()
        if metric.baseline is not None
    }
    _write(path, json.dumps(shown))
    (artifact,) = executor_input["outputs"]["artifacts"]["metrics"]["artifacts"]
    described = {"name": artifact["name"], "uri": artifact["uri"], "metadata": shown}
    output = {"artifacts": {"metrics": {"artifacts": [described]}}}
    _write(executor_input["outputs"]["outputFile"], json.dumps(output))


def finish(
    ir: pipeline_pb2.Pipeline,
    run_id: str,
    connection: metadata_store_pb2.ConnectionConfig,
    page_path: str | None = None,
    status: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Records how a run ended, whichever way it did, and notifies.

    The record is `<pipeline root>/runs/<run id>/result.json`, with `report.html` beside it.

    Args:
      ir: the compiled pipeline, its parameters substituted.
      run_id: name of the run.
      connection: of ML Metadata.
      page_path: file of the artifact that Kubeflow's UI shows as the page.
      status: what Kubeflow says about the end, to tell where ML Metadata knows of no failure: a pod that
        never started.

    Returns:
      The record.
    """
    record = summarize(ir, run_id, connection)
    if status and record["state"] != "complete":
        record["kubeflow"] = status
        message = (status.get("error") or {}).get("message")
        if message and "error" not in record:
            record["error"] = message
    folder = f"{ir.runtime_spec.pipeline_root.field_value.string_value}/runs/{run_id}"
    page = _page(record)
    fileio.makedirs(folder)
    for name, text in (
        ("result.json", json.dumps(record, indent=1, ensure_ascii=False)),
        ("report.html", page),
    ):
        with fileio.open(f"{folder}/{name}", "w") as file:
            file.write(text)
    if page_path:
        _write(page_path, page)
    logging.getLogger("imagemill").info("The run is %s: %s/report.html", record["state"], folder)
    brief = ("run_id", "pipeline", "state", "metrics", "pushed_version", "failed_node", "error")
    notify.notify({key: record[key] for key in brief if key in record})
    return record


def summarize(
    ir: pipeline_pb2.Pipeline, run_id: str, connection: metadata_store_pb2.ConnectionConfig
) -> dict[str, Any]:
    """How a run stands in ML Metadata: as `lineage.summarize` when all is complete, else what is not."""
    from pipeline import launch, lineage

    done: list[NodeResult] = []
    open_nodes: dict[str, str] = {}
    failed: dict[str, str] = {}
    with metadata.Metadata(connection) as handle:
        for one in ir.nodes:
            node = one.pipeline_node
            contexts = context_lib.prepare_contexts(handle, node.contexts)
            attempts = execution_lib.get_executions_associated_with_all_contexts(handle, contexts)
            node_id = node.node_info.id
            successful = [one for one in attempts if execution_lib.is_execution_successful(one)]
            if successful:
                done.append(_result(node_id, successful[0]))
            elif any(one.last_known_state == _STATES.FAILED for one in attempts):
                failed[node_id] = launch.reason(attempts[-1])
            else:
                open_nodes[node_id] = "interrupted" if attempts else "not started"
    record: dict[str, Any] = {"run_id": run_id, "pipeline": ir.pipeline_info.id}
    if not failed and not open_nodes:
        return (
            record
            | {"state": "complete"}
            | lineage.summarize(run_id, done, lineage.Lineage(connection, done))
        )
    nodes = {one.node_id: {"state": "cached" if one.cached else "complete"} for one in done}
    nodes |= {node_id: {"state": state} for node_id, state in open_nodes.items()}
    nodes |= {node_id: {"state": "failed"} for node_id in failed}
    record |= {"state": "failed" if failed else "interrupted", "nodes": nodes}
    if failed:
        node_id, reason = next(iter(failed.items()))
        record |= {"failed_node": node_id, "error": reason}
    return record


def _page(record: dict[str, Any]) -> str:
    """The page of the Report node where it came so far, else what is known of the run."""
    outputs = record["nodes"].get("Report", {}).get("outputs")
    if not outputs:
        return _summary_page(record)
    with fileio.open(f"{outputs['report']}/report.html") as file:
        return file.read()


def _summary_page(record: dict[str, Any]) -> str:
    rows = [("state", record["state"])]
    rows += [(key, record[key]) for key in ("failed_node", "error") if key in record]
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>{html.escape(record['pipeline'])} {html.escape(record['run_id'])}</title>",
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2em;max-width:60em}",
        "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .9em .25em 0;text-align:left;",
        "vertical-align:top;border-bottom:1px solid #ddd}td.n{text-align:right}</style>",
        f"<h1>{html.escape(record['pipeline'])}</h1><p>Run {html.escape(record['run_id'])}</p>",
        _table([], rows),
    ]
    nodes = [
        (name, node["state"], *([f"{node['seconds']:.1f}"] if "seconds" in node else []))
        for name, node in record["nodes"].items()
    ]
    parts.append(_table(["node", "state", "seconds"], nodes))
    return "\n".join(parts) + "</html>\n"


def _table(head: list[str], rows: list[tuple[str, ...]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"] if head else []
    for first, *rest in rows:
        cells = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in rest)
        lines.append(f"<tr><th scope='row'>{html.escape(first)}</th>{cells}</tr>")
    return "<table>" + "".join(lines) + "</table>"


def _result(node_id: str, execution: metadata_store_pb2.Execution) -> NodeResult:
    milliseconds = execution.last_update_time_since_epoch - execution.create_time_since_epoch
    cached = execution.last_known_state == _STATES.CACHED
    return NodeResult(node_id, execution.id, cached, milliseconds / 1000)


def _write(path: str, text: str) -> None:
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_text(text, encoding="utf-8")
