"""What the blocking and the asynchronous client share: how a connection is described, opened and bounded."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import grpc

from serving import protos
from serving.calls import (
    GET_MODEL_STATUS,
    PREDICT,
    Backoff,
    Names,
    Prediction,
    Security,
    Target,
    channel_options,
    class_names,
)
from serving.errors import ServingError
from serving.images import MAX_PIXELS, WHITE, Colour
from serving.requests import Bounds

#: How servers answer when a model has no signature for the names.
_HAS_NO_NAMES = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


class Connection:
    """A connection to one model of one server; the base of both clients.

    Args:
      address: `host:port`, or `unix:/path` of a socket.
      model: the name under which the server serves it.
      version, version_label: ask this version and not the latest; at most one of them.
      timeout: seconds for one call, tries included.
      retries: how often a call is tried again, on UNAVAILABLE only.
      security: TLS and token.
      signature, input_name: where the model takes encoded images.
      classes: names of the classes in the model's order, for `Prediction.top`; without them the model is
        asked, once a version.
      max_request_bytes: batches are cut so that a request's images stay below; one larger image is refused.
      max_pixels: images with more are refused before they are decoded or sent.
      background: red, green and blue that show through where an image is transparent, as set at ingest.
      backoff: waits between tries.
      channel_options: gRPC channel arguments by name.

    Raises `ValueError` for arguments that contradict each other; it does not connect yet.
    """

    #: Whose channels are opened: those of `grpc`, or of `grpc.aio`.
    _channels: ClassVar[Any] = grpc

    def __init__(
        self,
        address: str,
        model: str,
        *,
        version: int | None = None,
        version_label: str | None = None,
        timeout: float = 30.0,
        retries: int = 4,
        security: Security | None = None,
        signature: str = "serving_default",
        input_name: str = "image_bytes",
        classes: Sequence[str] = (),
        max_request_bytes: int = 64 << 20,
        max_pixels: int = MAX_PIXELS,
        background: Colour = WHITE,
        backoff: Backoff | None = None,
        channel_options: Mapping[str, Any] | None = None,
    ):
        security = security or Security()
        self.target = Target(address, model, version, version_label, signature, input_name, tuple(classes))
        self.timeout = timeout
        self.retries = retries
        self.max_request_bytes = max_request_bytes
        self.max_pixels = max_pixels
        self.background = background
        self._backoff = backoff or Backoff()
        self._metadata = security.metadata(address)
        self._names: dict[int, Names] = {}  # of the classes, by version
        self._closed = threading.Event()  # ends the waits of the blocking client
        self._channel = self._open(security, channel_options)
        self._predict = self._channel.unary_unary(
            PREDICT,
            request_serializer=protos.predict.PredictRequest.SerializeToString,
            response_deserializer=protos.predict.PredictResponse.FromString,
        )
        self._status = self._channel.unary_unary(
            GET_MODEL_STATUS,
            request_serializer=protos.get_model_status.GetModelStatusRequest.SerializeToString,
            response_deserializer=protos.get_model_status.GetModelStatusResponse.FromString,
        )

    def _open(self, security: Security, extra: Mapping[str, Any] | None) -> Any:
        credentials = security.credentials()
        options = channel_options(extra)
        if credentials is None:
            return self._channels.insecure_channel(self.target.address, options=options)
        return self._channels.secure_channel(self.target.address, credentials, options=options)

    def _lacks_names(self, version: int) -> bool:
        return not self.target.classes and version not in self._names

    def _keep_names(self, version: int, answer: Any) -> None:
        """Remembers the names of a version's classes, or that it does not tell them.

        Args:
          answer: to a `names_request`: the response, or the error. One that says nothing of the model, such
            as UNAVAILABLE, is forgotten, and the next answer asks again.
        """
        if not isinstance(answer, grpc.RpcError):
            self._names[version] = class_names(answer)
        elif answer.code() in _HAS_NO_NAMES:
            self._names[version] = ()

    def _predictions(self, response: Any, sources: Sequence[str]) -> list[Prediction]:
        names = self._names.get(response.model_spec.version.value, ())
        return self.target.predictions(response, sources, names)

    def _bounds(self, batch_size: int) -> Bounds:
        return Bounds(batch_size, self.max_request_bytes, self.max_pixels, self.background)

    def _error(self, error: grpc.RpcError, timeout: float, source: str | None = None) -> ServingError:
        return self.target.error(error.code(), error.details(), timeout, source)
