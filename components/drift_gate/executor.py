"""Compares the statistics of two data sets, in words that a person understands."""

from __future__ import annotations

from typing import Any

from absl import logging
from tfx import types
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils

# After tfx, which replaces a module that TFDV needs and tfx-bsl dropped.
import tensorflow_data_validation as tfdv  # isort: skip
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.drift_gate.settings import DriftSettings
from modules import features
from modules.errors import InputError

_FILE = "FeatureStats.pb"


class Executor(base_executor.BaseExecutor):
    """Fails on drift; otherwise publishes the statistics as what later data are measured by."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Compares the training split with the reference, when there is one.

        Raises:
          InputError: naming everything that moved too far, with its limit and its value.
        """
        settings = DriftSettings.model_validate_json(exec_properties["settings"])
        statistics = artifact_utils.get_single_instance(input_dict["statistics"])
        current = stats_artifact_utils.load_statistics(statistics, features.TRAIN).proto()
        if reference := input_dict.get("reference"):
            uri = artifact_utils.get_single_uri(reference)
            previous = statistics_pb2.DatasetFeatureStatisticsList.FromString(
                io_utils.read_bytes_file(f"{uri}/{_FILE}")
            )
            moved = describe_drift(current, previous, settings)
            if moved and not settings.accept:
                raise InputError(
                    "The data have drifted from those of the last run that passed: " + "; ".join(moved) + ". "
                    "If the change is meant, accept it once with --set drift.accept=true."
                )
            logging.info("Drift: %s", moved or "none")
        target = artifact_utils.get_single_uri(output_dict["passed"])
        io_utils.write_bytes_file(f"{target}/{_FILE}", current.SerializeToString())


def describe_drift(
    current: statistics_pb2.DatasetFeatureStatisticsList,
    previous: statistics_pb2.DatasetFeatureStatisticsList,
    settings: DriftSettings,
) -> list[str]:
    """What moved further than the settings allow, a clause each.

    Measured by TFDV: L-infinity distance of the class shares, Jensen-Shannon divergence of the rest.
    """
    now, then = _by_name(current), _by_name(previous)
    clauses = []
    for name in sorted(set(_classes(then)) - set(_classes(now))):
        clauses.append(f"class {name!r} is gone ({_classes(then)[name]:,.0f} images before)")
    for name in sorted(set(_classes(now)) - set(_classes(then))):
        clauses.append(f"class {name!r} is new ({_classes(now)[name]:,.0f} images)")
    schema = schema_pb2.Schema()
    for name in features.DESCRIPTIVE:
        if name in now and name in then:
            feature = schema.feature.add(name=name, type=_SCHEMA_TYPES[features.DESCRIPTIVE[name]])
            if name == features.LABEL:
                feature.drift_comparator.infinity_norm.threshold = settings.max_label_change
            else:
                feature.drift_comparator.jensen_shannon_divergence.threshold = settings.max_divergence
    anomalies = tfdv.validate_statistics(current, schema, previous_statistics=previous)
    for info in anomalies.drift_skew_info:
        (name,) = info.path.step
        for measured in info.drift_measurements:
            if measured.value > measured.threshold:
                clauses.append(_clause(name, now[name], then[name], measured.value, measured.threshold))
    return clauses


_SCHEMA_TYPES = {bytes: schema_pb2.BYTES, int: schema_pb2.INT, float: schema_pb2.FLOAT}


def _by_name(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
) -> dict[str, statistics_pb2.FeatureNameStatistics]:
    (dataset,) = statistics.datasets
    return {feature.name or feature.path.step[0]: feature for feature in dataset.features}


def _classes(by_name: dict[str, statistics_pb2.FeatureNameStatistics]) -> dict[str, float]:
    return _counts(by_name[features.LABEL])


def _counts(feature: statistics_pb2.FeatureNameStatistics) -> dict[str, float]:
    return {bucket.label: bucket.sample_count for bucket in feature.string_stats.rank_histogram.buckets}


def _clause(
    name: str,
    now: statistics_pb2.FeatureNameStatistics,
    then: statistics_pb2.FeatureNameStatistics,
    value: float,
    limit: float,
) -> str:
    plain = name.removeprefix("image/")
    if now.HasField("num_stats"):
        means = f"{now.num_stats.mean:.3g} on average, {then.num_stats.mean:.3g} before"
        return f"{plain} is {means} (divergence {value:.2g}, limit {limit:g})"
    shares_now, shares_then = _shares(now), _shares(then)
    most = max(
        shares_now.keys() | shares_then.keys(),
        key=lambda key: abs(shares_now.get(key, 0) - shares_then.get(key, 0)),
    )
    kind = "class" if name == features.LABEL else plain
    change = f"{shares_now.get(most, 0):.0%} of the images, {shares_then.get(most, 0):.0%} before"
    measure = "change" if name == features.LABEL else "divergence"
    return f"{kind} {most!r} is {change} ({measure} {value:.2g}, limit {limit:g})"


def _shares(feature: statistics_pb2.FeatureNameStatistics) -> dict[str, float]:
    counts = _counts(feature)
    total = sum(counts.values()) or 1
    return {name: count / total for name, count in counts.items()}
