"""InfraValidator's executor: serves the model in a local process and sends it real requests.

TFX's own executor knows Docker and Kubernetes only, which a laptop and a pod do not have to offer. The
rest of it is kept: building requests from Examples, the blessing, the warm-up file.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time

import portpicker
import tensorflow as tf
from absl import logging
from tensorflow_serving.apis import predict_pb2
from tfx import types
from tfx.components.infra_validator import error_types, executor
from tfx.components.infra_validator import types as iv_types
from tfx.components.infra_validator.model_server_runners import base_runner
from tfx.proto import infra_validator_pb2
from tfx.utils import path_utils
from tfx.utils.model_paths import tf_serving_flavor

from components.infra_validator import measurements
from modules import export, features

_WARMUP_REQUESTS = 3  # of each kind: the server sends them all before a new version takes over


class InfraValidationError(Exception):
    """The model was loaded or asked in vain."""


class Executor(executor.Executor):
    """InfraValidator that serves the model in a process of its own on this machine.

    Both signatures are asked: serialized Examples as TFX builds them, and the encoded images inside
    them as clients send them. Both kinds become warm-up requests of the pushed model. Size and latency are
    noted on the blessing (`measurements`), for the Evaluator to judge.
    """

    _latencies: tuple[float, ...] = ()

    def _Do(self, model: types.Artifact, blessing: types.Artifact, **rest: object) -> None:
        super()._Do(model=model, blessing=blessing, **rest)
        blessing.set_int_custom_property(
            measurements.MODEL_BYTES, measurements.size(path_utils.serving_model_path(model.uri))
        )
        if self._latencies:
            for key, share in ((measurements.LATENCY_P50, 0.5), (measurements.LATENCY_P95, 0.95)):
                blessing.set_float_custom_property(key, measurements.percentile(self._latencies, share))

    def _ValidateWithRetry(
        self,
        model_path: str,
        serving_binary: executor.serving_bins.ServingBinary,
        serving_spec: infra_validator_pb2.ServingSpec,
        validation_spec: infra_validator_pb2.ValidationSpec,
        requests: list[iv_types.Request],
    ) -> bool:
        """Tries once, and fails the node where TFX would note "not blessed".

        That note would be cached, a bad moment of the machine with it, and the reason lost in a log.
        """
        deadline = time.time() + validation_spec.max_loading_time_seconds
        runner = ProcessRunner(model_path)
        try:
            runner.Start()
            runner.WaitUntilRunning(deadline)
            client = serving_binary.MakeClient(runner.GetEndpoint())
            client.WaitUntilModelLoaded(deadline, polling_interval_sec=0.2)
            images = image_requests(requests)
            client.SendRequests([*requests, *images])
            if images:
                self._latencies = tuple(
                    measurements.latencies(lambda request: client.SendRequests([request]), images)
                )
        except error_types.GracefulShutdown:
            raise
        except Exception as error:
            logging.error("The model server said:\n%s", runner.GetLogs())
            raise InfraValidationError(f"The model server could not serve the model: {error}") from error
        finally:
            runner.Stop()
        return True

    def _CreateWarmupModel(
        self, blessing: types.Artifact, model_path: str, warmup_requests: list[iv_types.Request]
    ) -> None:
        chosen = warmup_requests[:_WARMUP_REQUESTS]
        super()._CreateWarmupModel(blessing, model_path, [*chosen, *image_requests(chosen)])


def image_requests(requests: list[iv_types.Request]) -> list[predict_pb2.PredictRequest]:
    """The same images as clients send them: encoded, to the default signature.

    Args:
      requests: PredictRequests with serialized Examples.
    """
    answer = []
    for request in requests:
        (tensor,) = request.inputs.values()
        examples = [tf.train.Example.FromString(value) for value in tf.make_ndarray(tensor)]
        images = [example.features.feature[features.IMAGE].bytes_list.value[0] for example in examples]
        asked = predict_pb2.PredictRequest()
        asked.model_spec.name = request.model_spec.name
        asked.model_spec.signature_name = export.SERVING
        asked.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images, dtype=tf.string))
        answer.append(asked)
    return answer


class ProcessRunner(base_runner.BaseModelServerRunner):
    """Runs `python -m serving.server` on one model, on a free port of the loopback interface."""

    def __init__(self, model_path: str):
        """Prepares a runner.

        Args:
          model_path: `<base path>/<model name>/<version>` holding a SavedModel.
        """
        base, self._model_name, _ = tf_serving_flavor.parse_model_path(model_path)
        self._base_path = f"{base}/{self._model_name}"
        self._port = portpicker.pick_unused_port()
        self._process: subprocess.Popen | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by Stop

    def __repr__(self) -> str:
        return f"ProcessRunner({self._base_path!r})"

    def GetEndpoint(self) -> str:
        return f"localhost:{self._port}"

    def Start(self) -> None:
        command = [sys.executable, "-m", "serving.server", "--port", str(self._port), "--rest_api_port", "0"]
        # The validator's verdict is wanted now; a server in production would try to load again later.
        command += [
            "--max_num_load_retries",
            "0",
            "--model_name",
            self._model_name,
            "--model_base_path",
            self._base_path,
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._log
        )

    def WaitUntilRunning(self, deadline: float) -> None:
        while time.time() < deadline:
            if self._process.poll() is not None:
                raise error_types.JobAborted(f"it ended with code {self._process.returncode}.")
            with contextlib.suppress(OSError), socket.create_connection(("localhost", self._port), 1):
                return
            time.sleep(0.1)
        raise error_types.DeadlineExceeded("it did not listen in time.")

    def Stop(self) -> None:
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def GetLogs(self) -> str:
        self._log.seek(0)
        return self._log.read()[-20_000:]
