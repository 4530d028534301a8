"""The validator's own server: a model that cannot be served fails at once, and says why."""

from __future__ import annotations

import pathlib

import pytest
from tfx.components.infra_validator import serving_bins
from tfx.proto import infra_validator_pb2

from components.infra_validator.executor import Executor, InfraValidationError


def test_a_broken_model_fails_before_the_deadline(tmp_path: pathlib.Path) -> None:
    version = tmp_path / "broken" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"no graph")
    spec = infra_validator_pb2.ServingSpec(
        tensorflow_serving=infra_validator_pb2.TensorFlowServing(tags=["local"]),
        local_docker=infra_validator_pb2.LocalDockerConfig(),
        model_name="broken",
    )
    (binary,) = serving_bins.parse_serving_binaries(spec)
    limits = infra_validator_pb2.ValidationSpec(max_loading_time_seconds=120)
    with pytest.raises(InfraValidationError, match="failed to load the model"):
        Executor()._ValidateWithRetry(str(version), binary, spec, limits, requests=[])
