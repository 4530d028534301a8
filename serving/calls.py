"""What both clients, the blocking and the asynchronous one, say to a server and read from its answers."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import grpc

from serving import protos, tensors
from serving.errors import (
    BadImage,
    DeadlineExceeded,
    ModelNotFound,
    PermissionDenied,
    ServerUnavailable,
    ServingError,
)

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"

#: Reconnecting must not take longer than a server takes to start: gRPC itself would wait up to two minutes.
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
#: Parts of INVALID_ARGUMENT messages that blame the call and not the image.
_CALL_IS_WRONG = ("alias not found", "input size does not match", "Expects arg[", "tensor parsing error")
#: How gRPC words that a request is over the server's bound; smaller ones may be within it.
_TOO_LARGE = "larger than max"
_TLS_TROUBLE = ("SSL", "handshake", "certificate", "CERTIFICATE")


@dataclass(frozen=True)
class Score:
    """One class with its probability."""

    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The model's answer for one image.

    Attributes:
      source: the image's path, or what it was called.
      label: name of the likeliest class; empty where the model abstains.
      confidence: probability of the likeliest class, 0 to 1.
      probabilities: of every class, in the model's order.
      model_version: the version that answered.
      classes: names of the classes in that order; empty when neither the model nor the caller told them.
      error: always None; the `BadImage` that may stand in a prediction's place has one.
    """

    source: str
    label: str
    confidence: float
    probabilities: tuple[float, ...] = field(repr=False)
    model_version: int
    classes: tuple[str, ...] = field(default=(), repr=False)
    error: None = field(default=None, init=False, repr=False)

    @property
    def abstained(self) -> bool:
        """Whether the model was not sure enough to name a class."""
        return not self.label

    def top(self, k: int = 5) -> tuple[Score, ...]:
        """The k likeliest classes, best first; named by their index where the names are not known."""
        best = sorted(range(len(self.probabilities)), key=lambda i: (-self.probabilities[i], i))[:k]
        return tuple(Score(self._name(i, i == best[0]), self.probabilities[i]) for i in best)

    def _name(self, index: int, likeliest: bool) -> str:
        if index < len(self.classes):
            return self.classes[index]
        return self.label if likeliest and self.label else str(index)


@dataclass(frozen=True)
class Target:
    """Which model is asked, where, and under which names its signature takes and gives tensors."""

    address: str
    model: str
    version: int | None = None
    version_label: str | None = None
    signature: str = "serving_default"
    input_name: str = "image_bytes"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.version is not None and self.version_label is not None:
            raise ValueError("give version or version_label, not both")

    def __str__(self) -> str:
        which = ""
        if self.version is not None:
            which = f" version {self.version}"
        elif self.version_label is not None:
            which = f" label {self.version_label!r}"
        return f"model {self.model!r}{which} at {self.address}"

    def spec(self, spec: Any) -> None:
        """Fills a `ModelSpec`."""
        spec.name = self.model
        if self.version is not None:
            spec.version.value = self.version
        if self.version_label is not None:
            spec.version_label = self.version_label

    def predict_request(self, encoded: Sequence[bytes]) -> Any:
        request = protos.predict.PredictRequest()
        self.spec(request.model_spec)
        request.model_spec.signature_name = self.signature
        tensors.strings(list(encoded), request.inputs[self.input_name])
        return request

    def status_request(self) -> Any:
        request = protos.get_model_status.GetModelStatusRequest()
        self.spec(request.model_spec)
        return request

    def predictions(self, response: Any, sources: Sequence[str]) -> list[Prediction]:
        """Reads a `PredictResponse`; raises `ServingError` when no image classifier gave it."""
        missing = {"probabilities", "label", "confidence"} - set(response.outputs)
        if missing:
            raise ServingError(
                f"{self}: signature {self.signature!r} gives {sorted(response.outputs)} and not "
                f"{sorted(missing)}; name the signature of an image classifier"
            )
        try:
            probabilities = tensors.to_numpy(response.outputs["probabilities"]).tolist()
            labels = tensors.to_numpy(response.outputs["label"]).tolist()
            confidences = tensors.to_numpy(response.outputs["confidence"]).tolist()
            if not len(probabilities) == len(labels) == len(confidences) == len(sources):
                raise ValueError(f"{len(labels)} answers for {len(sources)} images")
            version = response.model_spec.version.value
            classes = self.classes or _class_names(response)
            return [
                Prediction(source, label.decode(), confidence, tuple(row), version, classes)
                for source, label, confidence, row in zip(
                    sources, labels, confidences, probabilities, strict=True
                )
            ]
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise ServingError(f"{self}: the answer cannot be read: {error}") from None

    def is_available(self, response: Any) -> bool:
        """Whether a `GetModelStatusResponse` says that the model can be asked now."""
        available = protos.get_model_status.ModelVersionStatus.AVAILABLE
        return any(status.state == available for status in response.model_version_status)

    def load_failure(self, response: Any) -> str:
        """Why no version can be asked, where the server tells: the latest version's own message."""
        messages = [s.status.error_message for s in response.model_version_status if s.status.error_message]
        return messages[0] if messages else ""

    def error(self, code: grpc.StatusCode, details: str, timeout: float, source: str | None) -> ServingError:
        """The typed error for a failed call; `source` names the image when the call was for one alone."""
        told = " ".join((details or code.name).split())
        too_large = _TOO_LARGE in told
        refused = code is grpc.StatusCode.INVALID_ARGUMENT
        misused = any(part in told for part in _CALL_IS_WRONG)
        match code:
            case grpc.StatusCode.UNAVAILABLE if any(word in told for word in _TLS_TROUBLE):
                kind, line = (
                    ServerUnavailable,
                    f"no TLS with {self.address}: {told}; check certificates",
                )
            case grpc.StatusCode.UNAVAILABLE:
                kind = ServerUnavailable
                line = f"{self.address} is not available: {told}; see that a server runs there, or try later"
            case grpc.StatusCode.NOT_FOUND:
                kind = ModelNotFound
                line = f"{self} is not served: {told}; ask for a name and version that the server has"
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                kind = DeadlineExceeded
                line = f"no answer of {self} within {timeout:g} s; give more time or send smaller batches"
            case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
                kind, line = PermissionDenied, f"{self.address} refused the call: {told}; check the token"
            case grpc.StatusCode.INVALID_ARGUMENT if source and not misused:
                return BadImage(source, f"the model cannot read it: {_without_nodes(told)}")
            case grpc.StatusCode.RESOURCE_EXHAUSTED if source and too_large:
                return BadImage(source, f"larger than {self.address} accepts: {told}")
            case _:
                kind, line = ServingError, f"{self} answered {code.name}: {told}"
        return kind(line, code.name, about_images=too_large or (refused and not misused))


