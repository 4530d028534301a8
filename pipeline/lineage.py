"""What a run did, read back from ML Metadata and its artifacts."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from components.evaluator import verdict as verdicts
from modules import features
from modules.tuning import record as tuning
from pipeline.launch import NodeResult

#: Artifacts by node and name of the output.
Outputs = dict[str, dict[str, metadata_store_pb2.Artifact]]


class Lineage:
    """Artifacts of the nodes of one run."""

    def __init__(self, connection: metadata_store_pb2.ConnectionConfig, nodes: list[NodeResult]):
        """Opens the store.

        Args:
          connection: of ML Metadata.
          nodes: the nodes that completed.
        """
        self._store = metadata_store.MetadataStore(connection)
        self._executions = {node.node_id: node.execution_id for node in nodes}

    def outputs(self, node_id: str) -> dict[str, metadata_store_pb2.Artifact]:
        """The artifacts that a node put out, or took from the cache, by the name of the output."""
        events = [
            event
            for event in self._store.get_events_by_execution_ids([self._executions[node_id]])
            if event.type == metadata_store_pb2.Event.OUTPUT
        ]
        artifacts = self._store.get_artifacts_by_id([event.artifact_id for event in events])
        by_id = {artifact.id: artifact for artifact in artifacts}
        return {event.path.steps[0].key: by_id[event.artifact_id] for event in events}


def summarize(run_id: str, nodes: list[NodeResult], lineage: Lineage) -> dict[str, Any]:
    """The result of a run that went through, as `imagemill run --json` prints it."""
    outputs = {node.node_id: lineage.outputs(node.node_id) for node in nodes}
    described = {"run_id": run_id, **_tuning(outputs), "nodes": _nodes(nodes, outputs)}
    if not {"Pusher", "Report"} <= outputs.keys():
        return {**described, "up_to": nodes[-1].node_id}
    ingest = json.loads(_read(outputs["ImageExampleGen"]["quarantine"].uri, "summary.json"))
    verdict = verdicts.load(outputs["Evaluator"]["evaluation"].uri)
    pushed = outputs["Pusher"]["pushed_model"].custom_properties
    is_pushed = bool(pushed["pushed"].int_value)
    return {
        **described,
        "examples": {split: sum(ingest["examples"][split].values()) for split in features.SPLITS},
        "quarantined": sum(ingest["quarantined"].values()),
        "quarantined_because": ingest["quarantined"],
        "classes": ingest["classes"],
        "metrics": {name: metric.value for name, metric in verdict.metrics.items()},
        "intervals": {
            name: [metric.low, metric.high]
            for name, metric in verdict.metrics.items()
            if metric.low is not None
        },
        "baseline_metrics": _baseline_metrics(verdict),
        "blessed": verdict.blessed,
        "verdict": verdict.sentence,
        "not_blessed_because": verdict.refusals,
        "pushed_version": pushed["pushed_version"].string_value if is_pushed else None,
        "is_new_version": is_pushed and bool(pushed["is_new"].int_value),
        "pushed_path": pushed["pushed_destination"].string_value if is_pushed else None,
    }


def _nodes(nodes: list[NodeResult], outputs: Outputs) -> dict[str, Any]:
    return {
        node.node_id: {
            "state": "cached" if node.cached else "complete",
            "seconds": round(node.seconds, 3),
            "cached": node.cached,
            "outputs": {key: artifact.uri for key, artifact in outputs[node.node_id].items()},
        }
        for node in nodes
    }


def _tuning(outputs: Outputs) -> dict[str, Any]:
    """What a search found, where there was one."""
    if "Tuner" not in outputs:
        return {}
    path = pathlib.Path(outputs["Tuner"]["tuner_results"].uri, tuning.FILE)
    return {"tuning": {**tuning.read(str(path)).summary(), "path": str(path)}}


def _read(directory: str, name: str) -> str:
    return pathlib.Path(directory, name).read_text(encoding="utf-8")


def _baseline_metrics(verdict: verdicts.Verdict) -> dict[str, float] | None:
    """Figures of the model in production, where it was compared with."""
    found = {name: metric.baseline for name, metric in verdict.metrics.items() if metric.baseline is not None}
    return found or None
