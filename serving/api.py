"""Every call of PredictionService and ModelService, message to message. gRPC and REST are its two faces."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving import classify, loader, model_config, predict, protos
from serving.batching import Call
from serving.errors import StartError
from serving.loader import Servable, SessionOptions
from serving.metrics import Metrics
from serving.request_log import RequestLog
from serving.status import StatusCode, StatusError, fail
from serving.versions import VersionManager
from serving.warmup import warm_up

SIGNATURE_DEF = "signature_def"
_LABEL = "label"
#: As metrics name the calls over gRPC; over REST they are named as in the URL.
_API_NAMES = {
    "predict": "Predict",
    "classify": "Classify",
    "regress": "Regress",
    "multi_inference": "MultiInference",
}


class Api:
    """Answers requests from the versions that the manager keeps. Methods raise `StatusError`.

    Args:
      manager: keeps the versions.
      metrics: counts the requests.
      request_log: keeps a sample of them.
      check_method: whether Classify and Regress look at a signature's method name.
    """

    def __init__(
        self, manager: VersionManager, metrics: Metrics, request_log: RequestLog, check_method: bool = False
    ):
        self._manager = manager
        self._metrics = metrics
        self._request_log = request_log
        self._check_method = check_method

    def predict(self, request: Any, call: Call, entrypoint: str = "GRPC") -> Any:
        _need_spec(request)
        with self._serve(request.model_spec, "predict", entrypoint) as servable:
            response = predict.predict(servable, request, call)
            if _LABEL in response.outputs:
                self._metrics.labels(servable.name, response.outputs[_LABEL].string_val)
        return self._logged("predict_log", request, response)

    def classify(self, request: Any, call: Call, entrypoint: str = "GRPC") -> Any:
        _need_spec(request)
        with self._serve(request.model_spec, "classify", entrypoint) as servable:
            response = classify.classify(servable, request, call, self._check_method)
        return self._logged("classify_log", request, response)

    def regress(self, request: Any, call: Call, entrypoint: str = "GRPC") -> Any:
        _need_spec(request)
        with self._serve(request.model_spec, "regress", entrypoint) as servable:
            response = classify.regress(servable, request, call, self._check_method)
        return self._logged("regress_log", request, response)

    def multi_inference(self, request: Any, call: Call, entrypoint: str = "GRPC") -> Any:
        spec = request.tasks[0].model_spec if request.tasks else protos.model.ModelSpec()
        with self._serve(spec, "multi_inference", entrypoint) as servable:
            response = classify.multi_inference(servable, request, call, self._check_method)
        return self._logged("multi_inference_log", request, response, spec)

    def get_model_metadata(self, request: Any, call: Call, entrypoint: str = "GRPC") -> Any:
        _need_spec(request)
        if not request.metadata_field:
            fail(
                StatusCode.INVALID_ARGUMENT,
                "GetModelMetadataRequest must specify at least one metadata_field",
            )
        for name in request.metadata_field:
            if name != SIGNATURE_DEF:  # the real server's format string is never filled in; clients see this
                fail(StatusCode.INVALID_ARGUMENT, f"Metadata field %s is not supported{name}")
        response = protos.get_model_metadata.GetModelMetadataResponse()
        with self._manager.lease(request.model_spec) as servable:
            predict.fill_spec(response.model_spec, servable)
            signatures = protos.get_model_metadata.SignatureDefMap()
            for key, signature in servable.signatures.items():
                signatures.signature_def[key].CopyFrom(signature)
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response

    def get_model_status(self, request: Any, call: Call, entrypoint: str = "GRPC") -> Any:
        _need_spec(request)
        spec = request.model_spec
        number = self._manager.version_of(spec)
        found = self._manager.statuses(spec.name, number)
        if not found and number is not None:
            fail(StatusCode.NOT_FOUND, f"Could not find version {number} of model {spec.name}")
        if not found:
            fail(StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        response = protos.get_model_status.GetModelStatusResponse()
        for version in found:
            status = response.model_version_status.add()
            status.version = version.number
            status.state = int(version.state)
            status.status.error_code = version.code.value[0]
            status.status.error_message = version.message
        return response

    def reload_config(self, request: Any, call: Call, entrypoint: str = "GRPC") -> Any:
        """Takes on another list of models, and answers when the new ones serve."""
        if request.config.WhichOneof("config") != "model_config_list":
            fail(
                StatusCode.INVALID_ARGUMENT,
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported",
            )
        try:
            configs = model_config.from_message(request.config)
        except (ValueError, StartError) as error:
            fail(StatusCode.INVALID_ARGUMENT, str(error))
        self._manager.reload(configs)
        response = protos.model_management.ReloadConfigResponse()
        response.status.error_code = 0
        return response

    def signature_inputs(self, spec: Any, signature_name: str) -> Mapping[str, Any]:
        """The inputs of a signature, by which REST knows the types of the tensors in a body."""
        with self._manager.lease(spec) as servable:
            name = signature_name or predict.DEFAULT_SIGNATURE
            if name not in servable.signatures:
                fail(
                    StatusCode.INVALID_ARGUMENT,
                    f'Serving signature name: "{name}" not found in signature def',
                )
            return servable.signatures[name].inputs

    def _logged(self, kind: str, request: Any, response: Any, spec: Any = None) -> Any:
        options = self._manager.logging_of((spec or request.model_spec).name)
        self._request_log.sample(options, kind, request, response)
        return response

    @contextmanager
    def _serve(self, spec: Any, api: str, entrypoint: str) -> Iterator[Servable]:
        """The servable for a request that is counted and timed."""
        start = time.perf_counter()
        code = StatusCode.OK
        try:
            with self._manager.lease(spec) as servable:
                yield servable
        except StatusError as error:
            code = error.code
            raise
        except Exception:
            code = StatusCode.INTERNAL
            raise
        finally:
            # Only names that are configured: a client must not fill the memory with names of its own.
            model = spec.name if self._manager.is_configured(spec.name) else ""
            microseconds = (time.perf_counter() - start) * 1e6
            name = _API_NAMES[api] if entrypoint == "GRPC" else api
            self._metrics.request(model, name, entrypoint, code.name, microseconds)


def loader_with_warm_up(options: SessionOptions, iterations: int) -> Callable[[str, int, Path], Servable]:
    """How the manager loads a version: into a session, and then through its own warm-up requests.

    Args:
      options: of the session.
      iterations: how often each warm-up request is sent; 0 for no warming up.
    """

    def load(name: str, version: int, path: Path) -> Servable:
        servable = loader.load(name, version, path, options)
        answers = {
            "predict_log": predict.predict,
            "classify_log": classify.classify,
            "regress_log": classify.regress,
            "multi_inference_log": classify.multi_inference,
        }
        try:
            if iterations > 0:
                handlers = {kind: _bound_to(servable, answer) for kind, answer in answers.items()}
                warm_up(path, handlers, iterations)
        except Exception:
            servable.close()
            raise
        return servable

    return load


def _bound_to(servable: Servable, answer: Callable[[Servable, Any, Call], Any]) -> Callable[[Any], Any]:
    return lambda request: answer(servable, request, Call())


def _need_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        fail(StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
