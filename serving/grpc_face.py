"""The gRPC face: PredictionService, ModelService, health and reflection over the sync thread pool.

The pool was measured against `grpc.aio`, which never won: a run of the model releases the interpreter anyway.
"""

import hmac
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from serving import protos
from serving.api import Api
from serving.batching import Call
from serving.errors import StartError
from serving.status import StatusError

log = logging.getLogger(__name__)

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
#: Begins the message, with the code INTERNAL as in C++ servers, for bytes that are no request.
UNPARSED = "the request cannot be parsed as"
_NO_REQUEST = object()
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

#: Method name to the method of `Api`, the request and the response.
_PREDICTION_METHODS = {
    "Classify": (
        "classify",
        protos.classification.ClassificationRequest,
        protos.classification.ClassificationResponse,
    ),
    "Regress": ("regress", protos.regression.RegressionRequest, protos.regression.RegressionResponse),
    "Predict": ("predict", protos.predict.PredictRequest, protos.predict.PredictResponse),
    "MultiInference": (
        "multi_inference",
        protos.inference.MultiInferenceRequest,
        protos.inference.MultiInferenceResponse,
    ),
    "GetModelMetadata": (
        "get_model_metadata",
        protos.get_model_metadata.GetModelMetadataRequest,
        protos.get_model_metadata.GetModelMetadataResponse,
    ),
}
_MODEL_METHODS = {
    "GetModelStatus": (
        "get_model_status",
        protos.get_model_status.GetModelStatusRequest,
        protos.get_model_status.GetModelStatusResponse,
    ),
    "HandleReloadConfigRequest": (
        "reload_config",
        protos.model_management.ReloadConfigRequest,
        protos.model_management.ReloadConfigResponse,
    ),
}
_SERVICES = {PREDICTION_SERVICE: _PREDICTION_METHODS, MODEL_SERVICE: _MODEL_METHODS}


@dataclass(frozen=True)
class GrpcOptions:
    """How the gRPC face runs.

    Attributes:
      addresses: `host:port` with 0 for any free port, and `unix:/path`.
      threads: requests that are answered at once.
      max_requests: requests under way or waiting; more are refused with RESOURCE_EXHAUSTED.
      max_message_bytes: larger requests are refused with RESOURCE_EXHAUSTED.
      credentials: TLS, or None for none.
      token: wanted as `authorization: Bearer ...` with every call but health checks, or None.
      channel_arguments: further gRPC channel arguments.
    """

    addresses: tuple[str, ...]
    threads: int
    max_requests: int
    max_message_bytes: int
    credentials: grpc.ServerCredentials | None = None
    token: str | None = None
    channel_arguments: tuple[tuple[str, Any], ...] = ()


class GrpcFace:
    """The gRPC server; raises `StartError` when an address is taken."""

    def __init__(self, api: Api, options: GrpcOptions):
        self._health = health.HealthServicer()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(options.threads, thread_name_prefix="grpc"),
            interceptors=[_TokenGuard(options.token)] if options.token else [],
            maximum_concurrent_rpcs=options.max_requests,
            options=[
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # Otherwise a second server on the same port would start and take half of the requests.
                ("grpc.so_reuseport", 0),
                *options.channel_arguments,
            ],
        )
        for service, methods in _SERVICES.items():
            handlers = {
                name: _handler(getattr(api, attribute), request)
                for name, (attribute, request, _) in methods.items()
            }
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        _reflect(self._server)
        self.set_health(serving=False)
        self.ports = [_bind(self._server, address, options.credentials) for address in options.addresses]

    def start(self) -> None:
        self._server.start()

    def set_health(self, serving: bool, models: Mapping[str, bool] | None = None) -> None:
        """Tells health checks whether all models serve; each model is a service of its own besides."""
        state = _SERVING if serving else _NOT_SERVING
        for service in ("", *_SERVICES):
            self._health.set(service, state)
        for model, available in (models or {}).items():
            self._health.set(model, _SERVING if available else _NOT_SERVING)

    def stop(self, grace: float) -> threading.Event:
        """Takes no new requests, gives those under way `grace` seconds; the event says when all ended."""
        self._health.enter_graceful_shutdown()
        return self._server.stop(grace)


def _bind(server: grpc.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError:
        port = 0
    if port == 0:
        raise StartError(f"cannot listen on {address}: it is in use or not allowed; choose another --port")
    return port


def _call_of(context: grpc.ServicerContext) -> Call:
    left = context.time_remaining()
    call = Call(None if left is None else time.monotonic() + left)
    # Runs at the end of every request, cancelled or not; for an answered one it changes nothing any more.
    if not context.add_callback(call.cancel):
        call.cancel()
    return call


def _handler(answer: Callable[[Any, Call], Any], request_type: Any) -> grpc.RpcMethodHandler:
    def behaviour(request: Any, context: grpc.ServicerContext) -> Any:
        if request is _NO_REQUEST:
            context.abort(grpc.StatusCode.INTERNAL, f"{UNPARSED} {request_type.DESCRIPTOR.full_name}")
        try:
            return answer(request, _call_of(context))
        except StatusError as error:
            return context.abort(error.code, error.message)
        except Exception as error:
            log.exception("a request failed inside the server")
            return context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")

    return grpc.unary_unary_rpc_method_handler(
        behaviour,
        request_deserializer=_parser(request_type),
        response_serializer=lambda response: response.SerializeToString(),
    )


def _parser(request_type: Any) -> Callable[[bytes], Any]:
    """Parses a request, or gives `_NO_REQUEST`.

    gRPC's own way with an exception here leaks sixteen kilobytes a request and writes a traceback to the log.
    """

    def parse(data: bytes) -> Any:
        try:
            return request_type.FromString(data)
        except DecodeError:
            return _NO_REQUEST

    return parse


class _TokenGuard(grpc.ServerInterceptor):
    """Refuses calls without the token; health checks carry none."""

    def __init__(self, token: str):
        self._wanted = f"Bearer {token}".encode()

    def intercept_service(self, continuation: Callable, details: grpc.HandlerCallDetails) -> Any:
        given = str(dict(details.invocation_metadata).get("authorization", "")).encode()
        if details.method.startswith("/grpc.health.") or hmac.compare_digest(given, self._wanted):
            return continuation(details)
        return grpc.unary_unary_rpc_method_handler(_refuse)


def _refuse(request: Any, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "a valid token is needed in the metadata authorization")


def _reflect(server: grpc.Server) -> None:
    """Reflection. The API package's own service descriptors cannot be loaded with today's protobuf."""
    pool = descriptor_pool.Default()
    for service, methods in _SERVICES.items():
        package, _, name = service.rpartition(".")
        file = descriptor_pb2.FileDescriptorProto(
            name=f"imagemill/serving/{name}.proto", package=package, syntax="proto3"
        )
        described = file.service.add(name=name)
        for method, (_, request, response) in methods.items():
            needed = {message.DESCRIPTOR.file.name for message in (request, response)}
            file.dependency.extend(sorted(needed - set(file.dependency)))
            described.method.add(
                name=method,
                input_type=f".{request.DESCRIPTOR.full_name}",
                output_type=f".{response.DESCRIPTOR.full_name}",
            )
        pool.AddSerializedFile(file.SerializeToString(deterministic=True))
    names = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, pool)