def _without_nodes(message: str) -> str:
    """A message of TensorFlow without the names of graph nodes, which tell a caller nothing."""
    plain = re.sub(r"\{\{[^}]*\}\}", "", message)
    plain = re.sub(r"\[\[[^\]]*\]\]|\[Op:[^\]]*\]", "", plain)
    return " ".join(plain.split())[:300]


def _class_names(response: Any) -> tuple[str, ...]:
    """The names of all classes, where the model tells them: in an output `classes`, string (n, classes)."""
    if "classes" not in response.outputs:
        return ()
    names = tensors.to_numpy(response.outputs["classes"])
    return tuple(name.decode() for name in names.reshape(-1, names.shape[-1])[0])


def not_ready(target: Target, response: Any, timeout: float) -> ServingError:
    """Why a server that answers does not serve the model yet."""
    reason = target.load_failure(response) or "it is still loading"
    return ModelNotFound(f"{target} was not ready after {timeout:g} s: {reason}")


@dataclass(frozen=True)
class Backoff:
    """Waits between tries: exponential, with jitter so that many clients do not come back at once."""

    first: float = 0.1
    factor: float = 2.0
    longest: float = 2.0

    def seconds(self, attempt: int) -> float:
        return min(self.first * self.factor**attempt, self.longest) * random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class Security:
    """TLS and the token of a connection.

    Attributes:
      tls: use TLS with the system's certificate authorities; implied by the files below.
      ca: path of the certificate authority's PEM file that signed the server's certificate.
      cert, key: paths of the client's own PEM files, where the server asks for them.
      token: sent as `authorization: Bearer ...` with every call; only over TLS, or to a loopback address.
    """

    tls: bool = False
    ca: str | Path | None = None
    cert: str | Path | None = None
    key: str | Path | None = None
    token: str | None = None

    def credentials(self) -> grpc.ChannelCredentials | None:
        if not (self.tls or self.ca or self.cert):
            return None
        return grpc.ssl_channel_credentials(*map(_read_pem, (self.ca, self.key, self.cert)))

    def metadata(self, address: str) -> tuple[tuple[str, str], ...]:
        if self.token is None:
            return ()
        host = address.removeprefix("dns:///").rpartition(":")[0]
        is_local = host in ("localhost", "127.0.0.1", "[::1]") or address.startswith("unix:")
        if not (self.tls or self.ca or self.cert or is_local):
            raise ValueError(f"a token would travel unencrypted to {address}; use TLS")
        return (("authorization", f"Bearer {self.token}"),)


def _read_pem(path: str | Path | None) -> bytes | None:
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise ServingError(f"the PEM file {path} cannot be read: {error.strerror}") from None


def channel_options(extra: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    return [*_CHANNEL_OPTIONS, *(extra or {}).items()]


ErrorMode = Literal["return", "raise"]
