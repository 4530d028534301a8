"""What a run did, read back from ML Metadata and its artifacts."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import tensorflow_model_analysis as tfma
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

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
    if "Pusher" not in outputs:
        return {**described, "up_to": nodes[-1].node_id}
    ingest = json.loads(_read(outputs["ImageExampleGen"]["quarantine"].uri, "summary.json"))
    evaluation = outputs["Evaluator"]["evaluation"].uri
    metrics = _metrics(evaluation)
    pushed = outputs["Pusher"]["pushed_model"].custom_properties
    reasons = _refusals(evaluation)
    is_pushed = bool(pushed["pushed"].int_value)
    return {
        **described,
        "examples": {split: sum(ingest["examples"][split].values()) for split in features.SPLITS},
        "quarantined": sum(ingest["quarantined"].values()),
        "quarantined_because": ingest["quarantined"],
        "classes": ingest["classes"],
        "metrics": metrics["candidate"],
        "baseline_metrics": metrics.get("baseline"),
        "blessed": not reasons,
        "not_blessed_because": reasons,
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


def _metrics(evaluation: str) -> dict[str, dict[str, float]]:
    """Overall metrics of `candidate` and, when there is one, `baseline`."""
    answer: dict[str, dict[str, float]] = {}
    for record in tfma.load_metrics(evaluation):
        if record.slice_key.single_slice_keys:
            continue
        for pair in record.metric_keys_and_values:
            # A difference is stored beside the two models' own figures.
            if pair.key.is_diff or not pair.value.HasField("double_value"):
                continue
            model = pair.key.model_name or "candidate"
            answer.setdefault(model, {})[pair.key.name] = pair.value.double_value.value
    return answer


def _refusals(evaluation: str) -> list[str]:
    """Why the Evaluator did not bless, a clause each; empty when it did."""
    validation = tfma.load_validation_result(evaluation)
    if validation.validation_ok:
        return []
    metrics = _metrics(evaluation)
    reasons = []
    for validations in validation.metric_validations_per_slice:
        for failure in validations.failures:
            name, threshold = failure.metric_key.name, failure.metric_threshold
            value = metrics["candidate"][name]
            if failure.metric_key.is_diff or threshold.HasField("change_threshold"):
                allowed = round(-threshold.change_threshold.absolute.value, 6)
                reasons.append(
                    f"{name} {value:.4f} is lower than that of the model in production, "
                    f"{metrics['baseline'][name]:.4f} (evaluate.max_regression is {allowed:.4g})"
                )
            else:
                bound = threshold.value_threshold.lower_bound.value
                reasons.append(f"{name} {value:.4f} is below evaluate.min_{name} {bound:g}")
    return reasons or [
        "TFMA could not validate it: " + "; ".join(validation.missing_thresholds or ["no data"])
    ]
